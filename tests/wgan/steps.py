"""A critic step for tests of penalties, with the generator that they draw from."""

from dataclasses import dataclass, field

import torch

from everymode.wgan.penalties import CriticPenalty, CriticStep


@dataclass(frozen=True)
class Seeded(CriticStep):
    """A step and its source of randomness."""

    rng: torch.Generator = field(default_factory=torch.Generator)


def evaluate(penalty: CriticPenalty, step: Seeded) -> torch.Tensor:
    """The penalty's values, `(B,)`."""
    return penalty(step, step.rng)
