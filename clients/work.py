"""What one site does for an order, and a node for the sites it serves: sums, and nothing else."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients import query
from clients.orders import (
    Audit,
    Look,
    Order,
    Prepare,
    Ranks,
    Request,
    Tensors,
    Train,
    Values,
    from_json,
    to_json,
)
from clients.site import Site
from clients.sums import SiteSums
from fairness.groups import Conditions
from fairness.marginals import Marginals
from fairness.matching import described, second_moments
from fairness.weights import row_weights, site_mass
from wgan.data.codec import TableCodec
from wgan.data.schema import Schema
from wgan.errors import DataError, StateError
from wgan.recipe import Recipe, Shape
from wgan.training import Batch, Players

Ints = npt.NDArray[np.int64]


def seed_of(*parts: object) -> int:
    """A seed that derives from names and numbers alone: run, site, round, purpose.

    >>> seed_of(0, "site-00", 1) == seed_of(0, "site-00", 1) != seed_of(0, "site-01", 1)
    True
    """
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def fingerprint(order: Prepare) -> str:
    """16 hexadecimal digits naming all that a site was told before training."""
    return hashlib.sha256(to_json(order).encode()).hexdigest()[:16]


def serve(request: Request, sites: Iterable[Site]) -> SiteSums:
    """The sum of the answers of all sites that a node serves.

    Raises:
        DataError: Tables do not fit; the problems of all sites at once.
    """
    total = request.order.layout().zero()
    problems: list[str] = []
    for site in sites:
        try:
            total += answer(request.order, request.tensors, site)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return total


def answer(order: Order, tensors: Tensors, site: Site) -> SiteSums:
    """What one site sends back."""
    match order:
        case Look():
            return query.look(order, site)
        case Values():
            return query.values(order, site)
        case Ranks():
            return query.ranks(order, site)
        case Prepare():
            return prepare(order, site)
        case Train():
            return train(order, tensors, site)
        case Audit():
            return audit(order, site)


def prepare(order: Prepare, site: Site) -> SiteSums:
    """Encodes the site's rows onto its disk; rows of cells that were floored are left out."""
    frame = site.frame(order.missing)
    schema = Schema.from_json(order.schema)
    conditions = Conditions.from_json(order.conditions)
    codec = TableCodec(schema.without(conditions.given))
    cells = conditions.cell_index(frame, schema, str(site.table))
    kept = cells >= 0
    rng = np.random.default_rng(seed_of(order.seed, site.name, "encode"))
    rows = codec.encode(frame.loc[kept], rng, str(site.table))
    cells = cells[kept]
    groups = cells // len(conditions.labels)
    weights = row_weights(np.array(order.mass), conditions.group_counts)
    site.store(fingerprint(order), {"rows": rows, "cells": cells}, {"order": to_json(order)})
    present = np.bincount(groups, minlength=len(conditions.groups)) > 0
    sums: dict[str, npt.NDArray[Any]] = {
        "rows": np.array([len(rows)]),
        "weight": np.array([site_mass(weights, groups)]),
        "sites": np.array([1]),
        "group_sites": present.astype(np.int64),
    }
    if order.matching:
        taking, levels = described(conditions)
        shares = (weights * taking)[groups][:, None] * levels
        sums["moments"] = second_moments(rows, conditions.encode(cells), shares)
    return order.layout().pack(sums)


@dataclass(frozen=True)
class Plan:
    """What `Prepare` agreed on, ready for use."""

    seed: int
    conditions: Conditions
    mass: npt.NDArray[np.float64]
    recipe: Recipe
    shape: Shape
    schema: Schema

    @staticmethod
    def of(order: Prepare) -> "Plan":
        """Reads the order."""
        schema = Schema.from_json(order.schema)
        conditions = Conditions.from_json(order.conditions)
        codec = TableCodec(schema.without(conditions.given))
        return Plan(
            order.seed,
            conditions,
            np.array(order.mass),
            Recipe.from_json(order.recipe),
            Shape(codec.blocks, codec.width, conditions.width),
            schema,
        )


@lru_cache(maxsize=4)
def _plan(text: str) -> Plan:
    order = from_json(text)
    if not isinstance(order, Prepare):
        raise StateError("a site's plan holds another order than 'prepare'")
    return Plan.of(order)


@lru_cache(maxsize=1)
def _players(text: str, device: str) -> Players:
    """One resident pair of networks a process: every order loads its own state into it."""
    plan = _plan(text)
    return Players(plan.recipe, plan.shape, device)


