"""Terms added to a player's loss. Like objectives they give one value per example, `(B,)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from wgan.points import Interpolates, PointsSpec, interpolates

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
        scale: s, by which the codec scaled the data: slopes in the data's units are s times those
            seen here.
    """

    critic: Scores
    real: Tensor
    fake: Tensor
    condition: Tensor
    rng: torch.Generator
    scale: float = 1.0


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


@runtime_checkable
class Stateful(Protocol):
    """A term that learns while it is used: all that it knows is in its tensors."""

    @property
    def name(self) -> str:
        """Its name, under which its tensors are saved."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it knows, by name, as copies."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from such tensors."""
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

    @property
    def every(self) -> int:
        """It is taken at every `every`-th step, times `every`."""
        ...

    def __call__(self, step: CriticStep) -> Tensor:
        """One unweighted value per example, `(B,)`."""
        ...


def slopes(critic: Scores, points: Tensor, condition: Tensor, graph: bool = True) -> Tensor:
    """grad_x C(x, c) at the points `(B, D)`, `(B, D)`; with `graph`, it can be differentiated."""
    at = points.detach().requires_grad_(True)
    with torch.enable_grad():
        scores = critic(at, condition)
        (gradient,) = torch.autograd.grad(scores.sum(), at, create_graph=graph)
    return gradient


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths of `(B, ...)`, `(B,)`.

    The norm's derivative at 0 is not a number; the smallest normal under the root keeps it finite.
    """
    return (vectors.flatten(1).square().sum(1) + torch.finfo(vectors.dtype).tiny).sqrt()


@dataclass(frozen=True)
class GradientPenalty:
    """Pulls the critic's slope at chosen points to `target`.

    (|grad_x C(x, c)| - target / s)^2, with s the codec's scale, so that the target is a slope in
    the data's own units; `one_sided` leaves smaller slopes alone. The slope is taken with respect
    to the sample alone, so every condition keeps a W1 of its own. Where the points come with
    tangent directions, the slope is that along them.

    Sources: Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3; one-sided:
    Petzka et al., "On the regularization of Wasserstein GANs", 2018; real points, target 0: R1 of
    Mescheder et al., 2018, equation 9; lazy: Karras et al., "Analyzing and Improving the Image
    Quality of StyleGAN", 2020, section 3.1.

    Attributes:
        weight: lambda.
        target: The slope asked for, in units of score per unit of the data.
        one_sided: Whether only slopes above the target cost anything.
        name: For whoever reports it.
        points: Where the slope is taken.
        per_condition: Whether every condition in the batch counts the same, however rare it is.
        class_weights: A factor for each entry of the condition, `(C,)`; an example's is the sum of
            those its condition selects. Empty: 1.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    name: str = "gradient_penalty"
    points: PointsSpec = field(default_factory=Interpolates)
    per_condition: bool = False
    class_weights: tuple[float, ...] = ()
    every: int = 1
    kind: Literal["gradient_penalty"] = "gradient_penalty"

    def __call__(self, step: CriticStep) -> Tensor:
        """One value per point, `(B,)`."""
        probe = self.points(step.real, step.fake, step.rng)
        gradient = slopes(step.critic, probe.points, step.condition)
        if probe.tangents is not None:
            gradient = torch.einsum("btd,bd->bt", probe.tangents, gradient.flatten(1))
        excess = lengths(gradient) - self.target / step.scale
        values = (excess.clamp_min(0.0) if self.one_sided else excess).square()
        if self.class_weights:
            values = values * (step.condition @ step.condition.new_tensor(self.class_weights))
        return values * _evenly(step.condition) if self.per_condition else values


@dataclass(frozen=True)
class ConditionPenalty:
    """Bounds the critic's slope with respect to the condition, between conditions that occur.

    max(0, |grad_c C(x, c)| - target)^2 at interpolates x under conditions mixed uniformly between
    those of two examples of the batch: the critic, and the generator that follows it, then vary
    smoothly from one condition to the next.

    Source: the gradient penalty of Gulrajani et al., 2017, taken with respect to the condition; one
    sided as in Petzka et al., 2018.

    Attributes:
        weight: lambda.
        target: The largest slope that costs nothing, in score per unit of the condition.
        name: For whoever reports it.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    weight: float = 10.0
    target: float = 1.0
    name: str = "condition_penalty"
    every: int = 1
    kind: Literal["condition_penalty"] = "condition_penalty"

    def __call__(self, step: CriticStep) -> Tensor:
        """One value per example, `(B,)`."""
        points = interpolates(step.real, step.fake, step.rng)
        device = step.condition.device
        other = torch.randperm(len(points), generator=step.rng, device=device)
        mixed = interpolates(step.condition, step.condition[other], step.rng)
        gradient = slopes(lambda c, x: step.critic(x, c), mixed, points)
        return (lengths(gradient) - self.target).clamp_min(0.0).square()


@dataclass(frozen=True)
class Drift:
    """C(x)^2 on real rows: keeps scores, which a constant may be added to, near 0.

    Source: Karras et al., "Progressive Growing of GANs", 2018, appendix A.1.

    Attributes:
        weight: epsilon of the paper.
        name: For whoever reports it.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    weight: float = 1e-3
    name: str = "drift"
    every: int = 1
    kind: Literal["drift"] = "drift"

    def __call__(self, step: CriticStep) -> Tensor:
        """One value per real row, `(B,)`."""
        return step.critic(step.real, step.condition).square()


def _evenly(condition: Tensor) -> Tensor:
    """Factors `(B,)` of mean 1 that give each distinct condition the same total."""
    if not condition.shape[1]:
        return condition.new_ones(len(condition))
    _, kind, counts = torch.unique(condition, dim=0, return_inverse=True, return_counts=True)
    share: Tensor = counts[kind].to(condition.dtype) / len(condition)
    return 1 / (len(counts) * share)
