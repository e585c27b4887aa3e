"""Trees over codes of columns, and counts of rows in their leaves: sums that sites can add up.

A tree splits rows by the codes of some columns (`everymode.fairness.matching.codes`). Of a tree
that predicts a column, each leaf counts how many rows have each of the column's codes. Such counts
are additive over sites, so that one exchange brings those of any number of trees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.fairness.matching.codes import Codes
from everymode.fairness.matching.descent import NO_SPLIT, Descent

Ints = npt.NDArray[np.int64]
Nodes = npt.NDArray[np.int32]

WHOLE = 2**24
"""Whole numbers below it are exact as 32-bit floats, in which trees travel."""

LEAF = NO_SPLIT
"""Column of a node that does not split."""

NO_COLUMN = -2
"""Target of a tree that predicts no column: of its leaves rows are counted, and nothing else."""


@dataclass(frozen=True)
class Tree:
    """One tree. Node 0 is its root, and children come after their parents.

    Attributes:
        target: The column that it predicts, or `NO_COLUMN`.
        column: The column that each node splits on, `(N,)`; `LEAF`: none.
        cut: The code that it splits at, `(N,)`.
        equal: Whether rows of just this code go left, `(N,)`, instead of those up to it.
        left: The child on the left, `(N,)`; the other one is the next node. Of a leaf its number.
    """

    target: int
    column: Nodes
    cut: Nodes
    equal: npt.NDArray[np.bool_]
    left: Nodes

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return int((self.column == LEAF).sum())

    def apply(self, codes: Codes) -> Ints:
        """The leaf of each row `(n,)`, by codes `(n, columns)`."""
        return self._descent(codes)

    @cached_property
    def _descent(self) -> Descent:
        return Descent.of(self.column, self.cut, self.equal, self.left)

    @property
    def inner(self) -> tuple[Ints, ...]:
        """Nodes that are no leaves, one array a depth, the root's first."""
        found: list[Ints] = []
        nodes = np.zeros(1, dtype=np.int64)
        while len(nodes := nodes[self.column[nodes] != LEAF]):
            found.append(nodes)
            left = self.left[nodes].astype(np.int64)
            nodes = np.concatenate([left, left + 1])
        return tuple(found)

    def size(self, sizes: Sequence[int]) -> int:
        """Counts of each leaf, where columns have `sizes` codes."""
        return 1 if self.target == NO_COLUMN else sizes[self.target]

    def counts(self, codes: Codes, size: int) -> Ints:
        """Rows of each leaf that have each code of the target, `(leaves, size)`."""
        place = self.apply(codes)
        if self.target != NO_COLUMN:
            place = place * size + codes[:, self.target]
        found: Ints = np.bincount(place, minlength=self.leaves * size).reshape(self.leaves, size)
        return found

    def to_array(self) -> npt.NDArray[np.float32]:
        """As an array `(N, 4)` of whole numbers, for the wire."""
        parts = [self.column, self.cut, self.equal, self.left]
        return np.stack(parts, 1).astype(np.float32)

    @staticmethod
    def from_array(target: int, array: npt.NDArray[np.float32]) -> "Tree":
        """The inverse of `to_array`; see `problem` for one from elsewhere."""
        column, cut, equal, left = array.astype(np.int32).T
        return Tree(target, column, cut, equal.astype(np.bool_), left)

    def problem(self, sizes: Sequence[int], given: int) -> str:
        """What is wrong with a tree from elsewhere; "" where it is one.

        Args:
            sizes: Codes of each column.
            given: The first columns, which it predicts none of.
        """
        nodes = np.arange(len(self.column))
        own = self.target == NO_COLUMN or given <= self.target < len(sizes)
        if not len(nodes) or not own:
            return "no tree, or one that predicts no column of its own"
        leaf = self.column == LEAF
        inner = ~leaf
        known = (self.column >= LEAF) & (self.column < len(sizes)) & (self.column != self.target)
        if not known.all():
            return "a split on a column that is none, or on the one that is predicted"
        if (self.left[leaf] != np.arange(leaf.sum())).any():
            return "leaves that are not numbered one after another"
        children = np.concatenate([self.left[inner], self.left[inner] + 1])
        if (
            not np.array_equal(np.sort(children), nodes[1:])
            or (self.left[inner] <= nodes[inner]).any()
        ):
            return "nodes that are not reached just once, parents first"
        limit = np.array(sizes)[self.column[inner]]
        if ((self.cut[inner] < 0) | (self.cut[inner] >= limit)).any():
            return "a cut at a code that the column does not have"
        return ""


def from_sklearn(grown: Any, target: int, meaning: Sequence[tuple[int, int | None]]) -> Tree:
    """A tree of scikit-learn's over codes.

    Args:
        grown: Its `tree_`.
        target: The column that it predicts, or `NO_COLUMN`.
        meaning: Of each feature its column, and the code that it tells apart; None: it is the code.
    """
    column = np.full(grown.node_count, LEAF, dtype=np.int32)
    cut = np.zeros(grown.node_count, dtype=np.int32)
    equal = np.zeros(grown.node_count, dtype=np.bool_)
    left = np.zeros(grown.node_count, dtype=np.int32)
    # Breadth first, so that both children of a node come one after the other.
    queue = [0]
    place = 0
    leaves = 0
    while place < len(queue):
        node = queue[place]
        if grown.children_left[node] < 0:
            left[place] = leaves
            leaves += 1
        else:
            column[place], code = meaning[grown.feature[node]]
            children = [grown.children_left[node], grown.children_right[node]]
            equal[place] = code is not None
            if code is None:
                cut[place] = int(np.floor(grown.threshold[node]))
            else:
                cut[place] = code
                children.reverse()
            left[place] = len(queue)
            queue += children
        place += 1
    return Tree(target, column, cut, equal, left)


def leaf_counts(trees: Sequence[Tree], codes: Codes, sizes: Sequence[int]) -> Ints:
    """Counts of all trees, one after another, `(sum of leaves x codes,)`."""
    parts = [tree.counts(codes, tree.size(sizes)).reshape(-1) for tree in trees]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def split_counts(
    trees: Sequence[Tree], counts: npt.NDArray[Any], sizes: Sequence[int]
) -> list[npt.NDArray[Any]]:
    """The inverse: counts of each tree, `(leaves, codes)`."""
    shapes = [(tree.leaves, tree.size(sizes)) for tree in trees]
    ends = np.cumsum([leaves * size for leaves, size in shapes])
    return [
        part.reshape(shape) for part, shape in zip(np.split(counts, ends[:-1]), shapes, strict=True)
    ]


def trees_to_tensors(trees: Sequence[Tree]) -> dict[str, npt.NDArray[np.float32]]:
    """All trees in one array, for the wire."""
    return {"nodes": np.concatenate([tree.to_array() for tree in trees])}


def trees_from_tensors(
    targets: Sequence[int], nodes: Sequence[int], tensors: Mapping[str, npt.NDArray[Any]]
) -> tuple[Tree, ...]:
    """The inverse, of trees that predict `targets` and have so many `nodes`.

    Raises:
        ValueError: The array holds another number of nodes, or numbers that no node has.
    """
    array = tensors["nodes"]
    if len(array) != sum(nodes):
        raise ValueError(f"{len(array)} nodes, expected {sum(nodes)}")
    if not ((np.abs(array) < WHOLE) & (array == np.rint(array))).all():
        raise ValueError("nodes of numbers that are not whole")
    parts = np.split(array, np.cumsum(nodes)[:-1])
    return tuple(Tree.from_array(t, part) for t, part in zip(targets, parts, strict=True))
