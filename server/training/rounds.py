"""The rounds: an order down, a sum up, a step, a line of metrics, now and then a checkpoint."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients.protocol.messages import (
    STATES,
    CountBatchRows,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
    Tensors,
    Train,
)
from clients.protocol.plan import Plan, seed_of, widths
from clients.protocol.sums import SitePayload, SiteSums
from fairness.weighting.minimax import MinimaxRule, MinimaxState
from fairness.weighting.site_weights import fegan_sample
from server.config.settings import Settings
from server.config.strategies import NEEDS_PER_SITE_UPDATES
from server.training.aggregation import ServerOptimizer, apply_means, group_means, means
from server.training.generator_step import CriticEnsemble, GeneratorSteps, log_prior
from server.training.monitor import Monitor
from server.training.participation import ClientSampler, Letters, uniform
from server.training.state import Memory, Progress
from server.training.weighting import FREQUENCIES, GroupMass, SiteRule, site_kernel, site_labels
from server.transport.exchange import Exchange, Traffic
from wgan.diagnostics import Finding
from wgan.errors import NumericalError
from wgan.numerics import flush_denormals
from wgan.penalties import GeneratorPenalty
from wgan.players import Players
from wgan.schedules import Constant, Cosine, Linear, ScheduleSpec

Metrics = dict[str, Any]


RATES: dict[str, ScheduleSpec] = {"linear": Linear(), "cosine": Cosine(), "none": Constant()}


class Rounds:
    """Trains from any round to the last; all state is in `tensors` and `progress`.

    Attributes:
        players: The common point.
        progress: Where it stands.
        letters: States that are single sites' own.
        watch: What evaluations have shown.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        plan_name: str,
        exchange: Exchange,
        penalties: tuple[GeneratorPenalty, ...],
        device: str,
    ) -> None:
        """Builds both players; nothing is sent yet.

        Args:
            settings: The configuration.
            plan: What server and sites agreed on.
            plan_name: The plan's fingerprint.
            exchange: The way to the sites.
            penalties: Terms of the generator's loss where the server trains it.
            device: Where the server's tensors live, and what sites are asked to use.
        """
        self.settings = settings
        self.plan = plan
        self.plan_name = plan_name
        self.exchange = exchange
        self.device = device
        self.players = Players(plan.recipe, plan.shape, device, seed_of(settings.seed, "weights"))
        self.progress = Progress()
        self.letters = Letters()
        self.watch = Monitor(settings.train, plan, self.players)
        federation = settings.federation
        self.profiles: Mapping[str, SitePayload] = {}
        self.roster = ClientSampler(
            exchange.names, federation, settings.seed, self._select, settings.train.rounds
        )
        self.roster.check()
        self._turn = GeneratorSteps(settings, plan, penalties)
        self._optimizer = ServerOptimizer(federation.optimizer, federation.rate)
        self._memory = Memory.of(
            self.players, self._optimizer, federation.control_variates, penalties
        )
        self._batch = settings.train.batch
        self._rule: SiteRule | None = None
        self._groups: GroupMass | None = None
        self._before = Traffic()

    def introduce(self) -> None:
        """Asks once for what rules of weights, critics of their own and an exact batch need."""
        federation, plan = self.settings.federation, self.plan
        apart, single = federation.weights in NEEDS_PER_SITE_UPDATES, federation.critic == "own"
        balanced = federation.sites_per_round and federation.selection == "balanced"
        if apart or single or balanced:
            cells = plan.conditions.table.size
            order = SiteStatistics(self.plan_name, cells, sum(widths(plan.shape.blocks)))
            self.profiles = self.exchange(Request(order)).letters
        if apart:
            self._rule = SiteRule(
                federation.weights, federation.weights_strength, self.profiles, plan
            )
            self._rule.shares = dict(self.progress.shares or {})
        if self.settings.train.exact_batch:
            self._batch = self._fitting()
        groups = self.settings.groups
        if groups.weights == "minimax":
            feel = HeldOutFeatureSums(
                self.plan_name, len(plan.conditions.groups), FREQUENCIES, *site_kernel(plan)
            )
            floor, ceiling = groups.minimax_bounds
            rule = MinimaxRule(groups.minimax_rate, groups.minimax_momentum, ceiling, floor)
            self._groups = GroupMass.of(rule, plan, self.exchange(Request(feel)))
            if self.progress.mass is not None:
                self._groups.state = MinimaxState.from_dict(self.progress.mass)

    def _fitting(self) -> int:
        """The batch for which sites, with their minimum, take `train.batch` rows together."""
        wanted, sites = self.settings.train.batch, len(self.exchange.names)
        # Rounding may lose half a row at each site.
        order = CountBatchRows(self.order(1), wanted + sites)
        rows = self.exchange(Request(order))["rows"]
        return 1 + int(np.abs(rows - wanted).argmin())

    def resume(
        self,
        tensors: dict[str, Tensor],
        progress: Progress,
        history: Sequence[Metrics] = (),
    ) -> None:
        """Goes on from a saved state and the metrics of the rounds before it."""
        self.players.load(tensors, progress.critic_seen, progress.generator_seen)
        self.letters = Letters.of(tensors)
        self._memory.load(tensors)
        self.progress = progress
        self.watch.resume(history)
        self._before = Traffic(progress.down, progress.up)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of a checkpoint."""
        return self.players.tensors() | self._memory.tensors() | self.letters.tensors()

    @property
    def carried(self) -> Traffic:
        """All bytes so far, of this session and of those before it."""
        now = self.exchange.traffic
        return Traffic(self._before.down + now.down, self._before.up + now.up)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Metrics]:
        """Yields the metrics of each round once it is finished; ends early when `stop` says so."""
        torch.set_num_threads(self.settings.train.threads)
        while not self.finished and not stop():
            with flush_denormals():
                metrics = self._round(self.progress.round + 1)
            yield metrics

    @property
    def finished(self) -> bool:
        """Whether the last round is done, or the estimate has stopped falling."""
        return self.progress.round >= self.settings.train.rounds or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether training ended early, at a plateau."""
        return self.watch.fired(self.progress.plateau)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the evaluations so far show, with advice."""
        return self.watch.findings

    @property
    def mass(self) -> npt.NDArray[np.float64]:
        """pi_g as it stands, `(G,)`."""
        return self.plan.mass if self._groups is None else self._groups.mass

    def order(self, number: int) -> Train:
        """The order of round `number`, counted from 1."""
        train, federation = self.settings.train, self.settings.federation
        players = self.players
        apart = federation.weights in NEEDS_PER_SITE_UPDATES
        weights = federation.weights
        moving = weights in ("ifl_gan", "afl", "q_fedavg", "term")
        return Train(
            plan=self.plan_name,
            round=number,
            critic_steps=train.critic_steps,
            generator_steps=0 if federation.generator == "server" else train.generator_steps,
            batch=self._batch,
            minimum=train.site_minimum,
            factor=self.factor(number),
            frozen=federation.statistics == "frozen" and number > federation.warmup,
            critic_seen=players.critic_statistics.steps,
            generator_seen=players.generator_statistics.steps,
            device=self.device,
            sizes=(len(players.generator.vector), len(players.critic.vector)),
            groups=len(self.plan.conditions.groups),
            buffers=len(players.critic.buffers),
            strength=players.strength,
            inspect=self.watch.looks(number),
            mass=() if self._groups is None else self._groups.state.mass,
            weights=weights if weights in ("groups", "rows") else "equal",
            draw=federation.draw,
            sites=len(self.exchange.names),
            own=tuple(n for n in STATES if getattr(federation, n) == "own"),
            private=federation.statistics == "private",
            apart=apart,
            risk=("after" if weights == "ifl_gan" else "before") if moving else "none",
            proximal=federation.proximal,
            controls=federation.control_variates,
        )

    def factor(self, number: int) -> float:
        """What the learning rates are multiplied with in round `number`, counted from 1."""
        train = self.settings.train
        return RATES[train.decay].factor(number - 1, train.rounds)

    def _round(self, number: int) -> Metrics:
        started = time.perf_counter()
        before = (self.exchange.traffic.down, self.exchange.traffic.up)
        order, chosen = self.order(number), self.roster.chosen(number)
        self.letters.open(self.exchange.names, order, self.players)
        sites = None if chosen == self.exchange.names else chosen
        letters = self.letters.sent(order, chosen)
        sums = self.exchange(Request(order, self._tensors(order), sites, letters))
        critic = self.players.critic.vector.clone()
        self._aggregate(number, order, sums)
        weight = float(sums["weight"][0])
        loss = float(sums["generator_loss"][0]) / weight
        if not order.generator_steps:
            glide = self.settings.federation.glide
            loss = self._turn(
                self.players,
                number,
                self.factor(number),
                self.mass,
                self._critics(),
                critic if glide else None,
            )
        self._finite(number)
        metrics = self._metrics(number, order, sums, loss)
        metrics["bytes_up"] = self.exchange.traffic.up - before[1]
        metrics["bytes_down"] = self.exchange.traffic.down - before[0]
        if self._groups is not None:
            if number % self.settings.groups.minimax_every == 0:
                self._groups.move(self.players, number)
            names = self.plan.conditions.names
            metrics["mass_by_group"] = dict(zip(names, self._groups.state.mass, strict=True))
        if self._rule is not None:
            metrics["site_weights"] = dict(self._rule.shares)
        if order.inspect:
            metrics["evaluation"] = self.watch.observe(metrics, sums).to_dict()
            slopes = group_means(sums, "group_slopes", "sloped")
            names = self.plan.conditions.names
            metrics["slope_by_group"] = dict(zip(names, slopes, strict=True))
        self.watch.strengthen(number, sums if order.inspect else None)
        seconds = time.perf_counter() - started
        metrics["seconds"] = round(seconds, 4)
        plateau = self.progress.plateau
        self.progress = Progress(
            round=number,
            critic_seen=self.players.critic_statistics.steps,
            generator_seen=self.players.generator_statistics.steps,
            seconds=self.progress.seconds + seconds,
            down=self.carried.down,
            up=self.carried.up,
            plateau=self.watch.patience(plateau) if order.inspect else plateau,
            mass=None if self._groups is None else self._groups.state.to_dict(),
            shares=None if self._rule is None else dict(self._rule.shares),
        )
        return metrics

    def _aggregate(self, number: int, order: Train, sums: SiteSums) -> None:
        """Moves what is shared by what the sites sent, and keeps what is theirs."""
        federation, recipe = self.settings.federation, self.plan.recipe
        shares = None if self._rule is None else self._rule(sums.letters)
        weight = float(sums["weight"][0])
        found = means(order, sums, shares)
        scale = self.roster.scale(number, weight)
        apply_means(self.players, order, found, self._optimizer, self._memory.optimizer, scale)
        sent = {field.name for field in sums.layout.fields}
        for name in self._memory.controls.keys() & sent:
            self._memory.controls[name].add_(torch.from_numpy(sums[name]).float())
        self.letters.keep(order, sums.letters, recipe.averaging)
        if federation.swap_every and number % federation.swap_every == 0:
            self.letters.swap(self.settings.seed, number)

    def _critics(self) -> CriticEnsemble | None:
        federation = self.settings.federation
        if federation.critic == "shared":
            return None
        trained = self.letters.trained
        vectors = self.letters.stacked("critic", trained)
        if federation.mixture == "parts":
            return CriticEnsemble(vectors)
        conditions = self.plan.conditions
        counts = [self.profiles[name]["cells"] for name in trained]
        encoded = conditions.encode(np.arange(conditions.table.size))
        return CriticEnsemble(vectors, log_prior(counts, encoded))

    def _select(self, names: Sequence[str], wanted: int, rng: np.random.Generator) -> Sequence[str]:
        if self.settings.federation.selection == "uniform":
            return uniform(names, wanted, rng)
        cells = np.stack([self.profiles[name]["cells"] for name in names]).astype(np.float64)
        return [names[i] for i in fegan_sample(site_labels(cells, self.plan), wanted, rng)]

    def _metrics(self, number: int, order: Train, sums: SiteSums, loss: float) -> Metrics:
        groups = group_means(sums, "estimate", "estimated")
        penalties = group_means(sums, "penalties", "estimated")
        names = self.plan.conditions.names
        known = {n: v for n, v in zip(names, groups, strict=True) if v is not None}
        mass = [self.mass[i] for i, v in enumerate(groups) if v is not None]
        return {
            "round": number,
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

    def _finite(self, number: int) -> None:
        if not bool(torch.isfinite(self.players.generator.vector).all()):
            problem = (
                f"round {number}: the generator's weights are not finite: training has diverged; "
                "lower model.generator_rate and model.critic_rate"
            )
            raise NumericalError([problem, *self.exchange.suspects])

    def _tensors(self, order: Train) -> Tensors:
        """The shared vectors that sites need for an order; their own come as letters."""
        names = ["critic_buffers"] if order.buffers and "critic" not in order.own else []
        trained = {field.name for field in order.layout().fields}
        names += [name for name in self._memory.controls if name in trained]
        for player in STATES:
            if player in order.own:
                continue
            names.append(player)
            # Only who trains a player needs its statistics.
            if (player == "critic" or order.generator_steps) and not order.private:
                names += [f"{player}_first", f"{player}_second"]
        tensors = self.players.tensors() | self._memory.controls
        return {name: tensors[name].numpy() for name in names}
