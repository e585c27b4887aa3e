"""When a training has stopped improving, told from the estimate of W1.

The estimate is noisy and rises at first, while the critic learns to tell real from fake; only what
follows its peak says anything of the generator.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from everymode.wgan.errors import StateError


def calibrated(estimate: float, slope: float, scale: float = 1.0) -> float | None:
    """The critic's estimate as a distance: scale * estimate / slope, or None if that says nothing.

    For an L-Lipschitz critic E[C(real)] - E[C(fake)] is L times a lower bound of W1. L is the
    *largest* slope, so the 95 % quantile is what to divide by: it keeps the bound but for the
    steepest twentieth, where the median would inflate the estimate of a critic that is flat almost
    everywhere (an untrained one, or one under a one-sided penalty).

    Source: Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017, equation 2 and what follows it.

    >>> calibrated(0.75, 1.5)
    0.5
    >>> calibrated(0.75, 0.0) is None
    True

    Args:
        estimate: Mean of C(real) - C(fake).
        slope: 95 % quantile of the critic's slopes on interpolates, in units of its target.
        scale: Units wanted per unit of the data that the target slope refers to.
    """
    if not (math.isfinite(estimate) and math.isfinite(slope) and slope > 0):
        return None
    value = scale * estimate / slope
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class PlateauState:
    """What a plateau rule remembers; all of it goes through JSON unchanged.

    Attributes:
        best: Lowest smoothed value since the peak, as far as it counts as an improvement.
        best_at: When it was seen, counted in evaluations from 1.
        smoothed: Exponential average of the values, short memory.
        slow: The same with a memory of `patience` evaluations.
        peak: Highest smoothed value.
        seen: Evaluations so far.
    """

    best: float = 0.0
    best_at: int = 0
    smoothed: float = 0.0
    slow: float = 0.0
    peak: float = 0.0
    seen: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PlateauState":
        """What `to_dict` gave.

        Raises:
            StateError: An entry is missing, unknown or no finite number.
        """
        own = asdict(cls())
        if set(values) != set(own):
            raise StateError(f"the plateau's state has {sorted(values)}, expected {sorted(own)}")
        wrong = [
            f"the plateau's state holds {name} = {value!r}, expected a finite "
            + ("whole number" if isinstance(own[name], int) else "number")
            for name, value in values.items()
            if isinstance(value, bool)
            or not isinstance(value, int if isinstance(own[name], int) else int | float)
            or not math.isfinite(value)
        ]
        if wrong:
            raise StateError(wrong)
        return cls(**{name: type(own[name])(value) for name, value in values.items()})


@dataclass(frozen=True)
class Plateau:
    """Fires once the smoothed estimate has not fallen any more for `patience` evaluations.

    - Improvements are counted from the highest smoothed value on: a new peak starts anew, so a
      rise never runs out of patience.
    - Noise hides: a rise can go without a new peak, a fall without a new low, where the last one
      was luck. So the rule also waits while the curve stands below its own slow average, or above
      it in the upper half of its peak.
    - An improvement is measured in shares of the peak, not of the best value: near a floor of 0, or
      with negative estimates, a relative gain would be noise divided by noise.
    - Without a positive peak the critic never told real from fake; then there is nothing to stop.

    >>> rule, state = Plateau(patience=3, smoothing=0.0), PlateauState()
    >>> for value in (0.2, 1.0, 0.5, *20 * [0.3]):
    ...     state = rule.update(state, value)
    >>> state.peak, state.best, state.best_at, rule.has_plateaued(state)
    (1.0, 0.3, 4, True)

    Attributes:
        patience: Evaluations without an improvement.
        minimum: Evaluations before it may fire at all.
        tolerance: Fall that counts as an improvement, as a share of the peak.
        smoothing: Decay of the exponential average, per evaluation; 0: none.
    """

    patience: Annotated[int, Field(ge=1)] = 10
    minimum: Annotated[int, Field(ge=1)] = 5
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.5
    kind: Literal["plateau"] = "plateau"

    def update(self, state: PlateauState, value: float | None) -> PlateauState:
        """Takes in one calibrated estimate; None or what is not finite is passed over."""
        if value is None or not math.isfinite(value):
            return state
        seen = state.seen + 1
        if seen == 1:
            return PlateauState(value, 1, value, value, value, 1)
        smoothed = value + self.smoothing * (state.smoothed - value)
        slow = state.slow + (value - state.slow) / min(seen, self.patience + 1)
        best, best_at, peak = state.best, state.best_at, state.peak
        if smoothed > peak:
            best, best_at, peak = smoothed, seen, smoothed
        elif best - smoothed > self.tolerance * abs(peak):
            best, best_at = smoothed, seen
        return PlateauState(best, best_at, smoothed, slow, peak, seen)

    def has_plateaued(self, state: PlateauState) -> bool:
        """Whether to stop now."""
        if state.seen < self.minimum or state.peak <= 0:
            return False
        lead = state.smoothed - state.slow
        least = self.tolerance * state.peak
        falling = lead < -least
        rising = lead > least and state.smoothed > state.peak / 2
        return state.seen - state.best_at >= self.patience and not (falling or rising)
