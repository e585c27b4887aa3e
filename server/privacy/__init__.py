"""Differential privacy of a run: budget, accounting over all releases, and their record.

- `everymode.clients.protocol.accounting`: epsilon and delta.
- `budget`: what a run may spend, and how it is shared out.
- `accounted`: an exchange that asks nothing which the budget does not cover.
- `private_moments`, `noisy_levels`: moments and shares from sums with noise.
- `ledger`: every release of a run with its guarantee, from the record of releases.
"""
