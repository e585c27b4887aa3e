"""Rows weighted so that leaves of trees hold as many of them as of the data: trees as critics.

Trees cut the space of rows into leaves, each tree in its own way, and sites count their rows in
them, a sum. Of all distributions with the data's shares of the conditions whose shares of leaves
lie as close to the data's as chance would let them, the one with the least relative entropy to the
rows' own has the density

    p(z | c) = q(z | c) exp(s(z)) / Z_c,     s(z) = sum over trees t of theta_t(leaf of z in t),

and is drawn from by keeping each row with the probability exp(s(z) - log_envelope_c). Most theta
are 0: only what chance does not explain is moved.

Sources: Dudik, Phillips, Schapire, "Maximum Entropy Density Estimation with Generalized
Regularization", 2007 (tolerances are an L1 penalty); Beck, Teboulle, "A Fast Iterative
Shrinkage-Thresholding Algorithm", 2009; Watson et al., "Adversarial Random Forests for Density
Estimation and Generative Modeling", 2023 (forests as critics).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.trees import LEAF, NO_COLUMN, Tree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PREFIX = "critic"
"""What the names of its tensors in a saved generator begin with."""

LEAVES = 64
"""Leaves of a tree at most."""

STEPS = 200
"""Steps of a fit at most."""

POWER = 20
"""Steps of the power iteration for the largest curvature."""

MARGIN = 1.5
"""The curvature elsewhere over that at the start."""

CLOSE = 0.1
"""Part of its tolerance by which a share may lie beyond it when the fit ends."""

GRID = 2**18
"""Entries of the table of a tree at most."""

QUANTILE = 0.99
"""Of a condition's scores: the few rows above are kept as if they had just this one."""


@dataclass(frozen=True)
class LeafWeights:
    """Which rows are kept.

    Attributes:
        coding: Codes of encoded rows.
        trees: The trees, none of which predicts a column.
        scores: theta of the leaves of each tree, `(leaves,)` each.
        log_envelopes: Score from which a row of each cell is surely kept, `(cells,)`.
    """

    coding: Coding
    trees: tuple[Tree, ...]
    scores: tuple[Floats, ...]
    log_envelopes: Floats

    def score(self, codes: Codes) -> Floats:
        """The score of rows with codes `(n, columns)`, `(n,)`."""
        found = np.zeros(len(codes))
        for tree, scores, grid in zip(self.trees, self.scores, self._grids, strict=True):
            found += scores[tree.apply(codes)] if grid is None else grid(codes)
        return found

    @cached_property
    def _grids(self) -> tuple["ScoreGrid | None", ...]:
        return tuple(
            ScoreGrid.of(tree, scores, self.coding.sizes)
            for tree, scores in zip(self.trees, self.scores, strict=True)
        )

    def accept(
        self, rows: npt.NDArray[np.float32], cells: Ints, rng: torch.Generator
    ) -> npt.NDArray[np.bool_]:
        """Which encoded rows `(n, D)` of cells `(n,)` to keep, `(n,)`."""
        score = self.score(self.coding.codes(rows, cells))
        chance = torch.rand(len(rows), generator=rng, dtype=torch.float64).log().numpy()
        kept: npt.NDArray[np.bool_] = chance < score - self.log_envelopes[cells]
        return kept

    def tensors(self) -> dict[str, Tensor]:
        """What a saved generator holds of it."""
        found = {f"{PREFIX}_log_envelopes": torch.from_numpy(self.log_envelopes.astype(np.float32))}
        for k, (tree, scores) in enumerate(zip(self.trees, self.scores, strict=True)):
            found[f"{PREFIX}_{k}_nodes"] = torch.from_numpy(tree.to_array())
            found[f"{PREFIX}_{k}_scores"] = torch.from_numpy(scores.astype(np.float32))
        return found

    @staticmethod
    def from_tensors(coding: Coding, count: int, tensors: Mapping[str, Tensor]) -> "LeafWeights":
        """The inverse, of `count` trees.

        Raises:
            KeyError: A tensor is absent.
            ValueError: They are not those of trees over these columns.
        """
        trees, scores = [], []
        for k in range(count):
            tree = Tree.from_array(NO_COLUMN, tensors[f"{PREFIX}_{k}_nodes"].numpy())
            own = tensors[f"{PREFIX}_{k}_scores"].numpy().astype(np.float64)
            if problem := tree.problem(coding.sizes, coding.given):
                raise ValueError(f"critic tree {k}: {problem}")
            if own.shape != (tree.leaves,) or not np.isfinite(own).all():
                raise ValueError(f"critic tree {k}: scores of other leaves than its own")
            trees.append(tree)
            scores.append(own)
        log_envelopes = tensors[f"{PREFIX}_log_envelopes"].numpy().astype(np.float64)
        if (
            log_envelopes.shape != (coding.conditions.table.size,)
            or not np.isfinite(log_envelopes).all()
        ):
            raise ValueError("envelopes of other cells than the plan's")
        return LeafWeights(coding, tuple(trees), tuple(scores), log_envelopes)


