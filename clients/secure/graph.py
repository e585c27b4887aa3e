"""Who masks with whom: all sites with one another, or a ring in which each has `degree` neighbours.

Source: Bell, Bonawitz, Gascon, Lepoint and Raykova, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", 2020. Their graph is a Harary graph over a random order of sites; here
the order follows from a digest of all sites' fresh keys, so that every site computes it.
"""

import hashlib
import math
from collections.abc import Sequence

COMPLETE = 20
"""Most sites that all mask with one another."""

FEWEST = 3
"""Fewest sites of a sum: of two, each knows the other's part."""


def choose_degree(sites: int, neighbours: int) -> int:
    """Neighbours of each site; 0: all others up to 20 sites, beyond 4 log2(sites).

    >>> [choose_degree(n, 0) for n in (3, 20, 25, 1000)]
    [2, 19, 20, 40]
    """
    wanted = neighbours or (sites if sites <= COMPLETE else 4 * math.ceil(math.log2(sites)))
    # A ring gives each as many on either side.
    return min(sites - 1, wanted + wanted % 2)


def choose_threshold(holders: int, threshold: int) -> int:
    """Holders of shares who can open a mask; 0: two thirds of them.

    >>> [choose_threshold(n, 0) for n in (3, 4, 20)]
    [2, 3, 14]
    """
    return threshold or math.ceil(2 * holders / 3)


def find_neighbours(names: Sequence[str], degree: int, digest: str) -> dict[str, tuple[str, ...]]:
    """The neighbours of every site, by name and sorted; neighbourhood is mutual.

    >>> find_neighbours(["a", "b", "c"], 2, "")
    {'a': ('b', 'c'), 'b': ('a', 'c'), 'c': ('a', 'b')}
    """
    if degree >= len(names) - 1:
        return {n: tuple(sorted(o for o in names if o != n)) for n in sorted(names)}
    ring = sorted(names, key=lambda n: hashlib.sha256(f"{digest} {n}".encode()).digest())
    steps = [s for k in range(1, degree // 2 + 1) for s in (k, -k)]
    found = {
        name: tuple(sorted({ring[(place + step) % len(ring)] for step in steps}))
        for place, name in enumerate(ring)
    }
    return dict(sorted(found.items()))


def sites_problems(sites: int, threshold: int, neighbours: int) -> list[str]:
    """What is wrong with masking the sums of so many sites, with what to write instead.

    >>> sites_problems(20, 0, 0)
    []
    """
    if sites < FEWEST:
        return [
            f"secure.summation = 'masked': {sites} sites are too few. Of two sites each would know "
            "the other's part from the sum and its own, and one site's sum is its own; take "
            f"{FEWEST} sites at least, or write secure.summation = 'none'"
        ]
    problems = []
    if neighbours and neighbours < 2:
        problems.append(f"secure.neighbours = {neighbours}: write 2 at least, or 0")
    if neighbours > sites - 1:
        problems.append(
            f"secure.neighbours = {neighbours}, but a site has {sites - 1} others; write at most "
            "that, or 0"
        )
    holding = choose_degree(sites, neighbours) + 1
    if threshold > holding:
        problems.append(
            f"secure.threshold = {threshold}, but each site's secrets are shared among {holding} "
            f"sites, itself included; write at most {holding}, or 0"
        )
    if threshold and threshold <= holding / 2:
        problems.append(
            f"secure.threshold = {threshold} is not more than half of the {holding} sites among "
            "which each site's secrets are shared: a server could have both masks of a site "
            f"opened by telling them different things; write {holding // 2 + 1} at least, or 0"
        )
    return problems
