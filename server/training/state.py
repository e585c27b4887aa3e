"""The state of a training: what a round takes and gives, and what a checkpoint holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import torch
from torch import Tensor

from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.clients.protocol.parts.states import PlayerState, SiteState
from everymode.wgan.diagnostics import Observation
from everymode.wgan.errors import StateError

Vectors = Mapping[Player, Mapping[str, Tensor]]


@dataclass(frozen=True)
class TrainingState:
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
class ServerState:
    """All that the server carries from round to round.

    Attributes:
        players: Both players at the shared point, on the CPU.
        average: Exponential average of the generator's vector, `(P,)`.
        strength: Strength of the views.
        optimizer: What the server's optimizer remembers of each player, `(P,)` each.
        corrections: Vectors of each correction (by its kind) and player, `(P,)`.
        learners: Tensors of terms of the generator's loss that learn themselves, by term.
        sites: What single sites carry, by their names.
        training: Where the training stands.
        observations: What evaluations have shown; the metrics of the rounds hold them.
    """

    players: Mapping[Player, PlayerState]
    average: Tensor
    strength: float
    optimizer: Vectors = field(default_factory=dict)
    corrections: Mapping[str, Vectors] = field(default_factory=dict)
    learners: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    sites: Mapping[str, SiteState] = field(default_factory=dict)
    training: TrainingState = TrainingState()
    observations: tuple[Observation, ...] = ()

    def to_tensors(self) -> dict[str, Tensor]:
        """Its tensors, for a checkpoint; `training` and `observations` are kept besides."""
        players = {
            player: {"vector": s.vector, "first": s.first, "second": s.second, "buffers": s.buffers}
            for player, s in self.players.items()
        }
        tree = {
            "players": players,
            "average": self.average,
            "strength": torch.tensor([self.strength], dtype=torch.float64),
            "optimizer": self.optimizer,
            "corrections": self.corrections,
            "learners": self.learners,
            "sites": {name: _site_tree(site) for name, site in self.sites.items()},
        }
        return _flat(tree)

    @staticmethod
    def from_tensors(
        tensors: Mapping[str, Tensor],
        training: TrainingState,
        observations: tuple[Observation, ...] = (),
    ) -> "ServerState":
        """The inverse of `to_tensors`.

        Raises:
            StateError: A tensor is missing.
        """
        tree = _nested(tensors)
        seen = {"critic": training.critic_seen, "generator": training.generator_seen}
        try:
            players: dict[Player, PlayerState] = {
                player: PlayerState(
                    **{"buffers": torch.zeros(0)} | tree["players"][player], steps=seen[player]
                )
                for player in PLAYERS
            }
            return ServerState(
                players,
                tree["average"],
                float(tree["strength"]),
                tree.get("optimizer", {}),
                tree.get("corrections", {}),
                tree.get("learners", {}),
                {name: _site_of(site) for name, site in tree.get("sites", {}).items()},
                training,
                observations,
            )
        except (KeyError, TypeError) as error:
            raise StateError(
                f"the state is not whole ({error}); resume with the settings it was made with"
            ) from None


def generators_in(tensors: Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """The averaged generator in the tensors of a checkpoint, or those of all sites by name."""
    tree = _nested(tensors)
    sites = tree.get("sites", {})
    own: dict[str, Tensor] = {n: s["average"] for n, s in sites.items() if "average" in s}
    shared: Tensor = tree["average"]
    return own or shared


def map_vectors(vectors: Vectors, change: Callable[[Tensor], Tensor]) -> Vectors:
    """The same structure with every tensor changed."""
    return {p: {n: change(t) for n, t in named.items()} for p, named in vectors.items()}


def _site_tree(site: SiteState) -> dict[str, Any]:
    moments = {p: {"first": first, "second": second} for p, (first, second) in site.moments.items()}
    steps = {player: torch.tensor([steps]) for player, steps in site.steps.items()}
    tree: dict[str, Any] = {"vectors": site.vectors, "moments": moments, "steps": steps}
    tree["memory"] = site.memory
    single = {"buffers": site.buffers, "average": site.average}
    return tree | {name: tensor for name, tensor in single.items() if tensor is not None}


def _site_of(tree: Mapping[str, Any]) -> SiteState:
    moments = tree.get("moments", {})
    return SiteState(
        tree.get("vectors", {}),
        {player: (pair["first"], pair["second"]) for player, pair in moments.items()},
        tree.get("buffers"),
        tree.get("memory", {}),
        {player: int(steps) for player, steps in tree.get("steps", {}).items()},
        tree.get("average"),
    )


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Tensor]:
    """Leaves of a tree by their path; names are quoted, so that any of a site may stand there."""
    found: dict[str, Tensor] = {}
    for name, value in tree.items():
        place = path + quote(name, safe="")
        if isinstance(value, Mapping):
            found |= _flat(value, f"{place}/")
        elif value.numel():
            found[place] = value
    return found


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inverse of `_flat`, with copies."""
    tree: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *parents, name = map(unquote, path.split("/"))
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = tensor.clone()
    return tree
