"""Adversarial learning in one process: parts, one loop, state. No idea of groups or federations."""
