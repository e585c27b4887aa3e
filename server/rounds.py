"""The rounds: an order down, a sum up, a step, a line of metrics, now and then a checkpoint."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clients.orders import SCORES, Request, Train
from clients.plan import Plan, seed_of
from clients.sums import SiteSums
from fairness.weights import cell_mass
from server.aggregation import apply_mean, group_estimates
from server.exchange import Exchange, Traffic
from server.settings import Settings
from wgan.diagnostics import Finding, Observation, diagnose
from wgan.errors import NumericalError
from wgan.penalties import GeneratorPenalty
from wgan.players import Players
from wgan.schedules import Constant, Cosine, Linear, ScheduleSpec
from wgan.slopes import slope_quantiles
from wgan.stopping import Plateau, PlateauState, calibrated
from wgan.strength import held_out_statistic, sign_statistic

Metrics = dict[str, Any]


RATES: dict[str, ScheduleSpec] = {"linear": Linear(), "cosine": Cosine(), "none": Constant()}


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
    """

    round: int = 0
    critic_seen: int = 0
    generator_seen: int = 0
    seconds: float = 0.0
    down: int = 0
    up: int = 0
    plateau: dict[str, float] | None = None


class Rounds:
    """Trains from any round to the last; all state is in `players` and `progress`.

    Attributes:
        players: The common point.
        progress: Where it stands.
        observations: What every evaluation so far has shown.
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
        self.penalties = penalties
        self.device = device
        self.players = Players(plan.recipe, plan.shape, device, seed_of(settings.seed, "weights"))
        self.progress = Progress()
        self.observations: list[Observation] = []
        self._before = Traffic()
        masses = cell_mass(plan.mass, plan.conditions.table).reshape(-1)
        cells = np.arange(len(masses))
        self._conditions = torch.from_numpy(plan.conditions.encode(cells)).to(device)
        self._cumulative = torch.from_numpy(np.cumsum(masses)).to(device)

    def resume(
        self,
        tensors: dict[str, torch.Tensor],
        progress: Progress,
        history: Sequence[Metrics] = (),
    ) -> None:
        """Goes on from a saved state and the metrics of the rounds before it."""
        self.players.load(tensors, progress.critic_seen, progress.generator_seen)
        self.progress = progress
        seen = (metrics.get("evaluation") for metrics in history)
        self.observations = [Observation.from_dict(values) for values in seen if values]
        self._before = Traffic(progress.down, progress.up)

    @property
    def carried(self) -> Traffic:
        """All bytes so far, of this session and of those before it."""
        now = self.exchange.traffic
        return Traffic(self._before.down + now.down, self._before.up + now.up)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Metrics]:
        """Yields the metrics of each round once it is finished; ends early when `stop` says so."""
        torch.set_num_threads(self.settings.train.threads)
        while not self.finished and not stop():
            yield self._round(self.progress.round + 1)

    @property
    def finished(self) -> bool:
        """Whether the last round is done, or the estimate has stopped falling."""
        return self.progress.round >= self.settings.train.rounds or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether training ended early, at a plateau."""
        state = self.progress.plateau
        return state is not None and self._plateau.fired(PlateauState.from_dict(state))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the evaluations so far show, with advice."""
        kind = self.plan.recipe.lipschitz.kind
        return diagnose(self.observations, bounded=kind in ("penalised", "spectral_norm"))

    @property
    def _plateau(self) -> Plateau:
        return Plateau(patience=max(self.settings.train.patience, 1))

    def order(self, number: int) -> Train:
        """The order of round `number`, counted from 1."""
        train = self.settings.train
        players = self.players
        return Train(
            plan=self.plan_name,
            round=number,
            critic_steps=train.critic_steps,
            generator_steps=train.generator_steps if train.generator == "sites" else 0,
            batch=train.batch,
            minimum=train.site_minimum,
            factor=self.factor(number),
            frozen=train.statistics == "frozen" and number > train.warmup,
            critic_seen=players.critic_statistics.steps,
            generator_seen=players.generator_statistics.steps,
            device=self.device,
            sizes=(len(players.generator.vector), len(players.critic.vector)),
            groups=len(self.plan.conditions.groups),
            buffers=len(players.critic.buffers),
            strength=players.strength,
            inspect=self._looks(number),
        )

    def _looks(self, number: int) -> bool:
        train, recipe = self.settings.train, self.plan.recipe
        # Views that follow the critic's overfitting are told of it in every round.
        follows = bool(recipe.views) and recipe.strength.reads != "nothing"
        return follows or number % train.evaluate_every == 0 or number == train.rounds

    def factor(self, number: int) -> float:
        """What the learning rates are multiplied with in round `number`, counted from 1."""
        train = self.settings.train
        return RATES[train.decay].factor(number - 1, train.rounds)

    def _round(self, number: int) -> Metrics:
        started = time.perf_counter()
        before = (self.exchange.traffic.down, self.exchange.traffic.up)
        order = self.order(number)
        sums = self.exchange(Request(order, self._tensors(order)))
        apply_mean(self.players, order, sums)
        weight = float(sums["weight"][0])
        loss = float(sums["generator_loss"][0]) / weight
        if not order.generator_steps:
            loss = self._generator(number)
        if not bool(torch.isfinite(self.players.generator.vector).all()):
            raise NumericalError(
                f"round {number}: the generator's weights are not finite: training has diverged; "
                "lower model.generator_rate and model.critic_rate"
            )
        down = self.exchange.traffic.down - before[0]
        up = self.exchange.traffic.up - before[1]
        seconds = time.perf_counter() - started
        groups = group_estimates(sums)
        names = self.plan.conditions.names
        known = {n: v for n, v in zip(names, groups, strict=True) if v is not None}
        mass = [self.plan.mass[i] for i, v in enumerate(groups) if v is not None]
        metrics: Metrics = {
            "round": number,
            "seconds": round(seconds, 4),
            "sites": int(sums["sites"][0]),
            "estimate": float(np.average(list(known.values()), weights=mass)),
            "estimate_by_group": dict(zip(names, groups, strict=True)),
            "worst_group": max(known, key=lambda name: known[name]),
            "penalty": float(sums["penalty"][0]) / weight,
            "generator_loss": loss,
            "rate": order.factor,
            "bytes_up": up,
            "bytes_down": down,
        }
        if order.inspect:
            observation = self._observe(metrics, sums)
            self.observations.append(observation)
            metrics["evaluation"] = observation.to_dict()
        self._strengthen(number, sums if order.inspect else None)
        self.progress = Progress(
            round=number,
            critic_seen=self.players.critic_statistics.steps,
            generator_seen=self.players.generator_statistics.steps,
            seconds=self.progress.seconds + seconds,
            down=self.carried.down,
            up=self.carried.up,
            plateau=self._patience() if order.inspect else self.progress.plateau,
        )
        return metrics

    def _observe(self, metrics: Metrics, sums: SiteSums) -> Observation:
        scores = _scores(sums)
        counts = sums["slopes"]
        return Observation(
            step=metrics["round"],
            estimate=metrics["estimate"],
            penalty=metrics["penalty"],
            generator_loss=metrics["generator_loss"],
            slopes=slope_quantiles(counts) if counts.any() else None,
            train_score=scores["train"],
            held_score=scores["held"] if self.plan.held_out and scores["scored"] else None,
            fake_score=scores["fake"],
            strength=self.players.strength if self.plan.recipe.views else 0.0,
        )

    def _strengthen(self, number: int, sums: SiteSums | None) -> None:
        """Lets the rule of the recipe set the strength that the next round's views have."""
        recipe = self.plan.recipe
        if not recipe.views:
            return
        statistic = None
        scores = _scores(sums) if sums is not None else {"scored": 0.0}
        if scores["scored"] and recipe.strength.reads == "sign":
            statistic = sign_statistic(scores["sign"])
        elif scores["scored"] and recipe.strength.reads == "held_out":
            statistic = held_out_statistic(scores["train"], scores["held"], scores["fake"])
        progress = number / self.settings.train.rounds
        self.players.strength = recipe.strength.next(self.players.strength, progress, statistic)

    def _patience(self) -> dict[str, float] | None:
        if not self.settings.train.patience:
            return None
        last, state = self.observations[-1], self.progress.plateau
        slope = last.slopes[-1] if last.slopes else math.nan
        before = PlateauState.from_dict(state) if state else PlateauState()
        return self._plateau.update(before, calibrated(last.estimate, slope)).to_dict()

    def _tensors(self, order: Train) -> dict[str, npt.NDArray[np.float32]]:
        names = ["generator", "critic", "critic_first", "critic_second"]
        names += ["critic_buffers"] if order.buffers else []
        # Only a site that trains the generator needs its statistics.
        names += ["generator_first", "generator_second"] if order.generator_steps else []
        tensors = self.players.tensors()
        return {name: tensors[name].numpy() for name in names}

    def _generator(self, number: int) -> float:
        """The server's steps against the critic that the sites left, on noise alone."""
        train, pack = self.settings.train, self.plan.recipe.pack
        seed = seed_of(self.settings.seed, "generator", number)
        rng = torch.Generator(self.device).manual_seed(seed)
        batch = -(-train.generator_batch // pack) * pack
        ones = torch.ones(batch, device=self.device)
        losses = []
        for _ in range(train.generator_steps):
            point = torch.rand(batch, generator=rng, dtype=torch.float64, device=self.device)
            cells = torch.searchsorted(self._cumulative, point * self._cumulative[-1], right=True)
            condition = self._conditions[cells.clamp_max(len(self._cumulative) - 1)]
            gradient, loss = self.players.generator_gradient(condition, ones, rng, self.penalties)
            self.players.step_generator(gradient, self.factor(number))
            self.players.follow()
            losses.append(float(loss.mean()))
        return float(np.mean(losses))


def _scores(sums: SiteSums) -> dict[str, float]:
    """Mean scores over the sites that gave them, by name; `scored` is the weight of those sites."""
    weight = float(sums["scored"][0])
    means = sums["scores"] / weight if weight else np.zeros(len(SCORES))
    return {"scored": weight} | dict(zip(SCORES, means.tolist(), strict=True))
