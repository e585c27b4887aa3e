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
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]

CELLS = 2**20
"""Distances in a block: 4 MB of float32, as much as a processor's cache holds."""

DENSE = 16
"""With more than one distance in so many to take again, all of a block are: it is quicker."""

LARGEST = np.float64(1e150)
"""Squares of larger numbers overflow."""


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
    progress: Callable[[int], None] | None = None,
) -> Neighbours:
    """All five figures in one pass over the distances between the two sets.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`.
        k: A ball reaches to the k-th nearest other point of its own set.
        progress: Hears how many rows more are done, of 2 n + m in all.

    Raises:
        ValueError: Unless n > k > 0, m > k, the widths agree and all is finite.
    """
    n, m = len(real), len(synthetic)
    if not (k > 0 and n > k and m > k):
        raise ValueError(f"expected more than k = {k} > 0 points of each, got {n} and {m}")
    _check(real, synthetic)
    around_real = radii(real, k, progress)
    around_synthetic = radii(synthetic, k, progress)
    covered = np.zeros(n, dtype=bool)
    recalled = np.zeros(n, dtype=bool)
    balls = np.zeros(m, dtype=np.int64)
    for start, block in _blocks(real, synthetic):
        stop = start + len(block.a)
        rows, columns = block.inside(around_real[start:stop, None])
        covered[start + rows] = True
        balls += np.bincount(columns, minlength=m)
        recalled[start + block.inside(around_synthetic[None, :])[0]] = True
        if progress is not None:
            progress(stop - start)
    seen = set(_digests(real))
    return Neighbours(
        coverage=float(covered.mean()),
        density=float(balls.mean() / k),
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        copied=sum(row in seen for row in _digests(synthetic)) / m,
    )


def radii(points: Points, k: int = 5, progress: Callable[[int], None] | None = None) -> Floats:
    """Squared distance of each point `(n, d)` to its k-th nearest other point, `(n,)`.

    Raises:
        ValueError: Unless n > k > 0 and all is finite.

    >>> radii(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 4.0]
    """
    if not len(points) > k > 0:
        raise ValueError(f"expected n > k > 0, got n={len(points)}, k={k}")
    _check(points, points)
    found = np.empty(len(points))
    for start, block in _blocks(points, points):
        stop = start + len(block.a)
        block.squared[np.arange(len(block.a)), np.arange(start, stop)] = np.inf
        found[start:stop] = block.smallest(k)
        if progress is not None:
            progress(stop - start)
    return found


def within(points: Points, centres: Points, radii: Floats) -> NDArray[np.bool_]:
    """Whether each point lies in a ball; a site's counts of them add up to recall.

    Args:
        points: `(n, d)`, n may be 0.
        centres: `(m, d)`, m may be 0.
        radii: Squared radii `(m,)` as of `radii`; rounded to float32 they lose ties.

    Returns:
        `(n,)`.

    Raises:
        ValueError: Unless the widths and numbers of balls agree and all points are finite.

    >>> within(np.array([[1.0], [1.5]]), np.array([[0.0]]), np.array([1.0])).tolist()
    [True, False]
    """
    _check(points, centres)
    if radii.shape != (len(centres),):
        raise ValueError(f"expected {len(centres)} radii, got {radii.shape}")
    found = np.zeros(len(points), dtype=bool)
    for start, block in _blocks(points, centres):
        found[start + block.inside(radii[None, :])[0]] = True
    return found


