"""From sums over sites to the next common point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients.protocol.messages import STATES, Train
from clients.protocol.sums import SiteSums
from wgan.errors import NumericalError
from wgan.optimizers import Optimizer, Statistics
from wgan.players import Players

Means = dict[str, npt.NDArray[np.float64]]


def means(order: Train, sums: SiteSums, shares: Mapping[str, float] | None = None) -> Means:
    """The weighted mean of the sites' updates, by name.

    Every site k sent p_k times its change; the mean is their sum over sum_k p_k. Where sites sent
    changes apart, `shares` weighs them instead: one weight a site, any sum.

    Raises:
        NumericalError: No site took part.
    """
    if shares is None:
        weight = float(sums["weight"][0])
        _some(order, weight)
        return {name: sums[name] / weight for name in order.updates()}
    weight = sum(shares[site] for site in sums.letters)
    _some(order, weight)
    found: Means = {}
    for name in order.updates():
        total = np.zeros(0)
        # In the order of names: sums of floating-point numbers depend on it.
        for site, letter in sorted(sums.letters.items()):
            part = shares[site] / weight * letter[name].astype(np.float64)
            total = total + part if len(total) else part
        found[name] = total
    return found


def _some(order: Train, weight: float) -> None:
    if weight <= 0.0:
        raise NumericalError(
            f"round {order.round}: no site with rows took part, so there is nothing to average"
        )


@dataclass(frozen=True)
class ServerOptimizer:
    """What the server does with a mean update Delta, `(P,)`.

    `mean` adds it (federated averaging); `momentum` adds a running sum m = .9 m + Delta (Hsu, Qi,
    Brown, 2019, FedAvgM); `adam` steps along m / (sqrt(v) + tau) with m = .9 m + .1 Delta and
    v = .99 v + .01 Delta^2 (Reddi et al., "Adaptive Federated Optimization", 2021, algorithm 2).

    Attributes:
        kind: Which.
        rate: eta, what the step is multiplied with.
    """

    kind: Literal["mean", "momentum", "adam"] = "mean"
    rate: float = 1.0

    TAU = 1e-3

    def state(self, size: int) -> dict[str, Tensor]:
        """What it remembers of a vector of this length, by name; before the first step."""
        names = {"mean": (), "momentum": ("first",), "adam": ("first", "second")}[self.kind]
        start = {"first": torch.zeros(size), "second": torch.full((size,), self.TAU**2)}
        return {name: start[name] for name in names}

    def step(self, change: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """The step to take, `(P,)`; moves `state` in place."""
        match self.kind:
            case "mean":
                return change if self.rate == 1.0 else self.rate * change
            case "momentum":
                return self.rate * state["first"].mul_(0.9).add_(change)
            case "adam":
                state["first"].mul_(0.9).add_(change, alpha=0.1)
                state["second"].mul_(0.99).addcmul_(change, change, value=0.01)
                return self.rate * state["first"] / (state["second"].sqrt() + self.TAU)


def apply_means(
    players: Players,
    order: Train,
    found: Means,
    optimizer: ServerOptimizer | None = None,
    memory: Mapping[str, Mapping[str, Tensor]] | None = None,
    scale: float = 1.0,
) -> None:
    """Moves the shared players by the sites' mean update.

    The optimizers' statistics move the same way where sites share them. Where they were frozen,
    they take in the mean gradient at the common point instead (Karimireddy et al., Mime, 2020,
    algorithm 1).

    Args:
        players: The common point.
        order: What was asked.
        found: The means.
        optimizer: The server's; None: updates are added as they are.
        memory: What that remembers of each player.
        scale: What a sample of sites stands for, over what it weighs: makes updates unbiased.
    """
    parts = {
        "critic": (players.critic, players.critic_statistics, players.recipe.critic_optimizer),
        "generator": (
            players.generator,
            players.generator_statistics,
            players.recipe.generator_optimizer,
        ),
    }
    optimizer, memory = optimizer or ServerOptimizer(), memory or {}
    steps = {"critic": order.critic_steps, "generator": order.generator_steps}
    for name in STATES:
        if name not in found:
            continue
        packed, statistics, rule = parts[name]
        with torch.no_grad():
            change = torch.from_numpy(found[name]).to(torch.float32)
            step = optimizer.step(change if scale == 1.0 else scale * change, memory.get(name, {}))
            packed.vector.add_(step.to(packed.vector.device))
        _learn(statistics, rule, name, found, steps[name])
        if name == "generator":
            players.follow(order.generator_steps)
    if "critic_buffers" in found:
        players.critic.buffers.add_(
            torch.from_numpy(found["critic_buffers"]).to(players.device, torch.float32)
        )
    # The mean of critics that keep a constraint need not keep it.
    players.settle()


def _learn(statistics: Statistics, rule: Optimizer, name: str, found: Means, steps: int) -> None:
    def mean(field: str) -> Tensor:
        return torch.from_numpy(found[field]).to(statistics.first.device, torch.float32)

    if f"{name}_gradient" in found:
        rule.observe(statistics, mean(f"{name}_gradient"))
        return
    statistics.steps += steps
    if f"{name}_first" in found:
        statistics.first.add_(mean(f"{name}_first"))
        # Rounding to the sums' resolution may leave a square a hair below zero.
        statistics.second.add_(mean(f"{name}_second")).clamp_min_(0.0)


def group_means(sums: SiteSums, name: str, counted: str) -> list[float | None]:
    """A figure's mean over each group's rows, `(G,)`; None for a group that no batch held.

    Args:
        sums: What the sites sent.
        name: The field with the sums of the figure, `(G,)`.
        counted: The field with the numbers of rows, `(G,)`.
    """
    totals, counts = sums[name], sums[counted]
    found = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
    return [None if np.isnan(m) else float(m) for m in found]
