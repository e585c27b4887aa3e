"""Rows from a trained generator: any number, any mixture of groups, any condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from clients.protocol.plan import Plan, seed_of
from fairness.parity.mixture import ParityMixture
from fairness.postprocessing.dependencies import FunctionalDependency, impute_dependents
from fairness.postprocessing.projection import Projection
from server.synthesis.conditions import matches, parse_conditions
from server.training.participation import Letters
from wgan.errors import DataError, SettingsError
from wgan.generators import SkipGenerator
from wgan.numerics import flush_denormals
from wgan.packed import Packed

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

PIECE = 8192

PASSES = 512
"""Times that rows a projection did not keep are made anew; what is left then stays as it is."""

TRIES = 200
"""Pieces drawn at most in search of rows that meet a condition on a generated column."""


@dataclass(frozen=True)
class Synthesizer:
    """Generators with what is needed to make rows of a table with them.

    Attributes:
        plan: What server and sites agreed on.
        generators: The generator over one flat vector; or one of each site, where sites share none.
        counts: Rows of each cell at each site, `(cells, K)`: a cell's rows are made by its sites'
            generators in proportion. With one generator, `(cells, 1)`.
        parity: How labels are mixed within groups; None: as in the data.
        projection: Which rows of the one generator are kept; None: all.
        followings: Columns that follow from others in the data, and so in its rows.
    """

    plan: Plan
    generators: tuple[Packed[nn.Module], ...]
    counts: npt.NDArray[np.float64]
    parity: ParityMixture | None = None
    projection: Projection | None = None
    followings: tuple[FunctionalDependency, ...] = ()

    @staticmethod
    def of(plan: Plan, vector: Tensor) -> "Synthesizer":
        """From a plan and the generator's vector `(P,)`."""
        return Synthesizer._of(plan, [vector], np.ones((plan.conditions.table.size, 1)))

    @staticmethod
    def of_state(
        plan: Plan,
        tensors: Mapping[str, Tensor],
        profiles: Mapping[str, Mapping[str, npt.NDArray[Any]]] | None = None,
    ) -> "Synthesizer":
        """From the tensors of a checkpoint: the averaged generator, or those of all sites.

        Args:
            plan: What server and sites agreed on.
            tensors: The checkpoint's.
            profiles: What sites told of themselves, whose counts of cells deal rows out to
                generators of their own; None: all alike.
        """
        states = Letters.of(tensors).states
        names = sorted(name for name, own in states.items() if "average" in own)
        if not names:
            return Synthesizer.of(plan, tensors["average"])
        size = plan.conditions.table.size
        blank = {name: np.ones(size) for name in names}
        cells = {n: p["cells"] for n, p in profiles.items()} if profiles else blank
        counts = np.stack([cells[name] for name in names], 1).astype(np.float64)
        return Synthesizer._of(plan, [states[name]["average"] for name in names], counts)

    @staticmethod
    def _of(
        plan: Plan, vectors: Sequence[Tensor], counts: npt.NDArray[np.float64]
    ) -> "Synthesizer":
        generators = tuple(Packed(build_generator(plan)) for _ in vectors)
        for generator, vector in zip(generators, vectors, strict=True):
            generator.load(vector.to("cpu"))
        return Synthesizer(plan, generators, counts)

    def at_level(self, level: float, features: tuple[str, ...] = ()) -> "Synthesizer":
        """The same generators, asked for labels at another level of demographic parity.

        Args:
            level: Share of the data's gaps that stays, 0 to 1.
            features: Of the sensitive features; empty: all.

        Raises:
            SettingsError: The generator is not told group and label, so that no mixture of them
                can be asked for; or a feature is no sensitive one.
        """
        conditions = self.plan.conditions
        if conditions.told != "group_and_label" or conditions.target is None:
            raise SettingsError(
                "--parity-level asks for another mixture of group and label, and this generator "
                "was not told both; train it with data.sensitive, data.target and "
                "data.condition = 'group_and_label'"
            )
        strangers = [name for name in features if name not in conditions.sensitive]
        if strangers:
            raise SettingsError(
                f"--parity-feature {', '.join(strangers)}: not among the sensitive features of "
                f"the run ({', '.join(conditions.sensitive)})"
            )
        return replace(self, parity=ParityMixture(level, features))

    def table(self, cells: Ints, seed: int) -> pd.DataFrame:
        """One row for each cell, `(n,)`, in the columns' order; untold parts of it do not count."""
        rng = torch.Generator().manual_seed(seed_of(seed, "sample"))
        encoded = self._made(cells, seed, rng)
        if self.projection is not None:
            left = np.arange(len(cells))
            left = left[~self._kept(encoded, cells, rng)]
            for _ in range(PASSES):
                if not len(left):
                    break
                # A last few rows are tried many at a time, and the first that is kept counts.
                tried = np.repeat(left, max(1, PIECE // len(left)))
                made = self._made(cells[tried], seed, rng)
                place, first = np.unique(
                    tried[kept := self._kept(made, cells[tried], rng)], return_index=True
                )
                encoded[place] = made[kept][first]
                left = np.setdiff1d(left, place, assume_unique=True)
        schema = self.plan.schema
        decoded = self.plan.codec.decode(encoded)
        columns: dict[str, pd.Series] = {str(name): decoded[name] for name in decoded.columns}
        columns |= self.plan.conditions.decode(cells, schema)
        return pd.DataFrame({name: columns[name] for name in schema.names})

    def _made(self, cells: Ints, seed: int, rng: torch.Generator) -> Rows:
        """An encoded row for each cell, `(n, D)`."""
        conditions = torch.from_numpy(self.plan.conditions.encode(cells))
        encoded = np.zeros((len(cells), self.plan.shape.width), dtype=np.float32)
        maker = self._makers(cells, seed)
        with torch.no_grad(), flush_denormals():
            for k, generator in enumerate(self.generators):
                for index in np.split(
                    mine := (maker == k).nonzero()[0], range(PIECE, len(mine), PIECE)
                ):
                    if len(index):
                        rows = generator.module(conditions[index], rng)
                        rows = impute_dependents(self.followings, rows, conditions[index])
                        encoded[index] = rows.numpy()
        return encoded

    def _kept(self, encoded: Rows, cells: Ints, rng: torch.Generator) -> npt.NDArray[np.bool_]:
        """Which encoded rows `(n, D)` the projection keeps, `(n,)`."""
        module = self.generators[0].module
        assert isinstance(module, SkipGenerator) and self.projection is not None
        kept = np.zeros(len(cells), dtype=bool)
        for start in range(0, len(cells), PIECE):
            piece = slice(start, start + PIECE)
            rows = self.plan.binning(module.head.chosen(torch.from_numpy(encoded[piece])))
            conditions = torch.from_numpy(self.plan.conditions.encode(cells[piece]))
            kept[piece] = self.projection.keeps(rows, conditions, cells[piece], rng).numpy()
        return kept

    def _makers(self, cells: Ints, seed: int) -> Ints:
        """Which generator makes the row of each cell, `(n,)`."""
        makers = np.zeros(len(cells), dtype=np.int64)
        if len(self.generators) > 1:
            total = self.counts.sum(1, keepdims=True)
            share = np.where(total > 0, self.counts, 1.0) / np.where(
                total > 0, total, self.counts.shape[1]
            )
            point = np.random.default_rng(seed_of(seed, "makers")).random(len(cells))
            cumulative = np.cumsum(share, axis=1)[cells]
            makers = (point[:, None] >= cumulative).sum(1).clip(max=len(self.generators) - 1)
        return makers

    def sample_matching_data(self, rows: int, seed: int) -> pd.DataFrame:
        """Each cell's share of `rows`, rounded to whole rows, shuffled.

        Groups and labels that the generator is not told come as it makes them.
        """
        conditions = self.plan.conditions
        if self.parity is None:
            counts = apportion(conditions.table.reshape(-1), rows)
        else:
            asked = self.parity.counts(conditions)
            sizes = apportion(conditions.group_counts, rows)
            # Groups first: their rows stay what they are whatever the labels within.
            counts = np.concatenate(
                [apportion(own, int(n)) for own, n in zip(asked, sizes, strict=True)]
            )
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
            where: Wanted values by column. Sensitive features and a target with classes, where
                the generator is told them, are its conditions; other columns are met by drawing
                until enough fit.

        Raises:
            DataError: An unknown column or value, or one that hardly ever occurs; groups alike
                from a generator that is not told groups.
        """
        conditions, schema = self.plan.conditions, self.plan.schema
        if groups == "uniform" and conditions.sensitive and not conditions.blocks[0]:
            raise DataError(
                f"groups cannot be drawn alike: data.condition = '{conditions.told}', so that the "
                "generator was not told the group; train it with 'group_and_label' or 'group', or "
                "ask for single groups with --where"
            )
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
        wanted = parse_conditions(self.plan, given, sought)
        mixed = conditions.table if self.parity is None else self.parity.counts(conditions)
        table = mixed * conditions.select(given).reshape(mixed.shape)
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
            for name, value in wanted.items():
                mask &= matches(table_piece[name], self.plan.schema[name], value)
            if mask.any():
                found.append(table_piece.loc[mask])
                held += int(mask.sum())
        if held < rows:
            told = ", ".join(f"{n}={v}" for n, v in sought.items())
            raise DataError(
                f"--where {told}: only {held} of {TRIES * max(PIECE, rows)} rows drawn fit, "
                f"{rows} were asked for; ask for fewer rows or a wider condition"
            )
        return pd.concat(found, ignore_index=True).iloc[:rows]


def build_generator(plan: Plan) -> nn.Module:
    """The generator's network, with parameters that are about to be replaced."""
    # Whoever loads a generator keeps the global random state.
    with torch.random.fork_rng(devices=[]):
        return plan.recipe.generator.build(plan.shape)


def apportion(counts: Ints | npt.NDArray[np.float64], rows: int) -> Ints:
    """`rows` dealt out in proportion to `counts`, largest remainders first; none to empty cells.

    >>> whole_shares(np.array([2, 1, 0]), 4).tolist()
    [3, 1, 0]
    """
    if not rows:
        return np.zeros(len(counts), dtype=np.int64)
    exact = counts * (rows / counts.sum())
    whole: Ints = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: rows - int(whole.sum())]] += 1
    return whole
