"""Questions about the columns of a site's rows: of a table all, of arrays their labels."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.datasets.base import Encoded, enough, held_out, small_rows
from everymode.clients.gate import floor
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import CountMarginals, EncodeData
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sketch import (
    BINS,
    BUCKETS,
    CELLS,
    HALF,
    LEVELS,
    MAGNITUDES,
    STYLES,
    distinct,
    log_bin,
    magnitude,
    sketch,
    vote,
)
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import MISSING, ConditionSpace, count_labels
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.constrained import count_broken, with_hidden
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.identifiers import find_patterns, pattern_problem, running_numbers
from everymode.wgan.data.readings import Reading, read_counts
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import (
    blank_cells,
    count_cells,
    count_values,
    find_zone,
    parse_column,
    parse_distinct,
)
from everymode.wgan.errors import DataError

LONGEST_MARK = 40
"""Bytes of a spelling of no value that is told."""

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColumnDataset(ABC):
    """Rows with columns; what else a row holds is the modality's.

    Attributes:
        site: Whose rows.
    """

    site: Site

    @abstractmethod
    def frame(self, missing: Sequence[str], form: FileForm = RECOGNISED) -> pd.DataFrame:
        """The columns of all rows; not to be written to."""

    @abstractmethod
    def check(self, order: DescribeColumns) -> None:
        """Raises `DataError` where the file does not hold just what was announced."""

    def counts(self, name: str, order: DescribeColumns, declared: str) -> CellCounts:
        """How the cells of a column are written; `declared`: how they are said to be."""
        return count_cells(self.frame(order.missing, order.form)[name], declared)

    def marks(self, order: DescribeColumns) -> Mapping[str, Mapping[str, int]]:
        """Of each column of text, how many cells spell "no value" in which way."""
        return {}

    def types(self) -> dict[str, str]:
        """How a typed file stores its columns; see `everymode.wgan.data.storage`."""
        return {}

    @abstractmethod
    def codes(
        self,
        kept: Mask,
        schema: Schema,
        conditions: ConditionSpace,
        order: KMeansStep | EncodeData,
    ) -> npt.NDArray[np.float32]:
        """Codes of the rows `kept` `(n,)` of all, `(kept.sum(), D)`."""

    def describe(self, order: DescribeColumns) -> Answer:
        """See `Dataset.describe`."""
        frame, site = self.frame(order.missing, order.form), self.site
        self.check(order)
        held = held_out(len(frame), order.held_out.share, order.held_out.seed, site.name)
        answer: dict[str, npt.NDArray[Any]] = {
            "rows": np.array([len(frame)]),
            "held": np.array([held.sum()]),
        }
        stored, marks = self.types(), self.marks(order)
        for i, name in enumerate(order.columns):
            column = frame[name]
            counts = self.counts(name, order, order.formats[i] if order.formats else "")
            answer[f"cells.{i}"] = floor.lifted(counts.vector, site.floor)
            reading = read_counts(counts)
            gaps = dict(marks.get(name, {}))
            if reading.kind in ("integer", "float", "datetime") and counts["blank"]:
                gaps |= blank_cells(column)
            styles = _styles(column, reading, stored.get(name, ""), gaps, site.floor)
            answer[f"sketch.style.{i}"] = sketch(styles, "", cells=STYLES)
            answer |= _extent(i, column, reading)
        return Answer(order.layout(), answer)

    def vocabulary(self, order: CollectVocabulary) -> Answer:
        """See `Dataset.vocabulary`: sketches of text; votes and coarse histograms of numbers."""
        frame, site = self._learnt(order), self.site
        where = str(site.table)
        answer: dict[str, npt.NDArray[Any]] = {}
        problems: list[str] = []
        hidden = [column.name for column in order.drafted.hidden]
        if order.constraints:
            # What does not parse is said of the columns themselves.
            with contextlib.suppress(DataError):
                frame = with_hidden(frame, order.drafted, where)
        for i, (name, kind, form) in enumerate(
            zip(order.columns, order.kinds, order.forms, strict=True)
        ):
            lenient = bool(order.lenient and order.lenient[i])
            if name in hidden and name not in frame.columns:
                continue
            series = frame[name]
            try:
                if kind in ("category", "boolean"):
                    if kind == "boolean":
                        parse_column(series, kind, name, where, form, lenient)
                    counts = floor.frequent(count_values(series), site.floor)
                    size = order.sizes[i] if order.sizes else CELLS
                    answer[f"sketch.{i}"] = sketch(counts, name, where, size)
                    continue
                column = Column(name, kind, form=form, lenient=lenient)
                numbers, rows = parse_distinct(series, column, where)
            except DataError as error:
                problems += error.problems
                continue
            often = rows >= site.floor
            answer[f"vote.{i}"] = vote(numbers[often], rows[often])
            places = log_bin(numbers, order.shifts[i] if order.shifts else 0)
            tiny = np.array([rows[(places == HALF) & (numbers != 0)].sum()])
            answer[f"tiny.{i}"] = floor.without_small(tiny, site.floor)
            histogram = _binned(places, rows, BINS)
            answer[f"histogram.{i}"] = floor.joined(histogram, site.floor)
        for i, name in enumerate(order.identifiers):
            if name not in frame.columns:
                problems.append(f"{where}: no column '{name}', which data.columns names an id")
                continue
            codes = [t for t in parse_column(frame[name], "category", name, where) if t is not None]
            patterns = floor.frequent(find_patterns(codes), site.floor)
            kept = {p: n for p, n in patterns.items() if pattern_problem(p) is None}
            answer[f"sketch.pattern.{i}"] = sketch(kept, name, where, STYLES)
            runs = np.bincount(log_bin(running_numbers(codes)), minlength=BINS)
            answer[f"run.{i}"] = floor.joined(runs, site.floor)
        if problems:
            raise DataError(problems)
        return Answer(order.layout(), answer)

    def histograms(self, order: CountHistograms) -> Answer:
        """See `Dataset.histograms`."""
        frame, site = self._learnt(order), self.site
        schema = Schema.from_json(order.schema)
        conditions = ConditionSpace.from_json(order.conditions)
        where = str(site.table)
        group = conditions.group_index(frame, schema, where)
        label = conditions.label_index(frame, schema, where)
        shape = (len(conditions.groups), len(conditions.labels))
        pairs = np.where((group >= 0) & (label >= 0), group * shape[1] + label, -1)
        known = floor.large(pairs, shape[0] * shape[1], site.floor)
        cells = np.bincount(pairs[known], minlength=shape[0] * shape[1]).reshape(shape)
        left_out = small_rows(frame, schema, conditions, site)
        answer: dict[str, npt.NDArray[Any]] = {"cells": cells, "left_out": np.array([left_out])}
        if site.floor:
            frame = frame.loc[known].reset_index(drop=True)
        if schema.constraints:
            broken = count_broken(frame, schema, where)
            answer["broken"] = floor.without_small(broken, site.floor)
            frame = with_hidden(frame, schema, where)
        for i, column in enumerate(schema.counted):
            if not column.numeric:
                tally = count_labels(frame[column.name], column)
                counts = np.array([tally.get(c, 0) for c in column.categories], np.int64)
                rare = sum(n for text, n in tally.items() if text != MISSING) - counts.sum()
                kept = floor.without_small(counts, site.floor)
                # What is too rare here is rare, and no more of the commonest value.
                rare = np.array([rare + counts.sum() - kept.sum()])
                answer[f"categories.{i}"] = kept
                answer[f"rare.{i}"] = floor.without_small(rare, site.floor)
                continue
            numbers, rows = parse_distinct(frame[column.name], column, where)
            atoms = np.array(column.atoms)
            masses = np.array([rows[numbers == a].sum() for a in atoms], np.int64)
            answer[f"atoms.{i}"] = floor.without_small(masses, site.floor)
            # Point masses of too few rows are counted with the numbers around them.
            rest = ~np.isin(numbers, atoms[masses >= site.floor])
            edges = np.array(column.edges)
            bins = max(len(edges) - 1, 0)
            if bins:
                position = np.searchsorted(edges, numbers[rest], side="right") - 1
                counts = _binned(np.clip(position, 0, bins - 1), rows[rest], bins)
                answer[f"bins.{i}"] = floor.joined(counts, site.floor)
            else:
                answer[f"bins.{i}"] = np.zeros(0, dtype=np.int64)
        if order.noise is not None:
            # Of these nothing leaves, and so no noise covers them.
            for name in answer:
                if name.partition(".")[0] in ("left_out", "categories", "rare"):
                    answer[name] = np.zeros_like(answer[name])
        return Answer(order.layout(), answer)

    def encode(
        self, schema: Schema, conditions: ConditionSpace, order: KMeansStep | EncodeData
    ) -> Encoded:
        """See `Dataset.encode`; rows of cells that are too small are left out."""
        frame, site = self.frame(order.missing, order.form), self.site
        held = held_out(len(frame), order.held_out, order.seed, site.name)
        pairs = conditions.plain.cell_index(frame, schema, str(site.table))
        learnt = np.where(held, -1, pairs)
        counts = np.bincount(learnt[learnt >= 0], minlength=conditions.plain.table.size)
        # A cell takes part with all its rows where enough of them are learnt from.
        kept = (pairs >= 0) & (counts[np.maximum(pairs, 0)] >= site.floor)
        left_out = small_rows(frame.loc[~held], schema, conditions, site)
        rows = self.codes(kept, schema, conditions, order)
        return Encoded(pairs[kept], rows, held[kept], left_out)

    def marginals(self, order: CountMarginals, plan: Plan) -> dict[str, npt.NDArray[np.int64]]:
        """See `Dataset.marginals`."""
        frame, site = self.frame(order.missing, order.form), self.site
        group = plan.conditions.group_index(frame, plan.schema, str(site.table))
        if site.floor:
            group[~enough(frame, plan.schema, plan.conditions, site)] = -1
        known = floor.large(group, order.groups, site.floor)
        marginals = Marginals.from_json(order.marginals)
        counts = marginals.count(frame.loc[known], group[known], order.groups)
        for column in marginals.columns:
            few = floor.joined if column.numeric else floor.folded
            counts[column.name] = few(counts[column.name], site.floor)
        return counts

    def _learnt(self, order: CollectVocabulary | CountHistograms) -> pd.DataFrame:
        """The rows less those held out."""
        frame, held = self.frame(order.missing, order.form), order.held_out
        return frame.loc[~held_out(len(frame), held.share, held.seed, self.site.name)]


def _binned(places: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], bins: int) -> Ints:
    """Rows in each bin, `(bins,)`, of numbers at `places` `(n,)` with `rows` `(n,)`."""
    return np.bincount(places, rows, bins).astype(np.int64)


def _styles(
    column: "pd.Series[Any]", reading: Reading, stored: str, gaps: Mapping[str, int], floor: int
) -> dict[str, int]:
    """How a column is stored: its type, its time zone, and the commonest spelling of no value.

    Spellings are those that the server named, and those of `MISSING_NUMBERS`; their number is that
    of the cells. A spelling of fewer cells than the floor is not told.
    """
    found = {f"type {stored}": 1} if stored else {}
    if reading.kind == "datetime" and (zone := find_zone(column, reading)):
        found[f"zone {zone}"] = 1
    if gaps:
        mark = max(gaps, key=lambda text: (gaps[text], text))
        if gaps[mark] >= max(floor, 1) and len(mark.encode()) <= LONGEST_MARK:
            found[f"missing {mark}"] = gaps[mark]
    return found


def _extent(i: int, column: "pd.Series[Any]", reading: Reading) -> dict[str, npt.NDArray[Any]]:
    """How large a column's numbers are, and about how many values it has."""
    size = np.zeros(MAGNITUDES, dtype=np.int64)
    values = np.zeros((LEVELS, BUCKETS), dtype=np.int64)
    if reading.kind in ("integer", "float"):
        # Numbers that are infinite are refused with the values.
        with contextlib.suppress(DataError):
            own = Column("", reading.kind, form=reading.form, lenient=True)
            size = magnitude(parse_distinct(column, own, "")[0])
    elif reading.kind == "category":
        values = distinct(count_values(column))
    return {f"magnitude.{i}": size, f"distinct.{i}": values}