def recall_null(real: Points, k: int, rng: np.random.Generator) -> float:
    """Recall of one random half of the real points `(n, d)` by the other: what to expect of equals.

    An equal point lies in k balls in the mean, but how often in none depends on the dimension, so
    that no formula serves every table, as `fairness.coverage.expected_coverage` does.

    Raises:
        ValueError: Unless half the points are more than k > 0 and all is finite.
    """
    order = rng.permutation(len(real))
    one, two = real[order[len(real) // 2 :]], real[order[: len(real) // 2]]
    return float(within(one, two, radii(two, k)).mean())


@dataclass
class _Block:
    """Squared distances of some points `a` to all points `b`, to within `error`, `(r, c)`.

    They are 4^-exponent times the points', so that float32 holds them whatever their unit. An
    infinite one stays infinite.
    """

    a: Points
    b: Points
    exponent: int
    squared: NDArray[np.float32]
    error: np.float32

    def inside(self, limit: Floats) -> tuple[Places, Places]:
        """Rows and columns of exact squared distances of at most `limit`, which broadcasts."""
        # Beyond any distance between scaled points; float32 would overflow.
        edge = np.minimum(np.ldexp(limit, -2 * self.exponent), 1e30).astype(np.float32)
        # float32 of the limit is off by a rounding of its own.
        error = self.error + np.float32(1e-6) * np.abs(edge)
        rows, columns = _places(self.squared <= edge + error)
        if len(rows) * DENSE > self.squared.size:
            return _places(self.every <= limit)
        near = self.squared[rows, columns]
        sure = near <= np.broadcast_to(edge - error, self.squared.shape)[rows, columns]
        doubtful = np.flatnonzero(~sure)
        r, c = rows[doubtful], columns[doubtful]
        sure[doubtful] = self.exact(r, c) <= np.broadcast_to(limit, self.squared.shape)[r, c]
        return rows[sure], columns[sure]

    def smallest(self, k: int) -> Floats:
        """The k-th smallest exact squared distance of each row, `(r,)`."""
        count, width = self.squared.shape
        # The k-th smallest of minima over disjoint sets is no smaller than that of all, hardly
        # larger, and quicker to find.
        sets = width // 16
        minima = self.squared
        if sets >= 2 * k:
            minima = self.squared[:, : 16 * sets].reshape(count, 16, sets).min(axis=1)
        bound = np.partition(minima, k - 1, axis=1)[:, k - 1 : k]
        # Whatever may be among the k smallest once errors are off.
        rows, columns = _places(self.squared <= bound * np.float32(1 + 1e-6) + 2 * self.error)
        if len(rows) * DENSE > self.squared.size:
            return np.asarray(np.partition(self.every, k - 1, axis=1)[:, k - 1])
        exact = self.exact(rows, columns)
        order = np.lexsort((exact, rows))
        starts = np.searchsorted(rows, np.arange(count))
        return np.asarray(exact[order][starts + k - 1])

    def exact(self, rows: Places, columns: Places) -> Floats:
        """Squared distances of pairs in the points' own unit, `(p,)`."""
        found = np.empty(len(rows))
        step = max(1, CELLS // max(self.a.shape[1], 1))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            found[part] = _summed(self.a[rows[part]], self.b[columns[part]])
        return found

    @cached_property
    def every(self) -> Floats:
        """All exact squared distances, `(r, c)`."""
        found = np.empty(self.squared.shape)
        for start in range(0, len(self.b), 2**14):
            part = self.b[start : start + 2**14].astype(np.float64, order="F")
            for i, point in enumerate(self.a):
                found[i, start : start + 2**14] = _summed(point[None, :], part)
        found[np.isinf(self.squared)] = np.inf
        return found


def _blocks(a: Points, b: Points) -> Iterator[tuple[int, _Block]]:
    """Blocks of rows of `a`, and where each starts."""
    centre = b.mean(axis=0, dtype=np.float64) if len(b) else np.zeros(b.shape[1])
    largest = max(float(np.abs(points - centre).max(initial=0.0)) for points in (a, b))
    # A power of two: scaling rounds nothing.
    exponent = int(np.frexp(largest)[1])
    left, right = (np.ldexp(points - centre, -exponent).astype(np.float32) for points in (a, b))
    norms = [(points**2).sum(axis=1, keepdims=True) for points in (left, right)]
    # |a|^2 - 2 a.b + |b|^2 as one product of longer rows: every pass over a block costs as much.
    long = np.hstack([left, norms[0], np.ones_like(norms[0])])
    wide = np.ascontiguousarray(np.hstack([-2 * right, np.ones_like(norms[1]), norms[1]]).T)
    # Rounding of d + 2 products and of their sum, none larger than twice the squared norms.
    unit = np.float32(2 * np.finfo(np.float32).eps * (a.shape[1] + 10))
    # Products of few rows are slow: for as many as 64, up to eight times the cells.
    cells = CELLS // max(len(b), 1)
    size = max(1, cells, min(64, 8 * cells))
    for start in range(0, len(a), size):
        rows = slice(start, start + size)
        # One error for all rows keeps edges as small as limits; the last summand is for underflow.
        error = unit * (norms[0][rows].max() + norms[1].max(initial=0.0)) + np.float32(1e-30)
        yield start, _Block(a[rows], b, exponent, long[rows] @ wide, error)


def _places(mask: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Rows and columns that are set; NumPy finds few set places of a flat mask much faster."""
    rows, columns = np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))
    return rows, columns


def _summed(a: Points, b: Points) -> Floats:
    """Squared distances of rows of `a` and `b`, which broadcast, in float64, `(p,)`.

    Column after column whatever the shape, as SciPy's `cdist` does: equal pairs give equal bits.
    """
    found = np.zeros(max(len(a), len(b)) if len(a) and len(b) else 0)
    for one, two in zip(a.T, b.T, strict=True):
        difference = one.astype(np.float64, copy=False) - two.astype(np.float64, copy=False)
        difference *= difference
        found += difference
    return found


def _digests(points: Points) -> Iterator[bytes]:
    """A digest a row, of 128 bits: rows that compare equal have the same."""
    for row in points:
        # Adding 0 turns -0 into 0.
        yield blake2b((row.astype(np.float64) + 0.0).tobytes(), digest_size=16).digest()


def _check(a: Points, b: Points) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"points are {a.shape[1]} and {b.shape[1]} numbers long")
    if not all((np.abs(points) < LARGEST).all() for points in (a, b)):
        raise ValueError(f"expected finite points, below {LARGEST:g} in magnitude")
