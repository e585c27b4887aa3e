"""What must hold of the sums of one reply, whoever sent it: the questions and the counts.

Each order has a function of its own that yields what a reply breaks, in words. They hold a reply
against itself (columns of one table have the same rows), against what the same sites said before
(`Known`), and against what was agreed on. Where sites may leave small counts out, sums may be
smaller than what they are held against, and never larger.

Whoever lies about all of it alike is not found. What that can do is bounded by the rows that the
liar claims, whose number stands in its very first reply.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import CountLeaves, CountMarginals, CountNeighbours
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sums import LARGEST, Field, SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.schema import Schema

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Problems = Iterator[str]

ROWS = 2**40
"""More rows than any sites have; sums of as many counts of at most this cannot wrap around."""

CODE = 2.001
"""Largest number in an encoded row (`everymode.wgan.data.ranks`), with room for float32."""


@dataclass(frozen=True)
class Prepared:
    """What sites said when they encoded their tables.

    Attributes:
        rows: Rows that take part.
        weight: Sum of their weights.
        first: Shares of categories in every level, `(C + 1, W + 1)`; None: not told.
        groups: Numbers of the groups of which they have rows.
    """

    rows: int
    weight: float
    first: Floats | None = None
    groups: frozenset[int] = frozenset()


@dataclass
class Known:
    """What the same sites said before; None or empty: nothing yet.

    Attributes:
        rows: Rows of their tables.
        held: Those of them that are held out.
        blank: Cells of them without a value, by the place of the column.
        present: Rows with a value, by the place of the column.
        cells: Rows of each group and label that was asked for, `(G, L)`.
        prepared: What *prepare* brought, by plan.
    """

    rows: int | None = None
    held: int = 0
    blank: tuple[int, ...] = ()
    present: dict[int, int] = field(default_factory=dict)
    cells: Ints | None = None
    prepared: dict[str, Prepared] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """A reply and what is known beforehand.

    Attributes:
        sums: What came.
        sites: Names of the sites that were asked; empty: one, whose name is not known.
        known: What they said before.
        exact: Whether what is known is of just these sites, which leave no small counts out.
        proposed: Groups and labels of `Known.cells`.
        plan: What was agreed on; None before it was.
    """

    sums: SiteSums
    sites: tuple[str, ...]
    known: Known
    exact: bool
    proposed: ConditionSpace | None = None
    plan: Plan | None = None

    @property
    def asked(self) -> int:
        """How many sites were asked."""
        return max(len(self.sites), 1)

    @cached_property
    def rows(self) -> int:
        """Rows that the sites' tables have at most."""
        return ROWS if self.known.rows is None else self.known.rows

    @property
    def learnt(self) -> int:
        """Rows less those held out, at most."""
        return self.rows - self.known.held

    def count(self, name: str) -> int:
        """A field of one count."""
        return int(self.sums.units(name).reshape(-1)[0])

    def kept(self, conditions: ConditionSpace) -> Ints | None:
        """Rows that the sites counted in the cells that were kept, `(G, L)`; None: not known."""
        if self.known.cells is None or self.proposed is None:
            return None
        groups = {group: i for i, group in enumerate(self.proposed.groups)}
        labels = {label: i for i, label in enumerate(self.proposed.labels)}
        if not (
            groups.keys() >= set(conditions.groups) and labels.keys() >= set(conditions.labels)
        ):
            return None
        rows = [groups[group] for group in conditions.groups]
        columns = [labels[label] for label in conditions.labels]
        found: Ints = self.known.cells[np.ix_(rows, columns)] * (conditions.plain.table > 0)
        return found

    def slack(self, name: str, size: float = 0.0) -> float:
        """What rounding may add to an entry of a field whose entries reach `size`."""
        bits = next(f.bits for f in self.sums.layout.fields if f.name == name)
        return float(self.asked * 2.0 ** -(bits + 1) + 1e-9 * (1.0 + abs(size)))

    def fits(self, what: str, found: int, most: int, exact: bool = False) -> Problems:
        """Whether rows that were counted are as many as there are, or at least no more."""
        if found > most:
            yield f"the counts of {what} add up to {found:,} rows, where there are {most:,}"
        elif exact and self.exact and found < most:
            yield f"the counts of {what} add up to {found:,} rows only, where there are {most:,}"


def in_range(sums: SiteSums) -> Problems:
    """Whether counts are counts, and no number is larger than sums can carry."""
    start = 0
    for entry in sums.layout.fields:
        units = sums.vector[start : start + entry.size]
        start += entry.size
        if entry.wrapping or not len(units):
            continue
        low, high = int(units.min()), int(units.max())
        if entry.bits == 0:
            if low < 0:
                yield f"'{entry.name}' holds a negative count ({low:,})"
            elif high > ROWS and not _sketched(entry):
                yield f"'{entry.name}' holds a count of {high:,}, more than any table has rows"
        elif max(high, -low) >= LARGEST:
            yield f"'{entry.name}' leaves the range of +-{entry.limit:.3g} that sums can carry"


