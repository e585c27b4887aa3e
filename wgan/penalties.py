"""Terms added to a player's loss. Like objectives they give one value per example, `(B,)`.

A penalty on the critic has two halves. `draw` takes all that is random, or depends on the whole
batch, from an explicit generator. `value` is then a deterministic function of the critic and of
each example's own entries, so that `torch.func` may map and differentiate it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from everymode.wgan.points import Interpolates, PointsSpec, interpolates
from everymode.wgan.shape import Shape

Scores = Callable[[Tensor, Tensor], Tensor]
"""A conditional critic: samples `(B, D)` and conditions `(B, C)` -> scores `(B,)`."""

Drawn = Mapping[str, Tensor]
"""What a penalty drew, by name; each tensor has one entry per example, `(B, ...)`."""


def slopes(critic: Scores, points: Tensor, condition: Tensor, graph: bool = True) -> Tensor:
    """grad_x C(x, c) at the points `(B, D)`, `(B, D)`; with `graph`, it can be differentiated."""
    at = points.detach().requires_grad_(True)
    with torch.enable_grad():
        scores = critic(at, condition)
        (gradient,) = torch.autograd.grad(scores.sum(), at, create_graph=graph)
    return gradient


def functional_slopes(critic: Scores, points: Tensor, condition: Tensor) -> Tensor:
    """The same as `slopes` by `torch.func`: it may stand within `vmap` and `grad`.

    >>> functional_slopes(lambda x, c: x.square().sum(1), torch.tensor([[3.0, 4.0]]), torch.ones(1))
    tensor([[6., 8.]])
    """
    gradient: Tensor = torch.func.grad(lambda at: critic(at, condition).sum())(points)
    return gradient


class SlopeFn(Protocol):
    """`slopes`, or the same function made in another way."""

    def __call__(self, critic: Scores, points: Tensor, condition: Tensor, /) -> Tensor:
        """Slopes with respect to the first argument of the critic, `(B, D)`."""
        ...


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean lengths of `(B, ...)`, `(B,)`.

    The norm's derivative at 0 is not a number; the smallest normal under the root keeps it finite.
    """
    return (vectors.flatten(1).square().sum(1) + torch.finfo(vectors.dtype).tiny).sqrt()


@dataclass(frozen=True)
class CriticStep:
    """What a penalty on the critic may use.

    Attributes:
        critic: The critic as a function.
        real: Real rows, `(B, D)`.
        fake: Fake rows, `(B, D)`, detached from the generator.
        condition: Conditions shared by the pair, `(B, C)`.
        scale: s, by which the codec scaled the data: slopes in the data's units are s times those
            seen here.
        slopes: How slopes are taken: by autograd, or, within `torch.func`, by that.
    """

    critic: Scores
    real: Tensor
    fake: Tensor
    condition: Tensor
    scale: float = 1.0
    slopes: SlopeFn = slopes


@dataclass(frozen=True)
class GeneratorStep:
    """What a penalty on the generator may use.

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
        """Its name in reports and errors."""
        ...

    @property
    def weight(self) -> float:
        """Its factor in the loss."""
        ...

    def __call__(self, step: GeneratorStep) -> Tensor:
        """One unweighted value per fake row, `(B,)`."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A term with a state of its own, all of it in its tensors."""

    @property
    def name(self) -> str:
        """Its name, under which its tensors are saved."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name, as copies."""
        ...

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes such a state in."""
        ...


class CriticPenalty(Protocol):
    """A term of the critic's loss: base of all, with defaults.

    A new one is a frozen dataclass with a `kind`, in a file of its own, and an entry in
    `everymode.wgan.lipschitz.CriticPenaltySpec`.
    """

    holds_slope: ClassVar[bool] = False
    """Whether it bounds the slope with respect to the sample, as Wasserstein critics need."""

    conditions_needed: ClassVar[bool] = False
    """Whether it has no meaning for critics without a condition."""

    one_example: ClassVar[bool] = True
    """Whether it is a statement about the score or slope at one example: with batch statistics in
    the critic there is no such thing."""

    @property
    def couples(self) -> bool:
        """Whether an example's value depends on other examples of the batch, by what is drawn."""
        return False

    @property
    def name(self) -> str:
        """Its name in reports and errors."""
        ...

    @property
    def weight(self) -> float:
        """Its factor in the loss."""
        ...

    @property
    def every(self) -> int:
        """It is taken at every `every`-th step, times `every`."""
        ...

    @property
    def slope_target(self) -> float | None:
        """The slope it pulls to, in score per unit of the data; None: it takes no derivative."""
        return None

    def check(self, shape: Shape | None = None) -> Iterator[str]:
        """What is wrong with its fields, with the reason and what to write instead.

        Args:
            shape: What the critic sees at once, packed; None where it is not known yet.
        """
        if self.every < 1:
            yield f"{self.name}: every = {self.every}; expected at least 1, each step"
        if self.weight < 0:
            yield f"{self.name}: weight = {self.weight} would be a reward; expected 0 or more"
        if shape and self.conditions_needed and not shape.condition:
            yield f"{self.name}: there is no condition to differentiate by; leave it out"

    def draw(self, step: CriticStep, rng: torch.Generator) -> Drawn:
        """All that is random or depends on the batch as a whole; the critic is not called."""
        return {}

    def value(self, step: CriticStep, drawn: Drawn) -> Tensor:
        """One unweighted value per example, `(B,)`; deterministic and differentiable.

        Slopes are taken by `step.slopes`. An example's value depends on its own entries alone.
        Where the critic is called on several points an example, row j is of example j modulo B.
        """
        ...

    def __call__(self, step: CriticStep, rng: torch.Generator) -> Tensor:
        """Draws, then gives the values, `(B,)`."""
        return self.value(step, self.draw(step, rng))


