"""Secure summation at a site: its keys, its shares of others' secrets, its masks.

The server learns the sum over sites and no site's part of it, as long as fewer than `threshold` of
a site's neighbours work together with it. The method is that of Bonawitz et al., "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", 2017, with fresh keys for every question; the
graph of neighbours is that of Bell et al., 2020. Sums are over the integers modulo 2^64: exact.

- `masks`: streams of integers from a seed, and seeds from keys.
- `shamir`: shares of secrets.
- `graph`: who masks with whom.
- `steps`: what server and site say to one another.
- `signing`: whose keys they are.
- `state`: what a site keeps on its disk between steps, and takes only once.
- `answering`: the steps themselves.
"""
