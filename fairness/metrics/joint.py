"""Joint distributions of two and three columns, compared in bins; pairs that never occur.

Numbers are cut at quantiles of the real rows, categories are the most frequent ones and the rest; a
missing value is a bin of its own.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.metrics.marginals import category_codes, cells, total_variation
from everymode.fairness.metrics.streams import stream
from everymode.wgan.data.schema import Column, Schema

Codes = NDArray[np.uint8]
Subsets = NDArray[np.int64]

BINS = 10
"""Bins of a number, about, for distances; one of at most twice as many values has a bin for each.
"""

FINE_BINS = 50
"""The same for impossible pairs, which ask what a single value goes with: an age, say."""

CATEGORIES = 30
"""Categories of a column that have a bin of their own."""

SUBSETS = {2: 1000, 3: 500}
"""Most pairs and triples of columns that are looked at; of more, a sample that the seed fixes."""

COLUMNS = 200
"""Most columns that pairs and triples are taken of; of more, a sample that the seed fixes."""

EXPECTED = 10
"""Rows to expect of a pair of values before its absence is no chance: of independent columns, five
pairs in 100,000 are absent where ten rows are expected."""


@dataclass(frozen=True)
class Grid:
    """The bins of one column.

    Attributes:
        column: The column.
        edges: Upper ends of the bins of a number, ascending; above the last is one bin more.
        places: Of a category column, the bin of each of `category_codes`, `(K + 2,)`.
    """

    column: Column
    edges: NDArray[np.float64]
    places: NDArray[np.int64]

    @staticmethod
    def of(column: Column, real: pd.DataFrame, bins: int = BINS) -> "Grid":
        """The bins that real rows give; raises `DataError` where a value is not of its kind."""
        values = cells(real, column)
        if column.numeric:
            known = values[~np.isnan(values)]
            edges = np.unique(known)
            if len(edges) > 2 * bins:
                ends = np.linspace(0, 1, bins + 1)[1:]
                edges = np.unique(np.quantile(known, ends, method="inverted_cdf"))
            return Grid(column, edges, np.empty(0, dtype=np.int64))
        codes = category_codes(values, _categories(column))
        count = len(column.categories)
        common = np.argsort(-np.bincount(codes, minlength=count + 2)[:count], kind="stable")
        places = np.full(count + 2, min(count, CATEGORIES))
        places[common[:CATEGORIES]] = np.arange(len(common[:CATEGORIES]))
        places[-1] += 1
        return Grid(column, np.empty(0), places)

    @property
    def size(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 2 if self.column.numeric else int(self.places[-1]) + 1

    def codes(self, frame: pd.DataFrame) -> Codes:
        """The bin of each row, `(n,)`."""
        values = cells(frame, self.column)
        if not self.column.numeric:
            return self.places[category_codes(values, _categories(self.column))].astype(np.uint8)
        codes = np.searchsorted(self.edges, values, side="left")
        return np.where(np.isnan(values), len(self.edges) + 1, codes).astype(np.uint8)


def _categories(column: Column) -> tuple[str, ...]:
    return tuple(map(str.lower if column.kind == "boolean" else str, column.categories))


@dataclass(frozen=True)
class JointCodes:
    """All rows of real, synthetic and held-out tables in the same bins.

    Attributes:
        names: The columns, C of them.
        sizes: How many bins each has, `(C,)`.
        real: `(n, C)`.
        synthetic: `(m, C)`.
        holdout: `(h, C)`; None where no rows are held out.
        seed: Of the columns and pairs that are looked at, where there are too many.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    real: Codes
    synthetic: Codes
    holdout: Codes | None
    seed: int = 0

    @staticmethod
    def of(
        schema: Schema,
        real: pd.DataFrame,
        synthetic: pd.DataFrame,
        holdout: pd.DataFrame | None,
        bins: int = BINS,
        seed: int = 0,
    ) -> "JointCodes":
        """Bins of the real rows, and the place of every row in them.

        Args:
            schema: The columns.
            real: Rows that bins are made of.
            synthetic: Rows to be judged.
            holdout: Real rows of no part in the bins, where there are any.
            bins: Of a number, about: at most 120.
            seed: Of the columns and pairs that are looked at, where there are too many.

        Raises:
            DataError: Where a value is not of its column's kind.
        """
        columns = schema.columns
        if len(columns) > COLUMNS:
            rng = stream(seed, "joint columns")
            drawn = np.sort(rng.choice(len(columns), COLUMNS, replace=False))
            columns = tuple(columns[c] for c in drawn)
        grids = [Grid.of(column, real, bins) for column in columns]

        def coded(frame: pd.DataFrame) -> Codes:
            none = np.zeros((len(frame), 0), dtype=np.uint8)
            return np.concatenate([none, *(g.codes(frame)[:, None] for g in grids)], axis=1)

        return JointCodes(
            tuple(column.name for column in columns),
            np.array([grid.size for grid in grids], dtype=np.int64),
            coded(real),
            coded(synthetic),
            None if holdout is None else coded(holdout),
            seed,
        )

    @cached_property
    def impossible(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Which synthetic rows, and which held-out ones, hold an impossible pair; see the function.

        Held-out rows do not decide what is impossible: their share is what chance alone gives.
        """
        pairs = column_subsets(len(self.names), 2, self.seed)
        held = [self.synthetic, *([] if self.holdout is None else [self.holdout])]
        found = impossible_pairs(self.real, held, self.sizes, pairs)
        return found[0], found[1] if self.holdout is not None else None


def column_subsets(columns: int, size: int, seed: int = 0) -> Subsets:
    """All subsets of columns of one size, or a fixed sample of `SUBSETS[size]`, `(S, size)`.

    >>> column_subsets(3, 2).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    most = SUBSETS[size]
    if math.comb(columns, size) <= most:
        every = list(itertools.combinations(range(columns), size))
        return np.array(every, dtype=np.int64).reshape(-1, size)
    rng, found = stream(seed, "columns", str(size)), set[tuple[int, ...]]()
    while len(found) < most:
        found.add(tuple(sorted(rng.choice(columns, size, replace=False).tolist())))
    return np.array(sorted(found), dtype=np.int64)


def joint_distance(
    one: Codes, two: Codes, sizes: NDArray[np.int64], subsets: Subsets
) -> float | None:
    """Mean total variation of joint distributions, over subsets of columns.

    Even of one distribution it is not 0: compare it with what other real rows give, as many.

    Args:
        one: Rows in bins, `(n, C)`.
        two: Likewise, `(m, C)`.
        sizes: Bins of each column, `(C,)`.
        subsets: Columns, `(S, k)`.

    Returns:
        A value in [0, 1]; None where there is no subset, or a table is empty.

    >>> rows = np.array([[0, 0], [1, 1]], dtype=np.uint8)
    >>> joint_distance(rows, 1 - rows, np.array([2, 2]), np.array([[0, 1]]))
    0.0
    >>> joint_distance(rows, rows[:, :1] * [1, 0], np.array([2, 2]), np.array([[0, 1]]))
    0.5
    """
    if not len(subsets) or not len(one) or not len(two):
        return None
    found = []
    for columns in subsets:
        bins = int(sizes[columns].prod())
        counts = [np.bincount(_places(rows, columns, sizes), minlength=bins) for rows in (one, two)]
        found.append(float(total_variation(*counts)))
    return float(np.mean(found))


def impossible_pairs(
    real: Codes, tables: Sequence[Codes], sizes: NDArray[np.int64], pairs: Subsets
) -> list[NDArray[np.bool_]]:
    """Which rows hold a pair of values that no real row holds though chance would expect it.

    A pair of values of two columns counts as impossible if no real row has it and, were the columns
    independent, `EXPECTED` real rows or more would.

    Args:
        real: Rows in bins, `(n, C)`.
        tables: Rows to look at, `(m, C)` each.
        sizes: Bins of each column, `(C,)`.
        pairs: Columns, `(S, 2)`.

    Returns:
        One array `(m,)` a table.
    """
    marked = [np.zeros(len(rows), dtype=bool) for rows in tables]
    shares = [np.bincount(real[:, c], minlength=size) for c, size in enumerate(sizes)]
    for columns in pairs:
        a, b = (shares[c] for c in columns)
        counts = np.bincount(_places(real, columns, sizes), minlength=len(a) * len(b))
        expected = np.outer(a, b).ravel() / max(len(real), 1)
        never = (counts == 0) & (expected >= EXPECTED)
        if never.any():
            for rows, mark in zip(tables, marked, strict=True):
                mark |= never[_places(rows, columns, sizes)]
    return marked


def _places(rows: Codes, columns: NDArray[np.int64], sizes: NDArray[np.int64]) -> Subsets:
    """The cell of each row in the joint table of some columns, `(n,)`."""
    place = np.zeros(len(rows), dtype=np.int64)
    for column in columns:
        place = place * sizes[column] + rows[:, column]
    return place
