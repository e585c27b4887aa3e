"""What the server carries for single sites between rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from everymode.clients.protocol.messages import Tensors, Train
from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.clients.protocol.parts.states import PlayerState, SiteState
from everymode.clients.protocol.plan import derive_seed
from everymode.clients.protocol.sums import SitePayload

SiteStates = Mapping[str, SiteState]


def first_state(order: Train, players: Mapping[Player, PlayerState], average: Tensor) -> SiteState:
    """A site's state before its first round: the shared start."""
    training = order.training
    local = training.placement.local_players
    trained = [player for player in PLAYERS if order.steps[player]]
    own = [player for player in trained if player in local]
    kept = [
        player for player in trained if player in local or training.statistics.local_optimizer_state
    ]
    memory: dict[Player, dict[str, Tensor]] = {
        player: {
            name: torch.zeros_like(players[player].vector)
            for part in training.corrections
            for name in part.site_vectors
        }
        for player in trained
        if player not in local
    }
    counted = bool(local) or training.statistics.local_optimizer_state
    return SiteState(
        {player: players[player].vector.clone() for player in own},
        {p: (players[p].first.clone(), players[p].second.clone()) for p in kept},
        players["critic"].buffers.clone() if order.buffers and "critic" in local else None,
        {player: vectors for player, vectors in memory.items() if vectors},
        dict.fromkeys(PLAYERS, 0) if counted else {},
        average.clone() if "generator" in local else None,
    )


def sent(states: SiteStates, order: Train, names: Sequence[str]) -> dict[str, Tensors]:
    """What each of the sites gets with an order."""
    if not order.arrays.state:
        return {}
    return {name: states[name].to_arrays() for name in names}


def received(
    states: SiteStates, order: Train, payloads: Mapping[str, SitePayload], averaging: float
) -> dict[str, SiteState]:
    """The states after a round, with the averages of generators that are the sites' own."""
    after = dict(states)
    if not order.arrays.state:
        return after
    for name, payload in payloads.items():
        site = states[name].updated(payload)
        if site.average is not None:
            seen = site.steps["generator"]
            decay = min(averaging, (1 + seen) / (10 + seen)) ** order.generator_steps
            site = replace(site, average=site.average.lerp(site.vectors["generator"], 1 - decay))
        after[name] = site
    return after


def swapped(states: SiteStates, seed: int, number: int) -> dict[str, SiteState]:
    """The states with every critic at another site, in a random circle.

    Source: Hardy, Le Merrer, Sericola, "MD-GAN", 2019, algorithm 1.
    """
    names = sorted(states)
    order = np.random.default_rng(derive_seed(seed, "swap", number)).permutation(len(names))
    circle = [names[i] for i in order]
    critics = [states[name].vectors["critic"] for name in circle]
    after = dict(states)
    for name, critic in zip(circle, [critics[-1], *critics[:-1]], strict=True):
        after[name] = replace(after[name], vectors={**after[name].vectors, "critic": critic})
    return after


def trained_sites(states: SiteStates) -> list[str]:
    """Sites whose own critic has taken a step, by name."""
    return sorted(name for name, site in states.items() if site.steps.get("critic", 0) > 0)