def _sketched(entry: Field) -> bool:
    # Bytes of values, times the number of rows that hold them.
    return entry.name.startswith("sketch.")


def describe_columns(order: DescribeColumns, reply: Reply) -> Problems:
    """Every cell of a column is missing or there, and is counted once in each way of writing."""
    yield from reply.fits("'rows'", reply.count("rows"), ROWS)
    yield from reply.fits("'held'", reply.count("held"), reply.count("rows"))
    rows = reply.count("rows")
    for i, column in enumerate(order.columns):
        counts = CellCounts(reply.sums.units(f"cells.{i}"))
        # With a floor, a few cells are said to be as many as the floor.
        present = counts["present"] if reply.exact else max(rows, counts["present"])
        if reply.exact and counts["missing"] + present != rows:
            yield f"the cells of column '{column}' are not as many as the rows ({rows:,})"
        if reply.exact and int(counts.vector.max()) > max(present, counts["missing"]):
            yield f"the counts of column '{column}' are larger than its cells ({present:,})"
        if int(reply.sums.units(f"magnitude.{i}").sum()) > reply.asked:
            yield f"more ranges of column '{column}' came than sites ({reply.asked}) have"
        if reply.exact and int(reply.sums.units(f"distinct.{i}").sum()) > present:
            yield f"the values of column '{column}' are more than its cells ({present:,})"


def values(order: CollectVocabulary, reply: Reply) -> Problems:
    """A value lies in one cell of each table of a sketch or vote, and in one bin."""
    for i, (column, kind) in enumerate(zip(order.columns, order.kinds, strict=True)):
        what = f"the values of column '{column}'"
        counted = kind in ("category", "boolean")
        found = reply.sums.units(f"sketch.{i}" if counted else f"vote.{i}")
        # Entries of a sketch may add up beyond 64 bits, alike in all of its tables.
        totals, rows = found.sum(1), int(found[0, :, 0].sum())
        if reply.exact and (totals != totals[0]).any():
            yield f"the tables of the sketch of column '{column}' do not hold the same rows"
        most = found[..., :1].astype(np.float64) * (2.0**32 - 1 if counted else 1.0)
        if (found[..., 1:] > most).any():
            yield f"the sketch of column '{column}' holds more of a value than it has rows"
        if not counted:
            binned = int(reply.sums.units(f"histogram.{i}").sum())
            # With a floor, votes are of frequent numbers only.
            voted = rows if reply.exact else reply.learnt
            yield from reply.fits(f"the bins of column '{column}'", binned, voted, exact=True)
            tiny = reply.count(f"tiny.{i}")
            yield from reply.fits(f"the smallest numbers of column '{column}'", tiny, binned)
        full = _full(i, reply) and not (order.lenient and order.lenient[i])
        yield from reply.fits(what, rows, reply.learnt, exact=full)
    if order.samples is not None:
        count = reply.count("samples")
        yield from reply.fits("the samples", count, reply.learnt, exact=True)
        sums, squares = reply.sums["sample_sums"], reply.sums["sample_squares"]
        slack = reply.slack("sample_squares", float(np.abs(squares).max()))
        # The inequality of Cauchy and Schwarz holds of any numbers.
        if (np.square(sums) > (count + 1e-6) * (squares + slack) + slack).any():
            yield "the samples' sums are larger than their squares allow"


def present(order: CollectVocabulary, sums: SiteSums) -> dict[int, int]:
    """Rows with a value, by the place of the column."""
    names = [
        f"sketch.{i}" if kind in ("category", "boolean") else f"vote.{i}"
        for i, kind in enumerate(order.kinds)
    ]
    return {i: int(sums.units(name)[0, :, 0].sum()) for i, name in enumerate(names)}


def _full(column: int, reply: Reply) -> bool:
    """Whether every row is known to have a value of a column."""
    known = reply.known
    return known.rows is not None and column < len(known.blank) and known.blank[column] == 0


