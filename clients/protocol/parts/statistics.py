"""What becomes of the optimizers' moments at the sites: averaged, frozen or private.

- *Averaged* with the parameters.
- *Frozen* at the shared point during local steps; the server takes in the mean gradient at that
  point (Karimireddy et al., "Mime: Mimicking Centralized Stochastic Algorithms in Federated
  Learning", 2020, algorithm 1, MimeLite), and each site bounds its steps
  (`everymode.wgan.optimizers.UpdateBound`).
- *Private*: every site keeps an optimizer of its own, as FedAvg with local Adam.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Discriminator
from torch import Tensor

from everymode.clients.protocol.parts.placement import Placement, Player
from everymode.clients.protocol.parts.states import PlayerState
from everymode.clients.protocol.sums import Field
from everymode.wgan.optimizers import Optimizer, Statistics, UpdateBound

Means = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Moments:
    """Base: moments that the server neither sees nor averages."""

    @property
    def local_optimizer_state(self) -> bool:
        """Whether each site keeps its own."""
        return False

    def in_round(self, number: int) -> "OptimizerStatistics":
        """The rule of round `number`, counted from 1."""
        raise NotImplementedError

    def updates(self, player: Player, size: int) -> tuple[Field, ...]:
        """What a site sends besides the change of the parameters, to be averaged."""
        return ()

    def bound(self, weight: float) -> UpdateBound | None:
        """What holds local steps as short as an optimizer's own; None: statistics move."""
        return None

    def sent(
        self, player: Player, before: PlayerState, after: PlayerState, first: Tensor | None
    ) -> dict[str, npt.NDArray[Any]]:
        """The values of `updates`, not yet weighted; `first` is the gradient of the first step."""
        return {}

    def receive(
        self, player: Player, statistics: Statistics, rule: Optimizer, found: Means, steps: int
    ) -> None:
        """Moves the server's statistics in place after a round of so many local steps."""
        statistics.steps += steps

    def incompatibilities(self, placement: Placement) -> Iterator[str]:
        """What it does not go with."""
        yield from ()


@dataclass(frozen=True)
class Averaged(_Moments):
    """Moments are averaged with the parameters."""

    kind: Literal["averaged"] = "averaged"

    def in_round(self, number: int) -> "OptimizerStatistics":
        """Itself."""
        return self

    def updates(self, player: Player, size: int) -> tuple[Field, ...]:
        """Changes of both moments."""
        first = Field(f"{player}_first", (size,), bits=40)
        return first, Field(f"{player}_second", (size,), bits=46)

    def sent(
        self, player: Player, before: PlayerState, after: PlayerState, first: Tensor | None
    ) -> dict[str, npt.NDArray[Any]]:
        """Changes of both moments, in float64."""
        return {
            f"{player}_first": change(before.first, after.first),
            f"{player}_second": change(before.second, after.second),
        }

    def receive(
        self, player: Player, statistics: Statistics, rule: Optimizer, found: Means, steps: int
    ) -> None:
        """Adds the mean changes."""
        statistics.steps += steps
        statistics.first.add_(_mean(found, f"{player}_first", statistics))
        # Rounding to the sums' resolution may leave a square slightly below zero.
        statistics.second.add_(_mean(found, f"{player}_second", statistics)).clamp_min_(0.0)


@dataclass(frozen=True)
class Frozen(_Moments):
    """Moments stay at the shared point during local steps.

    Attributes:
        warmup: Rounds of averaged moments before.
    """

    warmup: int = 0
    kind: Literal["frozen"] = "frozen"

    def in_round(self, number: int) -> "OptimizerStatistics":
        """Averaged moments during the warm-up, which sites need not know of."""
        return Frozen() if number > self.warmup else Averaged()

    def updates(self, player: Player, size: int) -> tuple[Field, ...]:
        """The gradient at the shared point."""
        return (Field(f"{player}_gradient", (size,), bits=40),)

    def bound(self, weight: float) -> UpdateBound | None:
        """A bound for a site that counts `weight`."""
        return UpdateBound(weight)

    def sent(
        self, player: Player, before: PlayerState, after: PlayerState, first: Tensor | None
    ) -> dict[str, npt.NDArray[Any]]:
        """The gradient of the first step."""
        if first is None:
            raise ValueError(f"the {player} took no step from the shared point")
        return {f"{player}_gradient": first.double().cpu().numpy()}

    def receive(
        self, player: Player, statistics: Statistics, rule: Optimizer, found: Means, steps: int
    ) -> None:
        """Takes in the mean gradient at the shared point."""
        rule.observe(statistics, _mean(found, f"{player}_gradient", statistics))

    def incompatibilities(self, placement: Placement) -> Iterator[str]:
        """A critic of each site has no common point."""
        if placement.critic == "own":
            yield (
                "federation.statistics = 'frozen' at a common point, and federation.critic = 'own' "
                "has none; write 'private'"
            )


@dataclass(frozen=True)
class Private(_Moments):
    """Each site keeps moments of its own."""

    kind: Literal["private"] = "private"

    @property
    def local_optimizer_state(self) -> bool:
        """Each site keeps its own."""
        return True

    def in_round(self, number: int) -> "OptimizerStatistics":
        """Itself."""
        return self


OptimizerStatistics = Annotated[Averaged | Frozen | Private, Discriminator("kind")]


def change(before: Tensor, after: Tensor) -> npt.NDArray[np.float64]:
    """The difference in float64: rounding to the resolution of sums is then the only one."""
    moved: npt.NDArray[np.float64] = after.double().numpy() - before.double().numpy()
    return moved


def _mean(found: Means, name: str, statistics: Statistics) -> Tensor:
    return torch.from_numpy(found[name]).to(statistics.first.device, torch.float32)
