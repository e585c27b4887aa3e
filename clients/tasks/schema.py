"""A site's answers to the questions from which the schema is made: additive counts only."""

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clients.gate import floor
from clients.gate.mechanism import Answer
from clients.protocol.messages import EncodeData
from clients.protocol.plan import seed_of
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
from wgan.data.codec import TableCodec
from wgan.data.schema import KINDS, Schema
from wgan.data.values import DATE_FORMS, date_forms, describe, parse_column
from wgan.errors import DataError


def describe_columns(order: DescribeColumns, site: Site) -> Answer:
    """Votes: one per column that holds a value.

    Raises:
        DataError: The table's columns are not the agreed ones; all differences at once.
    """
    frame = site.frame(order.missing)
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
                counts = Counter(v for v in column if v is not None)
                answer[f"sketch.{i}"] = sketch(floor.frequent(counts, site.floor), name, where)
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
            tally = Counter(category_labels(frame[column.name], column, where))
            counts = np.array([tally[c] for c in column.categories], np.int64)
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
    found, plain = site.table.stat(), conditions.plain
    # All that codes depend on; a table that was written anew is encoded anew.
    pairs_with_rows = {**plain.to_json(), "counts": (plain.table > 0).tolist()}
    told = (order.schema, pairs_with_rows, order.missing, order.seed, order.held_out)
    text = json.dumps([*told, found.st_mtime_ns, found.st_size, site.floor])
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    if not site.stamp(name):
        pairs, rows, held, _ = encoded(site, schema, conditions, order)
        learnt: dict[str, npt.NDArray[np.generic]] = {"pairs": pairs[~held], "rows": rows[~held]}
        site.store(name, learnt, {"encoded for": "clusters"})
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


def encoded(
    site: Site, schema: Schema, conditions: ConditionSpace, order: KMeansStep | EncodeData
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_], int]:
    """Group and label g * L + l, `(n,)`, codes, `(n, D)`, and whether held out, `(n,)`.

    Of the rows whose pair has rows. They depend on the seed and the site's name, not on clusters.
    Also how many rows the site's floor leaves out.
    """
    frame, where = site.frame(order.missing), str(site.table)
    held = held_out(len(frame), order.held_out, order.seed, site.name)
    pairs = conditions.plain.cell_index(frame, schema, where)
    learnt = np.where(held, -1, pairs)
    counts = np.bincount(learnt[learnt >= 0], minlength=conditions.plain.table.size)
    # A cell takes part with all its rows where enough of them are learnt from.
    kept = (pairs >= 0) & (counts[np.maximum(pairs, 0)] >= site.floor)
    rng = np.random.default_rng(seed_of(order.seed, site.name, "encode"))
    codec = TableCodec(schema.without(conditions.given))
    left_out = small_rows(frame.loc[~held], schema, conditions, site)
    return pairs[kept], codec.encode(frame.loc[kept], rng, where), held[kept], left_out


def held_out(count: int, share: float, seed: int, name: str) -> npt.NDArray[np.bool_]:
    """Which of a site's rows are held out, `(count,)`: of no sum that a generator learns from.

    One row at least is left to learn from. The same rows in every exchange of a run.
    """
    held = np.zeros(count, dtype=np.bool_)
    wanted = min(round(share * count), count - 1)
    if wanted > 0:
        rng = np.random.default_rng(seed_of(seed, name, "held out"))
        held[rng.choice(count, wanted, replace=False)] = True
    return held


def _learnt(order: CollectVocabulary | CountHistograms, site: Site) -> pd.DataFrame:
    """The site's rows less those held out."""
    frame, held = site.frame(order.missing), order.held_out
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
