"""Encoded rows as codes: one small whole number a column, which trees split on and leaves count.

A category's code is its state. A number's code is one of its point masses, its missing value, or
the bin that it lies in; numbers on a grid of few values have a bin for each value that rows enough
hold. Codes of numbers are ordered by size, so that a tree can cut them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.codec import Codec, TableCodec
from everymode.wgan.data.ranks import resolution, to_scores
from everymode.wgan.data.schema import Column

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int16]

VALUES = 256
"""Values of a grid up to which each has a bin of its own."""

MOST = 2**15 - 1
"""Codes of a column at most."""


@dataclass(frozen=True)
class CodedColumn:
    """How the outputs of one column become a code, and a code becomes outputs.

    Attributes:
        name: The column's header, or the part of the condition.
        size: Its codes are 0 to `size - 1`.
        ordered: Whether codes have an order that trees cut; else single codes are told apart.
        value: The output that holds the number; None: there is none.
        choice: The outputs of its one-hot vector; None: there is none.
        cuts: Scores between the bins of its number, ascending.
        place: The code of each state of the one-hot vector, and then of each bin, `(S + B,)`; of
            the state that stands for a number -1.
        ends: Lowest and highest score of all.
    """

    name: str
    size: int
    ordered: bool
    value: int | None
    choice: tuple[int, int] | None
    cuts: tuple[float, ...]
    place: tuple[int, ...]
    ends: tuple[float, float] = (0.0, 0.0)

    @property
    def states(self) -> int:
        """S, states of its one-hot vector."""
        return self.choice[1] - self.choice[0] if self.choice else 0

    def codes(self, rows: Rows) -> Codes:
        """Codes `(n,)` of encoded rows `(n, D)`; of a one-hot vector the largest entry counts."""
        place = np.array(self.place, dtype=np.int16)
        found = np.zeros(len(rows), dtype=np.int16)
        state = np.zeros(len(rows), dtype=np.intp)
        if self.choice is not None:
            state = rows[:, self.choice[0] : self.choice[1]].argmax(1)
            found = place[state]
        if self.value is not None:
            cuts = np.array(self.cuts, dtype=np.float32)
            bins = place[self.states + np.searchsorted(cuts, rows[:, self.value], side="right")]
            found = np.where(state == 0, bins, found) if self.choice is not None else bins
        return found

    def write(self, codes: Codes, rows: Rows, rng: np.random.Generator) -> None:
        """Writes the outputs that codes `(n,)` stand for into encoded rows `(n, D)`.

        Numbers lie evenly between the ends of their bins, by rank.
        """
        place = np.array(self.place)
        inverse = np.zeros(self.size, dtype=np.intp)
        kept = np.flatnonzero(place >= 0)
        inverse[place[kept]] = kept
        source = inverse[codes]
        dense = source >= self.states
        if self.choice is not None:
            state = np.where(dense, 0, source)
            rows[np.arange(len(rows)), self.choice[0] + state] = 1
        if self.value is not None:
            ranks = torch.special.ndtr(
                2 * torch.tensor([self.ends[0], *self.cuts, self.ends[1]], dtype=torch.float64)
            ).numpy()
            bins = np.where(dense, source - self.states, 0)
            low, high = ranks[bins], ranks[bins + 1]
            rank = torch.from_numpy(low + (high - low) * rng.random(len(rows)))
            scores = torch.special.ndtri(rank).numpy() / 2
            rows[:, self.value] = np.where(dense, scores, 0)


@dataclass(frozen=True)
class Coding:
    """Codes of all columns of a row: first those that follow from its condition, then the others.

    Attributes:
        conditions: Groups and labels; their features are the first columns, as far as the generator
            is conditioned on them.
        columns: All columns, in the order of the codes.
        given: How many of them follow from the condition.
        width: D, length of an encoded row.
    """

    conditions: ConditionSpace
    columns: tuple[CodedColumn, ...]
    given: int
    width: int

    @staticmethod
    def of(codec: Codec, conditions: ConditionSpace, bins: int) -> "Coding":
        """Codes of the rows of a table.

        Args:
            codec: What encodes rows.
            conditions: Groups and labels.
            bins: Bins of a number whose values are not on a grid of few values.

        Raises:
            ValueError: The rows are arrays, whose outputs are no columns.
        """
        if not isinstance(codec, TableCodec):
            raise ValueError("codes are those of columns, and arrays have none")
        told = _features(conditions)
        given = [CodedColumn(name, size, False, None, None, (), ()) for name, size in told]
        own = [_coded(column, codec, bins) for column in codec.schema.columns]
        kept = tuple(column for column in own if column.size > 1)
        return Coding(conditions, (*given, *kept), len(given), codec.width)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each column has."""
        return tuple(column.size for column in self.columns)

    def codes(self, rows: Rows, cells: npt.NDArray[np.int64]) -> Codes:
        """Codes `(n, columns)` of encoded rows `(n, D)` of cells `(n,)`."""
        found = np.zeros((len(rows), len(self.columns)), dtype=np.int16)
        found[:, : self.given] = self.given_codes(cells)
        for i, column in enumerate(self.columns[self.given :], self.given):
            found[:, i] = column.codes(rows)
        return found

    def given_codes(self, cells: npt.NDArray[np.int64]) -> Codes:
        """Codes of the columns that follow from cells `(n,)`, `(n, given)`."""
        return self._table[cells]

    def rows(self, codes: Codes, rng: np.random.Generator) -> Rows:
        """Encoded rows `(n, D)` that codes `(n, columns)` stand for."""
        rows = np.zeros((len(codes), self.width), dtype=np.float32)
        for i, column in enumerate(self.columns[self.given :], self.given):
            column.write(codes[:, i], rows, rng)
        return rows

    @cached_property
    def _table(self) -> Codes:
        cells = np.arange(self.conditions.table.size)
        group, label, cluster = self.conditions.split(cells)
        blocks = self.conditions.blocks
        parts: list[npt.NDArray[np.int64]] = []
        if blocks[0]:
            for i in range(len(self.conditions.sensitive)):
                values = [own[i] for own in self.conditions.groups]
                order = {value: code for code, value in enumerate(sorted(set(values)))}
                parts.append(np.array([order[value] for value in values])[group])
        if blocks[1]:
            parts.append(label)
        if blocks[2]:
            parts.append(cluster)
        if not parts:
            return np.zeros((len(cells), 0), dtype=np.int16)
        return np.stack(parts, 1).astype(np.int16)


