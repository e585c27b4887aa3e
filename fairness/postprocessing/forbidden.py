"""Pairs of values that the data never hold though chance would expect them.

Sites count their rows in every pair of codes of two columns, a sum. A pair is forbidden if no row
of the data has it and, were the columns independent, `EXPECTED` or more would. Ranges of numbers
are looked at as well as single ones: of an ordered column, neighbouring codes are joined until they
hold a fiftieth and a tenth of the rows. A row with a forbidden pair is not made.

A count that was withheld (a site's floor) is not a zero: where the counts of two columns do not add
up to all rows, nothing of them is forbidden.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.trees import LEAF, Tree

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

EXPECTED = 10
"""Rows to expect of a pair before its absence is no chance: of independent columns, five pairs in
100,000 are absent where ten rows are expected."""

SHARES = (0.02, 0.1)
"""Least shares of the rows that ranges of ordered codes hold."""

PREFIX = "forbidden"
"""What the names of its tensors in a saved generator begin with."""


@dataclass(frozen=True)
class ForbiddenPairs:
    """Pairs of codes that no row has.

    Attributes:
        coding: What codes mean.
        columns: Two columns each, by their places among the codes, the first before the second.
        tables: Of each two columns which pairs are forbidden, `(codes, codes)`.
    """

    coding: Coding
    columns: tuple[tuple[int, int], ...]
    tables: tuple[Bools, ...]

    @staticmethod
    def of(
        coding: Coding, columns: Sequence[tuple[int, int]], counts: Sequence[Ints], rows: int
    ) -> "ForbiddenPairs":
        """From counts of the data's rows.

        Args:
            coding: What codes mean.
            columns: Two columns each.
            counts: Of each the data's rows by the codes of both, `(codes, codes)`.
            rows: The data's rows: counts that do not add up to them forbid nothing.
        """
        found, tables = [], []
        for (one, two), count in zip(columns, counts, strict=True):
            ordered = coding.columns[one].ordered, coding.columns[two].ordered
            table = never(count, ordered) if count.sum() == rows else np.zeros(count.shape, bool)
            if table.any():
                found.append((one, two))
                tables.append(table)
        return ForbiddenPairs(coding, tuple(found), tuple(tables))

    @property
    def number(self) -> int:
        """How many pairs of codes are forbidden."""
        return int(sum(table.sum() for table in self.tables))

    def broken(self, codes: Codes) -> Bools:
        """Which rows with codes `(n, columns)` hold a forbidden pair, `(n,)`."""
        own = np.ascontiguousarray(codes.T).astype(np.intp)
        found = np.zeros(len(codes), dtype=np.bool_)
        for (one, two), table in zip(self.columns, self.tables, strict=True):
            found |= table.reshape(-1).take(own[one] * table.shape[1] + own[two])
        return found

    def tensors(self) -> dict[str, Tensor]:
        """What a saved generator holds of it."""
        return {
            f"{PREFIX}_{k}": torch.from_numpy(table.astype(np.uint8))
            for k, table in enumerate(self.tables)
        }

    @staticmethod
    def from_tensors(
        coding: Coding, columns: Sequence[Sequence[int]], tensors: Mapping[str, Tensor]
    ) -> "ForbiddenPairs":
        """The inverse.

        Raises:
            KeyError: A tensor is absent.
            ValueError: They are not those of these columns.
        """
        pairs, tables = [], []
        for k, (one, two) in enumerate(columns):
            table = tensors[f"{PREFIX}_{k}"].numpy().astype(np.bool_)
            if not 0 <= one < two < len(coding.sizes):
                raise ValueError(f"forbidden pairs of columns {one} and {two}, which are none")
            if table.shape != (coding.sizes[one], coding.sizes[two]):
                raise ValueError(
                    f"forbidden pairs of other codes than columns {one} and {two} have"
                )
            pairs.append((one, two))
            tables.append(table)
        return ForbiddenPairs(coding, tuple(pairs), tuple(tables))


def never(counts: Ints, ordered: tuple[bool, bool] = (False, False)) -> Bools:
    """Which pairs are forbidden, `(A, B)`, by counts of the data's rows, `(A, B)`.

    Args:
        counts: Rows by the codes of two columns.
        ordered: Of each column whether ranges of its codes are looked at as well.

    >>> never(np.array([[0, 40], [40, 40]])).astype(int).tolist()
    [[1, 0], [0, 0]]
    >>> never(np.array([[0, 9], [9, 9]])).any()
    np.False_
    """
    found = np.zeros(counts.shape, dtype=np.bool_)
    total = counts.sum()
    if not total:
        return found
    ways = [_ways(counts.sum(1 - axis), ordered[axis]) for axis in (0, 1)]
    for one, two in itertools.product(*ways):
        joined = np.add.reduceat(np.add.reduceat(counts, one, 0), two, 1)
        expected = np.outer(joined.sum(1), joined.sum(0)) / total
        absent = (joined == 0) & (expected >= EXPECTED)
        if absent.any():
            wide = [
                np.diff([*own, size]) for own, size in zip((one, two), counts.shape, strict=True)
            ]
            found |= absent.repeat(wide[0], 0).repeat(wide[1], 1)
    return found


def _ways(counts: Ints, ordered: bool) -> list[Ints]:
    """Where parts of codes begin: each code, and ranges of neighbouring ones."""
    found = [np.arange(len(counts))]
    for share in SHARES if ordered else ():
        starts, held = [0], 0
        for code, rows in enumerate(counts[:-1].tolist(), 1):
            held += rows
            if held >= share * counts.sum():
                starts.append(code)
                held = 0
        found.append(np.array(starts))
    return found


def by_code(column: int, size: int, target: int) -> Tree:
    """A tree with a leaf for each code of a column, which counts the codes of another one.

    >>> by_code(0, 3, 1).apply(np.array([[2, 0], [0, 0], [1, 0]])).tolist()
    [2, 0, 1]
    """
    nodes = np.arange(2 * size - 1)
    leaf = (nodes % 2 == 1) | (nodes == 2 * size - 2)
    return Tree(
        target,
        np.where(leaf, LEAF, column).astype(np.int32),
        np.where(leaf, 0, nodes // 2).astype(np.int32),
        ~leaf,
        np.where(leaf, nodes // 2, nodes + 1).astype(np.int32),
    )
