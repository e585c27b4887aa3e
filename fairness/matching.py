"""Matching of second moments, per level of the condition, against sums the sites send once.

Each site adds up w_i z_i z_i^T over its rows, where z is the encoded row beside its condition and w
the row's exact weight (`fairness.weights`): once over the rows of each label, once over those of
each group, as far as the condition tells them, and once over those of each cluster. The totals hold
every pairwise dependence of the table within a level, and never grow stale while a critic stands
still between exchanges. The generator is drawn towards them by the unbiased squared distance
between its own moments and theirs, which is the maximum mean discrepancy under the kernel
k(z, z') = (z . z')^2.

Sources: Gretton et al., "A Kernel Two-Sample Test", 2012, lemma 6 (unbiased MMD); Li, Swersky,
Zemel, "Generative Moment Matching Networks", 2015; weighting of terms by group and label: ours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairness.groups import Conditions
from wgan.penalties import GeneratorStep

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MINIMUM = 50
"""Levels with fewer rows over all sites take no part: moments would describe those rows."""


def width_of_moments(row: int, condition: int) -> int:
    """Entries of one symmetric matrix over an encoded row beside its condition."""
    width = row + condition
    return width * (width + 1) // 2


def described(conditions: Conditions) -> tuple[Bools, Bools]:
    """Which groups' rows are in the moments, `(G,)`, and which levels have moments, `(C,)`.

    Rows of a group that is too small are in no sum at all: the difference between the labels' and
    the other groups' moments would be its own. Where groups are not told, no level is a group's.
    """
    told = conditions.blocks
    groups = (conditions.group_counts >= MINIMUM) | (not told[0])
    counts = conditions.table[groups].reshape(-1, len(conditions.labels), conditions.clusters)
    levels = (groups, counts.sum((0, 2)) >= MINIMUM, counts.sum((0, 1)) >= MINIMUM)
    parts = [level for level, size in zip(levels, told, strict=True) if size]
    return groups, np.concatenate([np.zeros(0, dtype=bool), *parts])


def second_moments(
    rows: npt.NDArray[np.float32], conditions: npt.NDArray[np.float32], weights: Floats
) -> Floats:
    """Weighted sums of z z^T within every level of the condition, `(C, T)`, upper triangles.

    Additive: the moments of a union of rows are the sum of the parts' moments.

    Args:
        rows: Encoded rows, `(n, D)`.
        conditions: Their conditions, `(n, C)`, one-hot group beside one-hot label.
        weights: Weight of each row for each level, `(n, C)`; zero leaves a row out of a level.
    """
    joined = np.concatenate([rows, conditions], 1).astype(np.float64)
    upper = np.triu_indices(joined.shape[1])
    out = np.zeros((conditions.shape[1], len(upper[0])))
    for level in range(conditions.shape[1]):
        held = (conditions[:, level] > 0) & (weights[:, level] > 0)
        if held.any():
            part = joined[held]
            out[level] = ((part * weights[held, level, None]).T @ part)[upper]
    return out


def members(condition: Tensor, active: Tensor) -> Tensor:
    """Which levels each row of a batch counts in, `(B, C + 1)`; the last is that of all rows.

    Args:
        condition: Conditions `(B, C)`.
        active: Which levels take part, `(C + 1,)`. Those with one row of the batch do not: it has
            no pair.
    """
    everyone = torch.ones(len(condition), 1, device=condition.device, dtype=condition.dtype)
    member = torch.cat([condition, everyone], 1) * active
    return member * (member.sum(0) > 1)


def within(kernel: Tensor, member: Tensor) -> Tensor:
    """For each row and each of its levels of n rows, sum_j!=i k(z_i, z_j) / (n - 1), `(B,)`."""
    pairs = (member / (member.sum(0) - 1).clamp_min(1)) @ member.T
    pairs = pairs - torch.diag(pairs.diagonal())
    return (pairs * kernel).sum(1)


@dataclass(frozen=True)
class LevelMoments:
    """What totals of `second_moments` say.

    Attributes:
        means: E[z z^T] within each level of the condition and, last, of all rows, `(C + 1, W, W)`.
        totals: Weight of the rows that each rests on, `(C + 1,)`; 0: the level takes no part.
        choices: Which coordinates of z stand for a category, `(W,)`.
    """

    means: Floats
    totals: Floats
    choices: Bools

    @staticmethod
    def of(sums: Floats, first: int, choices: Bools) -> "LevelMoments":
        """Reads totals of `second_moments`.

        Args:
            sums: Totals over sites, `(C, T)`.
            first: The first level of the condition's last one-hot vector: from it on, every row
                has just one level.
            choices: Which coordinates of a row stand for a category, `(D,)`.
        """
        levels = len(sums)
        width = len(choices) + levels
        upper = np.triu_indices(width)
        matrices = np.zeros((levels + 1, width, width))
        matrices[:levels, upper[0], upper[1]] = sums
        # Every row has one of these levels, so their sums add up to that over all rows.
        matrices[levels] = matrices[first:levels].sum(0)
        matrices = matrices + np.triu(matrices, 1).transpose(0, 2, 1)
        own = len(choices) + np.arange(levels)
        last = matrices[levels].diagonal()[len(choices) + first :].sum()
        totals = np.append(matrices[np.arange(levels), own, own], last)
        active = totals > 0
        matrices[active] /= totals[active, None, None]
        return LevelMoments(matrices, totals, np.append(choices, np.ones(levels, dtype=bool)))

    def without(self, first: int, last: int) -> "LevelMoments":
        """The same of all coordinates but those from `first` to `last`."""
        kept = np.delete(np.arange(len(self.choices)), np.s_[first:last])
        means = self.means[:, kept[:, None], kept]
        return LevelMoments(means, self.totals, self.choices[kept])


@dataclass(frozen=True)
class MomentMatching:
    """The generator's distance to the summed moments; one value per fake row.

    Attributes:
        weight: What it is multiplied with.
        moments: E[z z^T] of each level and, last, of all rows, scaled, `(C + 1, W, W)`.
        active: Which levels take part, `(C + 1,)`.
        scale: What each coordinate of z is multiplied with, `(W,)`.
    """

    weight: float
    moments: Tensor
    active: Tensor
    scale: Tensor
    name: str = "moment_matching"

    @staticmethod
    def of(
        found: LevelMoments, weight: float, device: torch.device | str = "cpu"
    ) -> "MomentMatching":
        """Reads what the sites' sums say.

        Coordinates that stand for a category count (p + 0.01)^-1/4, p being its share: rare
        categories would not be felt otherwise. Divided by the mean of these factors over the
        shares, categories and numbers keep their balance.

        Args:
            found: Moments to be matched.
            weight: The penalty's weight.
            device: Where the generator lives.
        """
        one_hot, width = found.choices, len(found.choices)
        share = found.means[-1].diagonal()[one_hot]
        scale = np.ones(width)
        scale[one_hot] = (share + 0.01) ** -0.25
        scale[one_hot] *= share.sum() / max((scale[one_hot] * share).sum(), 1e-12)
        matrices = found.means * scale[:, None] * scale[None, :]
        return MomentMatching(
            weight,
            torch.tensor(matrices, dtype=torch.float32, device=device),
            torch.tensor(found.totals > 0, device=device),
            torch.tensor(scale, dtype=torch.float32, device=device),
        )

    def __call__(self, step: GeneratorStep) -> Tensor:
        """Each row's share of the summed squared distances of all levels, `(B,)`, up to a constant.

        Within a level with n rows of the batch: sum_j!=i (z_i . z_j)^2 / (n - 1) - 2 z_i^T M z_i,
        whose mean over the level is unbiased for |E z z^T - M|_F^2 - |M|_F^2. A mean over the batch
        thus counts every level for its share of the rows. A level with one row of the batch is left
        out, as one row has no pair.
        """
        joined = torch.cat([step.fake, step.condition], 1) * self.scale
        member = members(step.condition, self.active)
        values = within((joined @ joined.T).square(), member)
        for level in torch.nonzero(member.any(0))[:, 0].tolist():
            index = torch.nonzero(member[:, level])[:, 0]
            part = joined[index]
            fit = ((part @ self.moments[level]) * part).sum(1)
            values = values.index_add(0, index, fit, alpha=-2.0)
        return values
