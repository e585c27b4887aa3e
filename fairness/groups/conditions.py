"""Groups (cells of the sensitive features), labels, and the condition that both make.

A generator that is told group and label of the row it shall make can be asked for any mixture of
them: the mixture at sampling time comes from counts, not from what the generator believes. The
condition is one one-hot vector of the group beside one of the label, and beside one of a latent
cluster where no column names what differs between sites (`everymode.fairness.groups.clusters`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.fairness.groups.clusters import Centres
from everymode.fairness.groups.conditioned_on import ConditionedOn
from everymode.wgan.data.codec import Codec, TableCodec
from everymode.wgan.data.constrained import construction
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import factorize_texts, parse_values

MISSING = "(missing)"
"""The value that stands for no value, in a sensitive feature or a label."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.float32] | None


def category_labels(series: pd.Series, column: Column, where: str) -> npt.NDArray[np.object_]:
    """The values of a category or boolean column as text, `(n,)`; missing spelled as such.

    TRUE and True are one value of a boolean column, spelled as its schema says.
    """
    codes, labels = _label_codes(series, column)
    return np.array(labels, dtype=object)[codes]


def count_labels(series: pd.Series, column: Column) -> dict[str, int]:
    """Rows of each of `category_labels`."""
    codes, labels = _label_codes(series, column)
    counts: dict[str, int] = {}
    for label, rows in zip(labels, np.bincount(codes, minlength=len(labels)), strict=True):
        if rows:
            counts[label] = counts.get(label, 0) + int(rows)
    return counts


def _positions(series: pd.Series, column: Column, labels: Sequence[str]) -> Ints:
    """The place of each row's label in `labels`, `(n,)`; -1 for any other."""
    known = {label: i for i, label in enumerate(labels)}
    codes, own = _label_codes(series, column)
    return np.array([known.get(label, -1) for label in own], np.int64)[codes]


def _label_codes(series: pd.Series, column: Column) -> tuple[Ints, list[str]]:
    """The place of each row's label among labels, `(n,)`, and these; the last is `MISSING`.

    Two places of a boolean column can have one label.
    """
    codes, texts = factorize_texts(series)
    if column.kind == "boolean":
        known = {c.lower(): c for c in column.categories}
        texts = [known.get(text.lower(), text) for text in texts]
    return np.where(codes < 0, len(texts), codes), [*texts, MISSING]


