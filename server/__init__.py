"""Rounds, aggregation, exchanges with sites, and what is written."""
