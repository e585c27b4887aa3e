"""Distances between laws on the line, where sorting solves optimal transport."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from everymode.wgan.theory.checks import Array, balanced, clouds, finite, masses, order, vector


def wasserstein_1d(
    x: ArrayLike,
    y: ArrayLike,
    p: float = 1,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> float:
    """Exact W_p of two samples on the line: the L_p distance of their quantile functions.

    Source: Villani, "Topics in Optimal Transportation", 2003, theorem 2.18.

    Args:
        x: Values `(n,)`.
        y: Values `(m,)`.
        p: Order, 1 <= p < infinity.
        x_weights: Masses `(n,)`; 1 / n each if None.
        y_weights: Masses `(m,)`, of the same sum; 1 / m each if None.

    Raises:
        ValueError: For values that are not finite, and masses that are negative or differ in sum.

    >>> wasserstein_1d([0, 2], [1, 5])
    2.0
    >>> wasserstein_1d([0], [0, 4], y_weights=[0.75, 0.25])
    1.0
    """
    left, right = vector(x, "x"), vector(y, "y")
    p = order(p)
    if x_weights is None and y_weights is None and len(left) == len(right):
        return _norm(np.sort(left) - np.sort(right), np.full(len(left), 1 / len(left)), p)
    a = masses(x_weights, len(left), "x_weights")
    b = balanced(a, masses(y_weights, len(right), "y_weights"))
    (left, a), (right, b) = _sorted(left, a), _sorted(right, b)
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    levels = np.concatenate([[0.0], np.sort(np.concatenate([ends_a, ends_b]))])
    middles = (levels[1:] + levels[:-1]) / 2
    # Rounding may leave the last level a little above either sum.
    at_a = np.searchsorted(ends_a, middles).clip(max=len(left) - 1)
    at_b = np.searchsorted(ends_b, middles).clip(max=len(right) - 1)
    return _norm(left[at_a] - right[at_b], np.diff(levels), p)


def sliced_wasserstein(
    x: ArrayLike, y: ArrayLike, directions: int, rng: np.random.Generator, p: float = 1
) -> float:
    """Root of the mean of W_p^p over projections on random directions: a lower bound of W_p.

    Source: Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015.

    Args:
        x: Points `(n, d)`.
        y: Points `(m, d)`.
        directions: How many directions, uniform on the sphere.
        rng: Where they come from.
        p: Order, 1 <= p < infinity.

    Raises:
        ValueError: For points that are not finite or differ in dimension, or no direction.

    >>> sliced_wasserstein([[0.0]], [[3.0]], 5, np.random.default_rng(0))
    3.0
    """
    left, right = clouds(x, y)
    p = order(p)
    if directions < 1:
        raise ValueError(f"expected at least one direction, got {directions}")
    normals = rng.standard_normal((directions, left.shape[1]))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    values = [wasserstein_1d(left @ normal, right @ normal, p) for normal in normals]
    return _norm(np.array(values), np.full(directions, 1 / directions), p)


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """Jensen-Shannon divergence in nats: 0 for equal laws, ln 2 for disjoint supports.

    Each argument is divided by its sum, so that densities on an even grid can be passed as they
    are; on an uneven grid, multiply them by the widths first.

    Source: Lin, "Divergence Measures Based on the Shannon Entropy", 1991.

    Args:
        p: Probabilities or densities at the same places as `q`, any shape.
        q: The other law.

    Raises:
        ValueError: If the shapes differ, or a value is negative or not finite.

    >>> round(jensen_shannon([1, 0], [0, 1]), 6)
    0.693147
    """
    first, second = finite(p, "p"), finite(q, "q")
    if first.shape != second.shape:
        raise ValueError(f"expected p and q of one shape, got {first.shape} and {second.shape}")
    first = masses(first.ravel(), first.size, "p")
    second = masses(second.ravel(), second.size, "q")
    first, second = first / first.sum(), second / second.sum()
    middle = (first + second) / 2
    return max(0.0, float(rel_entr(first, middle).sum() + rel_entr(second, middle).sum()) / 2)


def _sorted(values: Array, weights: Array) -> tuple[Array, Array]:
    ranks = np.argsort(values, kind="stable")
    ranks = ranks[weights[ranks] > 0]
    return values[ranks], weights[ranks]


def _norm(gaps: Array, weights: Array, p: float) -> float:
    gaps = np.abs(gaps)
    largest = float(gaps.max())
    # Powers of gaps near 1 neither overflow nor vanish.
    return largest * float(weights @ (gaps / largest) ** p) ** (1 / p) if largest else 0.0