@dataclass(frozen=True)
class ConditionSpace:
    """Which cells of group and label there are, and how many rows each holds over all sites.

    Attributes:
        sensitive: Names of the sensitive features.
        target: Name of the target; None where none is named.
        groups: The groups: a value of every sensitive feature each.
        labels: Names of the label's classes or bins; one, "all", without a target.
        label_edges: Inner edges of the bins of a numeric target; empty for classes.
        counts: Rows per group and cell, `(G, L * K)` with K clusters (1 without); 0 where the cell
            is unknown or was floored.
        conditioned_on: What generator and critic are conditioned on; for weights all is known.
        centres: Centres of latent clusters in code space, `(K, D)`; empty: there are none.
    """

    sensitive: tuple[str, ...]
    target: str | None
    groups: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    label_edges: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    conditioned_on: ConditionedOn = "group_and_label"
    centres: tuple[tuple[float, ...], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The groups' names as shown to people."""
        return tuple(", ".join(group) if group else "all" for group in self.groups)

    @property
    def clusters(self) -> int:
        """K, number of latent clusters; 1 where there are none."""
        return max(len(self.centres), 1)

    @property
    def per_group(self) -> int:
        """Cells of each group: its labels times clusters."""
        return len(self.labels) * self.clusters

    @property
    def width(self) -> int:
        """C, length of a condition."""
        return sum(self.blocks)

    @property
    def blocks(self) -> tuple[int, int, int]:
        """Lengths of the condition's one-hot vectors: group, label, cluster; 0: it is not told."""
        return (
            len(self.groups) if self.conditioned_on in ("group", "group_and_label") else 0,
            len(self.labels) if self.conditioned_on in ("label", "group_and_label") else 0,
            len(self.centres),
        )

    @property
    def table(self) -> Ints:
        """Rows per group and cell, `(G, L * K)`."""
        return np.array(self.counts, dtype=np.int64).reshape(len(self.groups), self.per_group)

    @property
    def group_counts(self) -> Ints:
        """n_g, rows per group, `(G,)`."""
        counts: Ints = self.table.sum(1)
        return counts

    @property
    def given(self) -> tuple[str, ...]:
        """Columns that follow from the condition, so that no generator has to make them."""
        group, label, _ = self.blocks
        features = self.sensitive if group else ()
        classes = label and self.target is not None and not self.label_edges
        target = (self.target,) if classes and self.target not in features else ()
        return (*features, *(t for t in target if t is not None))

    def codec(self, schema: Schema) -> Codec:
        """How rows are encoded: samples where there are any, else the columns of a table."""
        return schema.samples.codec if schema.samples else self.table_codec(schema)

    @property
    def asked(self) -> tuple[str, ...]:
        """Columns whose values rows are asked for by: no constraint may change them."""
        target = () if self.target is None or self.target in self.sensitive else (self.target,)
        return (*self.sensitive, *target)

    def table_codec(self, schema: Schema) -> TableCodec:
        """How rows of a table are encoded: without the columns that follow from the condition.

        Nor with those that constraints determine; see `everymode.wgan.data.constrained`.
        """
        if schema.constraints:
            schema = construction(schema, self.asked).schema
        return TableCodec(schema.without(self.given))

    def group_index(self, frame: pd.DataFrame, schema: Schema, where: str) -> Ints:
        """The group of each row, `(n,)`; -1 for a row of no known group."""
        if not self.sensitive:
            return np.zeros(len(frame), dtype=np.int64)
        place = np.zeros(len(frame), dtype=np.int64)
        unknown = np.zeros(len(frame), dtype=np.bool_)
        values = [sorted({group[i] for group in self.groups}) for i in range(len(self.sensitive))]
        for name, own in zip(self.sensitive, values, strict=True):
            codes = _positions(frame[name], schema[name], own)
            unknown |= codes < 0
            place = place * len(own) + codes
        known = np.full([len(own) for own in values], -1, dtype=np.int64)
        for i, group in enumerate(self.groups):
            known[tuple(own.index(v) for own, v in zip(values, group, strict=True))] = i
        return np.where(unknown, -1, known.reshape(-1)[np.where(unknown, 0, place)])

    def label_index(self, frame: pd.DataFrame, schema: Schema, where: str) -> Ints:
        """The label of each row, `(n,)`; -1 for a label that is not known."""
        if self.target is None:
            return np.zeros(len(frame), dtype=np.int64)
        column = schema[self.target]
        if self.label_edges:
            values = parse_values(frame, column, where)
            label = assign_bins(values, self.label_edges)
            label[label >= len(self.labels)] = -1
            return label
        return _positions(frame[self.target], column, self.labels)

    def cell_index(
        self, frame: pd.DataFrame, schema: Schema, where: str = "the table", codes: Codes = None
    ) -> Ints:
        """The cell (g * L + l) * K + k of each row, `(n,)`; -1 for a row of no cell with rows.

        Args:
            frame: The rows.
            schema: Their columns.
            where: Their file, for messages.
            codes: The encoded rows, `(n, D)`; needed where there are clusters.

        Raises:
            ValueError: There are clusters, and no codes are given.
        """
        group = self.group_index(frame, schema, where)
        label = self.label_index(frame, schema, where)
        pair = group * len(self.labels) + label
        pair[(group < 0) | (label < 0)] = -1
        rows = self.table.reshape(-1, self.clusters).sum(1)
        pair[(pair >= 0) & (rows[pair] == 0)] = -1
        return self.refined(pair, codes)

    def refined(self, pairs: Ints, codes: Codes) -> Ints:
        """The cell of each row, `(n,)`, from its group and label g * L + l, `(n,)`.

        A row goes to the nearest of the clusters in which its group and label have rows, so that
        no row is lost by clusters; -1 stays -1. Without clusters a pair is a cell.

        Raises:
            ValueError: There are clusters, and no codes are given.
        """
        if not self.centres:
            return pairs
        if codes is None:
            raise ValueError("cells are made of clusters, too: expected the encoded rows")
        allowed = self.table.reshape(-1, self.clusters)[pairs] > 0
        cluster = Centres(np.array(self.centres)).nearest(codes, allowed)
        return np.where(pairs >= 0, pairs * self.clusters + cluster, -1)

    @property
    def plain(self) -> "ConditionSpace":
        """The same without clusters."""
        table = self.table.reshape(len(self.groups), len(self.labels), self.clusters).sum(2)
        return replace(self, centres=(), counts=_nested(table))

    def clustered(self, centres: Floats, counts: Ints | None = None) -> "ConditionSpace":
        """The same with clusters around `centres` `(K, D)`.

        Args:
            centres: The centres.
            counts: Rows per group and cell, `(G, L * K)`; None: not known yet, and every cluster is
                open to all groups and labels that have rows.
        """
        if counts is None:
            counts = np.repeat(self.plain.table, len(centres), axis=1)
        return replace(self, centres=tuple(map(tuple, centres.tolist())), counts=_nested(counts))

    def split(self, cells: Ints) -> tuple[Ints, Ints, Ints]:
        """Group, label and cluster of cells `(n,)`, `(n,)` each."""
        rest, cluster = np.divmod(cells, self.clusters)
        group, label = np.divmod(rest, len(self.labels))
        return group, label, cluster

    def encode(self, cells: Ints) -> npt.NDArray[np.float32]:
        """Cells `(n,)` -> conditions `(n, C)`: one-hot group, label and cluster, side by side."""
        condition = np.zeros((len(cells), self.width), dtype=np.float32)
        rows, start = np.arange(len(cells)), 0
        for index, size in zip(self.split(cells), self.blocks, strict=True):
            if size:
                condition[rows, start + index] = 1.0
            start += size
        return condition

    def decode(self, cells: Ints, schema: Schema) -> dict[str, pd.Series]:
        """Cells `(n,)` -> the columns that follow from them (`given`)."""
        group, label, _ = self.split(cells)
        columns = {
            name: np.array([g[i] for g in self.groups], dtype=object)[group]
            for i, name in enumerate(self.sensitive)
            if name in self.given
        }
        if self.target in self.given and self.target not in columns:
            columns[str(self.target)] = np.array(self.labels, dtype=object)[label]
        return {name: _typed(values, schema[name]) for name, values in columns.items()}

    def values(self, name: str) -> tuple[str, ...]:
        """The values that the cells' groups or labels have of a sensitive feature or the target."""
        if name not in self.sensitive:
            return self.labels
        return tuple(sorted({group[self.sensitive.index(name)] for group in self.groups}))

    def select(self, wanted: Mapping[str, Collection[str]]) -> npt.NDArray[np.bool_]:
        """Which cells, `(G * L * K,)`, hold rows and have one of the wanted values in each column.

        Args:
            wanted: By column that follows from the cell (`given`): some of its `values`.
        """
        chosen = self.table.reshape(-1) > 0
        group, label, _ = self.split(np.arange(len(chosen)))
        for name, values in wanted.items():
            if name in self.sensitive:
                own, index = [g[self.sensitive.index(name)] for g in self.groups], group
            else:
                own, index = list(self.labels), label
            chosen &= np.array([value in values for value in own])[index]
        return chosen

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "sensitive": list(self.sensitive),
            "target": self.target,
            "groups": [list(group) for group in self.groups],
            "labels": list(self.labels),
            "label_edges": list(self.label_edges),
            "counts": [list(row) for row in self.counts],
            "told": self.conditioned_on,
            "centres": [list(centre) for centre in self.centres],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ConditionSpace":
        """The inverse of `to_json`."""
        return ConditionSpace(
            sensitive=tuple(value["sensitive"]),
            target=value["target"],
            groups=tuple(tuple(group) for group in value["groups"]),
            labels=tuple(value["labels"]),
            label_edges=tuple(value["label_edges"]),
            counts=tuple(tuple(row) for row in value["counts"]),
            conditioned_on=value.get("told", "group_and_label"),
            centres=tuple(tuple(centre) for centre in value.get("centres", ())),
        )


def assign_bins(values: Floats, edges: Sequence[float]) -> Ints:
    """The bin of each number, `(n,)`; missing ones come after the last bin.

    >>> assign_bins(np.array([0.0, 2.0, np.nan]), [1.0]).tolist()
    [0, 1, 2]
    """
    index = np.searchsorted(np.asarray(edges), values, side="right").astype(np.int64)
    index[np.isnan(values)] = len(edges) + 1
    return index


def _nested(counts: Ints) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, counts.tolist()))


def _typed(values: npt.NDArray[np.object_], column: Column) -> pd.Series:
    """Text back in the type the column had."""
    blank = values == MISSING
    series = pd.Series(values, dtype="str").mask(blank)
    if column.dtype.lower().startswith(("int", "uint", "float")):
        numbers = pd.to_numeric(series)
        return numbers.astype("Int64") if blank.any() and "int" in column.dtype.lower() else numbers
    if column.kind == "boolean" or column.dtype == "bool":
        truth = series.str.lower().map({"true": True, "false": False})
        return truth.astype("boolean" if blank.any() else "bool")
    return series
