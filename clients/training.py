"""One round at a site: local steps from the shared state, and what they changed, as a sum."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients.orders import SCORES, Tensors, Train
from clients.plan import Plan, plan_of, seed_of
from clients.site import Site
from clients.sums import SiteSums
from fairness.weights import row_weights
from wgan.players import Batch, Players
from wgan.slopes import slope_histogram


@dataclass(frozen=True)
class Rows:
    """A site's encoded rows, drawn from in proportion to their weights.

    Attributes:
        rows: Encoded rows, `(n, D)`.
        groups: The group of each row, `(n,)`.
        conditions: Their conditions, `(n, C)`.
        cumulative: Running sum of the weights of those trained on, `(n,)`.
        held: Running sum of the weights of those held out, `(n,)`.
    """

    rows: Tensor
    groups: Tensor
    conditions: Tensor
    cumulative: Tensor
    held: Tensor

    @staticmethod
    def of(site: Site, plan_name: str, plan: Plan, device: str) -> "Rows":
        """Opens what `prepare` stored."""
        rows = site.array(plan_name, "rows")
        cells = site.array(plan_name, "cells").astype(np.int64)
        held = site.array(plan_name, "held").astype(np.bool_)
        groups = cells // len(plan.conditions.labels)
        weights = row_weights(plan.mass, plan.conditions.group_counts)[groups]
        return Rows(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(groups).to(device),
            torch.from_numpy(plan.conditions.encode(cells)).to(device),
            torch.from_numpy(np.cumsum(weights * ~held)).to(device),
            torch.from_numpy(np.cumsum(weights * held)).to(device),
        )

    @property
    def weight(self) -> float:
        """p_k, of the rows trained on."""
        return _total(self.cumulative)

    @property
    def weight_held(self) -> float:
        """That of the rows held out."""
        return _total(self.held)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Indices of `count` rows to train on, with replacement, in proportion to their weights."""
        return _draw(self.cumulative, count, rng)

    def draw_held(self, count: int, rng: torch.Generator) -> Tensor:
        """Likewise of rows held out."""
        return _draw(self.held, count, rng)


def _total(cumulative: Tensor) -> float:
    return float(cumulative[-1]) if len(cumulative) else 0.0


def _draw(cumulative: Tensor, count: int, rng: torch.Generator) -> Tensor:
    point = torch.rand(count, generator=rng, dtype=torch.float64, device=rng.device)
    index = torch.searchsorted(cumulative, point * _total(cumulative), right=True)
    return index.clamp_max(len(cumulative) - 1)


@lru_cache(maxsize=1)
def _players(text: str, device: str) -> Players:
    """One resident pair of networks a process: every order loads its own state into it."""
    plan = plan_of(text)
    return Players(plan.recipe, plan.shape, device)


@lru_cache(maxsize=1024)
def _opened(site: Site, plan: str, stamp: int, device: str) -> tuple[str, Rows]:
    """A site's plan and rows, opened once a process; `stamp` changes when they are written anew."""
    text = str(site.plan(plan)["order"])
    return text, Rows.of(site, plan, plan_of(text), device)


