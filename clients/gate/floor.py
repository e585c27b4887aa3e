"""A site's floor: rows of levels that it holds too few of take no part, and nobody counts them.

A site with `floor` n > 0 leaves out every row whose cell of group and label (and latent cluster)
holds fewer than n of its own rows, of all sums from *ranks* on, when there are cells. Of the rest,
no count below n leaves: categories of fewer rows are counted as rare together, and the bins of a
number are joined until each holds n rows. Sums over rows (of clusters, of features) need n rows.
Of *look* a site says its number of rows and how cells are written, of n rows at least; of *values*
those that n rows share.
With a floor of 0 nothing changes.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def large(cells: Ints, count: int, floor: int) -> Bools:
    """Which rows lie in cells with enough of them, `(n,)`; those of no cell (-1) do not.

    >>> large(np.array([0, 0, 1, -1]), 2, floor=2).tolist()
    [True, True, False, False]
    """
    known: Bools = cells >= 0
    if floor:
        counts = np.bincount(cells[known], minlength=count)
        known = known & (counts[np.maximum(cells, 0)] >= floor)
    return known


def without_small(counts: Ints, floor: int) -> Ints:
    """Counts of any shape, those below the floor as 0."""
    return np.where(counts < floor, 0, counts) if floor else counts


def lifted(counts: Ints, floor: int) -> Ints:
    """Counts of any shape, those above 0 and below the floor as the floor: only that they are.

    >>> lifted(np.array([0, 1, 7]), floor=5).tolist()
    [0, 5, 7]
    """
    return np.where((counts > 0) & (counts < floor), floor, counts) if floor else counts


def folded(counts: Ints, floor: int) -> Ints:
    """Counts `(..., K)` whose small entries are added to the largest: their sum stays.

    Where the sum itself is small, all are 0.

    >>> folded(np.array([7, 1, 2, 5]), floor=3).tolist()
    [10, 0, 0, 5]
    """
    if not floor or not counts.size:
        return counts
    kept = np.where(counts < floor, 0, counts)
    total = counts.sum(-1, keepdims=True)
    at = counts.argmax(-1, keepdims=True)
    added = np.take_along_axis(kept, at, -1)
    # The largest itself may be below the floor.
    rest = total - kept.sum(-1, keepdims=True)
    np.put_along_axis(kept, at, added + rest, -1)
    return np.where(total < floor, 0, kept)


def joined(counts: Ints, floor: int) -> Ints:
    """Counts of ordered bins `(..., K)`, of which each run of `floor` rows counts as one.

    A run is counted in the bin of its middle row, so that ranks move by less than a run; what is
    left at the end belongs to the last run. Sums stay, but where the sum itself is small.

    >>> joined(np.array([1, 1, 1, 0, 4, 1]), floor=3).tolist()
    [0, 3, 0, 0, 5, 0]
    """
    if not floor or not counts.size:
        return counts
    found = np.zeros_like(counts)
    for index in np.ndindex(counts.shape[:-1]):
        places = np.repeat(np.arange(counts.shape[-1]), counts[index])
        runs = len(places) // floor
        for run in range(runs):
            stop = len(places) if run == runs - 1 else (run + 1) * floor
            rows = places[run * floor : stop]
            found[index][rows[len(rows) // 2]] += len(rows)
    return found


def frequent(counts: Mapping[str, int], floor: int) -> dict[str, int]:
    """The values of a column with enough rows each."""
    return {value: rows for value, rows in counts.items() if rows >= floor}


def snap_to_bounds(counts: Ints, rows: Ints, floor: int) -> Ints:
    """Counts `(G,)` among `rows` `(G,)`: none and all, where nearly none and nearly all.

    What is not counted is a count as well.

    >>> snap_to_bounds(np.array([1, 50, 99]), np.array([100, 100, 100]), floor=5).tolist()
    [0, 50, 100]
    """
    if not floor:
        return counts
    counts = np.where(counts < floor, 0, counts)
    return np.where(rows - counts < floor, rows, counts)
