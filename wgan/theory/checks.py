"""What the oracles refuse; every message names what was expected."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_SAME_MASS = 1e-9


def finite(values: ArrayLike, name: str) -> Array:
    """The values as float64.

    Raises:
        ValueError: If there are none, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"expected at least one value in {name}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite values in {name}, got NaN or infinity")
    return array


def vector(values: ArrayLike, name: str) -> Array:
    """Finite values `(n,)`; a column `(n, 1)` passes too.

    Raises:
        ValueError: For any other shape, no values, or values that are not finite.
    """
    array = finite(values, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"expected {name} of shape (n,) or (n, 1), got {array.shape}")
    return array


def cloud(points: ArrayLike, name: str) -> Array:
    """Finite points `(n, d)`; `(n,)` is read as `(n, 1)`.

    Raises:
        ValueError: For any other shape, no points, or values that are not finite.
    """
    array = finite(points, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"expected {name} of shape (n, d), got {array.shape}")
    return array


def clouds(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Two clouds in the same space, `(n, d)` and `(m, d)`.

    Raises:
        ValueError: As for `cloud`, and if the dimensions differ.
    """
    left, right = cloud(x, "x"), cloud(y, "y")
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"expected x and y of the same dimension, got {left.shape[1]} and {right.shape[1]}"
        )
    return left, right


def masses(weights: ArrayLike | None, count: int, name: str) -> Array:
    """One mass a point, `(count,)`; None stands for 1 / count each.

    Raises:
        ValueError: For another length, a negative or infinite mass, or no mass at all.
    """
    if weights is None:
        return np.full(count, 1 / count)
    array = finite(weights, name)
    if array.shape != (count,):
        raise ValueError(f"expected {name} of shape ({count},), got {array.shape}")
    if (array < 0).any() or not array.any():
        raise ValueError(f"expected masses of at least 0 in {name}, not all 0")
    return array


def balanced(a: Array, b: Array) -> Array:
    """`b` scaled to exactly the mass of `a`.

    Raises:
        ValueError: If the masses differ by more than rounding.
    """
    left, right = float(a.sum()), float(b.sum())
    if not math.isclose(left, right, rel_tol=_SAME_MASS):
        raise ValueError(
            f"expected equal masses, got {left:.6g} and {right:.6g}: divide each by its sum"
        )
    return b * (left / right)


def order(p: float) -> float:
    """The order of a Wasserstein distance.

    Raises:
        ValueError: Unless 1 <= p < infinity.
    """
    if not 1 <= p < math.inf:
        raise ValueError(f"expected an order 1 <= p < infinity, got {p}")
    return float(p)
