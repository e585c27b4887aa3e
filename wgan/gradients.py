"""Gradient rules: how the critic's gradient is made from the losses of single examples.

The critic alone sees real rows, so its gradient is the one that privacy is about: a rule may clip
what each example adds, and add noise (Abadi et al., "Deep Learning with Differential Privacy",
2016, algorithm 1). The generator's gradient is always the plain one.

A rule is a frozen dataclass with a `kind`, in a file of its own, and an entry in
`everymode.wgan.recipe.GradientRuleSpec`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from everymode.wgan.critics import CriticSpec
from everymode.wgan.flat import FlatModule
from everymode.wgan.penalties import (
    CriticPenalty,
    Drawn,
    Scores,
    SlopeFn,
    functional_slopes,
    slopes,
)


class Examples(NamedTuple):
    """What the critic's losses on a batch depend on besides its parameters.

    All is drawn, and every tensor has one entry per example along its first axis, so that
    `torch.func.vmap` maps over the whole. An example is what the critic scores at once: with a
    packed critic (PacGAN), `pack` rows.

    Attributes:
        real: What the critic sees of real rows, `(B, D)`.
        fake: What it sees of fake rows, `(B, D)`.
        condition: Their conditions, `(B, C)`.
        drawn: What each penalty drew. It may depend on the other examples of the batch
            (neighbours, counts of conditions), and is a constant for the gradient.
    """

    real: Tensor
    fake: Tensor
    condition: Tensor
    drawn: tuple[Drawn, ...] = ()

    def unsqueezed(self) -> "Examples":
        """One example without its first axis, as a batch of one."""
        drawn = tuple({name: t[None] for name, t in each.items()} for each in self.drawn)
        return Examples(self.real[None], self.fake[None], self.condition[None], drawn)

    def part(self, which: slice) -> "Examples":
        """Some of the examples."""
        drawn = tuple({name: t[which] for name, t in each.items()} for each in self.drawn)
        return Examples(self.real[which], self.fake[which], self.condition[which], drawn)


class CriticReport(NamedTuple):
    """What one critic gradient showed, one value per example, detached.

    Attributes:
        estimate: The objective's estimate, `(B,)`; for Wasserstein C(real) - C(fake), whose
            weighted mean estimates W1.
        penalty: Sum of the weighted penalties, `(B,)`.
        real: Scores of real rows, `(B,)`.
        fake: Scores of fake rows, `(B,)`.
    """

    estimate: Tensor
    penalty: Tensor
    real: Tensor
    fake: Tensor


Sampling = Literal["fixed", "poisson"]
"""How the rows of a step are drawn: so many, or each independently of the others."""

Parameters = Tensor | Mapping[str, Tensor]
"""All parameters as one vector `(P,)`, or by name."""

LossFn = Callable[[Scores, SlopeFn, Examples], tuple[Tensor, CriticReport]]
"""A critic, a way to take its slopes, and examples -> losses `(B,)` and what they show."""


@dataclass(frozen=True)
class CriticLosses:
    """The critic's losses on one batch, one per example, as a function of its parameters.

    Attributes:
        critic: The critic.
        examples: The batch.
        weights: The examples' weights, `(B,)`; only ratios matter.
        loss: Objective plus penalties.
        expected: How many examples there are on average over draws of the batch, where their
            number is random; None: as many as there are.
    """

    critic: FlatModule[nn.Module]
    examples: Examples
    weights: Tensor
    loss: LossFn
    expected: float | None = None

    def plain(self) -> tuple[Tensor, CriticReport]:
        """Losses `(B,)` with a graph to the critic's own parameters, for `backward`."""
        return self.loss(self.critic.module, slopes, self.examples)

    def at(self, parameters: Parameters, examples: Examples) -> tuple[Tensor, CriticReport]:
        """Losses `(B,)` at any parameters: a pure function, for `torch.func`."""
        return self.loss(partial(self.critic.call, parameters), functional_slopes, examples)

    def of_one(self, parameters: Parameters, example: Examples) -> tuple[Tensor, CriticReport]:
        """The loss `()` of one example, all without the first axis: what `vmap` maps over."""
        losses, report = self.at(parameters, example.unsqueezed())
        return losses[0], CriticReport(*(value[0] for value in report))


class GradientRule(Protocol):
    """Makes one gradient of the weighted mean of a batch's losses."""

    per_example: ClassVar[bool] = False
    """Whether it takes the gradient of each example alone; no score may then depend on others."""

    @property
    def kind(self) -> str:
        """Its name in JSON."""
        ...

    @property
    def sampling(self) -> Sampling:
        """How sites draw the rows of a critic's step."""
        return "fixed"

    def check(
        self, critic: CriticSpec, penalties: Sequence[CriticPenalty], pack: int
    ) -> Iterator[str]:
        """What is wrong with its fields, or does not go with the critic's loss; what to write.

        Args:
            critic: The critic.
            penalties: The terms of its loss that count.
            pack: Samples of an example.
        """
        if critic.batch_statistics and self.per_example:
            yield (
                f"a critic with batch statistics (norm = 'batch') under the gradient rule "
                f"'{self.kind}': it takes the gradient of each example alone, and with batch "
                "statistics every score depends on the whole batch; write norm = 'layer' or "
                "'group'"
            )

    def __call__(self, losses: CriticLosses, rng: torch.Generator) -> tuple[Tensor, CriticReport]:
        """The gradient `(P,)`, valid until the next call, and what the losses showed.

        Args:
            losses: The losses as a function of the parameters.
            rng: Source of the rule's own randomness.
        """
        ...


@dataclass(frozen=True)
class Plain(GradientRule):
    """The gradient of the weighted mean itself, by one backward pass."""

    kind: Literal["plain"] = "plain"

    def __call__(self, losses: CriticLosses, rng: torch.Generator) -> tuple[Tensor, CriticReport]:
        """As in `GradientRule`; draws nothing."""
        values, report = losses.plain()
        return losses.critic.compute_gradient(weighted_mean(values, losses.weights)), report


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum(w v) / sum(w) over a batch, `()`.

    >>> weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0])).item()
    2.0
    """
    return (values * weights).sum() / weights.sum()
