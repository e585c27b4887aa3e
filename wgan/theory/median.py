"""The point with the least summed distance to others."""

import numpy as np
from numpy.typing import ArrayLike

from everymode.wgan.errors import NumericalError
from everymode.wgan.theory.checks import Array, cloud, masses

_STEPS = 1_000
_ROUNDING = 1e-15


def geometric_median(
    points: ArrayLike, weights: ArrayLike | None = None, tolerance: float = 1e-10
) -> Array:
    """The point `(d,)` with the least weighted sum of Euclidean distances.

    Weiszfeld's iteration, corrected where it hits a data point, or Newton's step where that leads
    lower. It stops where the gradient of the mean distance, whose length is at most 1, is no longer
    than `tolerance`, or at a data point that is the median: its mass is no less than the pull of
    all others.

    Source: Vardi, Zhang, "The multivariate L1-median and associated data depth", 2000;
    Newton's step: Overton, "A quadratically convergent method for minimizing a sum of Euclidean
    norms", 1983.

    Args:
        points: `(n, d)`.
        weights: Masses `(n,)`; equal if None.
        tolerance: Length of the gradient to stop at.

    Raises:
        ValueError: For points that are not finite, or masses that are negative.
        NumericalError: If 1,000 steps were too few.

    >>> geometric_median([[0, 0], [1, 0], [0, 1], [9, 9]], [1, 1, 1, 5])
    array([9., 9.])
    """
    given = cloud(points, "points")
    mass = masses(weights, len(given), "weights")
    given, where = np.unique(given[mass > 0], axis=0, return_inverse=True)
    mass = np.bincount(where.ravel(), weights=mass[mass > 0]).astype(np.float64)
    mass /= mass.sum()
    # Digits are spent on the spread, not on where the cloud lies.
    shift = np.median(given, axis=0)
    given = given - shift
    at: Array = mass @ given
    for _ in range(_STEPS):
        nearest = int(np.linalg.norm(given - at, axis=1).argmin())
        # An iterate approaches a median among the data ever more slowly: ask the point itself.
        if _length(_pull(given, mass, given[nearest])[0]) <= mass[nearest] + tolerance:
            return np.asarray(given[nearest] + shift)
        pull, rates = _pull(given, mass, at)
        length = _length(pull)
        own = float(mass[nearest]) if np.array_equal(at, given[nearest]) else 0.0
        if length <= max(tolerance, own):
            return at + shift
        moved = at + (1 - own / length) * pull / rates.sum()
        if not own:
            newton = at + _newton(given - at, rates, pull)
            # Near the median the two costs differ by rounding only; Newton's step is the better.
            if _cost(given, mass, newton) <= _cost(given, mass, moved) * (1 + _ROUNDING):
                moved = newton
        if np.array_equal(moved, at):
            return at + shift
        at = moved
    raise NumericalError(
        f"the geometric median was not found in {_STEPS} steps: gradient {length:.3g}, expected "
        f"at most {tolerance:.3g}"
    )


def _pull(points: Array, mass: Array, at: Array) -> tuple[Array, Array]:
    """Summed unit vectors from a place to the points elsewhere, and each mass / distance."""
    gaps = points - at
    distances = np.linalg.norm(gaps, axis=1)
    rates = np.divide(mass, distances, out=np.zeros_like(mass), where=distances > 0)
    return rates @ gaps, rates


def _newton(gaps: Array, rates: Array, pull: Array) -> Array:
    """Inverse Hessian, sum of rate (1 - unit unit'), times the pull; least squares if singular."""
    units = gaps / np.linalg.norm(gaps, axis=1, keepdims=True)
    hessian = rates.sum() * np.eye(len(pull)) - (units.T * rates) @ units
    return np.asarray(np.linalg.lstsq(hessian, pull)[0])


def _cost(points: Array, mass: Array, at: Array) -> float:
    return float(mass @ np.linalg.norm(points - at, axis=1))


def _length(pull: Array) -> float:
    return float(np.linalg.norm(pull))
