"""Server optimizers: what the server does with a mean update Delta, `(P,)`.

Source: Reddi et al., "Adaptive Federated Optimization", 2021; Hsu, Qi, Brown, "Measuring the
Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019 (FedAvgM).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TAU = 1e-3
"""Added to the root of the second moment: degree of adaptivity."""


@dataclass(frozen=True)
class ServerMean:
    """Adds eta Delta: federated averaging.

    Attributes:
        rate: eta, what the update is multiplied with.
    """

    rate: float = 1.0

    def state(self, size: int) -> dict[str, Tensor]:
        """What it remembers of a vector of this length before the first step, by name."""
        return {}

    def step(self, update: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """The step to take, `(P,)`; moves `state` in place."""
        return update if self.rate == 1.0 else self.rate * update


@dataclass(frozen=True)
class ServerMomentum:
    """Adds eta m with m = .9 m + Delta: FedAvgM.

    Attributes:
        rate: eta.
    """

    rate: float = 1.0

    def state(self, size: int) -> dict[str, Tensor]:
        """M = 0."""
        return {"first": torch.zeros(size)}

    def step(self, update: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """The step to take, `(P,)`; moves m in place."""
        return self.rate * state["first"].mul_(0.9).add_(update)


@dataclass(frozen=True)
class ServerAdam:
    """Adds eta m / (sqrt(v) + tau): FedAdam (Reddi et al., 2021, algorithm 2).

    m = .9 m + .1 Delta and v = .99 v + .01 Delta^2.

    Attributes:
        rate: eta.
    """

    rate: float = 1.0

    def state(self, size: int) -> dict[str, Tensor]:
        """M = 0, v = tau^2."""
        return {"first": torch.zeros(size), "second": torch.full((size,), TAU**2)}

    def step(self, update: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """The step to take, `(P,)`; moves m and v in place."""
        state["first"].mul_(0.9).add_(update, alpha=0.1)
        state["second"].mul_(0.99).addcmul_(update, update, value=0.01)
        return self.rate * state["first"] / (state["second"].sqrt() + TAU)


ServerOptimizer = ServerMean | ServerMomentum | ServerAdam
