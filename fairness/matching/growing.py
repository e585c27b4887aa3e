"""Trees grown where two tables differ, a level at a time, from histograms: sums that sites add up.

A histogram counts, at one node and of one column, the rows of each code. With those of the data and
those of weighted synthetic rows, every split of the node can be judged without a row being seen.
The best split is the one after which the two tables are told apart best, by the likelihood-ratio
statistic of the rows that go left and right,

    G = 2 (l log(l / l') + r log(r / r') - n log(n / n')),

where l, r and n count the data's rows on the left, on the right and together, and l', r' and n' the
synthetic ones, weighted so that they are as many in all. So a tree is a critic that is grown on the
data's sums. That the best of many splits differs by chance as well is left to whoever uses its
leaves.

A histogram is asked for as the counts of a tree that predicts the column
(`everymode.fairness.matching.trees`), whose leaves are the nodes that may still split and, each
folded into one, the branches that may not.

Sources: Chen, Guestrin, "XGBoost: A Scalable Tree Boosting System", 2016 (histograms, levels);
Lopez-Paz, Oquab, "Revisiting Classifier Two-Sample Tests", 2017.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from everymode.fairness.matching.codes import Codes
from everymode.fairness.matching.trees import LEAF, NO_COLUMN, Tree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """How rows of a node part.

    Attributes:
        gain: G; the more, the better the two tables are told apart.
        column: The column.
        cut: Rows up to this code go left.
        equal: Whether only rows of just this code do.
        held: Rows of the data on either side.
    """

    gain: float
    column: int
    cut: int
    equal: bool
    held: tuple[int, int]


def best_split(
    real: Floats, made: Floats, column: int, ordered: bool, least: float
) -> Split | None:
    """The best split of one node by one column; None where none leaves rows enough on both sides.

    Args:
        real: The data's rows of each code, `(codes,)`.
        made: Synthetic rows of each code, weighted, `(codes,)`.
        column: The column.
        ordered: Whether its codes have an order that can be cut; single codes can in any case.
        least: Rows of either side at least, on average over the two tables; half as many are
            synthetic at least, so that weights can reach what is counted.
    """
    parts = [(True, real, made)]
    if ordered:
        parts.insert(0, (False, np.cumsum(real), np.cumsum(made)))
    found: Split | None = None
    for equal, left, own in parts:
        right, other = real.sum() - left, made.sum() - own
        fits = (np.minimum(left + own, right + other) >= 2 * least) & (
            np.minimum(own, other) >= least / 2
        )
        if not fits.any():
            continue
        gains = 2 * (_likelihood(left, own) + _likelihood(right, other))
        gains -= 2 * _likelihood(real.sum(), made.sum())
        cut = int(np.where(fits, gains, -np.inf).argmax())
        gain = float(gains[cut])
        if gain > (found.gain if found else 0):
            found = Split(gain, column, cut, equal, (round(left[cut]), round(right[cut])))
    return found


def _likelihood(real: Floats, made: Floats) -> Floats:
    """The data's n log(n / n'), which is 0 without rows of theirs."""
    real, made = np.maximum(real, 0), np.maximum(made, 1e-9)
    found: Floats = real * np.log(np.maximum(real, 1e-9) / made)
    return found


@dataclass(frozen=True)
class Growing:
    """A tree that is not finished.

    Attributes:
        tree: The tree so far; it predicts no column.
        columns: The columns that it may split on.
        growing: Its leaves that may split, as nodes, `(K,)`.
    """

    tree: Tree
    columns: tuple[int, ...]
    growing: Ints

    @staticmethod
    def root(columns: Sequence[int]) -> "Growing":
        """A tree of one leaf, which may split."""
        none = np.zeros(1, dtype=np.int32)
        tree = Tree(NO_COLUMN, none + LEAF, none, none.astype(np.bool_), none)
        return Growing(tree, tuple(columns), np.zeros(1, dtype=np.int64))

    def folded(self) -> tuple[Tree, Ints]:
        """The tree with branches that grow no more as one leaf each; and the leaf of each node.

        Returns:
            A tree, and the number of the leaf that each of `growing` is there, `(K,)`.
        """
        tree = self.tree
        alive = np.zeros(len(tree.column), dtype=np.bool_)
        alive[self.growing] = True
        for nodes in reversed(tree.inner):
            left = tree.left[nodes]
            alive[nodes] = alive[left] | alive[left + 1]
        kept: list[int] = [0]
        column, left_of, leaves = [], [], 0
        number = np.full(len(tree.column), -1, dtype=np.int64)
        for node in kept:
            if tree.column[node] == LEAF or not alive[node]:
                number[node] = leaves
                column.append(LEAF)
                left_of.append(leaves)
                leaves += 1
            else:
                column.append(int(tree.column[node]))
                left_of.append(len(kept))
                kept += [int(tree.left[node]), int(tree.left[node]) + 1]
        own = np.array(kept)
        short = Tree(
            NO_COLUMN,
            np.array(column, dtype=np.int32),
            tree.cut[own],
            tree.equal[own],
            np.array(left_of, dtype=np.int32),
        )
        return short, number[self.growing]

    def questions(self) -> list[Tree]:
        """Trees whose counts are the histograms of the nodes that may split, one a column."""
        short, _ = self.folded()
        return [replace(short, target=column) for column in self.columns]

    def histograms(self, codes: Codes, weights: Floats, sizes: Sequence[int]) -> tuple[Floats, ...]:
        """Those of weighted rows: of each column `(K, codes)`.

        Args:
            codes: The rows, `(n, columns)`.
            weights: Their weights, `(n,)`.
            sizes: Codes of each column.
        """
        short, place = self.folded()
        leaf = short.apply(codes)
        found = []
        for column in self.columns:
            size = sizes[column]
            counts = np.bincount(leaf * size + codes[:, column], weights, short.leaves * size)
            found.append(counts.reshape(-1, size)[place])
        return tuple(found)

    def grown(
        self,
        real: Sequence[Ints],
        made: Sequence[Floats],
        ordered: Sequence[bool],
        least: float,
        allowed: Callable[[Tree, int], bool] = lambda tree, node: True,
    ) -> "Growing":
        """The tree with one level more.

        Args:
            real: The data's counts for each of `questions`, `(leaves, codes)` each.
            made: `histograms` of synthetic rows.
            ordered: Of each column of a row, whether its codes have an order.
            least: See `best_split`. Nodes that hold fewer than twice as many rows of the data
                split no further, and are not asked for again.
            allowed: Whether a tree may have the split of one of its nodes.
        """
        _, place = self.folded()
        tree, growing = self.tree, []
        for k, node in enumerate(self.growing.tolist()):
            splits = [
                best_split(counts[place[k]].astype(np.float64), own[k], c, ordered[c], least)
                for c, counts, own in zip(self.columns, real, made, strict=True)
            ]
            for split in sorted((s for s in splits if s), key=lambda s: -s.gain):
                wider = _split(tree, node, split)
                if allowed(wider, node):
                    sides = zip((0, 1), split.held, strict=True)
                    growing += [len(tree.column) + s for s, rows in sides if rows >= 2 * least]
                    tree = wider
                    break
        return Growing(tree, self.columns, np.array(growing, dtype=np.int64))


def _split(tree: Tree, node: int, split: Split) -> Tree:
    """The tree with a leaf split in two."""
    column = np.append(tree.column, [LEAF, LEAF]).astype(np.int32)
    left = np.append(tree.left, [0, 0]).astype(np.int32)
    cut = np.append(tree.cut, [0, 0]).astype(np.int32)
    equal = np.append(tree.equal, [False, False])
    column[node], cut[node], equal[node] = split.column, split.cut, split.equal
    left[node] = len(tree.column)
    leaf = column == LEAF
    left[leaf] = np.arange(leaf.sum())
    return Tree(NO_COLUMN, column, cut, equal, left)
