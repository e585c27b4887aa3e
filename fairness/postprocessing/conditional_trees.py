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
from everymode.fairness.matching.trees import Tree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

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
    """

    coding: Coding
    trees: tuple[Tree, ...]
    shares: tuple[Floats, ...]

    @staticmethod
    def of(
        coding: Coding, trees: Sequence[Tree], counts: Sequence[Ints], own: Sequence[Ints]
    ) -> "ConditionalTrees":
        """From counts of the data's rows.

        Args:
            coding: Between encoded rows and codes.
            trees: One for each column, in the order of drawing.
            counts: Of each tree the data's rows by leaf and code, `(leaves, codes)`.
            own: The same of the synthetic rows that it was grown on; these decide where the data
                have no row.
        """
        shares = []
        for count, made in zip(counts, own, strict=True):
            # A leaf without rows is never reached by the data, and rarely by what is drawn.
            weight = np.where(count.sum(1, keepdims=True) > 0, count, made).astype(np.float64)
            total = weight.sum(1, keepdims=True)
            even = np.full(weight.shape, 1 / weight.shape[1])
            shares.append(np.where(total > 0, weight / np.maximum(total, 1), even))
        return ConditionalTrees(coding, tuple(trees), tuple(shares))

    def codes(self, cells: Ints, rng: np.random.Generator) -> Codes:
        """Codes `(n, columns)` of a row for each cell `(n,)`."""
        found = np.zeros((len(cells), len(self.coding.columns)), dtype=np.int16)
        found[:, : self.coding.given] = self.coding.given_codes(cells)
        for tree, heights in zip(self.trees, self._heights, strict=True):
            leaf = tree.apply(found)
            # All leaves' distribution functions, one above another: one search does for all rows.
            place = np.searchsorted(heights, leaf + rng.random(len(cells)), side="right")
            size = self.coding.columns[tree.target].size
            found[:, tree.target] = np.minimum(place - leaf * size, size - 1)
        return found

    def rows(self, cells: Ints, rng: np.random.Generator) -> Rows:
        """An encoded row for each cell `(n,)`, `(n, D)`, every category chosen."""
        return self.coding.rows(self.codes(cells, rng), rng)

    @cached_property
    def _heights(self) -> tuple[Floats, ...]:
        found = []
        for shares in self.shares:
            heights = np.cumsum(shares, 1)
            # The last code with a share closes the leaf, whatever was lost in rounding.
            heights[heights >= heights[:, -1:]] = 1.0
            found.append((heights + np.arange(len(heights))[:, None]).reshape(-1))
        return tuple(found)

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
