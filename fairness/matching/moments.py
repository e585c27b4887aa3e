"""Matching of second moments, per level of the condition, against sums the sites send once.

Each site adds up w_i z_i z_i^T over its rows, where z is the encoded row beside its condition and w
the row's exact weight (`everymode.fairness.weighting.group_weights`): once over the rows of each
label, once over those of each group, as far as the condition tells them, once over those of each
cluster, and once over all. The totals hold the pairwise dependences of the table within a level,
and never grow stale while a critic stands still between exchanges. Coordinates that too few rows of
a level have are left out of its moments (`everymode.fairness.matching.suppression`). The generator
is drawn towards the others by the unbiased squared distance between its own moments and theirs,
which is the maximum mean discrepancy under the kernel k(z, z') = (z . z')^2.

Sources: Gretton et al., "A Kernel Two-Sample Test", 2012, lemma 6 (unbiased MMD); Li, Swersky,
Zemel, "Generative Moment Matching Networks", 2015; weighting of terms by group and label: ours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.penalties import GeneratorStep

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MINIMUM = 50
"""Levels with fewer rows over all sites take no part: moments would describe those rows."""


def width_of_moments(row: int, condition: int) -> int:
    """Entries of one symmetric matrix over an encoded row beside its condition."""
    width = row + condition
    return width * (width + 1) // 2


def size_of_moments(published: Bools) -> int:
    """Entries of the moments of published coordinates, over all levels; `published` `(L, W)`."""
    counts = published.sum(1)
    return int((counts * (counts + 1) // 2).sum())


def eligible_strata(conditions: ConditionSpace) -> tuple[Bools, Bools]:
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


def share_strata(conditions: ConditionSpace) -> tuple[Bools, Bools]:
    """As `eligible_strata`, for shares of categories and of what is missing.

    Where every group is too small, all groups are in the sums over all rows, if those are enough
    together: there is no other sum from which one could be told.
    """
    groups, levels = eligible_strata(conditions)
    if not groups.any() and conditions.table.sum() >= MINIMUM:
        return np.ones_like(groups), np.zeros_like(levels)
    return groups, levels


def stratum_memberships(conditions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Which levels rows are in, the last being that of all rows, `(n, C + 1)`; from `(n, C)`."""
    everyone = np.ones((len(conditions), 1), dtype=conditions.dtype)
    return np.concatenate([conditions, everyone], 1)


def first_moments(joined: npt.NDArray[np.float32], weights: Floats) -> Floats:
    """Weighted sums of coordinates within every level, `(C + 1, W + 1)`; additive over sites.

    The last column is the sum of the weights.

    Args:
        joined: Rows beside their conditions, `(n, W)`.
        weights: Of each row in each level, `(n, C + 1)`; zero leaves it out.
    """
    everything = np.concatenate([joined, np.ones((len(joined), 1), dtype=np.float32)], 1)
    sums: Floats = weights.T @ everything.astype(np.float64)
    return sums


def second_moments(
    joined: npt.NDArray[np.float32],
    weights: Floats,
    published: Bools,
    own: Bools | None = None,
) -> Floats:
    """Weighted sums of z z^T in every level, of its published coordinates: upper triangles.

    They follow one another level by level, `(size_of_moments(published),)`. Additive: the moments
    of a union of rows are the sum of the parts' moments.

    Args:
        joined: Rows beside their conditions, `(n, W)`.
        weights: Weight of each row in each level, `(n, C + 1)`; zero leaves a row out of a level.
        published: Coordinates of each level that are summed, `(C + 1, W)`.
        own: Those of them in which these rows take part, `(C + 1, W)`; None: in all.
    """
    parts = [np.zeros(0)]
    taken = published if own is None else published & own
    for weight, coordinates, mine in zip(weights.T, published, taken, strict=True):
        upper = np.triu_indices(int(coordinates.sum()))
        part = joined[weight > 0][:, coordinates].astype(np.float64)
        part *= mine[coordinates]
        parts.append(((part * weight[weight > 0, None]).T @ part)[upper])
    return np.concatenate(parts)


def stratum_membership(condition: Tensor, active: Tensor) -> Tensor:
    """Which levels each row of a batch counts in, `(B, C + 1)`; the last is that of all rows.

    Args:
        condition: Conditions `(B, C)`.
        active: Which levels take part, `(C + 1,)`. Those with one row of the batch do not: it has
            no pair.
    """
    everyone = torch.ones(len(condition), 1, device=condition.device, dtype=condition.dtype)
    member = torch.cat([condition, everyone], 1) * active
    return member * (member.sum(0) > 1)


def mean_within_stratum(kernel: Tensor, member: Tensor) -> Tensor:
    """For each row and each of its levels of n rows, sum_j!=i k(z_i, z_j) / (n - 1), `(B,)`."""
    pairs = (member / (member.sum(0) - 1).clamp_min(1)) @ member.T
    pairs = pairs - torch.diag(pairs.diagonal())
    return (pairs * kernel).sum(1)


