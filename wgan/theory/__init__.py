"""Exact values to compare trained networks with: optimal transport, and stability of games."""
