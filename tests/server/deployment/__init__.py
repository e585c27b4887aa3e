"""Tests of everymode.server.deployment."""
