"""Adam on one flat vector, with its statistics in the open.

Federated training shares, averages or freezes the statistics of an optimizer (`server.rounds`),
so they are plain vectors here and the update is a function of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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
        self._move(vector, statistics.first, statistics.second, statistics.steps, factor)

    def apply_frozen(
        self, vector: Tensor, gradient: Tensor, statistics: Statistics, factor: float = 1.0
    ) -> None:
        """A local step with the shared statistics left as they are (Mime-lite).

        The direction is the statistics' first moment with this gradient taken in; neither moment
        is kept, so sites that step on their own do not drift in their statistics.

        Source: Karimireddy et al., "Mime: Mimicking Centralized Stochastic Algorithms in Federated
        Learning", 2020, algorithm 1 (MimeLite).
        """
        first = torch.lerp(statistics.first, gradient, 1 - self.beta1)
        self._move(vector, first, statistics.second, statistics.steps, factor)

    def _move(
        self, vector: Tensor, first: Tensor, second: Tensor, steps: int, factor: float
    ) -> None:
        steps = max(steps, 1)
        root = (second / (1 - self.beta2**steps)).sqrt_().add_(self.epsilon)
        vector.addcdiv_(first, root, value=-self.rate * factor / (1 - self.beta1**steps))