def train(order: Train, tensors: Tensors, site: Site) -> SiteSums:
    """Local steps from the shared state; sends p_k times what they changed."""
    text, data = _opened(site, order.plan, site.stamp(order.plan), order.device)
    plan = plan_of(text)
    weight = data.weight
    if weight == 0.0:
        return order.layout().zero()
    players = _players(text, order.device)
    start = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    idle = torch.zeros_like(start["generator"])
    blank = {"average": idle, "generator_first": idle, "generator_second": idle}
    blank["strength"] = torch.tensor([order.strength], dtype=torch.float64)
    players.load(blank | start, order.critic_seen, order.generator_seen)
    rng = torch.Generator(order.device).manual_seed(seed_of(plan.seed, site.name, order.round))
    pack = plan.recipe.pack
    batch = -(-max(order.minimum, round(order.batch * weight)) // pack) * pack
    ones = torch.ones(batch, device=order.device)
    estimates: list[Tensor] = []
    groups_drawn: list[Tensor] = []
    penalties: list[Tensor] = []
    losses: list[Tensor] = []
    at_start: dict[str, Tensor] = {}
    # A site's generator steps are spread evenly between its critic steps.
    turns = _turns(order.critic_steps, order.generator_steps)
    done = (order.round - 1) * order.critic_steps
    for steps in turns:
        # The generator stands still in a turn: its rows are made in one go, which for small
        # batches costs a fraction of making them step by step.
        drawn = data.draw(steps * batch, rng)
        made = players.fake(data.conditions[drawn], rng)
        for step in range(steps):
            own = slice(step * batch, (step + 1) * batch)
            index, fake = drawn[own], made[own]
            real = Batch(data.rows[index], data.conditions[index], ones)
            gradient, report = players.critic_gradient(real, fake, rng, done)
            if order.frozen and not at_start:
                at_start["critic_gradient"] = gradient.clone()
            players.step_critic(gradient, order.factor, order.frozen)
            done += 1
            estimates.append(report.estimate)
            penalties.append(report.penalty.mean())
        groups_drawn.append(data.groups[drawn])
        if order.generator_steps:
            conditions = data.conditions[data.draw(batch, rng)]
            gradient, loss = players.generator_gradient(conditions, ones, rng)
            if order.frozen and "generator_gradient" not in at_start:
                at_start["generator_gradient"] = gradient.clone()
            players.step_generator(gradient, order.factor, order.frozen)
            losses.append(loss.mean())
    after = players.tensors()
    members = torch.cat(groups_drawn)
    values = torch.cat(estimates).double()
    estimate = torch.zeros(order.groups, dtype=torch.float64, device=order.device)
    estimate.index_add_(0, members, values)
    sums: dict[str, npt.NDArray[Any]] = {
        "sites": np.array([1]),
        "weight": np.array([weight]),
        "estimate": estimate.cpu().numpy(),
        "estimated": torch.bincount(members, minlength=order.groups).cpu().numpy(),
        "penalty": np.array([weight * _mean(penalties)]),
        "generator_loss": np.array([weight * _mean(losses)]),
    }
    # Differences in float64: rounding to the resolution of the sums is then the only one.
    for name in start.keys() & {field.name for field in order.layout().fields}:
        sums[name] = weight * (after[name].double() - start[name].double()).numpy()
    if order.frozen:
        sums |= {name: weight * g.double().cpu().numpy() for name, g in at_start.items()}
    if order.inspect:
        seed = seed_of(plan.seed, site.name, order.round, "inspect")
        looking = torch.Generator(order.device).manual_seed(seed)
        sums |= inspect(players, data, batch, plan.held_out > 0, looking)
    return order.layout().pack(sums)


def inspect(
    players: Players, data: Rows, count: int, held_out: bool, rng: torch.Generator
) -> dict[str, npt.NDArray[Any]]:
    """What the site's critic shows after its steps: slopes on interpolates, and mean scores.

    A site without rows held out, where others have some, leaves the scores to them: real, fake and
    held-out rows are then compared over the same sites.
    """
    drawn = data.draw(count, rng)
    condition = data.conditions[drawn]
    real = Batch(data.rows[drawn], condition, torch.ones(count, device=condition.device))
    fake = players.fake(condition, rng)
    norms = players.slopes(real, fake, rng)
    seen = players.scores(real.real, condition, rng)
    means = {
        "train": seen.mean(),
        "sign": seen.sign().mean(),
        "fake": players.scores(fake, condition, rng).mean(),
        "held": torch.zeros(()),
    }
    counted = data.weight
    if data.weight_held:
        held = data.draw_held(count, rng)
        means["held"] = players.scores(data.rows[held], data.conditions[held], rng).mean()
    elif held_out:
        counted = 0.0
    target = players.recipe.lipschitz.target
    histogram = slope_histogram(norms, target).numpy() / count
    return {
        "slopes": data.weight * histogram,
        "scored": np.array([counted]),
        "scores": counted * np.array([float(means[name]) for name in SCORES]),
    }


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).double().mean()) if values else 0.0


def _turns(critic_steps: int, generator_steps: int) -> list[int]:
    """Critic steps before each generator step.

    >>> _turns(12, 4), _turns(5, 2), _turns(3, 0)
    ([3, 3, 3, 3], [3, 2], [3])
    """
    turns = max(generator_steps, 1)
    base, extra = divmod(critic_steps, turns)
    return [base + (i < extra) for i in range(turns)]
