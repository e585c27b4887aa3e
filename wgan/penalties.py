"""Terms added to a player's loss. Like objectives they give one value per example, `(B,)`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Scores = Callable[[Tensor, Tensor], Tensor]
"""A conditional critic: samples `(B, D)` and conditions `(B, C)` -> scores `(B,)`."""


@dataclass(frozen=True)
class CriticStep:
    """What a penalty on the critic may look at.

    Attributes:
        critic: The critic as a function.
        real: Real rows, `(B, D)`.
        fake: Fake rows, `(B, D)`, detached from the generator.
        condition: Conditions shared by the pair, `(B, C)`.
        rng: Source of the penalty's own randomness.
    """

    critic: Scores
    real: Tensor
    fake: Tensor
    condition: Tensor
    rng: torch.Generator


@dataclass(frozen=True)
class GeneratorStep:
    """What a penalty on the generator may look at.

    Attributes:
        fake: Fake rows with their graph, `(B, D)`.
        condition: Their conditions, `(B, C)`.
    """

    fake: Tensor
    condition: Tensor


class GeneratorPenalty(Protocol):
    """A term of the generator's loss."""

    @property
    def name(self) -> str:
        """Its name, for whoever reports it."""
        ...

    @property
    def weight(self) -> float:
        """What it is multiplied with."""
        ...

    def __call__(self, step: GeneratorStep) -> Tensor:
        """One unweighted value per fake row, `(B,)`."""
        ...


class CriticPenalty(Protocol):
    """A term of the critic's loss."""

    @property
    def name(self) -> str:
        """Its name, for whoever reports it."""
        ...

    @property
    def weight(self) -> float:
        """What it is multiplied with."""
        ...

    def __call__(self, step: CriticStep) -> Tensor:
        """One unweighted value per example, `(B,)`."""
        ...


def interpolates(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """A point drawn uniformly on each segment between a real and a fake sample, `(B, ...)`.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, section 4.
    """
    shape = (len(real), *(1,) * (real.dim() - 1))
    mix = torch.rand(shape, generator=rng, device=real.device, dtype=real.dtype)
    return torch.lerp(real, fake, mix)


@dataclass(frozen=True)
class GradientPenalty:
    """Pulls the critic's slope on interpolates to `target`.

    (|grad_x C(x, c)| - target)^2; `one_sided` leaves smaller slopes alone. The slope is taken with
    respect to the sample alone, so every condition keeps a W1 of its own.

    Source: Gulrajani et al., 2017, equation 3; one-sided: Petzka et al., "On the regularization of
    Wasserstein GANs", 2018.

    Attributes:
        weight: lambda.
        target: The slope asked for: 1/s where data were scaled by s.
        one_sided: Whether only slopes above the target cost anything.
    """

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    name: str = "gradient_penalty"

    def __call__(self, step: CriticStep) -> Tensor:
        """One value per interpolate, `(B,)`."""
        points = interpolates(step.real, step.fake, step.rng).requires_grad_(True)
        with torch.enable_grad():
            scores = step.critic(points, step.condition)
            (slopes,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        # The norm's derivative at 0 is not a number; the smallest normal keeps it finite.
        norms = (slopes.flatten(1).square().sum(1) + torch.finfo(slopes.dtype).tiny).sqrt()
        excess = norms - self.target
        return (excess.clamp_min(0.0) if self.one_sided else excess).square()
