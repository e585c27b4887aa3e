"""A site's answers to the questions from which the schema is made: additive counts only."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clients.gate import floor
from clients.gate.mechanism import Answer
from clients.parsed import parsed
from clients.protocol.messages import EncodeData
from clients.protocol.plan import derive_seed
from clients.protocol.schema_messages import (
    DECIMALS,
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from clients.protocol.sketch import BINS, HIGHEST, log_bin, sketch, vote
from clients.protocol.sums import Floats
from clients.site import Site
from fairness.groups.clusters import Centres
from fairness.groups.conditions import ConditionSpace, category_labels
from wgan.data.schema import KINDS, Schema
from wgan.data.values import DATE_FORMS, date_forms, describe, parse_column
from wgan.errors import DataError


def describe_columns(order: DescribeColumns, site: Site) -> Answer:
    """Votes: one per column that holds a value.

    Raises:
        DataError: The table's columns are not the agreed ones; all differences at once.
    """
    frame = parsed(site, order.missing)
    check_columns(frame, order.columns, order.drop, site)
    held = held_out(len(frame), order.held_out.share, order.held_out.seed, site.name)
    answer: dict[str, npt.NDArray[Any]] = {
        "rows": np.array([len(frame)]),
        "held": np.array([held.sum()]),
    }
    for i, name in enumerate(order.columns):
        description = describe(frame[name])
        kind = np.zeros(len(KINDS), dtype=np.int64)
        decimals = np.zeros(DECIMALS, dtype=np.int64)
        form = np.zeros(len(DATE_FORMS), dtype=np.int64)
        if description.kind is not None:
            kind[KINDS.index(description.kind)] = 1
            decimals[min(description.decimals, DECIMALS - 1)] = 1
            if description.kind == "datetime":
                fitting = date_forms(frame[name])
                form[:] = [int(f in fitting) for f in DATE_FORMS]
        answer |= {
            f"kind.{i}": kind,
            f"decimals.{i}": decimals,
            f"form.{i}": form,
            f"missing.{i}": np.array([int(description.missing)]),
        }
    return Answer(order.layout(), answer)


def collect_vocabulary(order: CollectVocabulary, site: Site) -> Answer:
    """Value sketches of text; votes and coarse histograms of numbers.

    Raises:
        DataError: Values do not parse as their column's agreed kind, or are too long or too large;
            all columns at once.
    """
    frame = _learnt(order, site)
    where = str(site.table)
    answer: dict[str, npt.NDArray[Any]] = {}
    problems: list[str] = []
    columns = zip(order.columns, order.kinds, order.forms, strict=True)
    for i, (name, kind, form) in enumerate(columns):
        try:
            column = parse_column(frame[name], kind, name, where, form)
            if kind in ("category", "boolean"):
                counts = floor.frequent(_tally(column), site.floor)
                answer[f"sketch.{i}"] = sketch(counts, name, where)
                continue
            present = column[~np.isnan(column)]
            _check_size(present, name, where)
        except DataError as error:
            problems += error.problems
            continue
        numbers, rows = np.unique(present, return_counts=True)
        often = rows >= site.floor
        answer[f"vote.{i}"] = vote(numbers[often], rows[often])
        histogram = np.bincount(log_bin(present), minlength=BINS)
        answer[f"histogram.{i}"] = floor.joined(histogram, site.floor)
    if problems:
        raise DataError(problems)
    return Answer(order.layout(), answer)


def count_histograms(order: CountHistograms, site: Site) -> Answer:
    """Exact counts over the agreed categories, atoms, fine bins and cells."""
    frame = _learnt(order, site)
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
    for i, column in enumerate(schema.columns):
        if not column.numeric:
            tally = _tally(category_labels(frame[column.name], column, where))
            counts = np.array([tally.get(c, 0) for c in column.categories], np.int64)
            answer[f"categories.{i}"] = floor.folded(counts, site.floor)
            continue
        content = parse_column(frame[column.name], column.kind, column.name, where, column.form)
        present = content[~np.isnan(content)]
        atoms = np.array(column.atoms)
        masses = np.array([(present == a).sum() for a in atoms], np.int64)
        answer[f"atoms.{i}"] = floor.without_small(masses, site.floor)
        # Point masses of too few rows are counted with the numbers around them.
        rest = present[~np.isin(present, atoms[masses >= site.floor])]
        edges = np.array(column.edges)
        bins = max(len(edges) - 1, 0)
        if bins:
            position = np.clip(np.searchsorted(edges, rest, side="right") - 1, 0, bins - 1)
            answer[f"bins.{i}"] = floor.joined(np.bincount(position, minlength=bins), site.floor)
        else:
            answer[f"bins.{i}"] = np.zeros(0, dtype=np.int64)
    return Answer(order.layout(), answer)


def kmeans_step(order: KMeansStep, site: Site) -> Answer:
    """Sums around centres, or counts of cells; rows are encoded once, onto the site's disk."""
    schema, conditions = Schema.from_json(order.schema), ConditionSpace.from_json(order.conditions)
    name = _encoding_of(order, conditions.plain, site)
    if not site.stamp(name):
        found = _encode(site, schema, conditions, order)
        site.store(name, found.arrays(), {"encoded for": "clusters", "left_out": found.left_out})
    rows = site.array(name, "rows").astype(np.float32, copy=False)
    if not order.cells:
        tally = Centres(np.array(conditions.centres)).sums(rows)
        for part in (tally.sums, tally.squares, tally.counts):
            part[tally.counts < site.floor] = 0.0
        return Answer(order.layout(), vars(tally))
    pairs = site.array(name, "pairs").astype(np.int64, copy=False)
    shape = (len(conditions.groups), conditions.per_group)
    counts = np.bincount(conditions.refined(pairs, rows), minlength=shape[0] * shape[1])
    counts = floor.without_small(counts, site.floor)
    return Answer(order.layout(), {"cells": counts.reshape(shape)})