@dataclass(frozen=True)
class GradientPenalty(CriticPenalty):
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
        name: Its name in reports and errors.
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

    holds_slope: ClassVar[bool] = True

    @property
    def slope_target(self) -> float:
        """The target."""
        return self.target

    @property
    def couples(self) -> bool:
        """Yes where conditions count the same, or where the points look for neighbours."""
        return self.per_condition or self.points.couples

    def check(self, shape: Shape | None = None) -> Iterator[str]:
        """As in `CriticPenalty`; also the points, and one class weight for each condition."""
        yield from super().check(shape)
        yield from (f"{self.name}: {problem}" for problem in self.points.check())
        if shape and self.class_weights and len(self.class_weights) != shape.condition:
            yield (
                f"{self.name}: {len(self.class_weights)} class weights for a condition of length "
                f"{shape.condition}; expected one for each of its entries"
            )

    def draw(self, step: CriticStep, rng: torch.Generator) -> Drawn:
        """The points, their tangents if any, and what makes conditions count the same."""
        probe = self.points(step.real, step.fake, rng)
        drawn = {"points": probe.points}
        if probe.tangents is not None:
            drawn["tangents"] = probe.tangents
        if self.per_condition:
            drawn["evenly"] = _evenly(step.condition)
        return drawn

    def value(self, step: CriticStep, drawn: Drawn) -> Tensor:
        """One value per point, `(B,)`."""
        gradient = step.slopes(step.critic, drawn["points"], step.condition)
        if "tangents" in drawn:
            gradient = torch.einsum("btd,bd->bt", drawn["tangents"], gradient.flatten(1))
        excess = lengths(gradient) - self.target / step.scale
        values = (excess.clamp_min(0.0) if self.one_sided else excess).square()
        if self.class_weights:
            values = values * (step.condition @ step.condition.new_tensor(self.class_weights))
        return values * drawn["evenly"] if "evenly" in drawn else values


@dataclass(frozen=True)
class ConditionPenalty(CriticPenalty):
    """Bounds the critic's slope with respect to the condition, between conditions that occur.

    max(0, |grad_c C(x, c)| - target)^2 at interpolates x under conditions mixed uniformly between
    those of two examples of the batch: the critic, and the generator that follows it, then vary
    smoothly from one condition to the next.

    Source: the gradient penalty of Gulrajani et al., 2017, taken with respect to the condition; one
    sided as in Petzka et al., 2018.

    Attributes:
        weight: lambda.
        target: The largest slope that costs nothing, in score per unit of the condition.
        name: Its name in reports and errors.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    weight: float = 10.0
    target: float = 1.0
    name: str = "condition_penalty"
    every: int = 1
    kind: Literal["condition_penalty"] = "condition_penalty"

    conditions_needed: ClassVar[bool] = True

    @property
    def couples(self) -> bool:
        """Yes: conditions are mixed with those of other examples."""
        return True

    def draw(self, step: CriticStep, rng: torch.Generator) -> Drawn:
        """Interpolates of the samples, and of each condition with that of another example."""
        points = interpolates(step.real, step.fake, rng)
        device = step.condition.device
        other = torch.randperm(len(points), generator=rng, device=device)
        mixed = interpolates(step.condition, step.condition[other], rng)
        return {"points": points, "conditions": mixed}

    def value(self, step: CriticStep, drawn: Drawn) -> Tensor:
        """One value per example, `(B,)`."""
        gradient = step.slopes(lambda c, x: step.critic(x, c), drawn["conditions"], drawn["points"])
        return (lengths(gradient) - self.target).clamp_min(0.0).square()


@dataclass(frozen=True)
class Drift(CriticPenalty):
    """C(x)^2 on real rows: keeps scores, which a constant may be added to, near 0.

    Source: Karras et al., "Progressive Growing of GANs", 2018, appendix A.1.

    Attributes:
        weight: epsilon of the paper.
        name: Its name in reports and errors.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    weight: float = 1e-3
    name: str = "drift"
    every: int = 1
    kind: Literal["drift"] = "drift"

    one_example: ClassVar[bool] = False

    def value(self, step: CriticStep, drawn: Drawn) -> Tensor:
        """One value per real row, `(B,)`."""
        return step.critic(step.real, step.condition).square()


def _evenly(condition: Tensor) -> Tensor:
    """Factors `(B,)` of mean 1 that give each distinct condition the same total."""
    if not condition.shape[1]:
        return condition.new_ones(len(condition))
    _, kind, counts = torch.unique(condition, dim=0, return_inverse=True, return_counts=True)
    share: Tensor = counts[kind].to(condition.dtype) / len(condition)
    return 1 / (len(counts) * share)
