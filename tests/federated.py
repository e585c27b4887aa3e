"""Three small sites that were asked all that comes before training, for tests of a site's gate."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from everymode.clients.protocol.messages import (
    CountLeaves,
    CountNeighbours,
    EncodeData,
    Request,
    Train,
)
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.trees import trees_to_tensors
from everymode.fairness.metrics.codebook import Codebook
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.synthesis.trees import grow
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe

RECIPE = Recipe(SkipGeneratorSpec((8,), noise=4), MLPCriticSpec((8,)))
DATA = TableSpec(sensitive=("sex",), target="income", missing=("",))
RUN = "00000000000000aa"


def people(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows),
            "job": rng.choice(["clerk", "smith"], rows),
            "sex": rng.choice(["f", "m"], rows),
            "income": rng.choice(["high", "low"], rows),
        }
    )


@dataclass
class Recorder:
    """An exchange over sites in this process that keeps what it was asked."""

    sites: list[Site]
    requests: list[Request]
    run: str = RUN

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(site.name for site in self.sites)

    def __call__(self, request: Request) -> Any:
        request = replace(request, run=self.run)
        self.requests.append(request)
        return handle(request, self.sites)


class Federation:
    """Sites, three of them, that were asked all that comes before training, and their plan."""

    def __init__(
        self, folder: Path, rows: int = 60, held_out: float = 0.0, count: int = 3, **site: Any
    ) -> None:
        self.sites = []
        for k in range(count):
            table = folder / f"site-{k}.csv"
            people(rows, k).to_csv(table, index=False)
            self.sites.append(Site(f"site-{k}", table, folder / "work" / f"site-{k}", **site))
        data = replace(DATA, held_out=held_out)
        self.exchange = Recorder(self.sites, [])
        agreed = agree(self.exchange, tuple(people(1, 0).columns), data)
        groups = len(agreed.conditions.groups)
        self.prepare = EncodeData(
            agreed.schema.to_json(),
            agreed.conditions.to_json(),
            (1 / groups,) * groups,
            RECIPE.to_json(),
            seed=0,
            matching="none",
            missing=("",),
            held_out=held_out,
        )
        self.plan, self.name = Plan.of(self.prepare), fingerprint(self.prepare)

    def prepared(self) -> "Federation":
        self.ask(self.prepare)
        return self

    def ask(self, order: Any, tensors: Any = None, sites: Any = None, **more: Any) -> Any:
        request = Request(order, tensors or {}, **{"run": RUN} | more)
        return handle(request, self.sites if sites is None else sites)

    def train(self, number: int = 1, **changes: Any) -> tuple[Train, dict[str, Any]]:
        players = Players(RECIPE, self.plan.shape)
        order = Train(
            self.name,
            number,
            critic_steps=2,
            generator_steps=0,
            batch=24,
            minimum=4,
            factor=1.0,
            critic_seen=0,
            generator_seen=0,
            device="cpu",
            sizes=(len(players.generator.vector), len(players.critic.vector)),
            groups=len(self.plan.conditions.groups),
            sites=len(self.sites),
        )
        tensors = players.tensors()
        names = ("generator", "critic", "critic_first", "critic_second")
        return replace(order, **changes), {name: tensors[name].numpy() for name in names}

    def trees(self, exchange: int = 1) -> tuple[CountLeaves, dict[str, Any]]:
        """What an honest server would count leaves with."""
        coding = Coding.of(self.plan.codec, self.plan.conditions, 8)
        rng = np.random.default_rng(exchange)
        shape = (400, len(coding.sizes))
        codes = (rng.random(shape) * np.array(coding.sizes)).astype(np.int16)
        targets = range(coding.given, len(coding.columns))
        trees = [grow(codes, coding, target, 20, 0) for target in targets]
        order = CountLeaves(
            self.name,
            exchange,
            8,
            tuple(targets),
            tuple(len(tree.column) for tree in trees),
            tuple(coding.sizes[target] for target in targets),
        )
        return order, trees_to_tensors(trees)

    def book(self, seed: int = 0) -> tuple[CountNeighbours, Codebook]:
        """What an honest server would count recall with."""
        rng = np.random.default_rng(seed)
        rows = np.concatenate([s.array(self.name, "rows") for s in self.sites]).copy()
        cells = np.concatenate([s.array(self.name, "cells") for s in self.sites])
        numbers = [b.start for b in self.plan.shape.blocks if b.kind == "value"]
        rows[:, numbers] += rng.normal(0, 0.05, (len(rows), len(numbers)))
        groups = cells // self.plan.conditions.per_group
        book = Codebook.of([rows[groups == g][:30] for g in range(2)], 4)
        return CountNeighbours(self.name, book.sizes, 4, False), book
