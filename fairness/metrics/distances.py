"""Distances between two sets of embedded rows, beside what noise alone would give."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

VARYING = 10
"""Fewest rows off the median whose association with anything is looked at."""


def sliced_w1(
    x: NDArray[np.floating], y: NDArray[np.floating], rng: np.random.Generator, slices: int = 64
) -> float:
    """Mean Wasserstein-1 distance of projections onto random directions, times sqrt(d).

    The factor makes a shift of one coordinate by t cost about .8 t in any dimension. In one
    dimension this is the Wasserstein-1 distance itself.

    Source: Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015, section 3.

    Args:
        x: Points `(n, d)`, at least one.
        y: Points `(m, d)`, at least one.
        rng: Draws the directions.
        slices: How many directions.

    Raises:
        ValueError: Either set is empty.

    >>> rng = np.random.default_rng(0)
    >>> round(sliced_w1(np.zeros((3, 1)), np.full((5, 1), 2.0), rng), 6)
    2.0
    """
    if not (len(x) and len(y)):
        raise ValueError(f"expected at least one point of each, got {len(x)} and {len(y)}")
    width = x.shape[1]
    if width == 0:
        return 0.0
    directions = rng.standard_normal((width, slices))
    directions /= np.maximum(np.linalg.norm(directions, axis=0), 1e-300)
    a, b = (np.sort(points.astype(np.float64) @ directions, axis=0) for points in (x, y))
    # Quantile functions are steps: between two levels of either, both are constant.
    levels = np.unique(np.concatenate([np.arange(1, s + 1) / s for s in (len(a), len(b))]))
    widths = np.diff(levels, prepend=0.0)
    middle = levels - widths / 2
    at = [np.minimum((middle * len(s)).astype(np.int64), len(s) - 1) for s in (a, b)]
    gaps = np.abs(a[at[0]] - b[at[1]])
    return float((widths @ gaps).mean() * math.sqrt(width))


def associations(points: NDArray[np.floating], blocks: Sequence[int]) -> Floats:
    """How the columns of embedded rows hang together: correlations of all coordinates, `(d, d)`.

    A constant coordinate correlates with nothing.

    Args:
        points: Embedded rows `(n, d)`, n > 1.
        blocks: Coordinates of each column, in order; they add up to d.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt((centred**2).mean(axis=0))
    known = deviation > 1e-9
    scaled = np.where(known, centred / np.where(known, deviation, 1.0), 0.0)
    found: Floats = scaled.T @ scaled / len(points)
    edges = np.cumsum([0, *blocks])
    for start, stop in pairwise(edges.tolist()):
        # A column's hold on itself is its marginal, which is measured elsewhere.
        found[start:stop, start:stop] = 0.0
    return found


def association_weights(
    x: NDArray[np.floating], y: NDArray[np.floating], blocks: Sequence[int]
) -> Floats:
    """What each coordinate counts within its column, `(d,)`: what both tables together vary there.

    A rare category thus counts for its rows. A coordinate that fewer than `VARYING` rows of either
    table vary in counts nothing: a row or two hang together by chance.

    Args:
        x: Embedded rows `(n, d)`, n > 1.
        y: Embedded rows `(m, d)`, m > 1.
        blocks: Coordinates of each column.
    """
    both = np.concatenate([x, y]).astype(np.float64).var(axis=0)
    for points in (x, y):
        varying = (points != np.median(points, axis=0)).sum(axis=0)
        both[varying < VARYING] = 0.0
    share = np.zeros(len(both))
    for start, stop in pairwise(np.cumsum([0, *blocks]).tolist()):
        total = both[start:stop].sum()
        share[start:stop] = both[start:stop] / total if total > 0 else 0.0
    return share


def association_gaps(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    blocks: Sequence[int],
    weights: Floats | None = None,
) -> Floats:
    """By column: how far its associations with the other columns differ between x and y, `(c,)`.

    The gap of two columns is the root of the summed squared differences of the correlations of
    their coordinates, each weighed by `association_weights`. A column's gap is the mean of its two
    largest ones: what breaks a column breaks its strongest ties, and a mean over all would drown
    them.

    Args:
        x: Embedded rows `(n, d)`, n > 1.
        y: Embedded rows `(m, d)`, m > 1.
        blocks: Coordinates of each column.
        weights: Of the coordinates, `(d,)`, where they are those of other rows.
    """
    share = association_weights(x, y, blocks) if weights is None else weights
    edges = np.cumsum([0, *blocks])
    squared = (associations(x, blocks) - associations(y, blocks)) ** 2
    weighed = squared * share[:, None] * share[None, :]
    table = np.add.reduceat(np.add.reduceat(weighed, edges[:-1], axis=0), edges[:-1], axis=1)
    gaps = -np.sort(-np.sqrt(table), axis=1)[:, :2]
    return np.asarray(gaps.mean(axis=1)) if len(blocks) > 1 else np.zeros(len(blocks))
