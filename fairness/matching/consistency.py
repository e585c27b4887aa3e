"""Noisy counts made those of some table: none negative, and their sum what it is known to be."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def onto_simplex(counts: Floats, total: float) -> Floats:
    """The nearest numbers `(n,)`, by Euclidean distance, that are not negative and add to `total`.

    The same is taken off all counts, and what falls below 0 is 0. Where most counts are 0 and just
    noise, that removes most of it.

    Source: Duchi et al., "Efficient Projections onto the l1-Ball for Learning in High Dimensions",
    2008, figure 1.

    >>> onto_simplex(np.array([5.0, 3.0, -2.0]), 6.0).tolist()
    [4.0, 2.0, 0.0]
    """
    if not len(counts) or total <= 0:
        return np.zeros_like(counts, dtype=np.float64)
    falling = np.sort(counts)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(counts) + 1)
    last = np.flatnonzero(falling > excess)[-1]
    found: Floats = np.maximum(counts - excess[last], 0.0)
    return found


def whole(counts: Floats) -> Ints:
    """Whole numbers nearest to counts `(n,)` whose sum is the rounded sum: largest remainders.

    >>> whole(np.array([1.4, 1.4, 0.2])).tolist()
    [2, 1, 0]
    """
    found = np.floor(counts).astype(np.int64)
    lacking = round(float(counts.sum())) - int(found.sum())
    order = np.argsort(-(counts - found), kind="stable")
    found[order[:lacking]] += 1
    return found
