"""Coverage, density, precision and recall of synthetic by real points, in blocks of distances.

Two tables of 100,000 rows have ten billion distances; no more than a block of them is in memory at
once (`everymode.fairness.metrics.blocks`).

Sources: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
equations 3 to 6; Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", 2019, equation 2. Balls of density, precision and recall are closed: a tie is
inside, where the authors' code has it outside, so that a copy of a table of copies has precision 1.
Coverage breaks ties at random (`everymode.fairness.metrics.ties`): they do not lift it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from everymode.fairness.metrics.blocks import Block, Floats, Points, blocks, check_points
from everymode.fairness.metrics.ties import covered_in_ties


@dataclass(frozen=True)
class Neighbours:
    """How two sets of points lie in each other.

    Attributes:
        coverage: Share of real points with a synthetic one in their ball, ties broken at random.
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
    check_points(real, synthetic)
    around_real = radii(real, k, progress)
    around_synthetic = radii(synthetic, k, progress)
    inside = np.zeros(n, dtype=bool)
    nearer = np.zeros(n, dtype=bool)
    recalled = np.zeros(n, dtype=bool)
    balls = np.zeros(m, dtype=np.int64)
    for start, block in blocks(real, synthetic):
        stop = start + len(block.a)
        rows, columns = block.inside(around_real[start:stop, None])
        inside[start + rows] = True
        nearer[start + _nearer(block, around_real[start:stop])] = True
        balls += np.bincount(columns, minlength=m)
        recalled[start + block.inside(around_synthetic[None, :])[0]] = True
        if progress is not None:
            progress(stop - start)
    seen = set(_digests(real))
    return Neighbours(
        coverage=float(_resolved(real, synthetic, inside, nearer, around_real, k).mean()),
        density=float(balls.mean() / k),
        precision=float((balls > 0).mean()),
        recall=float(recalled.mean()),
        copied=sum(row in seen for row in _digests(synthetic)) / m,
    )


def covered(real: Points, synthetic: Points, k: int = 5) -> Floats:
    """How surely a synthetic point comes before the k-th nearest other real point, `(n,)`.

    1 where the nearest synthetic point is nearer, 0 where it is farther; where both are exactly as
    far, the probability of it if ties are broken at random (`everymode.fairness.metrics.ties`).

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`, m may be 0.
        k: Which neighbour gives the radius.

    Raises:
        ValueError: Unless n > k > 0, the widths agree and all is finite.
    """
    around = radii(real, k)
    check_points(real, synthetic)
    inside, nearer = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for start, block in blocks(real, synthetic):
        limit = around[start : start + len(block.a)]
        inside[start + block.inside(limit[:, None])[0]] = True
        nearer[start + _nearer(block, limit)] = True
    return _resolved(real, synthetic, inside, nearer, around, k)


def radii(points: Points, k: int = 5, progress: Callable[[int], None] | None = None) -> Floats:
    """Squared distance of each point `(n, d)` to its k-th nearest other point, `(n,)`.

    Raises:
        ValueError: Unless n > k > 0 and all is finite.

    >>> radii(np.array([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 4.0]
    """
    if not len(points) > k > 0:
        raise ValueError(f"expected n > k > 0, got n={len(points)}, k={k}")
    check_points(points, points)
    found = np.empty(len(points))
    for start, block in blocks(points, points):
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
    check_points(points, centres)
    if radii.shape != (len(centres),):
        raise ValueError(f"expected {len(centres)} radii, got {radii.shape}")
    found = np.zeros(len(points), dtype=bool)
    for start, block in blocks(points, centres):
        found[start + block.inside(radii[None, :])[0]] = True
    return found


def recall_null(real: Points, k: int, rng: np.random.Generator) -> float:
    """Recall of one random half of the real points `(n, d)` by the other: what to expect of equals.

    An equal point lies in k balls in the mean, but how often in none depends on the dimension, so
    that no formula serves every table, as `everymode.fairness.metrics.coverage.expected_coverage`
    does.

    Raises:
        ValueError: Unless half the points are more than k > 0 and all is finite.
    """
    order = rng.permutation(len(real))
    one, two = real[order[len(real) // 2 :]], real[order[: len(real) // 2]]
    return float(within(one, two, radii(two, k)).mean())


def _nearer(block: Block, limit: Floats) -> NDArray[np.int64]:
    """Rows of a block, as often as they have a point nearer than `limit`, not merely as near."""
    return block.inside(np.nextafter(limit, -np.inf)[:, None])[0]


def _resolved(
    real: Points,
    synthetic: Points,
    inside: NDArray[np.bool_],
    nearer: NDArray[np.bool_],
    around: Floats,
    k: int,
) -> Floats:
    """How surely each real point is covered: `nearer` ones are; merely `inside` ones tie."""
    found = nearer.astype(np.float64)
    tied = np.flatnonzero(inside & ~nearer)
    if len(tied):
        # The same orders every time: equal tables have equal figures.
        rng = np.random.default_rng(0)
        found[tied] = covered_in_ties(real, synthetic, tied, around[tied], k, rng)
    return found


def _digests(points: Points) -> Iterator[bytes]:
    """A digest a row, of 128 bits: rows that compare equal have the same."""
    for row in points:
        # Adding 0 turns -0 into 0.
        yield blake2b((row.astype(np.float64) + 0.0).tobytes(), digest_size=16).digest()
