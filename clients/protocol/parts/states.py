"""Typed state: of one player, and what one site carries from round to round."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.wgan.errors import StateError
from everymode.wgan.optimizers import Statistics
from everymode.wgan.players import Players

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class PlayerState:
    """One player at a point of training.

    Attributes:
        vector: Parameters, `(P,)`.
        first: The optimizer's mean of gradients, `(P,)`.
        second: The optimizer's mean of squared gradients, `(P,)`.
        buffers: What the network keeps besides parameters, `(Q,)`; the critic's alone travel.
        steps: Gradients that the optimizer has seen.
    """

    vector: Tensor
    first: Tensor
    second: Tensor
    buffers: Tensor = field(default_factory=lambda: torch.zeros(0))
    steps: int = 0

    @staticmethod
    def of(players: Players, player: Player) -> "PlayerState":
        """A copy of a live player's state, on the CPU."""
        packed = getattr(players, player)
        statistics: Statistics = getattr(players, f"{player}_statistics")
        buffers = packed.buffers if player == "critic" else torch.zeros(0)
        tensors = (packed.vector, statistics.first, statistics.second, buffers)
        vector, first, second, buffers = (t.detach().to("cpu", copy=True) for t in tensors)
        return PlayerState(vector, first, second, buffers, statistics.steps)

    def to_tensors(self, player: Player) -> dict[str, Tensor]:
        """Its tensors, named after the player; the steps travel apart."""
        named: dict[str, Tensor] = {
            player: self.vector,
            f"{player}_first": self.first,
            f"{player}_second": self.second,
        }
        if len(self.buffers):
            named[f"{player}_buffers"] = self.buffers
        return named

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], player: Player, steps: int) -> "PlayerState":
        """The inverse of `to_tensors`; moments of a player that is not trained may be missing.

        Raises:
            StateError: There is no vector.
        """
        if player not in tensors:
            raise StateError(f"the state does not fit the networks: tensor '{player}' is missing")
        vector = tensors[player]
        blank = torch.zeros_like(vector)
        return PlayerState(
            vector,
            tensors.get(f"{player}_first", blank),
            tensors.get(f"{player}_second", blank),
            tensors.get(f"{player}_buffers", torch.zeros(0)),
            steps,
        )


def load_players(
    players: Players,
    states: Mapping[Player, PlayerState],
    average: Tensor | None = None,
    strength: float = 0.0,
) -> None:
    """Puts states into live networks.

    Args:
        players: The networks.
        states: The state of each player.
        average: Exponential average of the generator's vector, `(P,)`; None: it is not needed.
        strength: Strength of the views.

    Raises:
        StateError: A tensor has another shape; nothing was taken in.
    """
    generator, critic = states["generator"], states["critic"]
    tensors = generator.to_tensors("generator") | critic.to_tensors("critic")
    tensors["average"] = torch.zeros_like(generator.vector) if average is None else average
    tensors["strength"] = torch.tensor([strength], dtype=torch.float64)
    players.load(tensors, critic.steps, generator.steps)


@dataclass(frozen=True)
class SiteState:
    """What one site carries from round to round.

    A deployed site would keep it on its own disk. Here the server stores it between rounds, so
    that checkpoints are complete; only what the server has to see counts as traffic.

    Attributes:
        vectors: Parameters of players that are the site's own, `(P,)`.
        moments: First and second moments of the site's own optimizers, each `(P,)`.
        buffers: Buffers of the site's own critic, `(Q,)`; None: it shares the critic.
        memory: Vectors of corrections by player and name, `(P,)`.
        steps: Gradients that the generator's and the critic's own optimizers have seen.
        average: Exponential average of the site's own generator, `(P,)`; None: it has none.
    """

    vectors: Mapping[Player, Tensor] = field(default_factory=dict)
    moments: Mapping[Player, tuple[Tensor, Tensor]] = field(default_factory=dict)
    buffers: Tensor | None = None
    memory: Mapping[Player, Mapping[str, Tensor]] = field(default_factory=dict)
    steps: Mapping[Player, int] = field(default_factory=dict)
    average: Tensor | None = None

    def to_arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """What a site gets at the start of a round and sends back at its end, by name.

        The average is the server's business alone.
        """
        named: dict[str, Tensor] = dict(self.vectors.items())
        for player, (first, second) in self.moments.items():
            named |= {f"{player}_first": first, f"{player}_second": second}
        if self.buffers is not None:
            named["critic_buffers"] = self.buffers
        for player, vectors in self.memory.items():
            named |= {f"{player}_{name}": vector for name, vector in vectors.items()}
        arrays = {name: tensor.numpy() for name, tensor in named.items()}
        if self.steps:
            arrays["seen"] = np.array([self.steps[p] for p in PLAYERS], dtype=np.float32)
        return arrays

    def updated(self, arrays: Arrays) -> "SiteState":
        """The same with what the site sent back; arrays that are not the site's are passed over."""

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(arrays[name]))

        return replace(
            self,
            vectors={player: tensor(player) for player in self.vectors},
            moments={p: (tensor(f"{p}_first"), tensor(f"{p}_second")) for p in self.moments},
            buffers=None if self.buffers is None else tensor("critic_buffers"),
            memory={
                player: {name: tensor(f"{player}_{name}") for name in vectors}
                for player, vectors in self.memory.items()
            },
            steps=dict(zip(PLAYERS, map(int, arrays["seen"]), strict=True)) if self.steps else {},
        )
