"""One round: from a state and an exchange to the next state and its metrics."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.messages import Request, Tensors, Train
from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.clients.protocol.parts.states import PlayerState, load_players
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sums import SitePayload, SiteSums
from everymode.fairness.weighting.minimax import MinimaxState
from everymode.fairness.weighting.site_weights import fegan_sample
from everymode.server.federation.recipe import TrainingRecipe
from everymode.server.training import site_states
from everymode.server.training.aggregation import apply_means, group_means, means
from everymode.server.training.generator_step import CriticEnsemble, GeneratorSteps, log_prior
from everymode.server.training.monitor import Monitor
from everymode.server.training.participation import ClientSampler, uniform
from everymode.server.training.state import ServerState, TrainingState, map_vectors
from everymode.server.training.weighting import GroupMass, SiteWeights, site_labels
from everymode.server.transport.exchange import Exchange, Traffic
from everymode.wgan.errors import NumericalError
from everymode.wgan.penalties import Stateful
from everymode.wgan.players import Players

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What rounds need besides the state: nothing of it changes from round to round.

    Attributes:
        recipe: The parts of the training.
        plan: What server and sites agreed on.
        plan_name: Its fingerprint.
        players: Networks that states are loaded into.
        sites: All sites, by name.
        device: Where the server's tensors live, and what sites are asked to use.
        generator_steps: The generator's steps on the server.
        batch: Rows of a critic step that sites are asked for.
        site_statistics: Counts of each site's rows, by its name, where a part reads them.
        site_weights: Shares of sites by a rule that reads each site; None: sums suffice.
        group_mass: Group weights that move; None: they stay.
    """

    recipe: TrainingRecipe
    plan: Plan
    plan_name: str
    players: Players
    sites: tuple[str, ...]
    device: str
    generator_steps: GeneratorSteps
    batch: int
    site_statistics: Mapping[str, SitePayload]
    site_weights: SiteWeights | None = None
    group_mass: GroupMass | None = None

    @property
    def monitor(self) -> Monitor:
        """What reads evaluation rounds."""
        return Monitor(self.recipe, self.plan)

    @property
    def sampler(self) -> ClientSampler:
        """Who takes part."""
        participation = self.recipe.federation.participation
        select = uniform if participation.selection == "uniform" else self._balanced
        return ClientSampler(
            self.sites, participation, self.recipe.seed, select, self.recipe.rounds
        )

    def _balanced(
        self, names: Sequence[str], wanted: int, rng: np.random.Generator
    ) -> Sequence[str]:
        cells = np.stack([self.site_statistics[name]["cells"] for name in names]).astype(np.float64)
        return [names[i] for i in fegan_sample(site_labels(cells, self.plan), wanted, rng)]

    @property
    def learners(self) -> tuple[Stateful, ...]:
        """Terms of the generator's loss that learn themselves."""
        return tuple(t for t in self.generator_steps.penalties if isinstance(t, Stateful))

    def mass(self, state: TrainingState) -> npt.NDArray[np.float64]:
        """pi_g as it stands, `(G,)`."""
        return self.plan.mass if state.mass is None else np.array(self.minimax(state).mass)

    def minimax(self, state: TrainingState) -> MinimaxState:
        """Where minimax group weights stand."""
        if state.mass is not None:
            return MinimaxState.from_dict(state.mass)
        if self.group_mass is None:
            raise ValueError("group weights do not move in this training")
        return self.group_mass.start


def first_state(setup: Setup) -> ServerState:
    """The state before the first round."""
    players, federation = setup.players, setup.recipe.federation
    sizes: dict[Player, int] = {
        "critic": len(players.critic.vector),
        "generator": len(players.generator.vector),
    }
    averaged = federation.training.placement.averaged_players
    mass = None if setup.group_mass is None else setup.group_mass.start.to_dict()
    return ServerState(
        {player: PlayerState.of(players, player) for player in PLAYERS},
        players.average.detach().to("cpu", copy=True),
        players.strength,
        {player: federation.optimizer.state(size) for player, size in sizes.items()},
        {
            part.kind: {player: part.start(sizes[player]) for player in averaged}
            for part in federation.training.corrections
        },
        {term.name: term.tensors() for term in setup.learners},
        training=TrainingState(mass=mass),
    )


def load(setup: Setup, state: ServerState) -> None:
    """Puts a state into the networks and the terms that learn.

    Raises:
        StateError: The state is of other networks.
    """
    load_players(setup.players, state.players, state.average, state.strength)
    setup.players.strength = state.strength
    for term in setup.learners:
        term.load(state.learners.get(term.name, {}))


