"""Secure summation at the server: an exchange that learns the sum over sites and nothing else.

- `channel`: how steps reach sites, in this process or over Flower.
- `exchange`: the driver: keys once a session, then for every question masked answers and unmasking.
- `opening`: the sum from masked answers and opened shares.
- `choice`: whether a run's sums are masked.

What happens at a site: `everymode.clients.secure`.
"""