@dataclass(frozen=True)
class LevelMoments:
    """What totals of `second_moments` say.

    Attributes:
        means: E[z z^T] within each level of the condition and, last, of all rows, `(C + 1, W, W)`;
            0 where it is not known.
        totals: Weight of the rows that each rests on, `(C + 1,)`; 0: the level takes no part.
        choices: Which coordinates of z stand for a category, `(W,)`. Their shares, which are their
            products with themselves and with the level's own coordinate, are known in every level
            that takes part.
        known: Whose products with one another are known, `(C + 1, W)`.
        noise: Deviation of the noise on each level's means, `(C + 1,)`; None: they are exact.
        unknown: Products that are known in no level all the same, `(W, W)`; None: there are none.
        crossed: Of levels of which just products with some coordinates are known, these,
            `(C + 1, W)`; none of the others; None: there are no such levels.
    """

    means: Floats
    totals: Floats
    choices: Bools
    known: Bools
    noise: Floats | None = None
    unknown: Bools | None = None
    crossed: Bools | None = None

    @staticmethod
    def of(sums: Floats, published: Bools, first: Floats, choices: Bools) -> "LevelMoments":
        """Reads totals over sites.

        Args:
            sums: Of `second_moments`, one level after another.
            published: Coordinates that each level has published, `(C + 1, W)`.
            first: Of `first_moments`, `(C + 1, W + 1)`: the shares of categories.
            choices: Which coordinates stand for a category, `(W,)`.
        """
        levels, width = published.shape
        active = published.any(1)
        totals = np.where(active, first[:, -1], 0.0)
        matrices = np.zeros((levels, width, width))
        start = 0
        for matrix, coordinates in zip(matrices, published, strict=True):
            place = np.flatnonzero(coordinates)
            rows, columns = np.triu_indices(len(place))
            part = sums[start : start + len(rows)]
            matrix[place[rows], place[columns]] = matrix[place[columns], place[rows]] = part
            start += len(rows)
        place, shares = np.flatnonzero(choices), first[:, :-1][:, choices]
        matrices[:, place, place] = shares
        for level, own in _own(levels, width):
            matrices[level, own, place] = matrices[level, place, own] = shares[level]
        matrices[active] /= totals[active, None, None]
        matrices[~active] = 0.0
        return LevelMoments(matrices, totals, choices, published)

    @staticmethod
    def of_rows(
        rows: npt.NDArray[np.float32],
        conditions: npt.NDArray[np.float32],
        weights: Floats,
        choices: Bools,
        published: Bools | None = None,
    ) -> "LevelMoments":
        """Those of rows that lie in one place: what sites' sums add up to.

        Args:
            rows: Encoded rows, `(n, D)`.
            conditions: Their conditions, `(n, C)`.
            weights: Of each row, `(n,)`, or of each row in each level, `(n, C + 1)`.
            choices: Which outputs of a row stand for a category, `(D,)`.
            published: Coordinates that each level knows, `(C + 1, W)`; None: all, where a level
                has weight.
        """
        joined = np.concatenate([rows, conditions], 1)
        each = stratum_memberships(conditions) * (
            weights[:, None] if weights.ndim == 1 else weights
        )
        if published is None:
            published = np.tile(np.any(each, axis=0, keepdims=True).T, joined.shape[1])
        both = np.append(choices, np.ones(conditions.shape[1], dtype=bool))
        sums = second_moments(joined, each, published)
        return LevelMoments.of(sums, published, first_moments(joined, each), both)

    @property
    def pairs(self) -> Bools:
        """Which entries of `means` are known, `(C + 1, W, W)`."""
        found: Bools = self.known[:, :, None] & self.known[:, None, :]
        place = np.flatnonzero(self.choices)
        found[:, place, place] = True
        for level, own in _own(*self.known.shape):
            loose = np.flatnonzero(self.choices & ~self.known[level])
            found[level, own, loose] = found[level, loose, own] = True
        active: Bools = self.totals > 0
        if self.unknown is not None:
            found &= ~self.unknown
        if self.crossed is not None:
            whole: Bools = ~np.any(self.crossed, axis=1)
            both = self.crossed[:, :, None] | self.crossed[:, None, :]
            found &= whole[:, None, None] | both | np.eye(len(self.choices), dtype=bool)
        return found & active[:, None, None]

    def without(self, first: int, last: int) -> "LevelMoments":
        """The same of all coordinates but those from `first` to `last`."""
        kept = np.delete(np.arange(len(self.choices)), np.s_[first:last])
        means = self.means[:, kept[:, None], kept]
        unknown = None if self.unknown is None else self.unknown[kept[:, None], kept]
        crossed = None if self.crossed is None else self.crossed[:, kept]
        return LevelMoments(
            means,
            self.totals,
            self.choices[kept],
            self.known[:, kept],
            self.noise,
            unknown,
            crossed,
        )

    @property
    def noise_or_zero(self) -> Floats:
        """Deviation of the noise on each level's means, `(C + 1,)`."""
        return np.zeros(len(self.totals)) if self.noise is None else self.noise


def _own(levels: int, width: int) -> list[tuple[int, int]]:
    """Each level of the condition with its own coordinate, which is 1 in all of its rows."""
    count = levels - 1
    return [(level, width - count + level) for level in range(count)]