@dataclass(frozen=True)
class Encoded:
    """A site's rows whose group and label has rows over all sites.

    Attributes:
        pairs: Group and label g * L + l, `(n,)`.
        rows: Codes, `(n, D)`; they depend on the seed and the site's name, not on clusters.
        held_out: Which of them no critic is trained on, `(n,)`.
        left_out: How many rows the site's floor leaves out.
    """

    pairs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]
    held_out: npt.NDArray[np.bool_]
    left_out: int

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """For the site's disk: those trained on apart from the others, for k-means reads them."""
        learnt = ~self.held_out
        return {
            "pairs": self.pairs[learnt],
            "rows": self.rows[learnt],
            "held": self.held_out,
            "held_pairs": self.pairs[self.held_out],
            "held_rows": self.rows[self.held_out],
        }

    @staticmethod
    def stored(site: Site, name: str) -> "Encoded":
        """What `arrays` left on the site's disk."""
        held = site.array(name, "held").astype(np.bool_)
        learnt, apart = site.array(name, "rows"), site.array(name, "held_rows")
        rows = np.empty((len(held), learnt.shape[1]), np.float32)
        pairs = np.empty(len(held), np.int64)
        rows[~held], rows[held] = learnt, apart
        pairs[~held], pairs[held] = site.array(name, "pairs"), site.array(name, "held_pairs")
        return Encoded(pairs, rows, held, int(str(site.plan(name)["left_out"])))


def encoded(site: Site, schema: Schema, conditions: ConditionSpace, order: EncodeData) -> Encoded:
    """The site's encoded rows; those that k-means was asked about are encoded already."""
    name = _encoding_of(order, conditions.plain, site)
    if conditions.centres and site.stamp(name):
        return Encoded.stored(site, name)
    return _encode(site, schema, conditions, order)


def _encoding_of(order: KMeansStep | EncodeData, plain: ConditionSpace, site: Site) -> str:
    """16 hexadecimal digits of all that codes depend on: a table written anew is encoded anew."""
    found = site.table.stat()
    pairs_with_rows = {**plain.to_json(), "counts": (plain.table > 0).tolist()}
    told = (order.schema, pairs_with_rows, order.missing, order.seed, order.held_out)
    text = json.dumps([*told, found.st_mtime_ns, found.st_size, site.floor])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _encode(
    site: Site, schema: Schema, conditions: ConditionSpace, order: KMeansStep | EncodeData
) -> Encoded:
    frame, where = parsed(site, order.missing), str(site.table)
    held = held_out(len(frame), order.held_out, order.seed, site.name)
    pairs = conditions.plain.cell_index(frame, schema, where)
    learnt = np.where(held, -1, pairs)
    counts = np.bincount(learnt[learnt >= 0], minlength=conditions.plain.table.size)
    # A cell takes part with all its rows where enough of them are learnt from.
    kept = (pairs >= 0) & (counts[np.maximum(pairs, 0)] >= site.floor)
    rng = np.random.default_rng(derive_seed(order.seed, site.name, "encode"))
    codec = conditions.codec(schema)
    left_out = small_rows(frame.loc[~held], schema, conditions, site)
    rows = codec.encode(frame.loc[kept], rng, where)
    return Encoded(pairs[kept], rows, held[kept], left_out)


