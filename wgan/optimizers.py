"""Optimizers on one flat vector, with their statistics in the open.

Federated training shares, averages or freezes the statistics of an optimizer
(`everymode.server.training.rounds`), so they are plain vectors here and the update is a function of
them.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor


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


@dataclass
class UpdateBound:
    """What holds a site's frozen steps as short as an optimizer's own.

    Steps along shared statistics that stand still are linear in the gradient, so that their mean
    over sites is the step along the mean gradient; but nothing answers a gradient that grows from
    one local step to the next, and training can blow up. The site therefore remembers a second
    moment of what it adds to the mean gradient, p_k g_k, and divides by the larger of that and the
    shared one. While p_k g_k stays within what the shared moment has seen, nothing changes; beyond
    it, the site's part in the mean step is bounded, as a step of Adam is (Kingma and Ba, 2015,
    section 2.1). The rule is ours.

    Attributes:
        share: p_k, what the site's update counts; 0 never binds, which is plain Mime-lite.
        second: Running mean of (p_k g_k)^2, `(P,)`; it starts at the shared moment.
    """

    share: float
    second: Tensor | None = None

    def larger(self, shared: Tensor, gradient: Tensor, decay: float) -> Tensor:
        """The second moment to divide by, `(P,)`, once this gradient is taken in.

        Args:
            shared: The shared second moment, `(P,)`.
            gradient: g_k, `(P,)`.
            decay: Of the running mean.
        """
        if self.second is None:
            self.second = shared.clone()
        self.second.lerp_((self.share * gradient).square_(), 1 - decay)
        return torch.maximum(shared, self.second)


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
        self,
        vector: Tensor,
        gradient: Tensor,
        statistics: Statistics,
        guard: UpdateBound,
        factor: float = 1.0,
    ) -> None:
        """A local step with the shared statistics left as they are, held by the site's guard."""
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
            root = self._freed(statistics).sqrt_().add_(self.epsilon)
            vector.addcdiv_(statistics.first, root, value=scale)

    def apply_frozen(
        self,
        vector: Tensor,
        gradient: Tensor,
        statistics: Statistics,
        guard: UpdateBound,
        factor: float = 1.0,
    ) -> None:
        """A local step with the shared statistics left as they are (Mime-lite).

        The direction is the statistics' first moment with this gradient taken in; neither moment
        is kept, so sites that step on their own do not drift in their statistics.

        Source: Karimireddy et al., "Mime: Mimicking Centralized Stochastic Algorithms in Federated
        Learning", 2020, algorithm 1 (MimeLite); the guard: ours.

        Raises:
            ValueError: The statistics have seen nothing, so there is nothing to divide by.
        """
        _seen(statistics)
        first = torch.lerp(statistics.first, gradient, 1 - self.beta1)
        second = guard.larger(self._freed(statistics), gradient, self.beta2)
        scale = -self.rate * factor / (1 - self.beta1 ** (statistics.steps + 1))
        vector.addcdiv_(first, second.sqrt_().add_(self.epsilon), value=scale)

    def _freed(self, statistics: Statistics) -> Tensor:
        """The second moment without the bias of its start at zero."""
        return statistics.second / (1 - self.beta2**statistics.steps)


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
        self,
        vector: Tensor,
        gradient: Tensor,
        statistics: Statistics,
        guard: UpdateBound,
        factor: float = 1.0,
    ) -> None:
        """A local step divided by the shared second moment, or by the guard's (see `Adam`).

        Raises:
            ValueError: The statistics have seen nothing, so there is nothing to divide by.
        """
        _seen(statistics)
        second = guard.larger(statistics.second, gradient, self.decay)
        vector.addcdiv_(gradient, second.sqrt_().add_(self.epsilon), value=-self.rate * factor)


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
        self,
        vector: Tensor,
        gradient: Tensor,
        statistics: Statistics,
        guard: UpdateBound,
        factor: float = 1.0,
    ) -> None:
        """A local step with the shared momentum left as it is; nothing is divided by."""
        vector.sub_(statistics.first * self.momentum + gradient, alpha=self.rate * factor)


OptimizerSpec = Annotated[Adam | RMSprop | SGD, Field(discriminator="kind")]


def _seen(statistics: Statistics) -> None:
    if not statistics.steps:
        raise ValueError("frozen statistics must have seen a gradient before the first step")
