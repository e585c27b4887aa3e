"""What a site was told before training, and the seeds that all its randomness derives from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch

from everymode.clients.protocol.messages import EncodeData, from_json, to_json
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import (
    eligible_strata,
    share_strata,
    stratum_memberships,
)
from everymode.fairness.matching.private_moments import Coordinates
from everymode.fairness.weighting.group_weights import row_weights
from everymode.wgan.data.codec import Codec, TableCodec
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import StateError
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Block, Shape

Joined = npt.NDArray[np.float32]


STATISTICS_EDGES = np.linspace(-1.0, 1.0, 19)
"""Between the bins of an encoded number: ranks are normal with deviation 1/2, or lie in [-1, 1]."""

STATISTICS_BINS = len(STATISTICS_EDGES) + 1


def derive_seed(*parts: object) -> int:
    """A seed that derives from names and numbers alone: run, site, round, purpose.

    >>> derive_seed(0, "site-00", 1) == derive_seed(0, "site-00", 1) != derive_seed(0, "site-01", 1)
    True
    """
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def fingerprint(order: EncodeData) -> str:
    """16 hexadecimal digits naming all that a site was told before training."""
    return hashlib.sha256(to_json(order).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """What `EncodeData` agreed on, ready for use."""

    seed: int
    conditions: ConditionSpace
    mass: npt.NDArray[np.float64]
    recipe: Recipe
    shape: Shape
    schema: Schema
    held_out: float
    binning: Binning = field(default_factory=Binning)
    noised: bool = False

    @staticmethod
    def of(order: EncodeData) -> "Plan":
        """Reads the order."""
        schema = Schema.from_json(order.schema)
        conditions = ConditionSpace.from_json(order.conditions)
        codec = conditions.codec(schema)
        return Plan(
            order.seed,
            conditions,
            np.array(order.mass),
            Recipe.from_json(order.recipe),
            codec.shape(conditions.width),
            schema,
            order.held_out,
            Binning.of(codec, order.bins),
            order.noised,
        )

    @cached_property
    def codec(self) -> Codec:
        """Between rows and encoded ones."""
        return self.conditions.codec(self.schema)

    @property
    def width(self) -> int:
        """Coordinates of a binned row beside its condition, W."""
        return self.shape.width + self.binning.width + self.conditions.width

    @property
    def choices(self) -> npt.NDArray[np.bool_]:
        """Which of them stand for a category, `(W,)`: they are 0 or 1."""
        choices = np.ones(self.width, dtype=bool)
        for block in self.shape.blocks:
            choices[block.start : block.stop] = block.kind == "choice"
        return choices

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where its one-hot vectors stand: categories, bins of numbers, parts of the condition."""
        spans = [(b.start, b.stop) for b in self.shape.blocks if b.kind == "choice"]
        spans += self.binning.spans(self.shape.width)
        start = self.shape.width + self.binning.width
        for size in self.conditions.blocks:
            if size:
                spans.append((start, start + size))
            start += size
        return spans

    @cached_property
    def coordinates(self) -> Coordinates:
        """What the coordinates of a binned row beside its condition are; of tables alone."""
        codec, first = self.codec, self.shape.width
        assert isinstance(codec, TableCodec)
        columns = np.full(len(self.choices), -1)
        for place, column in enumerate(codec.schema.columns):
            columns[codec.span(column.name)] = place
        bins = np.zeros(len(columns), dtype=np.bool_)
        bins[first : first + self.binning.width] = True
        spans = self.binning.spans(first)
        for number, (start, stop) in zip(self.binning.numbers, spans, strict=True):
            columns[start:stop] = columns[number]
        numbers = tuple(b.start for b in self.shape.blocks if b.kind == "value")
        group, label, _ = self.conditions.blocks
        return Coordinates(
            len(columns),
            numbers,
            tuple(self.spans),
            tuple(columns.tolist()),
            tuple(bins.tolist()),
            (group, label),
        )

    def joined(self, rows: npt.NDArray[np.float32], cells: npt.NDArray[np.int64]) -> Joined:
        """Rows `(n, D)` of cells `(n,)` with their numbers' bins and conditions, `(n, W)`."""
        binned = self.binning(torch.from_numpy(rows)).numpy()
        return np.concatenate([binned, self.conditions.encode(cells)], 1)

    def weights(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """What a row of each of the cells `(n,)` counts in each level's sums, `(n, C + 1)`.

        Rows of groups that are too small count in none
        (`everymode.fairness.matching.moments.eligible_strata`).
        """
        return self._weights(cells, *eligible_strata(self.conditions))

    def share_weights(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The same for shares of categories; see `share_strata`."""
        return self._weights(cells, *share_strata(self.conditions))

    def _weights(
        self,
        cells: npt.NDArray[np.int64],
        taking: npt.NDArray[np.bool_],
        levels: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:
        each = row_weights(self.mass, self.conditions.group_counts) * taking
        member = stratum_memberships(self.conditions.encode(cells))
        weights: npt.NDArray[np.float64] = (
            each[cells // self.conditions.per_group][:, None] * member * np.append(levels, True)
        )
        return weights


@lru_cache(maxsize=4)
def parse_plan(text: str) -> Plan:
    """The plan in an order's JSON text, read once a process.

    Raises:
        StateError: It holds another order.
    """
    order = from_json(text)
    if not isinstance(order, EncodeData):
        raise StateError("a site's plan holds another order than 'prepare'")
    return Plan.of(order)


@lru_cache(maxsize=1)
def resident(text: str, device: str) -> Players:
    """One resident pair of networks a process: every order loads its own state into it."""
    plan = parse_plan(text)
    return Players(plan.recipe, plan.shape, device)


def widths(blocks: Sequence[Block]) -> tuple[int, ...]:
    """Bins or categories of each block of an encoded row."""
    return tuple(
        STATISTICS_BINS if block.kind == "value" else block.stop - block.start for block in blocks
    )
