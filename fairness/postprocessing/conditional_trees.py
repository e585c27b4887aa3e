"""Rows drawn column by column, each from the leaf of a tree on the columns before it.

This is synthesis by CART, with trees and counts from two places. The trees are grown on synthetic
rows, where nobody's are needed; what a leaf holds of the next column is counted at the sites, a
sum. So the distribution of every column given its leaf is the data's own, and the trees decide
alone how much of what came before it depends on. What a row's condition says comes first, and its
shares are exact.

Sources: Reiter, "Using CART to generate partially synthetic public use microdata", 2005; Nowok,
Raab, Dibben, "synthpop: Bespoke Creation of Synthetic Data in R", 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.trees import LEAF, Tree
from everymode.fairness.postprocessing.forbidden import ForbiddenPairs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

TRIES = 8
"""Times that rows with a forbidden pair are drawn again; those left are dropped later."""

GUIDE = 128
"""Parts of a leaf that are looked up: a power of two, so that nothing is rounded."""

PREFIX = "trees"
"""What the names of its tensors in a saved generator begin with."""


@dataclass(frozen=True)
class ConditionalTrees:
    """A generator of rows, one column after another.

    Attributes:
        coding: Between encoded rows and codes.
        trees: One for each column that the condition does not say, in the order in which they are
            drawn.
        shares: Of each tree what every leaf holds of every code, `(leaves, codes)`; rows add up
            to 1.
        forbidden: Pairs of values that no row has; None: any may.
    """

    coding: Coding
    trees: tuple[Tree, ...]
    shares: tuple[Floats, ...]
    forbidden: ForbiddenPairs | None = None

    @staticmethod
    def of(
        coding: Coding, trees: Sequence[Tree], counts: Sequence[Ints], least: int
    ) -> "ConditionalTrees":
        """From counts of the data's rows.

        Args:
            coding: Between encoded rows and codes.
            trees: One for each column, in the order of drawing.
            counts: Of each tree the data's rows by leaf and code, `(leaves, codes)`.
            least: Rows that a leaf's distribution rests on at least; see `filled_shares`.
        """
        shares = [
            filled_shares(tree, count, least) for tree, count in zip(trees, counts, strict=True)
        ]
        return ConditionalTrees(coding, tuple(trees), tuple(shares))

    def codes(self, cells: Ints, rng: np.random.Generator) -> Codes:
        """Codes `(n, columns)` of a row for each cell `(n,)`; forbidden ones are drawn again."""
        found = self._drawn(cells, rng)
        if self.forbidden is None:
            return found
        left = np.flatnonzero(self.forbidden.broken(found))
        for _ in range(TRIES):
            if not len(left):
                break
            again = self._drawn(cells[left], rng)
            found[left] = again
            left = left[self.forbidden.broken(again)]
        return found

    def _drawn(self, cells: Ints, rng: np.random.Generator) -> Codes:
        found = np.zeros((len(cells), len(self.coding.columns)), dtype=np.int16)
        found[:, : self.coding.given] = self.coding.given_codes(cells)
        for tree, steps in zip(self.trees, self._steps, strict=True):
            leaf = tree.apply(found)
            place = steps.search(leaf + rng.random(len(cells)))
            size = self.coding.columns[tree.target].size
            found[:, tree.target] = np.minimum(place - leaf * size, size - 1)
        return found

    def rows(self, cells: Ints, rng: np.random.Generator) -> Rows:
        """An encoded row for each cell `(n,)`, `(n, D)`, every category chosen."""
        return self.coding.rows(self.codes(cells, rng), rng)

    @cached_property
    def _steps(self) -> tuple["Steps", ...]:
        return tuple(map(Steps.of, self.shares))

    def tensors(self) -> dict[str, Tensor]:
        """What a saved generator holds of it."""
        found: dict[str, Tensor] = {}
        for k, (tree, shares) in enumerate(zip(self.trees, self.shares, strict=True)):
            found[f"{PREFIX}_{k}_nodes"] = torch.from_numpy(tree.to_array())
            found[f"{PREFIX}_{k}_shares"] = torch.from_numpy(shares.astype(np.float32))
        return found

    @staticmethod
    def from_tensors(
        coding: Coding, targets: Sequence[int], tensors: Mapping[str, Tensor]
    ) -> "ConditionalTrees":
        """The inverse.

        Raises:
            KeyError: A tensor is absent.
            ValueError: They do not go together.
        """
        trees, shares = [], []
        for k, target in enumerate(targets):
            tree = Tree.from_array(target, tensors[f"{PREFIX}_{k}_nodes"].numpy())
            if problem := tree.problem(coding.sizes, coding.given):
                raise ValueError(f"tree {k}: {problem}")
            own = tensors[f"{PREFIX}_{k}_shares"].numpy().astype(np.float64)
            if own.shape != (tree.leaves, coding.sizes[target]) or not (own >= 0).all():
                raise ValueError(f"shares of tree {k} do not fit it")
            total = own.sum(1, keepdims=True)
            if not (np.abs(total - 1) < 1e-3).all():
                raise ValueError(f"shares of tree {k} do not add up to 1")
            trees.append(tree)
            shares.append(own / total)
        return ConditionalTrees(coding, tuple(trees), tuple(shares))


@dataclass(frozen=True)
class Steps:
    """Distribution functions of all leaves, one above another: one search does for all rows.

    Source: Chen, Asau, "On Generating Random Variates from an Empirical Distribution", 1974
    (a table says where a search begins).

    Attributes:
        heights: Where each code of each leaf ends; leaf k takes what is between k and k + 1.
        guide: The first place that may be meant, for `GUIDE` parts of each leaf.
    """

    heights: Floats
    guide: Ints

    @staticmethod
    def of(shares: Floats) -> "Steps":
        """From what every leaf holds of every code, `(leaves, codes)`."""
        heights = np.cumsum(shares, 1)
        # The last code with a share closes the leaf, whatever was lost in rounding.
        heights[heights >= heights[:, -1:]] = 1.0
        heights = (heights + np.arange(len(heights))[:, None]).reshape(-1)
        starts = np.arange(len(shares) * GUIDE) / GUIDE
        return Steps(heights, np.searchsorted(heights, starts, side="right"))

    def search(self, points: Floats) -> Ints:
        """Places of points `(n,)`: the first whose height is larger.

        >>> Steps.of(np.array([[0.5, 0.5], [0.0, 1.0]])).search(np.array([0.2, 0.5, 1.0])).tolist()
        [0, 1, 3]
        """
        # Rounded up to the end of all leaves, a point would have no part.
        part = np.minimum((points * GUIDE).astype(np.int64), len(self.guide) - 1)
        place = self.guide.take(part)
        left = np.flatnonzero(self.heights.take(place, mode="clip") <= points)
        while len(left):
            place[left] += 1
            left = left[self.heights.take(place[left], mode="clip") <= points[left]]
            left = left[place[left] < len(self.heights)]
        return place


def filled_shares(tree: Tree, counts: Ints, least: int) -> Floats:
    """What every leaf holds of every code, `(leaves, codes)`, resting on rows enough.

    A tree is grown on synthetic rows, so that some of its leaves hold few of the data's rows, and
    what these hold is then nearly a record. A node of fewer than `least` rows is therefore filled
    up to that number by rows in the shares of its parent, which has been filled up before it. A
    leaf that the data never reach has its parent's shares.

    Args:
        tree: The tree.
        counts: The data's rows by leaf and code, `(leaves, codes)`.
        least: Rows that shares rest on at least, unless all the data are fewer.
    """
    rows = np.zeros((len(tree.column), counts.shape[1]))
    leaf = tree.column == LEAF
    rows[leaf] = counts
    for nodes in reversed(tree.inner):
        left = tree.left[nodes]
        rows[nodes] = rows[left] + rows[left + 1]
    total = rows[0].sum()
    rows[0] = rows[0] / total if total else 1 / rows.shape[1]
    # From here on a node's row holds its shares once its parent has been seen.
    for nodes in tree.inner:
        for child in (tree.left[nodes], tree.left[nodes] + 1):
            own = rows[child]
            held = own.sum(1, keepdims=True)
            lacking = np.maximum(least - held, 0)
            rows[child] = (own + lacking * rows[nodes]) / np.maximum(held + lacking, 1)
    found: Floats = rows[leaf]
    return found