def task(setup: Setup, state: ServerState, number: int) -> Train:
    """What the sites are asked for in round `number`, counted from 1."""
    recipe, players = setup.recipe, state.players
    training = recipe.federation.training
    return Train(
        plan=setup.plan_name,
        round=number,
        critic_steps=recipe.critic_steps,
        generator_steps=recipe.site_generator_steps,
        batch=setup.batch,
        minimum=recipe.site_minimum,
        factor=recipe.factor(number),
        critic_seen=players["critic"].steps,
        generator_seen=players["generator"].steps,
        device=setup.device,
        sizes=(len(players["generator"].vector), len(players["critic"].vector)),
        groups=len(setup.plan.conditions.groups),
        buffers=len(players["critic"].buffers),
        strength=state.strength,
        inspect=setup.monitor.is_evaluation_round(number),
        mass=() if state.training.mass is None else setup.minimax(state.training).mass,
        sites=len(setup.sites),
        training=replace(
            training,
            statistics=training.statistics.in_round(number),
            single_updates=recipe.federation.single_updates,
        ),
    )


def shared_tensors(order: Train, state: ServerState) -> Tensors:
    """The arrays that all sites get with an order."""
    known: dict[str, Tensor] = {}
    for player in PLAYERS:
        known |= state.players[player].to_tensors(player)
    for vectors in state.corrections.values():
        for player, named in vectors.items():
            known |= {f"{player}_{name}": vector for name, vector in named.items()}
    return {name: known[name].numpy() for name in order.arrays.shared}


def run_round(
    setup: Setup, state: ServerState, exchange: Exchange, before: Traffic
) -> tuple[ServerState, Metrics]:
    """The next state and the round's metrics; `state` stays as it is.

    Args:
        setup: What does not change.
        state: After the last round.
        exchange: The way to the sites.
        before: Bytes of the sessions before this one.

    Raises:
        NumericalError: Training has diverged, or no site took part.
    """
    started = time.perf_counter()
    down, up = exchange.traffic.down, exchange.traffic.up
    number, recipe = state.training.round + 1, setup.recipe
    load(setup, state)
    players, order, chosen = setup.players, task(setup, state, number), setup.sampler.chosen(number)
    fresh = site_states.first_state(order, state.players, state.average)
    sites = {name: state.sites.get(name, fresh) for name in setup.sites}
    sums = exchange(
        Request(
            order,
            shared_tensors(order, state),
            None if chosen == setup.sites else chosen,
            site_states.sent(sites, order, chosen),
        )
    )
    previous_critic = players.critic.vector.clone()
    shortened: dict[str, float] = {}
    state, shares = _aggregated(setup, replace(state, sites=sites), order, sums, shortened)
    loss = float(sums["generator_loss"][0]) / float(sums["weight"][0])
    mass = setup.mass(state.training)
    if not order.generator_steps:
        interpolated = recipe.federation.interpolate_critic
        loss = setup.generator_steps(
            players,
            number,
            order.factor,
            mass,
            _ensemble(setup, state),
            previous_critic if interpolated else None,
        )
    if not bool(torch.isfinite(players.generator.vector).all()):
        problem = (
            f"round {number}: the generator's weights are not finite: training has diverged; "
            "lower model.generator_rate and model.critic_rate"
        )
        raise NumericalError([problem, *exchange.suspects])
    metrics = _metrics(setup, order, sums, loss, mass)
    metrics["bytes_up"] = exchange.traffic.up - up
    metrics["bytes_down"] = exchange.traffic.down - down
    names = setup.plan.conditions.names
    moved = state.training.mass
    if setup.group_mass is not None and recipe.minimax is not None:
        minimax = setup.minimax(state.training)
        if number % recipe.minimax.every == 0:
            minimax = setup.group_mass.move(minimax, players, number)
        metrics["mass_by_group"] = dict(zip(names, minimax.mass, strict=True))
        moved = minimax.to_dict()
    if shortened:
        metrics["shortened_updates"] = dict(sorted(shortened.items()))
    if shares is not None:
        metrics["site_weights"] = dict(shares)
    observations, plateau = state.observations, state.training.plateau
    if order.inspect:
        observation = setup.monitor.observe(metrics, sums, state.strength)
        metrics["evaluation"] = observation.to_dict()
        slopes = group_means(sums, "group_slopes", "sloped")
        metrics["slope_by_group"] = dict(zip(names, slopes, strict=True))
        observations = (*observations, observation)
        plateau = setup.monitor.patience(plateau, observation)
    inspected = sums if order.inspect else None
    strength = setup.monitor.next_strength(number, state.strength, inspected)
    seconds = time.perf_counter() - started
    metrics["seconds"] = round(seconds, 4)
    after = replace(
        next_state(setup, state, seconds, before + exchange.traffic),
        strength=strength,
        observations=observations,
    )
    training = replace(
        after.training,
        plateau=plateau,
        mass=moved,
        shares=None if shares is None else dict(shares),
    )
    return replace(after, training=training), metrics


