"""Minimax group weights: mirror ascent on held-out risks, within bounds.

The masses pi of the groups play against the generator: they move toward the groups that are made
worst, so that training minimises the largest risk instead of the mean one. A move multiplies pi_g
by exp(rate * direction_g) and returns to the simplex in relative entropy. The risk is a distance on
rows held out, never a critic's score, which may be negative and is not comparable between sites.

The direction is scaled to 1, so that the rate has no unit. The price: risks that differ by chance
alone move the masses as far as risks that differ in earnest. Momentum averages chance out, and the
bounds limit what is left.

Sources: Kivinen and Warmuth, "Exponentiated Gradient versus Gradient Descent for Linear
Predictors", 1997 (the step); Nemirovski et al., "Robust Stochastic Approximation Approach to
Stochastic Programming", 2009 (mirror ascent in a saddle point); Sagawa et al., "Distributionally
Robust Neural Networks for Group Shifts", 2020, algorithm 1 (over groups). Scale, momentum and
bounds: ours.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.wgan.errors import SettingsError, StateError

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12
"""Risks that differ by less than this share of the largest are equal."""


@dataclass(frozen=True)
class MinimaxRule:
    """How masses move.

    Attributes:
        rate: A move multiplies a mass by exp(rate) at most, and by exp(-rate) at least, before
            masses are made to sum to 1.
        momentum: Share of the last direction that is kept: 0 keeps none, below 1.
        ceiling: A mass is at most this multiple of its base, 1 or more.
        floor: And at least this multiple, above 0 (a mass of 0 could never grow again), at most 1.

    Raises:
        SettingsError: A value is out of its range.
    """

    rate: float = 0.5
    momentum: float = 0.9
    ceiling: float = 4.0
    floor: float = 0.25

    def __post_init__(self) -> None:
        """Refuses values out of range, all at once."""
        ranges = {
            "rate": (self.rate, self.rate > 0, "above 0"),
            "momentum": (self.momentum, 0 <= self.momentum < 1, "from 0 to below 1"),
            "ceiling": (self.ceiling, self.ceiling >= 1, "1 or more"),
            "floor": (self.floor, 0 < self.floor <= 1, "above 0, at most 1"),
        }
        problems = [
            f"minimax {name} = {value}: expected a number {expected}"
            for name, (value, fits, expected) in ranges.items()
            if not fits
        ]
        if problems:
            raise SettingsError(problems)


@dataclass(frozen=True)
class MinimaxState:
    """Where masses stand.

    Attributes:
        mass: pi_g, `(G,)`, sum 1.
        velocity: The averaged direction, `(G,)`, each from -1 to 1.
    """

    mass: tuple[float, ...]
    velocity: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "MinimaxState":
        """The inverse of `to_dict`, also by way of JSON."""
        return MinimaxState(tuple(values["mass"]), tuple(values["velocity"]))


def step(rule: MinimaxRule, state: MinimaxState, base: Floats, risk: Floats) -> MinimaxState:
    """One move of the masses.

    Groups of unknown risk keep mass and velocity; the others share what they held between them.

    Args:
        rule: How.
        state: From where.
        base: Masses that the bounds are multiples of, `(G,)`, sum 1; where 0, masses stay 0.
        risk: Held-out risk of each group, `(G,)`, 0 or more; NaN where unknown.

    Raises:
        ValueError: `base` is no distribution, or `risk` has another length, is negative or
            infinite.
        StateError: The state is of other groups than `base`.

    >>> rule, half = MinimaxRule(rate=3 * np.log(2), momentum=0.0), np.array([0.5, 0.5])
    >>> moved = step(rule, MinimaxState((0.5, 0.5), (0.0, 0.0)), half, np.array([3.0, 1.0]))
    >>> np.round(moved.mass, 3).tolist()
    [0.8, 0.2]
    """
    _check(state, base, risk)
    low, high = rule.floor * base, rule.ceiling * base
    mass = within(np.array(state.mass), low, high)
    velocity = np.array(state.velocity, dtype=np.float64)
    known = ~np.isnan(risk) & (base > 0)
    if known.any():
        kept = rule.momentum * velocity[known]
        velocity[known] = kept + (1 - rule.momentum) * _direction(risk[known])
        raised = mass[known] * np.exp(rule.rate * velocity[known])
        mass[known] = within(raised, low[known], high[known], float(mass[known].sum()))
    return MinimaxState(tuple(mass.tolist()), tuple(velocity.tolist()))


def within(weights: Floats, low: Floats, high: Floats, total: float = 1.0) -> Floats:
    """The nearest masses to `weights`, in relative entropy, between bounds and of a given sum.

    Minimising sum p log(p / w) under both gives p = c w cut at the bounds (Karush, Kuhn, Tucker).
    The sum grows with c and is linear between the values of c at which an entry meets a bound; the
    c wanted is read off the two such values around it, without iteration.

    Args:
        weights: w, `(G,)`, above 0 wherever `high` is.
        low: `(G,)`, sum at most `total`.
        high: `(G,)`, sum at least `total`.
        total: What the masses shall sum to.

    Raises:
        ValueError: The bounds leave no such masses.

    >>> within(np.array([8.0, 1.0, 1.0]), np.full(3, 0.1), np.full(3, 0.6)).round(3).tolist()
    [0.6, 0.2, 0.2]
    """
    slack = 1e-6 * total
    if not low.sum() - slack <= total <= high.sum() + slack:
        raise ValueError(f"no masses of sum {total} lie between {low.tolist()} and {high.tolist()}")
    inside = high > 0
    factors = np.sort(np.concatenate([bound[inside] / weights[inside] for bound in (low, high)]))
    sums = np.clip(factors[:, None] * weights, low, high).sum(1)
    after = int(np.searchsorted(sums, total))
    if after in (0, len(sums)):
        return np.array(low if after == 0 else high)
    share = (total - sums[after - 1]) / (sums[after] - sums[after - 1])
    factor = factors[after - 1] + share * (factors[after] - factors[after - 1])
    found: Floats = np.clip(factor * weights, low, high)
    return found


def _direction(risk: Floats) -> Floats:
    """Risks less their mean, in units of the largest risk; 0 where all are equal.

    Not in units of the largest gap: risks that differ by nothing but noise would then move the
    masses as far as risks that differ tenfold.
    """
    if np.ptp(risk) <= _ROUNDING * risk.max():
        return np.zeros(len(risk))
    direction: Floats = (risk - risk.mean()) / risk.max()
    return direction


def _check(state: MinimaxState, base: Floats, risk: Floats) -> None:
    if (base < 0).any() or abs(base.sum() - 1) > 1e-6:
        raise ValueError(f"expected base masses that sum to 1, got {base.tolist()}")
    if risk.shape != base.shape or (risk < 0).any() or np.isinf(risk).any():
        raise ValueError(f"expected {len(base)} finite risks of 0 or more, got {risk.tolist()}")
    same = len(state.mass) == len(state.velocity) == len(base)
    if not same or ((np.array(state.mass) > 0) != (base > 0)).any():
        raise StateError(
            f"minimax weights of {len(state.mass)} groups were saved, which are not the "
            f"{len(base)} groups there are now; start a new run"
        )