def _features(conditions: ConditionSpace) -> list[tuple[str, int]]:
    """What a row's condition says, and how many values it has."""
    group, label, clusters = conditions.blocks
    found: list[tuple[str, int]] = []
    if group:
        for i, name in enumerate(conditions.sensitive):
            found.append((name, len({own[i] for own in conditions.groups})))
    if label:
        found.append((conditions.target or "all", len(conditions.labels)))
    if clusters:
        found.append(("cluster", clusters))
    return found


def _coded(column: Column, codec: TableCodec, bins: int) -> CodedColumn:
    span = codec.span(column.name)
    dense = column.numeric and bool(column.edges)
    value = span.start if dense else None
    first = span.start + int(dense)
    choice = (first, span.stop) if span.stop > first else None
    if not column.numeric:
        size = span.stop - span.start
        return CodedColumn(column.name, size, False, None, choice, (), tuple(range(size)))
    cuts = _cuts(column, bins) if dense else np.empty(0)
    # By size: point masses among the bins, which begin at the column's lowest number.
    starts = [column.low, *cuts.tolist()] if dense else []
    atoms = list(column.atoms)
    bins_at = [(start, 1, i) for i, start in enumerate(starts)]
    order = sorted([*bins_at, *((atom, 0, i) for i, atom in enumerate(atoms))])
    rank = {(kind, i): code for code, (_, kind, i) in enumerate(order)}
    states = [-1] * dense + [rank[0, i] for i in range(len(atoms))]
    size = len(order)
    if column.missing:
        states.append(size)
        size += 1
    place = (*(states if choice else ()), *(rank[1, i] for i in range(len(starts))))
    scores = np.zeros(2)
    if dense:
        scores = to_scores(np.array([column.low, *cuts, column.high]), column)
    if dense and column.scale == "ranks":
        scores[[0, -1]] = to_scores(np.array([column.edges[0], column.edges[-1]]), column)
    ends = (float(scores[0]), float(scores[-1]))
    inner = tuple(np.asarray(scores[1:-1], dtype=np.float32).tolist())
    return CodedColumn(column.name, size, True, value, choice, inner, place, ends)


def _cuts(column: Column, bins: int) -> Floats:
    """Where the bins of a column's numbers are cut; ascending, without the ends.

    Ranks are cut at edges of the schema's bins alone, which hold rows enough each: a code of fewer
    would single them out.
    """
    step = resolution(column)
    steps = (column.high - column.low) / step if step else np.inf
    if column.scale == "linear":
        if steps > VALUES - 0.5:
            return np.linspace(column.low, column.high, bins + 1)[1:-1]
        low = float(column.low)
        return np.asarray(low + step * (np.arange(round(steps)) + 0.5), dtype=np.float64)
    edges, ranks = np.array(column.edges), np.array(column.cumulative)
    # Both ends of an empty bin have one rank; the first will do.
    held = np.flatnonzero((ranks > 0) & (ranks < 1) & (np.diff(ranks, prepend=0.0) > 0))
    if steps > VALUES - 0.5 and len(held) >= bins:
        near = np.searchsorted(ranks[held], np.arange(1, bins) / bins)
        held = np.unique(held[np.minimum(near, len(held) - 1)])
    return np.asarray(edges[held], dtype=np.float64)
