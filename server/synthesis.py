"""Rows from a trained generator: any number, any mixture of groups, any condition."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from clients.work import Plan, seed_of
from server.outputs import RunFolder
from wgan.data.codec import TableCodec
from wgan.errors import DataError, StateError
from wgan.generators import SkipGenerator
from wgan.packed import Packed
from wgan.state import read_tensors, write_tensors

Ints = npt.NDArray[np.int64]

PIECE = 8192
TRIES = 200
"""Pieces drawn at most in search of rows that meet a condition on a generated column."""


@dataclass(frozen=True)
class Synthesizer:
    """A generator with what is needed to make rows of a table with it.

    Attributes:
        plan: What server and sites agreed on.
        generator: The generator over one flat vector.
    """

    plan: Plan
    generator: Packed[SkipGenerator]

    @staticmethod
    def of(plan: Plan, vector: Tensor) -> "Synthesizer":
        """From a plan and the generator's vector `(P,)`."""
        shape = plan.shape
        module = plan.recipe.generator.build(shape.blocks, shape.width, shape.condition)
        packed = Packed(module)
        packed.load(vector.to("cpu"))
        return Synthesizer(plan, packed)

    @staticmethod
    def load(run: RunFolder) -> "Synthesizer":
        """From a finished run.

        Raises:
            StateError: There is no generator there, or it belongs to another schema.
        """
        order, _ = run.read_plan()
        plan = Plan.of(order)
        tensors, meta = read_tensors(run.generator)
        if meta.get("schema") != plan.schema.fingerprint:
            raise StateError(f"{run.generator}: was not made under the schema in schema.json")
        shape = plan.shape
        module = plan.recipe.generator.build(shape.blocks, shape.width, shape.condition)
        module.load_state_dict(tensors)
        return Synthesizer(plan, Packed(module))

    def save(self, run: RunFolder) -> None:
        """Writes `generator.safetensors`: parameters by name, schema and recipe in the header."""
        state = {k: v.clone() for k, v in self.generator.module.state_dict().items()}
        meta = {
            "schema": self.plan.schema.fingerprint,
            "recipe": self.plan.recipe.to_json(),
            "format": json.dumps({"name": "everymode-generator", "version": 1}),
        }
        write_tensors(run.generator, state, meta)

    def table(self, cells: Ints, seed: int) -> pd.DataFrame:
        """One row for each cell of group and label, `(n,)`, in the columns' order."""
        rng = torch.Generator().manual_seed(seed_of(seed, "sample"))
        conditions = torch.from_numpy(self.plan.conditions.encode(cells))
        with torch.no_grad():
            rows = [self.generator.module(piece, rng) for piece in torch.split(conditions, PIECE)]
        schema, given = self.plan.schema, self.plan.conditions.given
        codec = TableCodec(schema.without(given))
        width = self.plan.shape.width
        encoded = torch.cat(rows).numpy() if rows else np.zeros((0, width), dtype=np.float32)
        decoded = codec.decode(encoded)
        columns: dict[str, pd.Series] = {str(name): decoded[name] for name in decoded.columns}
        columns |= self.plan.conditions.decode(cells, schema)
        return pd.DataFrame({name: columns[name] for name in schema.names})

    def like_data(self, rows: int, seed: int) -> pd.DataFrame:
        """A table in which each cell has its share of `rows`, rounded to whole rows, shuffled."""
        counts = whole_shares(self.plan.conditions.table.reshape(-1), rows)
        cells = np.repeat(np.arange(len(counts)), counts)
        np.random.default_rng(seed_of(seed, "order")).shuffle(cells)
        return self.table(cells, seed)

    def draw(
        self,
        rows: int,
        seed: int,
        groups: Literal["data", "uniform"] = "data",
        where: Mapping[str, str] | None = None,
    ) -> pd.DataFrame:
        """Rows at random, under conditions if wanted.

        Args:
            rows: How many.
            seed: Their seed.
            groups: Mixture of groups: as in the data, or all alike.
            where: Wanted values by column. Sensitive features and a target with classes are
                conditions of the generator; other columns are met by drawing until enough fit.

        Raises:
            DataError: An unknown column or value, or one that hardly ever occurs.
        """
        conditions, schema = self.plan.conditions, self.plan.schema
        where = dict(where or {})
        unknown = [name for name in where if name not in schema.names]
        if unknown:
            raise DataError(
                [
                    f"--where {n}: no such column; there are {', '.join(schema.names)}"
                    for n in unknown
                ]
            )
        given = {n: v for n, v in where.items() if n in conditions.given}
        sought = {n: v for n, v in where.items() if n not in conditions.given}
        self._check(sought)
        table = conditions.table * conditions.select(given).reshape(conditions.table.shape)
        if not table.any():
            told = ", ".join(f"{n}={v}" for n, v in given.items())
            raise DataError(f"--where {told}: the data hold no such rows together")
        weights = table.astype(np.float64)
        if groups == "uniform":
            size = weights.sum(1, keepdims=True)
            weights = np.divide(weights, size, out=np.zeros_like(weights), where=size > 0)
        share = weights.reshape(-1) / weights.sum()
        rng = np.random.default_rng(seed_of(seed, "cells"))
        if not sought:
            return self.table(rng.choice(len(share), rows, p=share), seed)
        found: list[pd.DataFrame] = []
        held = 0
        for piece in range(TRIES):
            if held >= rows:
                break
            cells = rng.choice(len(share), max(PIECE, rows), p=share)
            table_piece = self.table(cells, seed_of(seed, piece))
            mask = np.ones(len(table_piece), dtype=bool)
            for name, value in sought.items():
                mask &= table_piece[name].astype("str").to_numpy() == value
            found.append(table_piece.loc[mask])
            held += int(mask.sum())
        if held < rows:
            told = ", ".join(f"{n}={v}" for n, v in sought.items())
            raise DataError(
                f"--where {told}: only {held} of {TRIES * max(PIECE, rows)} rows drawn fit, "
                f"{rows} were asked for; ask for fewer rows or a wider condition"
            )
        return pd.concat(found, ignore_index=True).iloc[:rows]

    def _check(self, sought: Mapping[str, str]) -> None:
        problems = []
        for name, value in sought.items():
            column = self.plan.schema[name]
            if not column.numeric and value not in column.categories:
                problems.append(
                    f"--where {name}={value}: the run knows no such value; write one of "
                    f"{', '.join(column.categories[:20])}"
                )
        if problems:
            raise DataError(problems)


def whole_shares(counts: Ints, rows: int) -> Ints:
    """`rows` dealt out in proportion to `counts`, largest remainders first; none to empty cells.

    >>> whole_shares(np.array([2, 1, 0]), 4).tolist()
    [3, 1, 0]
    """
    exact = counts * (rows / counts.sum())
    whole: Ints = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: rows - int(whole.sum())]] += 1
    return whole
