"""The rounds: an order down, a sum up, a step, a line of metrics, now and then a checkpoint."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clients.orders import Request, Train
from clients.work import Plan, seed_of
from fairness.weights import cell_mass
from server.aggregation import apply_mean, group_estimates
from server.exchange import Exchange, Traffic
from server.settings import Settings
from wgan.errors import NumericalError
from wgan.penalties import GeneratorPenalty
from wgan.training import Players

Metrics = dict[str, Any]


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
    """

    round: int = 0
    critic_seen: int = 0
    generator_seen: int = 0
    seconds: float = 0.0
    down: int = 0
    up: int = 0


class Rounds:
    """Trains from any round to the last; all state is in `players` and `progress`.

    Attributes:
        players: The common point.
        progress: Where it stands.
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
        self._before = Traffic()
        masses = cell_mass(plan.mass, plan.conditions.table).reshape(-1)
        cells = np.arange(len(masses))
        self._conditions = torch.from_numpy(plan.conditions.encode(cells)).to(device)
        self._cumulative = torch.from_numpy(np.cumsum(masses)).to(device)

    def resume(self, tensors: dict[str, torch.Tensor], progress: Progress) -> None:
        """Goes on from a saved state."""
        self.players.load(tensors, progress.critic_seen, progress.generator_seen)
        self.progress = progress
        self._before = Traffic(progress.down, progress.up)

    @property
    def carried(self) -> Traffic:
        """All bytes so far, of this session and of those before it."""
        now = self.exchange.traffic
        return Traffic(self._before.down + now.down, self._before.up + now.up)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Metrics]:
        """Yields the metrics of each round once it is finished; ends early when `stop` says so."""
        train = self.settings.train
        torch.set_num_threads(train.threads)
        while self.progress.round < train.rounds and not stop():
            yield self._round(self.progress.round + 1)

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
        )

    def factor(self, number: int) -> float:
        """What the learning rates are multiplied with in round `number`, counted from 1."""
        train = self.settings.train
        return 1.0 - (number - 1) / train.rounds if train.decay == "linear" else 1.0

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
        self.progress = Progress(
            round=number,
            critic_seen=self.players.critic_statistics.steps,
            generator_seen=self.players.generator_statistics.steps,
            seconds=self.progress.seconds + seconds,
            down=self.carried.down,
            up=self.carried.up,
        )
        groups = group_estimates(sums)
        names = self.plan.conditions.names
        known = {n: v for n, v in zip(names, groups, strict=True) if v is not None}
        mass = [self.plan.mass[i] for i, v in enumerate(groups) if v is not None]
        return {
            "round": number,
            "seconds": round(seconds, 4),
            "sites": int(sums["sites"][0]),
            "wasserstein": float(np.average(list(known.values()), weights=mass)),
            "wasserstein_by_group": dict(zip(names, groups, strict=True)),
            "worst_group": max(known, key=lambda name: known[name]),
            "penalty": float(sums["penalty"][0]) / weight,
            "generator_loss": loss,
            "rate": order.factor,
            "bytes_up": up,
            "bytes_down": down,
        }

    def _tensors(self, order: Train) -> dict[str, npt.NDArray[np.float32]]:
        names = ["generator", "critic", "critic_first", "critic_second"]
        # Only a site that trains the generator needs its statistics.
        names += ["generator_first", "generator_second"] if order.generator_steps else []
        tensors = self.players.tensors()
        return {name: tensors[name].numpy() for name in names}

    def _generator(self, number: int) -> float:
        """The server's steps against the critic that the sites left, on noise alone."""
        train = self.settings.train
        seed = seed_of(self.settings.seed, "generator", number)
        rng = torch.Generator(self.device).manual_seed(seed)
        ones = torch.ones(train.generator_batch, device=self.device)
        losses = []
        for _ in range(train.generator_steps):
            point = torch.rand(
                train.generator_batch, generator=rng, dtype=torch.float64, device=self.device
            )
            cells = torch.searchsorted(self._cumulative, point * self._cumulative[-1], right=True)
            condition = self._conditions[cells.clamp_max(len(self._cumulative) - 1)]
            gradient, loss = self.players.generator_gradient(condition, ones, rng, self.penalties)
            self.players.step_generator(gradient, self.factor(number))
            self.players.follow()
            losses.append(float(loss.mean()))
        return float(np.mean(losses))
