"""Optimizers on one flat vector, with their statistics in the open.

Federated training shares, averages or freezes the statistics of an optimizer (`server.rounds`),
so they are plain vectors here and the update is a function of them.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

LONGEST = 1000.0
"""Rates that a frozen step may move an entry.

Adam's own steps are bounded (Kingma and Ba, 2015, section 2.1), as the second moment sees each
gradient. A frozen one may have seen none for long, and dividing by it would blow an entry up. The
bound is wide, for a site that alone holds a group makes steps 1 / p_k as long as the pooled ones,
which its weight p_k in the mean makes up for.
"""


@dataclass
class Statistics:
    """An optimizer's running moments of a gradient.

    Attributes:
        first: Mean of gradients, `(P,)`.
        second: Mean of squared gradients, `(P,)`.
        steps: How many gradients went in.
    """

    first: Tensor
    second: Tensor
    steps: int = 0

    @staticmethod
    def zeros(like: Tensor) -> "Statistics":
        """Statistics that have seen nothing."""
        return Statistics(torch.zeros_like(like), torch.zeros_like(like))

    def clone(self) -> "Statistics":
        """A copy that shares no memory."""
        return Statistics(self.first.clone(), self.second.clone(), self.steps)


class Optimizer(Protocol):
    """A rule that moves a vector along statistics of its gradients."""

    @property
    def rate(self) -> float:
        """The step size."""
        ...

    def observe(self, statistics: Statistics, gradient: Tensor) -> None:
        """Takes a gradient `(P,)` into the statistics, in place."""
        ...

    def apply(self, vector: Tensor, statistics: Statistics, factor: float = 1.0) -> None:
        """Moves `vector` `(P,)` in place along the statistics; `factor` scales the rate."""
        ...

    def apply_frozen(
        self, vector: Tensor, gradient: Tensor, statistics: Statistics, factor: float = 1.0
    ) -> None:
        """A local step with the shared statistics left as they are."""
        ...


@dataclass(frozen=True)
class Adam:
    """Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1.

    Attributes:
        rate: Step size alpha.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
    """

    rate: float = 5e-4
    beta1: float = 0.5
    beta2: float = 0.9
    epsilon: float = 1e-8
    kind: Literal["adam"] = "adam"

    def observe(self, statistics: Statistics, gradient: Tensor) -> None:
        """Takes a gradient `(P,)` into the statistics, in place."""
        statistics.first.lerp_(gradient, 1 - self.beta1)
        statistics.second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        statistics.steps += 1

    def apply(self, vector: Tensor, statistics: Statistics, factor: float = 1.0) -> None:
        """Moves `vector` `(P,)` in place along the statistics; `factor` scales the rate."""
        steps = statistics.steps
        if steps:
            scale = -self.rate * factor / (1 - self.beta1**steps)
            vector.addcdiv_(statistics.first, self._root(statistics), value=scale)

    def apply_frozen(
        self, vector: Tensor, gradient: Tensor, statistics: Statistics, factor: float = 1.0
    ) -> None:
        """A local step with the shared statistics left as they are (Mime-lite).

        The direction is the statistics' first moment with this gradient taken in; neither moment
        is kept, so sites that step on their own do not drift in their statistics. Steps are linear
        in the gradient, so their mean over sites is the step along the mean gradient; only entries
        that would move further than `LONGEST` rates are cut short.

        Source: Karimireddy et al., "Mime: Mimicking Centralized Stochastic Algorithms in Federated
        Learning", 2020, algorithm 1 (MimeLite); the cut: ours.

        Raises:
            ValueError: The statistics have seen nothing, so there is nothing to divide by.
        """
        _seen(statistics)
        first = torch.lerp(statistics.first, gradient, 1 - self.beta1)
        seen = statistics.steps + 1
        direction = (first / self._root(statistics)).div_(1 - self.beta1**seen)
        vector.sub_(direction.clamp_(-LONGEST, LONGEST), alpha=self.rate * factor)

    def _root(self, statistics: Statistics) -> Tensor:
        freed = statistics.second / (1 - self.beta2**statistics.steps)
        return freed.sqrt_().add_(self.epsilon)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop, which the WGAN paper pairs with weight clipping: no momentum, no bias correction.

    Source: Tieleman and Hinton, Coursera lecture 6.5, 2012; Arjovsky, Chintala, Bottou, 2017,
    algorithm 1 (rate 5e-5).

    Attributes:
        rate: Step size alpha.
        decay: Of the second moment.
        epsilon: Added to the root of the second moment.
    """

    rate: float = 5e-5
    decay: float = 0.99
    epsilon: float = 1e-8
    kind: Literal["rmsprop"] = "rmsprop"

    def observe(self, statistics: Statistics, gradient: Tensor) -> None:
        """Takes a gradient `(P,)` into the statistics, in place; the first moment is the last."""
        statistics.first.copy_(gradient)
        statistics.second.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
        statistics.steps += 1

    def apply(self, vector: Tensor, statistics: Statistics, factor: float = 1.0) -> None:
        """Moves `vector` `(P,)` in place along the statistics; `factor` scales the rate."""
        if statistics.steps:
            root = statistics.second.sqrt().add_(self.epsilon)
            vector.addcdiv_(statistics.first, root, value=-self.rate * factor)

    def apply_frozen(
        self, vector: Tensor, gradient: Tensor, statistics: Statistics, factor: float = 1.0
    ) -> None:
        """A local step divided by the shared second moment, cut at `LONGEST` rates (see `Adam`).

        Raises:
            ValueError: The statistics have seen nothing, so there is nothing to divide by.
        """
        _seen(statistics)
        direction = gradient / statistics.second.sqrt().add_(self.epsilon)
        vector.sub_(direction.clamp_(-LONGEST, LONGEST), alpha=self.rate * factor)


@dataclass(frozen=True)
class SGD:
    """Gradient descent with heavy-ball momentum (Polyak, 1964).

    Attributes:
        rate: Step size.
        momentum: Share of the last step that is kept.
    """

    rate: float = 1e-2
    momentum: float = 0.0
    kind: Literal["sgd"] = "sgd"

    def observe(self, statistics: Statistics, gradient: Tensor) -> None:
        """Takes a gradient `(P,)` into the running sum, in place; there is no second moment."""
        statistics.first.mul_(self.momentum).add_(gradient)
        statistics.steps += 1

    def apply(self, vector: Tensor, statistics: Statistics, factor: float = 1.0) -> None:
        """Moves `vector` `(P,)` in place along the statistics; `factor` scales the rate."""
        if statistics.steps:
            vector.sub_(statistics.first, alpha=self.rate * factor)

    def apply_frozen(
        self, vector: Tensor, gradient: Tensor, statistics: Statistics, factor: float = 1.0
    ) -> None:
        """A local step with the shared momentum left as it is."""
        vector.sub_(statistics.first * self.momentum + gradient, alpha=self.rate * factor)


OptimizerSpec = Annotated[Adam | RMSprop | SGD, Field(discriminator="kind")]


def _seen(statistics: Statistics) -> None:
    if not statistics.steps:
        raise ValueError("frozen statistics must have seen a gradient before the first step")
