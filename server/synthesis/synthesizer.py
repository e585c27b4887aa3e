"""Sampling from a trained generator: any number of rows, any mixture of groups, any condition."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.parity.mixture import ParityMixture
from everymode.fairness.postprocessing.conditional_trees import ConditionalTrees
from everymode.server.datasets.base import Synthetic
from everymode.server.datasets.choice import choose_modality
from everymode.server.synthesis.drawing import Groups, Search, draw, draw_pieces
from everymode.server.synthesis.steps import PostprocessingStep
from everymode.wgan.errors import SettingsError
from everymode.wgan.flat import FlatModule
from everymode.wgan.numerics import flush_denormals

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
S = TypeVar("S")

PIECE = 8192

PASSES = 512
"""Times that rows which a step rejected are drawn again; rows still rejected then stay."""


@dataclass(frozen=True)
class Synthesizer:
    """Trained generators with everything that makes rows of a table from them.

    Attributes:
        plan: What server and sites agreed on.
        generators: The generator over one flat vector; or one of each site, where sites share none.
        counts: Rows of each cell at each site, `(cells, K)`: a cell's rows come from its sites'
            generators in proportion. With one generator, `(cells, 1)`.
        parity: How labels are mixed within groups; None: as in the data.
        post: Postprocessing steps, in the order in which they are applied. The calibration is none
            of them: it is part of the generator's parameters.
        proposal: Makes the rows in place of the generators, where trees were fitted to counts.
    """

    plan: Plan
    generators: tuple[FlatModule[nn.Module], ...]
    counts: npt.NDArray[np.float64]
    parity: ParityMixture | None = None
    post: tuple[PostprocessingStep, ...] = ()
    proposal: ConditionalTrees | None = None

    @staticmethod
    def from_players(
        plan: Plan,
        vectors: Sequence[Tensor],
        counts: npt.NDArray[np.float64] | None = None,
        parity: ParityMixture | None = None,
    ) -> "Synthesizer":
        """Builds the generators of a training.

        Args:
            plan: What server and sites agreed on.
            vectors: Averaged parameters of each generator, `(P,)`.
            counts: Rows of each cell that each generator stands for, `(cells, K)`; None: all alike.
            parity: How labels are mixed within groups; None: as in the data.
        """
        generators = tuple(FlatModule(build_generator(plan)) for _ in vectors)
        for generator, vector in zip(generators, vectors, strict=True):
            generator.load(vector.to("cpu"))
        if counts is None:
            counts = np.ones((plan.conditions.table.size, len(vectors)))
        return Synthesizer(plan, generators, counts, parity)

    def find(self, kind: type[S]) -> S | None:
        """The postprocessing step of a kind; None where there is none."""
        return next((step for step in self.post if isinstance(step, kind)), None)

    def at_level(self, level: float, features: tuple[str, ...] = ()) -> "Synthesizer":
        """The same generators, sampled at another level of demographic parity.

        Args:
            level: Share of the data's gaps that stays, 0 to 1.
            features: Sensitive features that it applies to; empty: all.

        Raises:
            SettingsError: The generator is not conditioned on group and label, so that no mixture
                of them can be asked for; or a feature is no sensitive one.
        """
        conditions = self.plan.conditions
        if conditions.conditioned_on != "group_and_label" or conditions.target is None:
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
        """One row for each cell, `(n,)`, in the columns' order; see `generate`.

        Raises:
            SettingsError: The rows are arrays.
        """
        self.check_table()
        return self.generate(cells, seed).rows

    def check_table(self) -> None:
        """Raises `SettingsError` where the rows are arrays, which no table holds."""
        if self.plan.schema.samples is not None:
            raise SettingsError(
                "the run's rows are arrays, and a table holds none; take what was made from "
                "synthetic.npz, or make more in Python with Synthesizer.generate"
            )

    def generate(self, cells: Ints, seed: int) -> Synthetic:
        """One row for each cell, `(n,)`, whatever the modality.

        Of a cell only what the generator is conditioned on decides.
        """
        draws = np.random.default_rng(derive_seed(seed, "decode"))
        modality = choose_modality(self.plan.schema)
        return modality.decode(self.plan, self.encoded(cells, seed), cells, draws)

    def encoded(self, cells: Ints, seed: int) -> Rows:
        """One encoded row for each cell `(n,)`, `(n, D)`, after all postprocessing steps."""
        rng = torch.Generator().manual_seed(derive_seed(seed, "sample"))
        encoded, kept = self._draw(cells, seed, rng)
        left = np.flatnonzero(~kept)
        for _ in range(PASSES):
            if not len(left):
                break
            # A last few rows are tried many at a time, and the first that is kept counts.
            tried = np.repeat(left, max(1, PIECE // len(left)))
            rows, kept = self._draw(cells[tried], seed, rng)
            place, first = np.unique(tried[kept], return_index=True)
            encoded[place] = rows[kept][first]
            left = np.setdiff1d(left, place, assume_unique=True)
        return encoded

    def _draw(self, cells: Ints, seed: int, rng: torch.Generator) -> tuple[Rows, Mask]:
        """Encoded rows `(n, D)` for cells `(n,)`, postprocessed, and which of them stay, `(n,)`."""
        conditions = torch.from_numpy(self.plan.conditions.encode(cells))
        # All rows are generated before any step draws: the generator of random numbers is shared.
        rows = torch.from_numpy(self.propose(cells, seed, rng))
        kept = torch.ones(len(cells), dtype=torch.bool)
        for step in self.post:
            if bool(kept.all()):
                rows, kept = step(rows, conditions, cells, rng)
                continue
            # Rows that one step has rejected are of no use to the next.
            left = kept.nonzero()[:, 0]
            changed, stay = step(rows[left], conditions[left], cells[left.numpy()], rng)
            rows[left], kept[left] = changed, stay
        return rows.numpy(), kept.numpy()

    def propose(self, cells: Ints, seed: int, rng: torch.Generator) -> Rows:
        """A row for each cell `(n,)` before all postprocessing steps, `(n, D)`.

        Args:
            cells: The cells.
            seed: Decides between several generators.
            rng: Source of random numbers.
        """
        if self.proposal is not None:
            drawn = torch.randint(2**62, (1,), generator=rng).item()
            return self.proposal.rows(cells, np.random.default_rng(int(drawn)))
        conditions = torch.from_numpy(self.plan.conditions.encode(cells))
        encoded = np.zeros((len(cells), self.plan.shape.width), dtype=np.float32)
        assigned = self._assign_generators(cells, seed)
        with torch.no_grad(), flush_denormals():
            for k, generator in enumerate(self.generators):
                own = (assigned == k).nonzero()[0]
                for index in np.split(own, range(PIECE, len(own), PIECE)):
                    if len(index):
                        encoded[index] = generator.module(conditions[index], rng).numpy()
        return encoded

    def _assign_generators(self, cells: Ints, seed: int) -> Ints:
        """Which generator makes the row of each cell, `(n,)`."""
        assigned = np.zeros(len(cells), dtype=np.int64)
        if len(self.generators) > 1:
            total = self.counts.sum(1, keepdims=True)
            share = np.where(total > 0, self.counts, 1.0) / np.where(
                total > 0, total, self.counts.shape[1]
            )
            point = np.random.default_rng(derive_seed(seed, "makers")).random(len(cells))
            cumulative = np.cumsum(share, axis=1)[cells]
            assigned = (point[:, None] >= cumulative).sum(1).clip(max=len(self.generators) - 1)
        return assigned

    def sample_matching_data(self, rows: int, seed: int) -> pd.DataFrame:
        """`rows` rows of a table with the data's mixture of cells; see `cells_matching_data`."""
        return self.table(self.cells_matching_data(rows, seed), seed)

    def cells_matching_data(self, rows: int, seed: int) -> Ints:
        """Cells `(rows,)` in the data's mixture, rounded to whole rows and shuffled.

        Groups and labels that the generator is not conditioned on come as it makes them.
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
        np.random.default_rng(derive_seed(seed, "order")).shuffle(cells)
        return cells

    def draw(
        self,
        rows: int,
        seed: int,
        groups: Groups = "data",
        where: Mapping[str, Any] | None = None,
        search: Search | None = None,
    ) -> pd.DataFrame:
        """Random rows, under conditions if wanted; see `everymode.server.synthesis.drawing`."""
        return draw(self, rows, seed, groups, where, search or Search())

    def draw_pieces(
        self,
        rows: int,
        seed: int,
        groups: Groups = "data",
        where: Mapping[str, Any] | None = None,
        search: Search | None = None,
    ) -> Iterator[pd.DataFrame]:
        """The rows of `draw` in pieces, so that any number of them takes little memory."""
        return draw_pieces(self, rows, seed, groups, where, search or Search())


def build_generator(plan: Plan) -> nn.Module:
    """The generator's network, with parameters that the caller replaces."""
    # Building draws initial parameters from the global random state, which a caller keeps.
    with torch.random.fork_rng(devices=[]):
        return plan.recipe.generator.build(plan.shape)


def apportion(counts: Ints | npt.NDArray[np.float64], rows: int) -> Ints:
    """Splits `rows` in proportion to `counts` by largest remainders (Hamilton's method).

    Empty cells get none.

    >>> apportion(np.array([2, 1, 0]), 4).tolist()
    [3, 1, 0]
    """
    if not rows:
        return np.zeros(len(counts), dtype=np.int64)
    exact = counts * (rows / counts.sum())
    whole: Ints = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: rows - int(whole.sum())]] += 1
    return whole
