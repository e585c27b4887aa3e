"""Latent clusters of encoded rows, found from sums over sites alone.

Where sites differ in ways that no column names, a generator cannot be told what it shall make. The
clusters name it: k-means needs, for given centres, only how many rows lie nearest to each and their
sum, and both add up over sites (Lloyd, 1982). The start is found by splitting (Linde, Buzo, Gray,
"An Algorithm for Vector Quantizer Design", 1980), which is deterministic and needs sums too, so
that the federated result is the pooled one.

What this reveals: the centres and how many rows of all sites together lie nearest to each, nothing
about one site. A centre of few rows is close to each of them, which is why clusters below the floor
are dissolved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating[Any]]

LLOYD = 3
"""Steps after each split."""

SETTLING = 12
"""Steps at the end, at most."""

_BLOCK = 4096


@dataclass(frozen=True)
class ClusterSums:
    """What k-means has to know of rows; adds up over sites.

    Attributes:
        counts: Rows nearest to each centre, `(K,)`.
        sums: Their sums, `(K, D)`.
        squares: Sums of their squares, entry by entry, `(K, D)`.
    """

    counts: Floats
    sums: Floats
    squares: Floats


Ask = Callable[[Floats], ClusterSums]
"""Centres `(K, D)` -> the sums over all sites."""


def nearest(rows: Rows, centres: Floats) -> npt.NDArray[np.int64]:
    """The centre nearest to each row, `(n,)`; the first of equally near ones."""
    found = np.zeros(len(rows), dtype=np.int64)
    norms = (centres**2).sum(1)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK].astype(np.float64)
        found[start : start + len(part)] = (norms - 2 * part @ centres.T).argmin(1)
    return found


def cluster_sums(rows: Rows, centres: Floats) -> ClusterSums:
    """One site's part."""
    member = np.eye(len(centres))[nearest(rows, centres)]
    values = rows.astype(np.float64)
    return ClusterSums(member.sum(0), member.T @ values, member.T @ values**2)


def find_clusters(ask: Ask, width: int, wanted: int, floor: int) -> Floats:
    """Centres `(K, D)`, K at most `wanted`.

    Args:
        ask: Brings the sums.
        width: D.
        wanted: How many clusters.
        floor: Rows that a cluster must have; smaller ones are dissolved.
    """
    centres = np.zeros((1, width))
    found = ask(centres)
    centres = _means(found, centres)
    while len(centres) < wanted:
        found = ask(centres)
        spread = _spread(found)
        worst = int(spread.sum(1).argmax())
        if spread[worst].sum() <= 1e-9:
            break
        step = np.zeros(width)
        axis = int(spread[worst].argmax())
        step[axis] = np.sqrt(spread[worst, axis] / max(found.counts[worst], 1))
        centres = np.vstack([centres, centres[worst] + step])
        centres[worst] -= step
        for _ in range(LLOYD):
            centres = _means(ask(centres), centres)
    for _ in range(SETTLING):
        found = ask(centres)
        small = found.counts < floor
        moved = _means(found, centres)[~small] if not small.all() else centres[:1]
        if moved.shape == centres.shape and np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    return centres


def _means(found: ClusterSums, centres: Floats) -> Floats:
    counts = found.counts[:, None]
    return np.where(counts > 0, found.sums / np.maximum(counts, 1), centres)


def _spread(found: ClusterSums) -> Floats:
    """Squared distances from the mean, summed per centre and entry, `(K, D)`."""
    counts = np.maximum(found.counts, 1)[:, None]
    spread: Floats = np.maximum(found.squares - found.sums**2 / counts, 0.0)
    return spread
