"""Where a training stands, and what the server remembers of it besides the players."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clients.protocol.messages import STATES
from server.training.aggregation import ServerOptimizer
from wgan.penalties import GeneratorPenalty, Stateful
from wgan.players import Players

SHARED = "shared/"
"""Begins the names of what the server remembers besides the players."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands, besides its tensors.

    Attributes:
        round: Rounds finished.
        critic_seen: Gradients in the critic's statistics.
        generator_seen: Gradients in the generator's.
        seconds: Time spent in rounds, over all sessions.
        down: Bytes sent to nodes, over all sessions, queries included.
        up: Bytes received, likewise.
        plateau: What the rule that stops training early remembers; None where there is none.
        mass: What minimax group weights remember; None where they do not move.
        shares: Shares of sites, where a rule moves them.
    """

    round: int = 0
    critic_seen: int = 0
    generator_seen: int = 0
    seconds: float = 0.0
    down: int = 0
    up: int = 0
    plateau: dict[str, float] | None = None
    mass: dict[str, Any] | None = None
    shares: dict[str, float] | None = None


@dataclass(frozen=True)
class Memory:
    """What the server carries from round to round; a checkpoint holds it.

    Attributes:
        optimizer: What the server's optimizer remembers of each player, by player and name.
        controls: Control variates (Karimireddy et al., SCAFFOLD, 2020) of each player, `(P,)`; none
            where they are off.
        learners: Terms of the generator's loss that learn themselves.
    """

    optimizer: Mapping[str, Mapping[str, Tensor]]
    controls: dict[str, Tensor]
    learners: tuple[Stateful, ...]

    @staticmethod
    def of(
        players: Players,
        optimizer: ServerOptimizer,
        controlled: bool,
        penalties: Sequence[GeneratorPenalty],
    ) -> "Memory":
        """Before the first round."""
        sizes = {name: len(getattr(players, name).vector) for name in STATES}
        return Memory(
            {name: optimizer.state(size) for name, size in sizes.items()},
            {f"{n}_control": torch.zeros(size) for n, size in sizes.items()} if controlled else {},
            tuple(term for term in penalties if isinstance(term, Stateful)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All, as tensors of a checkpoint."""
        learnt = {
            f"{SHARED}{term.name}/{name}": tensor
            for term in self.learners
            for name, tensor in term.tensors().items()
        }
        return self._own() | learnt

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes its own from a checkpoint's, in place."""
        for key, tensor in self._own().items():
            if key in tensors:
                tensor.copy_(tensors[key])
        for term in self.learners:
            start = f"{SHARED}{term.name}/"
            term.load({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})

    def _own(self) -> dict[str, Tensor]:
        named = {
            f"{SHARED}{player}_{name}": tensor
            for player, state in self.optimizer.items()
            for name, tensor in state.items()
        }
        return named | {f"{SHARED}{name}": tensor for name, tensor in self.controls.items()}