@dataclass(frozen=True)
class ScoreGrid:
    """The scores of a tree on few columns as one table, which is several times as fast.

    Attributes:
        columns: The columns that it splits on, C of them.
        parts: Of each the part that each code lies in, times the part's distance in the table.
        scores: The score of each combination of parts.
    """

    columns: tuple[int, ...]
    parts: tuple[Ints, ...]
    scores: Floats

    @staticmethod
    def of(tree: Tree, scores: Floats, sizes: Sequence[int]) -> "ScoreGrid | None":
        """The table of a tree; None where it would have more than `GRID` entries."""
        inner = tree.column != LEAF
        columns = np.unique(tree.column[inner]).tolist()
        starts = []
        for column in columns:
            own = inner & (tree.column == column)
            # A cut ends a part; a code that is told apart is a part of its own.
            ends = np.concatenate([tree.cut[own] + 1, tree.cut[own & tree.equal]])
            known = np.unique(np.concatenate([[0], ends]))
            starts.append(known[known < sizes[column]])
        lengths = [len(own) for own in starts]
        if math.prod(lengths) > GRID:
            return None
        codes = np.zeros((math.prod(lengths), len(sizes)), dtype=np.int16)
        parts = []
        for k, (column, own) in enumerate(zip(columns, starts, strict=True)):
            inside, outside = math.prod(lengths[k + 1 :]), math.prod(lengths[:k])
            codes[:, column] = np.tile(np.repeat(own, inside), outside)
            part = np.searchsorted(own, np.arange(sizes[column]), side="right") - 1
            parts.append((part * inside).astype(np.int64))
        return ScoreGrid(tuple(columns), tuple(parts), scores[tree.apply(codes)])

    def __call__(self, codes: Codes) -> Floats:
        """Scores of rows with codes `(n, columns)`, `(n,)`."""
        place = np.zeros(len(codes), dtype=np.int64)
        for column, part in zip(self.columns, self.parts, strict=True):
            place += part[codes[:, column]]
        return self.scores[place]