@dataclass(frozen=True)
class Rows:
    """A site's encoded rows, drawn from in proportion to their weights.

    Attributes:
        rows: Encoded rows, `(n, D)`.
        groups: The group of each row, `(n,)`.
        conditions: Their conditions, `(n, C)`.
        cumulative: Running sum of their weights, `(n,)`.
    """

    rows: Tensor
    groups: Tensor
    conditions: Tensor
    cumulative: Tensor

    @staticmethod
    def of(site: Site, plan_name: str, plan: Plan, device: str) -> "Rows":
        """Opens what `prepare` stored."""
        rows = site.array(plan_name, "rows")
        cells = site.array(plan_name, "cells").astype(np.int64)
        groups = cells // len(plan.conditions.labels)
        weights = row_weights(plan.mass, plan.conditions.group_counts)[groups]
        return Rows(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(groups).to(device),
            torch.from_numpy(plan.conditions.encode(cells)).to(device),
            torch.from_numpy(np.cumsum(weights)).to(device),
        )

    @property
    def weight(self) -> float:
        """p_k."""
        return float(self.cumulative[-1]) if len(self.cumulative) else 0.0

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Indices of `count` rows, drawn with replacement in proportion to their weights."""
        point = torch.rand(count, generator=rng, dtype=torch.float64, device=rng.device)
        index = torch.searchsorted(self.cumulative, point * self.weight, right=True)
        return index.clamp_max(len(self.cumulative) - 1)


@lru_cache(maxsize=1024)
def _opened(site: Site, plan: str, stamp: int, device: str) -> tuple[str, Rows]:
    """A site's plan and rows, opened once a process; `stamp` changes when they are written anew."""
    text = str(site.plan(plan)["order"])
    return text, Rows.of(site, plan, _plan(text), device)


def train(order: Train, tensors: Tensors, site: Site) -> SiteSums:
    """Local steps from the shared state; sends p_k times what they changed."""
    text, data = _opened(site, order.plan, site.stamp(order.plan), order.device)
    plan = _plan(text)
    weight = data.weight
    if weight == 0.0:
        return order.layout().zero()
    players = _players(text, order.device)
    start = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    idle = torch.zeros_like(start["generator"])
    blank = {"average": idle, "generator_first": idle, "generator_second": idle}
    players.load(blank | start, order.critic_seen, order.generator_seen)
    rng = torch.Generator(order.device).manual_seed(seed_of(plan.seed, site.name, order.round))
    batch = max(order.minimum, round(order.batch * weight))
    ones = torch.ones(batch, device=order.device)
    estimates: list[Tensor] = []
    groups_drawn: list[Tensor] = []
    penalties: list[Tensor] = []
    losses: list[Tensor] = []
    at_start: dict[str, Tensor] = {}
    # A site's generator steps are spread evenly between its critic steps.
    turns = _turns(order.critic_steps, order.generator_steps)
    for steps in turns:
        # The generator stands still in a turn: its rows are made in one go, which for small
        # batches costs a fraction of making them step by step.
        drawn = data.draw(steps * batch, rng)
        made = players.fake(data.conditions[drawn], rng)
        for step in range(steps):
            own = slice(step * batch, (step + 1) * batch)
            index, fake = drawn[own], made[own]
            real = Batch(data.rows[index], data.conditions[index], ones)
            gradient, report = players.critic_gradient(real, fake, rng)
            if order.frozen and not at_start:
                at_start["critic_gradient"] = gradient.clone()
            players.step_critic(gradient, order.factor, order.frozen)
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
    return order.layout().pack(sums)


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).double().mean()) if values else 0.0


def audit(order: Audit, site: Site) -> SiteSums:
    """Counts of the site's rows in every bin, by group."""
    plan = _plan(str(site.plan(order.plan)["order"]))
    frame = site.frame(order.missing)
    group = plan.conditions.group_index(frame, plan.schema, str(site.table))
    known = group >= 0
    marginals = Marginals.from_json(order.marginals)
    return order.layout().pack(marginals.count(frame.loc[known], group[known], order.groups))


def _turns(critic_steps: int, generator_steps: int) -> list[int]:
    """Critic steps before each generator step.

    >>> _turns(12, 4), _turns(5, 2), _turns(3, 0)
    ([3, 3, 3, 3], [3, 2], [3])
    """
    turns = max(generator_steps, 1)
    base, extra = divmod(critic_steps, turns)
    return [base + (i < extra) for i in range(turns)]
