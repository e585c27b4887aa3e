"""How strong augmentations are in the course of training, and the overfitting that may drive them.

One strength in [0, 1] drives all augmentations. A rule may read a statistic of the critic's
overfitting; the statistics below are made of means, so that sites may add up sums of scores and
counts, and divide at the end.

Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (ADA), 2020,
section 3.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

Statistic = Literal["nothing", "sign", "held_out"]
"""What a rule reads: nothing, `sign_statistic`, or `held_out_statistic`."""

_Share = Annotated[float, Field(ge=0, le=1)]


class StrengthRule(Protocol):
    """Says the strength from one update to the next."""

    @property
    def kind(self) -> str:
        """Its name in a configuration."""
        ...

    @property
    def start(self) -> float:
        """The strength that training begins with."""
        ...

    @property
    def reads(self) -> Statistic:
        """The statistic that `next` wants."""
        ...

    def next(self, strength: float, progress: float, statistic: float | None) -> float:
        """The strength from now on.

        Args:
            strength: The strength so far.
            progress: Share of the training that is done, from 0 to 1.
            statistic: What the rule reads; None where there was none to measure.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same strength throughout."""

    value: _Share = 1.0
    kind: Literal["constant"] = "constant"

    @property
    def start(self) -> float:
        """The value."""
        return self.value

    @property
    def reads(self) -> Statistic:
        """Nothing."""
        return "nothing"

    def next(self, strength: float, progress: float, statistic: float | None) -> float:
        """The value."""
        return self.value


@dataclass(frozen=True)
class Decay:
    """From `start` to 0, as instance noise is annealed.

    Source: Sønderby et al., "Amortised MAP Inference for Image Super-resolution", 2017; the cosine:
    Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, equation 5.

    Attributes:
        start: The strength to begin with.
        until: Progress at which it is 0.
        form: A straight line, or half a cosine wave.

    >>> Decay(until=0.5).next(1.0, 0.25, None)
    0.5
    """

    start: _Share = 1.0
    until: Annotated[float, Field(gt=0, le=1)] = 0.8
    form: Literal["linear", "cosine"] = "linear"
    kind: Literal["decay"] = "decay"

    @property
    def reads(self) -> Statistic:
        """Nothing."""
        return "nothing"

    def next(self, strength: float, progress: float, statistic: float | None) -> float:
        """The strength at `progress`, whatever it was before."""
        done = min(1.0, max(0.0, progress / self.until))
        if self.form == "linear":
            return self.start * (1 - done)
        return self.start * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Adaptive:
    """Up by `speed` where the critic overfits more than the target, down where less.

    Source: Karras et al., 2020, section 3 (target 0.6 for the sign).

    Attributes:
        target: Overfitting that is let be.
        speed: What one update moves the strength by.
        statistic: `sign` for scores that are logits only, see `sign_statistic`.
        start: The strength to begin with.
        limit: Largest strength; augmentations may leak close to 1 (see
            `everymode.wgan.augmentations`).

    >>> Adaptive(speed=0.25).next(0.5, 0.0, 0.7), Adaptive(speed=0.25).next(0.1, 0.0, 0.5)
    (0.75, 0.0)
    """

    target: _Share = 0.6
    speed: Annotated[float, Field(gt=0, le=1)] = 0.01
    statistic: Literal["sign", "held_out"] = "held_out"
    start: _Share = 0.0
    limit: _Share = 0.85
    kind: Literal["adaptive"] = "adaptive"

    @property
    def reads(self) -> Statistic:
        """The statistic."""
        return self.statistic

    def next(self, strength: float, progress: float, statistic: float | None) -> float:
        """One move; none where the statistic is None, NaN or on target."""
        moved = strength
        if statistic is not None and statistic > self.target:
            moved += self.speed
        elif statistic is not None and statistic < self.target:
            moved -= self.speed
        return min(self.limit, max(0.0, moved))


StrengthSpec = Annotated[Constant | Decay | Adaptive, Field(discriminator="kind")]
"""Any rule, told apart by its `kind` in a configuration."""


def held_out_statistic(train_mean: float, held_mean: float, fake_mean: float) -> float:
    """ADA's r_v: how far scores of held-out rows have fallen from those of training rows to fakes'.

    (E C(train) - E C(held out)) / (E C(train) - E C(fake)): 0 is no overfitting, 1 complete. It is
    the same for a C as for its positive multiples plus a constant, so it suits every objective.

    Args:
        train_mean: Mean score of the rows trained on.
        held_mean: Mean score of real rows not trained on.
        fake_mean: Mean score of fake rows.

    Returns:
        A number in [0, 1]; 0 where the denominator is not positive, as the critic then tells
        nothing apart.

    Source: Karras et al., 2020, equation 1.

    >>> held_out_statistic(3.0, 2.0, -1.0)
    0.25
    """
    gap = train_mean - fake_mean
    # Also where a mean is NaN: a critic gone wrong says nothing about overfitting.
    if not gap > 0:
        return 0.0
    share = (train_mean - held_mean) / gap
    return min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0


def sign_statistic(mean_sign: float) -> float:
    """ADA's r_t: E sign C(train), less what is below 0; needs no held-out rows.

    Only for objectives whose scores are logits (Jensen-Shannon, hinge), where the sign is the
    critic's verdict. A Wasserstein critic has no such zero: a constant added to C changes neither
    its loss nor its gradient penalty, so the sign of its scores is left to chance.

    Args:
        mean_sign: Mean of the scores' signs over rows trained on.

    Returns:
        A number in [0, 1]: 0 no overfitting, 1 complete.

    Source: Karras et al., 2020, equation 1.

    >>> sign_statistic(0.5), sign_statistic(-0.5)
    (0.5, 0.0)
    """
    return min(1.0, max(0.0, mean_sign))