@dataclass(frozen=True)
class LeafProblem:
    """Synthetic rows in the leaves of trees, and the data's shares of these.

    Attributes:
        leaves: The leaf of each row in each tree, numbered through all trees, `(n, T)`.
        cells: The cell of each row, `(n,)`.
        mass: The data's share of each cell, `(cells,)`.
        shares: The data's share of each leaf, `(L,)`.
        tolerance: How far shares may be off, `(L,)`: their standard error.
    """

    leaves: Tensor
    cells: Tensor
    mass: Tensor
    shares: Tensor
    tolerance: Tensor

    @staticmethod
    def of(
        leaves: Sequence[Ints],
        counts: Sequence[Ints | Floats],
        cells: Ints,
        mass: Ints | Floats,
        deviation: float = 0.0,
    ) -> "LeafProblem":
        """From leaves of rows `(n,)` and the data's counts `(leaves,)` of each tree.

        `deviation` is that of noise on the counts, which adds to the standard error.
        """
        starts = np.cumsum([0, *(len(own) for own in counts)])[:-1]
        numbered = [own + start for own, start in zip(leaves, starts, strict=True)]
        rows = np.repeat([max(own.sum(), 1) for own in counts], [len(own) for own in counts])
        shares = np.concatenate(counts) / rows
        # Of an empty leaf as if it had one row, so that it may have a few after all.
        least = np.maximum(shares, 1 / rows)
        return LeafProblem(
            torch.from_numpy(np.stack(numbered, 1)),
            torch.from_numpy(cells),
            torch.from_numpy(mass / mass.sum()),
            torch.from_numpy(shares),
            torch.from_numpy(np.sqrt(least * (1 - least) / rows + (deviation / rows) ** 2)),
        )

    def weights(self, theta: Tensor) -> Tensor:
        """The weight of each row, `(n,)`: those of a cell add up to the data's share of it."""
        return self._weighted(theta)[0]

    def _weighted(self, theta: Tensor) -> tuple[Tensor, float]:
        """Weights, and the mean over the data's cells of log Z_c, up to a constant."""
        score = theta[self.leaves].sum(1)
        highest = torch.full_like(self.mass, -torch.inf)
        highest = highest.scatter_reduce(0, self.cells, score, "amax")
        own = (score - highest[self.cells]).exp()
        total = torch.zeros_like(self.mass).index_add_(0, self.cells, own)
        there = total > 0
        logs = (total[there].log() + highest[there]) * self.mass[there]
        return own / total[self.cells] * self.mass[self.cells], float(logs.sum())

    def held(self, theta: Tensor) -> Tensor:
        """The share of each leaf among the weighted rows, `(L,)`."""
        return self._added(self.weights(theta))

    def _added(self, weights: Tensor) -> Tensor:
        own = weights.repeat_interleave(self.leaves.shape[1])
        return torch.zeros_like(self.shares).index_add_(0, self.leaves.reshape(-1), own)

    def off(self, theta: Tensor) -> Tensor:
        """How far each leaf's share is off, in tolerances, `(L,)`."""
        return (self.held(theta) - self.shares).abs() / self.tolerance

    def solved(self, tell: Callable[[int, int], None] = lambda steps, of: None) -> Tensor:
        """theta, `(L,)`, by accelerated proximal steps that are halved where they go astray.

        Args:
            tell: Hears how many steps are done of at most how many; what it raises ends the fit.
        """
        theta = torch.zeros_like(self.shares)
        weights, start = self._weighted(theta)
        held = self._added(weights)
        scale = torch.maximum(torch.maximum(self.shares, held), self.tolerance)
        step = 1 / (self._curvature(weights, held, scale) * scale)
        ahead, pace = theta.clone(), 1.0
        for number in range(STEPS):
            weights, height = self._weighted(ahead)
            gap = self._added(weights) - self.shares
            height += float((self.tolerance * ahead.abs() - self.shares * ahead).sum())
            if number and bool((gap.abs() <= (1 + CLOSE) * self.tolerance).all()):
                theta = ahead
                break
            if height > start + abs(start) * 1e-9:
                theta, ahead, pace, step = 0 * theta, 0 * theta, 1.0, step / 2
                continue
            moved = ahead - step * gap
            shrunk = moved.sign() * (moved.abs() - step * self.tolerance).clamp_min(0)
            # A step back along the last one: start the acceleration anew.
            if float(((ahead - shrunk) / step * (shrunk - theta)).sum()) > 0:
                pace = 1.0
            following = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
            ahead = shrunk + (pace - 1) / following * (shrunk - theta)
            theta, pace = shrunk, following
            tell(number + 1, STEPS)
        tell(STEPS, STEPS)
        return theta

    def _curvature(self, weights: Tensor, held: Tensor, scale: Tensor) -> float:
        """Largest curvature at theta = 0 in coordinates divided by their scale, from above.

        That is the largest eigenvalue of the leaves' covariance, by power iteration.
        """
        root = scale.sqrt()
        drawn = torch.Generator().manual_seed(0)
        along = torch.randn(len(held), generator=drawn, dtype=torch.float64)
        size = 1.0
        for _ in range(POWER):
            along = along / along.norm()
            theta = along / root
            score = theta[self.leaves].sum(1)
            out = self._added(weights * score) - held * float(theta @ held)
            along = out / root
            size = float(along.norm())
            if not size:
                break
        return max(MARGIN * size, 1e-9)

    def log_envelopes(self, theta: Tensor) -> Floats:
        """The score from which a row of each cell is surely kept, `(cells,)`.

        Of cells without rows here that of all rows.
        """
        score = theta[self.leaves].sum(1).numpy()
        cells = self.cells.numpy()
        found = np.full(len(self.mass), np.quantile(score, QUANTILE))
        for cell in np.unique(cells):
            found[cell] = np.quantile(score[cells == cell], QUANTILE)
        return found