def ranks(order: CountHistograms, reply: Reply) -> Problems:
    """A row lies in one cell, and its value in one category, point mass or bin."""
    schema, conditions = Schema.from_json(order.schema), ConditionSpace.from_json(order.conditions)
    cells = reply.sums.units("cells")
    yield from reply.fits("'cells'", int(cells.sum()), reply.learnt)
    yield from reply.fits("'left_out'", reply.count("left_out"), reply.learnt)
    if schema.constraints:
        for constraint, n in zip(
            schema.constraints, reply.sums.units("broken").tolist(), strict=True
        ):
            yield from reply.fits(f"rows that break '{constraint.words}'", n, reply.learnt)
    for i, column in enumerate(schema.counted):
        known = i in reply.known.present and reply.exact
        most = reply.known.present[i] if known else reply.learnt
        if column.numeric:
            atoms, bins = reply.sums.units(f"atoms.{i}"), reply.sums.units(f"bins.{i}")
            counted, exact = int(atoms.sum() + bins.sum()), known and len(bins) > 0
            yield from reply.fits(f"column '{column.name}'", counted, most, exact)
            continue
        counts = reply.sums.units(f"categories.{i}")
        total = int(counts.sum()) + reply.count(f"rare.{i}")
        yield from reply.fits(f"column '{column.name}'", total, most)
        held: list[tuple[str, int]] = []
        if column.name in conditions.sensitive:
            at = conditions.sensitive.index(column.name)
            rows = zip(conditions.groups, cells.sum(1).tolist(), strict=True)
            held += [(group[at], n) for group, n in rows]
        if column.name == conditions.target and not conditions.label_edges:
            held += zip(conditions.labels, cells.sum(0).tolist(), strict=True)
            if column.name in conditions.sensitive:
                held = held[: len(conditions.groups)]
        for category, most in zip(column.categories, counts.tolist(), strict=True):
            found = sum(n for value, n in held if value == category)
            what = f"the cells of '{column.name}' = '{category}'"
            yield from reply.fits(what, found, most)


def cluster(order: KMeansStep, reply: Reply) -> Problems:
    """Every row that was counted lies in one cluster, and its codes are of the order of 1."""
    conditions = ConditionSpace.from_json(order.conditions)
    kept = reply.kept(conditions)
    if order.cells:
        shape = (len(conditions.groups), len(conditions.labels), conditions.clusters)
        found = reply.sums.units("cells").reshape(shape).sum(2)
        yield from reply.fits("'cells'", int(found.sum()), reply.learnt)
        if kept is not None:
            off = (found != kept) if reply.exact else (found > kept)
            if off.any():
                yield "the counts of clusters do not add up to those of the cells they part"
        return
    counts, sums, squares = (reply.sums[name] for name in ("counts", "sums", "squares"))
    most = reply.learnt if kept is None else int(kept.sum())
    yield from reply.fits("clusters", int(counts.sum()), most, exact=kept is not None)
    slack = reply.slack("squares", float(counts.max()))
    if (squares < -slack).any() or (squares > CODE**2 * counts[:, None] + slack).any():
        yield "the squares around centres are not those of as many encoded rows"
    elif (np.abs(sums) > np.sqrt((counts[:, None] + slack) * (squares + 2 * slack)) + slack).any():
        yield "the sums around centres are larger than their squares allow"


def audit(order: CountMarginals, reply: Reply) -> Problems:
    """Every column counts the rows of a group once."""
    totals = {f.name: reply.sums.units(f.name).sum(1) for f in reply.sums.layout.fields}
    first: Any = None
    for name, rows in totals.items():
        yield from reply.fits(f"column '{name}'", int(rows.sum()), reply.rows)
        first = rows if first is None else first
        if reply.exact and (rows != first).any():
            yield f"column '{name}' counts other rows of a group than the columns before it"


def leaves(order: CountLeaves, reply: Reply) -> Problems:
    """Every row lies in one leaf of each tree, and has one code there."""
    prepared = reply.known.prepared.get(order.plan)
    most = reply.rows if prepared is None else prepared.rows
    sizes = [(n + 1) // 2 * size for n, size in zip(order.nodes, order.sizes, strict=True)]
    parts = np.split(reply.sums.units("counts"), np.cumsum(sizes)[:-1])
    for number, part in enumerate(parts, 1):
        rows = int(part.sum())
        yield from reply.fits(f"tree {number}", rows, most, exact=prepared is not None)


def recall(order: CountNeighbours, reply: Reply) -> Problems:
    """Every row of a group with a codebook lies in one of its cells."""
    rows, recalled, outside = (reply.sums.units(n) for n in ("rows", "recalled", "outside"))
    cells = reply.sums.units("cells").sum(1)
    prepared = reply.known.prepared.get(order.plan)
    most = reply.rows if prepared is None else prepared.rows
    if order.held_out:
        most = reply.rows if reply.known.rows is None else reply.known.held
    yield from reply.fits("'rows'", int(rows.sum()), most)
    if (recalled > rows).any() or (outside > rows).any():
        yield "more rows of a group are recalled or outside than it has"
    book = np.array(order.sizes) > 0
    if (cells > rows).any() or (reply.exact and (cells[book] != rows[book]).any()):
        yield "the cells of a codebook do not add up to the rows of its group"
