"""Coverage, density, precision and recall of synthetic by real points, in blocks of distances.

Two tables of 100,000 rows have ten billion distances; here no more than a block of them is in
memory at once. Products of float32 matrices give distances quickly, but not exactly; comparisons
that come out closer than the rounding error are taken again, in float64 from summed differences,
so that results are those of exact distances and copies tie exactly.

Sources: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
equations 3 to 6; Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", 2019, equation 2. Balls are closed: a tie is inside, where the authors' code has
it outside, so that a copy of a table of copies covers it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Floats = NDArray[np.float64]

CELLS = 2**22
"""Distances in a block: 16 MB of float32."""


@dataclass(frozen=True)
class Neighbours:
    """How two sets of points lie in each other.

    Attributes:
        coverage: Share of real points with a synthetic one in their ball.
        density: Real balls that a synthetic point lies in, mean, over k.
        precision: Share of synthetic points in a real ball.
        recall: Share of real points in a synthetic ball.
        copied: Share of synthetic points that equal a real one.
    """

    coverage: float
    density: float
    precision: float
    recall: float
    copied: float


def neighbours(
    real: Points,
    synthetic: Points,
    k: int = 5,
    progress: Callable[[int], None] = lambda rows: None,
) -> Neighbours:
    """All five figures in one pass over the distances between the two sets.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`.
        k: A ball reaches to the k-th nearest other point of its own set.
        progress: Hears how many real rows more are done, of 2 n + m in all.

    Raises:
        ValueError: Unless n > k > 0, m > k and the widths agree.
    """
    n, m = len(real), len(synthetic)
    if not (k > 0 and n > k and m > k):
        raise ValueError(f"expected more than k = {k} > 0 points of each, got {n} and {m}")
    if real.shape[1] != synthetic.shape[1]:
        raise ValueError(f"points are {real.shape[1]} and {synthetic.shape[1]} numbers long")
    around_real = radii(real, k, progress)
    around_synthetic = radii(synthetic, k, progress)
    covered = np.zeros(n, dtype=bool)
    recalled = np.zeros(n, dtype=bool)
    balls = np.zeros(m, dtype=np.int64)
    equal = np.zeros(m, dtype=bool)
    for rows, block in _blocks(real, synthetic):
        inside = block.within(around_real[rows, None])
        covered[rows] = inside.any(axis=1)
        balls += inside.sum(axis=0)
        recalled[rows] = block.within(around_synthetic[None, :]).any(axis=1)
        equal |= block.touched()
        progress(rows.stop - rows.start)
    return Neighbours(
        coverage=float(covered.mean()),
        density=float(balls.mean() / k),
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        copied=float(equal.mean()),
    )


def radii(points: Points, k: int, progress: Callable[[int], None] = lambda rows: None) -> Floats:
    """Squared distance of each point `(n, d)` to its k-th nearest other point, `(n,)`.

    Raises:
        ValueError: Unless n > k > 0.

    >>> radii(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 4.0]
    """
    if not len(points) > k > 0:
        raise ValueError(f"expected n > k > 0, got n={len(points)}, k={k}")
    found = np.empty(len(points))
    for rows, block in _blocks(points, points):
        own = np.arange(rows.start, rows.stop)
        block.squared[np.arange(len(own)), own] = np.inf
        found[rows] = block.smallest(k)
        progress(len(own))
    return found


@dataclass
class _Block:
    """Squared distances of some points `a` to all points `b`, to within `error`, `(r, c)`."""

    a: Points
    b: Points
    squared: NDArray[np.float32]
    error: NDArray[np.float32]

    def within(self, limit: Floats) -> NDArray[np.bool_]:
        """Whether each exact squared distance is at most `limit`, which broadcasts, `(r, c)`."""
        edge = limit.astype(np.float32)
        # float32 of the limit is off by a rounding of its own. One error for all rows keeps the two
        # edges as small as the limit: a pass over the block costs more than a few exact distances.
        error = self.error.max(initial=0.0) + np.float32(1e-6) * edge
        found: NDArray[np.bool_] = self.squared <= edge - error
        rows, columns = _places((self.squared <= edge + error) ^ found)
        if len(rows):
            limits = np.broadcast_to(limit, self.squared.shape)[rows, columns]
            found[rows, columns] = _exact(self.a, self.b, rows, columns) <= limits
        return found

    def touched(self) -> NDArray[np.bool_]:
        """Whether each point of `b` equals a point of `a`, `(c,)`."""
        rows, columns = _places(self.squared <= self.error.max(initial=0.0))
        found = np.zeros(len(self.b), dtype=bool)
        found[columns[_exact(self.a, self.b, rows, columns) == 0]] = True
        return found

    def smallest(self, k: int) -> Floats:
        """The k-th smallest exact squared distance of each row, `(r,)`."""
        near = np.partition(self.squared, k - 1, axis=1)[:, k - 1]
        result = np.empty(len(self.a))
        # Whatever may be among the k smallest once errors are off.
        rows, columns = _places(self.squared <= (near[:, None] + 2 * self.error))
        exact = _exact(self.a, self.b, rows, columns)
        order = np.lexsort((exact, rows))
        starts = np.searchsorted(rows[order], np.arange(len(self.a)))
        result[:] = exact[order][starts + k - 1]
        return result


def _blocks(a: Points, b: Points) -> Iterator[tuple[slice, _Block]]:
    centre = b.mean(axis=0, dtype=np.float64) if len(b) else np.zeros(b.shape[1])
    left, right = ((points - centre).astype(np.float32) for points in (a, b))
    norms = [(points**2).sum(axis=1, keepdims=True) for points in (left, right)]
    # |a|^2 - 2 a.b + |b|^2 as one product of longer rows: every pass over a block costs as much.
    long = np.hstack([left, norms[0], np.ones_like(norms[0])])
    wide = np.ascontiguousarray(np.hstack([-2 * right, np.ones_like(norms[1]), norms[1]]).T)
    # Rounding of d + 2 products and of their sum, none larger than twice the squared norms.
    unit = np.float32(2 * np.finfo(np.float32).eps * (a.shape[1] + 10))
    size = max(1, CELLS // max(len(b), 1))
    for start in range(0, len(a), size):
        rows = slice(start, min(start + size, len(a)))
        error = unit * (norms[0][rows] + norms[1].max(initial=0.0))
        yield rows, _Block(a[rows], b, long[rows] @ wide, error)


def _places(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns that are set; NumPy finds few set places of a flat mask much faster."""
    rows, columns = np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))
    return rows, columns


def _exact(a: Points, b: Points, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Squared distances of pairs in float64, from summed differences, `(p,)`."""
    found = np.empty(len(rows))
    step = max(1, 2**22 // max(a.shape[1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = a[rows[part]].astype(np.float64) - b[columns[part]].astype(np.float64)
        found[part] = np.einsum("ij,ij->i", difference, difference)
    return found
