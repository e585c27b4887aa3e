"""Rows compared column by column (Gower's distance), and nearest rows by it.

Two numbers are at their distance over the column's range in both tables, two categories at 0 or 1;
a missing value is at 1 from any value, another missing one included. As in anonymeter (Giomi,
Boenisch, Wehmeyer, Tasnádi, "A Unified Framework for Quantifying Privacy Risk in Synthetic Data",
2023), but that a row with a missing number is there no row's neighbour.

Source: Gower, "A General Coefficient of Similarity and Some of Its Properties", 1971.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.attacks.rows import Floats, Places
from everymode.fairness.metrics.marginals import cells
from everymode.wgan.data.schema import Schema

CELLS = 2**19
"""Pairs of rows in memory at a time."""


@dataclass(frozen=True)
class Coded:
    """Rows as numbers: values of numeric columns as they are, categories by codes.

    Attributes:
        names: The columns.
        numeric: Whether each is numeric, `(c,)`.
        values: `(c, n)`; NaN: missing.
    """

    names: tuple[str, ...]
    numeric: NDArray[np.bool_]
    values: Floats

    def __len__(self) -> int:
        """How many rows."""
        return int(self.values.shape[1])

    def take(self, places: Places) -> "Coded":
        """Some of the rows."""
        return Coded(self.names, self.numeric, self.values[:, places])


def coded(schema: Schema, *frames: pd.DataFrame) -> list[Coded]:
    """Tables with codes in common.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    numeric = np.array([column.numeric for column in schema.columns])
    values: list[list[Floats]] = [[] for _ in frames]
    for column in schema.columns:
        parts = [cells(frame, column) for frame in frames]
        if not column.numeric:
            both = pd.factorize(pd.Series(np.concatenate(parts), dtype=object))[0]
            codes = np.where(both < 0, np.nan, both.astype(np.float64))
            parts = np.split(codes, np.cumsum([len(part) for part in parts])[:-1])
        for own, part in zip(values, parts, strict=True):
            own.append(np.asarray(part, dtype=np.float64))
    return [
        Coded(schema.names, numeric, np.stack(own) if own else np.zeros((0, len(frame))))
        for own, frame in zip(values, frames, strict=True)
    ]


def column_distances(queries: Coded, candidates: Coded) -> Iterator[tuple[int, list[Floats]]]:
    """Distances in each column, `(q, m)` each, of a block of queries and where it starts."""
    both = np.concatenate([queries.values, candidates.values], axis=1)
    known = ~np.isnan(both).all(axis=1)
    ranges = np.ones(len(both))
    ranges[known] = np.nanmax(both[known], axis=1) - np.nanmin(both[known], axis=1)
    scales = np.where(queries.numeric & (ranges > 0), ranges, 1.0)
    size = max(1, CELLS // max(len(candidates), 1))
    for start in range(0, len(queries), size):
        part = slice(start, start + size)
        found = []
        for number, scale, one, two in zip(
            queries.numeric, scales, queries.values, candidates.values, strict=True
        ):
            if number:
                distance = np.abs(one[part, None] / scale - two[None, :] / scale)
                np.nan_to_num(distance, copy=False, nan=1.0)
            else:
                distance = (one[part, None] != two[None, :]).astype(np.float64)
            found.append(distance)
        yield start, found


def nearest(
    queries: Coded, candidates: Coded, columns: Sequence[Sequence[int]], k: int = 1
) -> list[Places]:
    """The k nearest candidates of each query, `(q, k)`, by each of several sets of columns.

    Ties go to the candidate that comes first.
    """
    found = [np.empty((len(queries), k), dtype=np.int64) for _ in columns]
    for start, distances in column_distances(queries, candidates):
        for places, chosen in zip(found, columns, strict=True):
            total = np.zeros(distances[0].shape)
            for column in chosen:
                total += distances[column]
            stop = start + len(total)
            if k == 1:
                places[start:stop, 0] = total.argmin(axis=1)
            else:
                places[start:stop] = total.argsort(axis=1, kind="stable")[:, :k]
    return found


def nearest_without_each(
    queries: Coded, candidates: Coded, columns: Sequence[int]
) -> dict[int, Places]:
    """The nearest candidate of each query `(q,)` by all columns but one, for each of `columns`."""
    found = {column: np.empty(len(queries), dtype=np.int64) for column in columns}
    for start, distances in column_distances(queries, candidates):
        # Sums of the columns before and after each, so that none is taken away again: rounding
        # would break ties.
        before = [np.zeros(distances[0].shape)]
        for distance in distances[:-1]:
            before.append(before[-1] + distance)
        after = np.zeros(distances[0].shape)
        for column in reversed(range(len(distances))):
            if column in found:
                total = before[column] + after
                found[column][start : start + len(total)] = total.argmin(axis=1)
            after += distances[column]
    return found
