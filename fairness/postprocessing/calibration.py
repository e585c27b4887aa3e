"""A generator's categories held to the shares that the sites' sums tell, level by level.

Training leaves a trap for rare categories: once a category's logit has fallen, no row of a batch
shows it, its gradient vanishes with its probability, and it never comes back, wherever it began. So
the last layer of a trained generator is tilted by exp(a_c + sum_l u_lc) within each column, such
that the shares of every level of the condition are the data's (`fit_calibration`). Among all laws
with these shares and the noise's own law, the tilted one is closest to what was learnt in relative
entropy; it is found by generalised iterative scaling, one vector of the condition at a time, which
never moves away from it.

Source: Darroch, Ratcliff, "Generalized Iterative Scaling for Log-Linear Models", 1972 (each step
adds log(wanted / found) where one feature is active at a time).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import share_strata

Floats = npt.NDArray[np.float64]

BELIEF = 10.0
"""Rows that the generator's own shares count for, in levels whose data are few."""

SWEEPS = 12
"""Most passes over group, label, cluster and all rows."""

TINY = 1e-12

TOLERANCE = 1e-5
"""Passes end where no share of any level moves by more."""


@dataclass(frozen=True)
class CategoryMarginals:
    """What the sums tell of categories.

    Attributes:
        means: E[z] of rows beside their conditions within each level and, last, over all rows,
            `(C + 1, W)`, W >= D.
        rows: How many rows each stands for, `(C + 1,)`; 0: the level takes no part.
        vectors: Lengths of the one-hot vectors of a condition; 0: there is none.
        spans: Outputs of each one-hot group of a row.
    """

    means: Floats
    rows: Floats
    vectors: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @staticmethod
    def of(
        sums: Floats, conditions: ConditionSpace, spans: Sequence[tuple[int, int]]
    ) -> "CategoryMarginals":
        """Reads totals of `everymode.fairness.matching.moments.first_moments`, `(C + 1, W + 1)`."""
        taking, levels = share_strata(conditions)
        cells = conditions.encode(np.arange(conditions.table.size))
        counts = (conditions.table * taking[:, None]).reshape(-1)
        rows = np.append(cells.T @ counts * levels, counts.sum())
        total = sums[:, -1:]
        rows[total[:, 0] <= 0] = 0
        means = np.divide(sums[:, :-1], total, out=np.zeros_like(sums[:, :-1]), where=total > 0)
        return CategoryMarginals(means, rows.astype(np.float64), conditions.blocks, tuple(spans))

    def without_groups(self) -> "CategoryMarginals":
        """The same, with no group held to its own shares: labels, clusters and all rows are."""
        rows = self.rows.copy()
        rows[: self.vectors[0]] = 0
        return replace(self, rows=rows)


@dataclass(frozen=True)
class MarginalCalibration:
    """What is added to a generator's raw outputs.

    Attributes:
        bias: To every row's, `(D,)`.
        levels: To rows of each level, `(C, D)`.
        before: Largest distance in total variation of any column in any level, as trained.
        after: The same with the tilt.
    """

    bias: Tensor
    levels: Tensor
    before: float
    after: float


def fit_calibration(
    raw: Tensor, conditions: Tensor, weights: Tensor, shares: CategoryMarginals
) -> MarginalCalibration:
    """Fits the tilt on raw outputs of a generator.

    A level of n rows is held to (n p + m q) / (n + m): p its share in the data, q the generator's
    as trained, m = `BELIEF`.

    Args:
        raw: Outputs before categories are drawn, `(N, D)`.
        conditions: What they were made for, `(N, C)`, one-hot vectors side by side.
        weights: How much each row counts, `(N,)`; only ratios matter.
        shares: What is to be met.
    """
    level = conditions.float()
    member = torch.cat([level, torch.ones(len(raw), 1)], 1) * weights.float()[:, None]
    total = member.sum(0)
    rows = torch.from_numpy(shares.rows).float()
    active = (total > 0) & (rows > 0)
    total, rows = total.clamp_min(TINY)[:, None], rows[:, None]
    # Levels of one one-hot vector do not overlap: they are fitted together, and vectors in turn.
    turns = [
        turn
        for levels in [*stratum_levels(shares.vectors), [len(active) - 1]]
        if (turn := [i for i in levels if active[i]])
    ]
    tilt = torch.zeros(len(active), raw.shape[1])
    before = after = 0.0
    for first, last in shares.spans:
        logits, own = raw[:, first:last], tilt[:, first:last]

        def found(logits: Tensor = logits, own: Tensor = own) -> Tensor:
            choice = torch.softmax(logits + level @ own[:-1] + own[-1], 1)
            return (member.T @ choice) / total

        data = torch.from_numpy(shares.means[:, first:last]).float()
        data = data / data.sum(1, keepdim=True).clamp_min(TINY)
        trained = found()
        target = (rows * data + BELIEF * trained) / (rows + BELIEF)
        for _ in range(SWEEPS):
            worst = 0.0
            for turn in turns:
                now = found()[turn]
                worst = max(worst, float((now - target[turn]).abs().max()))
                own[turn] += (target[turn].clamp_min(TINY) / now.clamp_min(TINY)).log()
            if worst < TOLERANCE:
                break
        before = max(before, _farthest(trained, target, active))
        after = max(after, _farthest(found(), target, active))
    return MarginalCalibration(tilt[-1], tilt[:-1], before, after)


def _farthest(found: Tensor, target: Tensor, active: Tensor) -> float:
    gaps = (found - target).abs().sum(1)[active] / 2
    return float(gaps.max()) if len(gaps) else 0.0


def stratum_levels(vectors: Sequence[int]) -> list[list[int]]:
    """Levels of each one-hot vector.

    >>> stratum_levels((2, 0, 1))
    [[0, 1], [], [2]]
    """
    stops = np.cumsum(vectors).tolist()
    return [list(range(stop - size, stop)) for stop, size in zip(stops, vectors, strict=True)]
