"""Adam on one flat vector, with its statistics in the open.

Federated training shares, averages or freezes the statistics of an optimizer (`server.rounds`),
so they are plain vectors here and the update is a function of them.
"""

from dataclasses import dataclass

import torch
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
    """Adam's running moments of a gradient.

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
        if not statistics.steps:
            raise ValueError("frozen statistics must have seen a gradient before the first step")
        first = torch.lerp(statistics.first, gradient, 1 - self.beta1)
        seen = statistics.steps + 1
        direction = (first / self._root(statistics)).div_(1 - self.beta1**seen)
        vector.sub_(direction.clamp_(-LONGEST, LONGEST), alpha=self.rate * factor)

    def _root(self, statistics: Statistics) -> Tensor:
        freed = statistics.second / (1 - self.beta2**statistics.steps)
        return freed.sqrt_().add_(self.epsilon)