@dataclass(frozen=True)
class MomentMatching:
    """The generator's distance to the summed moments; one value per fake row.

    Attributes:
        weight: What it is multiplied with.
        moments: E[z z^T] of each level and, last, of all rows, scaled, `(C + 1, W, W)`; 0 where an
            entry is not known.
        active: Which levels take part, `(C + 1,)`.
        scale: What each coordinate of z is multiplied with, `(W,)`.
        known: 1 for coordinates whose products are known in a level, else 0, `(C + 1, W)`.
        loose: 1 for categories of which just the share is known there, else 0, `(C + 1, W)`.
        crossed: 1 for coordinates with which alone products are known in a level, `(C + 1, W)`; 0
            throughout where all are.
    """

    weight: float
    moments: Tensor
    active: Tensor
    scale: Tensor
    known: Tensor
    loose: Tensor
    crossed: Tensor
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
        crossed = np.zeros_like(found.known) if found.crossed is None else found.crossed
        crossed = crossed & found.known
        matrices = np.where(found.pairs, found.means, 0.0) * scale[:, None] * scale[None, :]
        # Of products with some coordinates, not those of these with one another.
        partly: Bools = np.any(crossed, axis=1)
        across = crossed[:, :, None] != crossed[:, None, :]
        matrices = np.where(partly[:, None, None] & ~across, 0.0, matrices)
        loose = one_hot & ~found.known & (found.totals > 0)[:, None]
        return MomentMatching(
            weight,
            torch.tensor(matrices, dtype=torch.float32, device=device),
            torch.tensor(found.totals > 0, device=device),
            torch.tensor(scale, dtype=torch.float32, device=device),
            torch.tensor(found.known, dtype=torch.float32, device=device),
            torch.tensor(loose, dtype=torch.float32, device=device),
            torch.tensor(crossed, dtype=torch.float32, device=device),
        )

    def __call__(self, step: GeneratorStep) -> Tensor:
        """Each row's share of the summed squared distances of all levels, `(B,)`, up to a constant.

        Within a level with n rows of the batch: sum_j!=i <Z_i, Z_j> / (n - 1) - 2 <Z_i, M> with
        Z = z z^T over the entries that the level knows, whose mean over the level is unbiased for
        |E Z - M|_F^2 - |M|_F^2. Over all products of some coordinates <Z_i, Z_j> is (z_i . z_j)^2,
        whose sum over j is z_i^T (sum_j z_j z_j^T) z_i: no matrix of pairs of rows is made. Of a
        category of which just the share is known, <Z_i, Z_j> is the product of squares, and that
        with the level's own coordinate, twice. A mean over the batch thus counts every level for
        its share of the rows. A level with one row of the batch is left out: one row has no pair.
        """
        rows = torch.cat([step.fake, step.condition], 1) * self.scale
        member = stratum_membership(step.condition, self.active)
        others = (member.sum(0) - 1).clamp_min(1)
        values = (member * self._linear(rows, member) / others).sum(1)
        # All rows of the first level, then of the second, and so on.
        level, index = torch.nonzero(member.T, as_tuple=True)
        some = rows.index_select(0, index)
        part = some * self.known[level]
        sizes = member.sum(0).int().tolist()
        partly = self.crossed.any(1).tolist()
        quadratic = []
        split = zip(torch.split(some, sizes), torch.split(part, sizes), strict=True)
        for place, (own, known) in enumerate(split):
            if not len(own):
                continue
            seconds = known.T @ known / (len(own) - 1)
            if partly[place]:
                few = self.crossed[place]
                seconds = seconds * (few[:, None] != few[None, :])
            quadratic.append(own @ torch.sub(seconds, self.moments[place], alpha=2))
        moved = torch.cat([rows[:0], *quadratic]) * some
        return values.index_add(0, index, moved.sum(1))

    def _linear(self, rows: Tensor, member: Tensor) -> Tensor:
        """What each level adds to a row besides its quadratic form, times n - 1, `(B, C + 1)`.

        The sums of products over categories of which just the share is known, less <Z_i, Z_i>.

        Args:
            rows: Scaled rows beside their conditions, `(B, W)`.
            member: Which levels each is in, `(B, C + 1)`.
        """
        levels, width = self.loose.shape
        level = torch.arange(levels - 1, device=rows.device)
        place = width - (levels - 1) + level
        # A category's product with its level's own coordinate, which all rows of the level share.
        tied = self.loose.index_put((level, place), self.loose.new_zeros(()))
        own = rows.new_zeros(levels, 1).index_put((level,), 2 * self.scale[place, None].square())
        squares = rows.square()
        products = squares @ (self.loose * (member.T @ squares)).T
        products = products + rows @ (own * tied * (member.T @ rows)).T
        few = squares @ (self.known * self.crossed).T
        whole = squares @ self.known.T
        across = 2 * few * (whole - few)
        itself = torch.where(self.crossed.any(1), across, whole.square())
        return products - itself - squares.square() @ self.loose.T - squares @ (own * tied).T