def held_out(count: int, share: float, seed: int, name: str) -> npt.NDArray[np.bool_]:
    """Which of a site's rows are held out, `(count,)`: of no sum that a generator learns from.

    One row at least is left to learn from. The same rows in every exchange of a run.
    """
    held = np.zeros(count, dtype=np.bool_)
    wanted = min(round(share * count), count - 1)
    if wanted > 0:
        rng = np.random.default_rng(derive_seed(seed, name, "held out"))
        held[rng.choice(count, wanted, replace=False)] = True
    return held


def _tally(values: npt.NDArray[np.object_]) -> dict[str, int]:
    """Rows of every text in a column, in the order in which they come; `None` is not counted."""
    codes, texts = pd.factorize(values)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    return dict(zip(map(str, texts), counts.tolist(), strict=True))


def _learnt(order: CollectVocabulary | CountHistograms, site: Site) -> pd.DataFrame:
    """The site's rows less those held out."""
    frame, held = parsed(site, order.missing), order.held_out
    return frame.loc[~held_out(len(frame), held.share, held.seed, site.name)]


def enough(
    frame: pd.DataFrame, schema: Schema, conditions: ConditionSpace, site: Site
) -> npt.NDArray[np.bool_]:
    """Which rows `(n,)` lie in cells of group and label that the site's floor lets take part."""
    plain = conditions.plain
    pairs = plain.cell_index(frame, schema, str(site.table))
    return floor.large(pairs, plain.table.size, site.floor)


def small_rows(frame: pd.DataFrame, schema: Schema, conditions: ConditionSpace, site: Site) -> int:
    """How many rows a site's floor leaves out, whether or not others have such a cell."""
    if not site.floor:
        return 0
    where = str(site.table)
    keys = [category_labels(frame[name], schema[name], where) for name in conditions.sensitive]
    if conditions.target is not None and conditions.label_edges:
        keys.append(conditions.label_index(frame, schema, where).astype(object))
    elif conditions.target is not None:
        keys.append(category_labels(frame[conditions.target], schema[conditions.target], where))
    rows = Counter(zip(*keys, strict=True)) if keys else Counter({(): len(frame)})
    return sum(n for n in rows.values() if n < site.floor)


def check_columns(
    frame: pd.DataFrame, columns: tuple[str, ...], drop: tuple[str, ...], site: Site
) -> None:
    """Raises `DataError` where a site's table has not just the agreed columns."""
    there = [name for name in frame.columns if name not in drop]
    lacking = [name for name in columns if name not in there]
    extra = [name for name in there if name not in columns]
    problems = []
    if lacking:
        problems.append(
            f"site '{site.name}' ({site.table}): lacks the column{_names(lacking)} that the other "
            "sites have; add it (empty cells are allowed) or leave it out everywhere with data.drop"
        )
    if extra and len(lacking) == len(columns):
        # Without a line of headers the first row's cells are taken for them: they stay here.
        problems.append(
            f"site '{site.name}' ({site.table}): has {len(extra)} other column"
            f"{'s' * (len(extra) > 1)} and none of those expected; the first line of the file must "
            "name the columns"
        )
    elif extra:
        problems.append(
            f"site '{site.name}' ({site.table}): has the column{_names(extra)} that the other "
            "sites do not have; remove it or add it to data.drop"
        )
    if problems:
        raise DataError(problems)


def _check_size(numbers: Floats, name: str, where: str) -> None:
    beyond = int((np.abs(numbers) >= 2.0**HIGHEST).sum())
    if beyond:
        raise DataError(
            f"{where}: column '{name}' holds {beyond} number{'s' * (beyond > 1)} beyond "
            f"+-{2.0**HIGHEST:.1e}; write it in larger units, or leave it out with "
            f'data.drop = ["{name}"]'
        )


def _names(names: list[str]) -> str:
    return ("s " if len(names) > 1 else " ") + ", ".join(f"'{name}'" for name in names)