def next_state(setup: Setup, state: ServerState, seconds: float, traffic: Traffic) -> ServerState:
    """The state with what the networks hold now, one round later.

    What only some rounds move (views, observations, plateau, group weights) is the caller's.

    Args:
        setup: What does not change.
        state: Before the round.
        seconds: What the round took.
        traffic: Bytes of the whole run.
    """
    players = setup.players
    return replace(
        state,
        players={player: PlayerState.of(players, player) for player in PLAYERS},
        average=players.average.detach().to("cpu", copy=True),
        learners={term.name: term.tensors() for term in setup.learners},
        training=replace(
            state.training,
            round=state.training.round + 1,
            critic_seen=players.critic_statistics.steps,
            generator_seen=players.generator_statistics.steps,
            seconds=state.training.seconds + seconds,
            down=traffic.down,
            up=traffic.up,
            shares=None,
        ),
    )


def _aggregated(
    setup: Setup, state: ServerState, order: Train, sums: SiteSums, shortened: dict[str, float]
) -> tuple[ServerState, dict[str, float] | None]:
    """Moves the networks by what the sites sent; the state keeps what is not in the networks.

    `shortened` gets a factor for each site whose updates were longer than allowed.
    """
    federation, recipe = setup.recipe.federation, setup.plan.recipe
    shares = None
    if setup.site_weights is not None:
        shares = setup.site_weights(state.training.shares or {}, sums.per_site)
    optimizer = map_vectors(state.optimizer, torch.clone)
    corrections = {k: map_vectors(v, torch.clone) for k, v in state.corrections.items()}
    scale = setup.sampler.scale(order.round, float(sums["weight"][0]))
    if federation.single_updates:
        # A site must not scale the others' updates by what it says it counts.
        scale = 1.0
    rule = federation.aggregation
    found = means(order, sums, shares, rule, federation.update_bound, shortened)
    apply_means(
        setup.players, order, found, federation.optimizer, optimizer, scale, corrections, sums
    )
    sites = site_states.received(state.sites, order, sums.per_site, recipe.averaging)
    if federation.swap_every and order.round % federation.swap_every == 0:
        sites = site_states.swapped(sites, setup.recipe.seed, order.round)
    return replace(state, optimizer=optimizer, corrections=corrections, sites=sites), shares


def _ensemble(setup: Setup, state: ServerState) -> CriticEnsemble | None:
    """The critics that the server's generator meets; None: the shared one."""
    federation = setup.recipe.federation
    if federation.training.placement.critic == "shared":
        return None
    trained = site_states.trained_sites(state.sites)
    vectors = torch.stack([state.sites[name].vectors["critic"] for name in trained])
    if federation.mixture == "parts":
        return CriticEnsemble(vectors)
    conditions = setup.plan.conditions
    counts = [setup.site_statistics[name]["cells"] for name in trained]
    encoded = conditions.encode(np.arange(conditions.table.size))
    return CriticEnsemble(vectors, log_prior(counts, encoded))


def _metrics(
    setup: Setup, order: Train, sums: SiteSums, loss: float, masses: npt.NDArray[np.float64]
) -> Metrics:
    groups = group_means(sums, "estimate", "estimated")
    penalties = group_means(sums, "penalties", "estimated")
    names = setup.plan.conditions.names
    known = {n: v for n, v in zip(names, groups, strict=True) if v is not None}
    mass = [masses[i] for i, v in enumerate(groups) if v is not None]
    return {
        "round": order.round,
        "seconds": 0.0,
        "sites": int(sums["sites"][0]),
        "estimate": float(np.average(list(known.values()), weights=mass)),
        "estimate_by_group": dict(zip(names, groups, strict=True)),
        "worst_group": max(known, key=lambda name: known[name]),
        "penalty": float(sums["penalty"][0]) / float(sums["weight"][0]),
        "penalty_by_group": dict(zip(names, penalties, strict=True)),
        "generator_loss": loss,
        "critic_rows": int(sums["estimated"].sum()),
        "rate": order.factor,
    }
