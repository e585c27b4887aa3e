"""What learning rates are multiplied with, as a function of how far training is.

A factor depends on the steps done and the steps planned alone, so that a resumed training goes on
with the very same rates. A step is whatever the caller counts: a generator step or a round.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]


def _phase(warmup: float, done: int, total: int) -> tuple[float, float]:
    """The ramp in (0, 1], and the share of the steps after it that are done, in [0, 1]."""
    if not 0 <= done <= total or total < 1:
        raise ValueError(f"done = {done} of total = {total} steps: expected 0 <= done <= total")
    # One step at least is left for what follows the ramp.
    rise = min(round(warmup * total), total - 1)
    return min(1.0, (done + 1) / (rise + 1)), max(0, done - rise) / (total - rise)


@dataclass(frozen=True)
class Constant:
    """Factor 1, once warm.

    >>> [Constant(warmup=0.5).factor(done, 6) for done in range(4)]
    [0.25, 0.5, 0.75, 1.0]

    Attributes:
        warmup: Share of the steps in which the factor rises linearly; the first is above 0.
            Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2.
    """

    warmup: Share = 0.0
    kind: Literal["constant"] = "constant"

    def factor(self, done: int, total: int) -> float:
        """The factor of the step after `done` of `total` steps.

        Raises:
            ValueError: `done` does not lie in 0..`total`.
        """
        return _phase(self.warmup, done, total)[0]


@dataclass(frozen=True)
class Linear:
    """From 1 to `end` in equal steps.

    `end` itself would be reached after the last step, so no step is lost to a factor of 0.

    >>> [Linear().factor(done, 4) for done in range(4)]
    [1.0, 0.75, 0.5, 0.25]

    Attributes:
        end: The factor after the last step.
        warmup: As in `Constant`; the fall begins after it.
    """

    end: Share = 0.0
    warmup: Share = 0.0
    kind: Literal["linear"] = "linear"

    def factor(self, done: int, total: int) -> float:
        """The factor of the step after `done` of `total` steps.

        Raises:
            ValueError: `done` does not lie in 0..`total`.
        """
        ramp, past = _phase(self.warmup, done, total)
        return ramp * (1.0 - (1.0 - self.end) * past)


@dataclass(frozen=True)
class Cosine:
    """From 1 to `end` along half a cosine: slow, fast, slow; without restarts.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017,
    equation 5.

    >>> [round(Cosine().factor(done, 4), 3) for done in range(4)]
    [1.0, 0.854, 0.5, 0.146]

    Attributes:
        end: The factor after the last step.
        warmup: As in `Constant`; the fall begins after it.
    """

    end: Share = 0.0
    warmup: Share = 0.0
    kind: Literal["cosine"] = "cosine"

    def factor(self, done: int, total: int) -> float:
        """The factor of the step after `done` of `total` steps.

        Raises:
            ValueError: `done` does not lie in 0..`total`.
        """
        ramp, past = _phase(self.warmup, done, total)
        return ramp * (self.end + (1.0 - self.end) * (1.0 + math.cos(math.pi * past)) / 2)


ScheduleSpec = Annotated[Constant | Linear | Cosine, Field(discriminator="kind")]
"""Any schedule, told apart by `kind` where it is read from a configuration."""
