"""Exact optimal transport between finite laws, with the potentials that certify it.

The other closed forms are offered here too: they live in `line`, `gaussian` and `median`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import eye_array, kron, vstack
from scipy.spatial.distance import cdist

from everymode.wgan.errors import NumericalError
from everymode.wgan.theory.checks import (
    Array,
    balanced,
    cloud,
    clouds,
    finite,
    masses,
    order,
    vector,
)
from everymode.wgan.theory.gaussian import gaussian_w2, gaussian_w2_map
from everymode.wgan.theory.line import jensen_shannon, sliced_wasserstein, wasserstein_1d
from everymode.wgan.theory.median import geometric_median

__all__ = [
    "Matching",
    "Potential",
    "Transport",
    "assignment",
    "dual_potentials",
    "extend",
    "gaussian_w2",
    "gaussian_w2_map",
    "geometric_median",
    "jensen_shannon",
    "linear_programme",
    "sliced_wasserstein",
    "wasserstein",
    "wasserstein_1d",
]

_CELLS = 2**22


@dataclass(frozen=True)
class Matching:
    """An optimal pairing of two clouds of equal size.

    Attributes:
        value: W_p.
        plan: Row i of the first cloud goes to row plan[i] of the second, `(n,)`.
    """

    value: float
    plan: NDArray[np.intp]


@dataclass(frozen=True)
class Transport:
    """An optimal plan and its certificate: f_i + g_j <= c_ij and a f + b g = value.

    Attributes:
        value: Least cost.
        plan: Mass moved, `(n, m)`.
        f: Potential of the first law's points, `(n,)`.
        g: Potential of the second law's points, `(m,)`.
    """

    value: float
    plan: Array
    f: Array
    g: Array


@dataclass(frozen=True)
class Potential:
    """An optimal critic of W1: 1-Lipschitz, with mean over x minus mean over y equal to W1.

    Only its differences mean anything, and it need not be the only one: compare the value that a
    critic attains first, and its shape where mass moves.

    Attributes:
        value: W1.
        points: Both clouds, x first, `(n + m, d)`.
        values: The potential there, `(n + m,)`.
    """

    value: float
    points: Array
    values: Array

    def __call__(self, at: ArrayLike) -> Array:
        """The potential `(k,)` at other points `(k, d)`, by `extend`."""
        return extend(self.points, self.values, at)


def assignment(x: ArrayLike, y: ArrayLike, p: float = 1) -> Matching:
    """W_p between two clouds of equal size and equal masses, with Euclidean distances.

    Some plan that moves no mass in parts is optimal (Birkhoff), so pairings suffice.

    Args:
        x: Points `(n, d)`.
        y: Points `(n, d)`.
        p: Order, 1 <= p < infinity.

    Raises:
        ValueError: If shapes differ, or for points that are not finite.

    >>> assignment([[0, 0], [3, 4]], [[3, 4], [0, 1]])
    Matching(value=0.5, plan=array([1, 0]))
    """
    left, right = clouds(x, y)
    p = order(p)
    if len(left) != len(right):
        raise ValueError(f"expected as many points in x as in y, got {len(left)} and {len(right)}")
    cost, scale = _cost(left, right, p)
    rows, plan = linear_sum_assignment(cost)
    return Matching(scale * float(cost[rows, plan].mean()) ** (1 / p), plan)


def linear_programme(cost: ArrayLike, a: ArrayLike, b: ArrayLike) -> Transport:
    """Least cost of moving masses `a` to masses `b`, by Kantorovich's linear programme.

    Source: Peyre, Cuturi, "Computational Optimal Transport", 2019, equations 2.11 and 2.20.

    Args:
        cost: Cost of a unit of mass from i to j, `(n, m)`.
        a: Masses `(n,)`.
        b: Masses `(m,)`, of the same sum.

    Raises:
        ValueError: For other shapes, values that are not finite, or masses that are negative or
            differ in sum.
        NumericalError: If the solver gave up.

    >>> found = linear_programme([[0, 1], [1, 0]], [0.5, 0.5], [0.25, 0.75])
    >>> float(found.value), found.plan.tolist()
    (0.25, [[0.25, 0.25], [0.0, 0.5]])
    """
    table = finite(cost, "cost")
    if table.ndim != 2:
        raise ValueError(f"expected a cost of shape (n, m), got {table.shape}")
    n, m = table.shape
    source = masses(a, n, "a")
    target = balanced(source, masses(b, m, "b"))
    # The solver's tolerances are absolute: costs up to 1 and masses around 1.
    scale = float(np.abs(table).max()) or 1.0
    unit = float(source.sum()) / max(n, m)
    rows = kron(eye_array(n), np.ones((1, m)))
    columns = kron(np.ones((1, n)), eye_array(m))
    solved = linprog(
        (table / scale).ravel(),
        A_eq=vstack([rows, columns], format="csc"),
        b_eq=np.concatenate([source, target]) / unit,
        method="highs",
    )
    if not solved.success:
        raise NumericalError(f"the linear programme was not solved: {solved.message}")
    plan = unit * solved.x.reshape(n, m).clip(min=0)
    # Two c-transforms keep optimal potentials optimal and make them feasible to the last digit.
    g = (table - scale * solved.eqlin.marginals[:n, None]).min(axis=0)
    f = (table - g).min(axis=1)
    return Transport(float((plan * table).sum()), plan, f, g)


def wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    p: float = 1,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
) -> float:
    """Exact W_p between two clouds with Euclidean distances, the cheapest way.

    Quantiles on the line, an assignment for equal sizes without masses, else the linear programme
    (whose memory is about n m times 100 bytes).

    Args:
        x: Points `(n, d)`.
        y: Points `(m, d)`.
        p: Order, 1 <= p < infinity.
        a: Masses `(n,)`; 1 / n each if None.
        b: Masses `(m,)`, of the same sum; 1 / m each if None.

    Raises:
        ValueError: For points that are not finite or differ in dimension, or masses that are
            negative or differ in sum.

    >>> wasserstein([[0, 0]], [[3, 4], [0, 0]], p=2, b=[0.36, 0.64])
    3.0
    """
    left, right = clouds(x, y)
    p = order(p)
    if left.shape[1] == 1:
        return wasserstein_1d(left, right, p, a, b)
    if a is None and b is None and len(left) == len(right):
        return assignment(left, right, p).value
    source, target = masses(a, len(left), "a"), masses(b, len(right), "b")
    cost, scale = _cost(left, right, p)
    return scale * float(max(0.0, linear_programme(cost, source, target).value) ** (1 / p))


def dual_potentials(
    x: ArrayLike, y: ArrayLike, a: ArrayLike | None = None, b: ArrayLike | None = None
) -> Potential:
    """An optimal critic of W1 at all points of two clouds; high on x, low on y.

    Source: Kantorovich, Rubinstein 1958; Villani, "Topics in Optimal Transportation", 2003,
    theorem 1.14.

    Args:
        x: Points `(n, d)`.
        y: Points `(m, d)`.
        a: Masses `(n,)`; 1 / n each if None.
        b: Masses `(m,)`, of the same sum; 1 / m each if None.

    Raises:
        ValueError: As for `wasserstein`.

    >>> critic = dual_potentials([[0, 0]], [[3, 4]])
    >>> float(critic.value), float(critic.values[0] - critic.values[1])
    (5.0, 5.0)
    """
    left, right = clouds(x, y)
    source, target = masses(a, len(left), "a"), masses(b, len(right), "b")
    found = linear_programme(cdist(left, right), source, target)
    points = np.concatenate([left, right])
    # At x at least f, at y at most -g: 1-Lipschitz, and no worse than the optimum.
    return Potential(found.value, points, extend(right, -found.g, points))


def extend(points: ArrayLike, values: ArrayLike, at: ArrayLike, slope: float = 1.0) -> Array:
    """The largest function of Lipschitz constant `slope` that is nowhere above the values.

    It takes the values at their points if they are themselves no steeper than `slope`.

    Source: McShane, "Extension of range of functions", 1934, theorem 1.

    Args:
        points: `(n, d)`.
        values: `(n,)`.
        at: Where to evaluate, `(k, d)`.
        slope: The Lipschitz constant, at least 0.

    Returns:
        `(k,)`.

    Raises:
        ValueError: For other shapes, or values that are not finite.

    >>> extend([[0], [10]], [0, 4], [[1], [9]]).tolist()
    [1.0, 5.0]
    """
    known, wanted = cloud(points, "points"), cloud(at, "at")
    heights = vector(values, "values")
    if known.shape[1] != wanted.shape[1] or len(heights) != len(known):
        raise ValueError(
            f"expected points (n, d), values (n,) and at (k, d), got {known.shape}, "
            f"{heights.shape} and {wanted.shape}"
        )
    if not 0 <= slope < np.inf:
        raise ValueError(f"expected a finite slope of at least 0, got {slope}")
    result = np.empty(len(wanted))
    block = max(1, _CELLS // len(known))
    for start in range(0, len(wanted), block):
        rows = slice(start, start + block)
        result[rows] = (heights + slope * cdist(wanted[rows], known)).min(axis=1)
    return result


def _cost(x: Array, y: Array, p: float) -> tuple[Array, float]:
    """Distances over the largest one, to the power of p, and the largest."""
    distances = cdist(x, y)
    scale = float(distances.max()) or 1.0
    return (distances / scale) ** p, scale
