"""Networks that score a sample under a condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLPCritic(nn.Module):
    """Fully connected critic; the condition is concatenated to the sample.

    No layer couples the examples of a batch (no batch statistics): the gradient penalty is a
    statement about one example's slope (Gulrajani et al., 2017, section 4).
    """

    def __init__(self, width: int, condition: int, hidden: Sequence[int], slope: float) -> None:
        """Builds the layers.

        Args:
            width: D, length of a sample.
            condition: C, length of a condition.
            hidden: Sizes of the hidden layers.
            slope: LeakyReLU's slope below 0.
        """
        super().__init__()
        sizes = [width + condition, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(slope)]
        layers.append(nn.Linear(sizes[-1], 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores `(B,)`."""
        scores: Tensor = self.layers(torch.cat([sample, condition], 1))
        return scores.squeeze(1)


@dataclass(frozen=True)
class MLPCriticSpec:
    """How an `MLPCritic` is built."""

    hidden: tuple[int, ...] = (256, 256)
    slope: float = 0.2

    def build(self, width: int, condition: int) -> MLPCritic:
        """A critic for samples of length `width` under conditions of length `condition`."""
        return MLPCritic(width, condition, self.hidden, self.slope)
