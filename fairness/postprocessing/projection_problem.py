"""The problem that a projection solves: least relative entropy, moments within their tolerance.

See `everymode.fairness.postprocessing.projection` for what it is for, and for sources.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import LevelMoments, eligible_strata
from everymode.fairness.postprocessing.calibration import BELIEF, TINY, stratum_levels
from everymode.fairness.postprocessing.products import Products

Made = Mapping[int, Tensor]
"""By cell, rows made for it with every category chosen, `(n, D)`."""

TOLERANCE = 3.0
"""Standard errors that a moment may be off."""

NOISE_TOLERANCE = 1.0
"""Standard deviations of noise that was added for privacy, likewise."""

MIN_COUNT = 30.0
"""Rows of the generator that must show two categories together for their moment to be moved."""

MIN_COUNT_WITH_NUMBER = 10.0
"""How many times as many must show a category for its product with a number to be moved."""

MAX_TILT = 1.0
"""Largest entry off the diagonal of an A: one level weighs a pair of categories exp(2) at most."""

MAX_WEIGHT = 20.0
"""What the most wanted rows of a cell weigh at most, beside its mean row."""

QUANTILE = 0.999
"""Share of a cell's rows that weigh less than its ceiling, where that is lower."""

UNBOUNDED = 1e6

SPREAD = 0.1
"""p (1 - p) of the shares by which a level's rows and the noise on them are weighed."""

SWEEPS = 5
"""Passes over columns and levels that bring the shares of categories back."""

STEPS = 150
"""Steps of the fit at most."""

RIDGE = 1e-3
"""Bends A back to 0, per unit of a product's standard deviation, where hardly a row has it."""

CONVERGED = 1e-5
"""The fit ends where ten steps gain less."""


def joint_tilt(levels: Tensor, condition: Tensor) -> Tensor:
    """A_c of one condition `(C,)`, `(W, W)`."""
    chosen = torch.nonzero(condition > 0)[:, 0].tolist()
    return levels[[*chosen, len(levels) - 1]].sum(0)


@dataclass(frozen=True)
class ProjectionProblem:
    """Least relative entropy such that moments lie within their tolerance.

    In its dual, levels A minimise sum_c p_c log Z_c - <A, target> + sum |A| p tolerance + ridge.

    Attributes:
        cells: Cells that take part.
        parts: Their rows beside their condition, `(n, W)` each, and their products.
        shares: Their shares of the weight, `(S,)`.
        members: Which levels each is in, that of all rows last, `(S, C + 1)`.
        target: Moments wanted, times each level's share, `(C + 1, W, W)`.
        spread: Standard deviation of each product of coordinates in each level.
        slack: What each may be off, times the level's share.
        rows: Rows of the data in each level, `(C + 1,)`, or as many as noise leaves them worth.
    """

    cells: Sequence[int]
    parts: Sequence[Products]
    shares: Tensor
    members: Tensor
    target: Tensor
    spread: Tensor
    slack: Tensor
    rows: Tensor

    @staticmethod
    def of(
        made: Made, mass: Tensor, conditions: ConditionSpace, moments: LevelMoments
    ) -> "ProjectionProblem":
        """Reads rows of the generator and what the sums say; see `projection.project`."""
        taking, levels = eligible_strata(conditions)
        counts = torch.from_numpy((conditions.table * taking[:, None]).reshape(-1)).float()
        active = torch.from_numpy((moments.totals > 0) & np.append(levels, True))
        told = torch.from_numpy(conditions.encode(np.arange(conditions.table.size)))
        member = torch.cat([told, torch.ones(len(told), 1)], 1) * active
        cells = [cell for cell in made if counts[cell] > 0 and mass[cell] > 0 and len(made[cell])]
        shares = mass[cells].float() / mass[cells].sum()
        members = member[cells]
        parts = [
            Products.of(torch.cat([made[c], told[c].expand(len(made[c]), -1)], 1)) for c in cells
        ]
        rows = (members * counts[cells, None]).sum(0)
        drawn = (members * torch.tensor([float(len(p.rows)) for p in parts])[:, None]).sum(0)
        within = members.T @ shares
        first, second = _means(parts, members, shares, len(moments.choices))
        own = torch.from_numpy(moments.means).float()
        choice = torch.from_numpy(moments.choices)
        pairs = choice[:, None] & choice[None, :]
        chance = (second - first.square()).clamp_min(0)
        # Of two categories the sums tell the variance; of numbers the generator's has to do.
        data = torch.where(pairs, (own - own.square()).clamp_min(0), chance)
        data = torch.maximum(data, chance)
        many = rows.clamp_min(1)[:, None, None]
        error = chance / drawn.clamp_min(1)[:, None, None] + data / many + many**-2
        # Noise that was added for privacy is an error of the sums like chance.
        added = torch.from_numpy(moments.noise_or_zero).float().square()
        noise = NOISE_TOLERANCE**2 * added[:, None, None]
        slack = (TOLERANCE**2 * error + noise).sqrt()
        # A weight for what no row shows would cost nothing here and rule wherever it turns up.
        shown = first * drawn[:, None, None]
        category = torch.where(choice, shown.diagonal(dim1=1, dim2=2), torch.inf)
        fewer = torch.minimum(category[:, :, None], category[:, None, :])
        slack[torch.where(pairs, shown < MIN_COUNT, fewer < MIN_COUNT_WITH_NUMBER * MIN_COUNT)] = (
            UNBOUNDED
        )
        slack[~torch.from_numpy(moments.pairs)] = UNBOUNDED
        weight = within[:, None, None]
        return ProjectionProblem(
            cells,
            parts,
            shares,
            members,
            own * weight,
            (data + 1 / many).sqrt(),
            slack * weight,
            rows / (1 + rows * added / SPREAD),
        )

    def scores(self, levels: Tensor) -> list[Tensor]:
        """z^T A z of every part's rows, `(n,)` each."""
        return [
            part.form(joint_tilt(levels, member[:-1]))
            for part, member in zip(self.parts, self.members, strict=True)
        ]

    def value(self, levels: Tensor) -> tuple[float, list[Tensor]]:
        """The smooth part without ridge, and every part's rows' shares of it."""
        scores = self.scores(levels)
        logs = torch.stack([torch.logsumexp(s, 0) - np.log(len(s)) for s in scores])
        total = float(self.shares @ logs) - float((levels * self.target).sum())
        return total, [torch.softmax(score, 0) for score in scores]

    def moments(self, shares: Sequence[Tensor]) -> Tensor:
        """Moments of weighted rows, times each level's share, `(C + 1, W, W)`."""
        found = torch.zeros_like(self.target)
        for part, own, share, member in zip(
            self.parts, shares, self.shares, self.members, strict=True
        ):
            found[member > 0] += part.total(own * share)
        return found

    def count_violations(self, scores: Sequence[Tensor]) -> int:
        """Moments that lie beyond their tolerance, each counted once, of rows that are kept."""
        shares = [
            torch.softmax(s.clamp_max(c), 0)
            for s, c in zip(scores, log_envelopes(scores), strict=True)
        ]
        off = (self.moments(shares) - self.target).abs() > 1.1 * self.slack
        return int(torch.triu(off).sum())

    def with_shares(
        self, levels: Tensor, spans: Sequence[tuple[int, int]], vectors: Sequence[int]
    ) -> Tensor:
        """Levels such that rows that are kept have the data's shares of categories in every level.

        Generalised iterative scaling, a column and one vector of the condition at a time, as in
        `everymode.fairness.postprocessing.calibration`, of weights as they are cut at the ceilings:
        what a cut takes from wanted rows would else be missing from their categories.
        """
        scores = torch.cat(self.scores(levels))
        sizes = [len(part.rows) for part in self.parts]
        member = torch.repeat_interleave(self.members, torch.tensor(sizes), 0)
        log_share = self.shares.log()
        levels = levels.clone()
        within = (self.members.T @ self.shares)[:, None].clamp_min(TINY)
        wanted = self.target.diagonal(dim1=1, dim2=2) / within
        turns = [
            torch.tensor(turn)
            for turn in (*stratum_levels(vectors), [len(within) - 1])
            if len(turn)
        ]
        end = max(last for _, last in spans)
        rows = torch.cat([part.rows[:, :end] for part in self.parts])
        own: dict[tuple[int, int], Tensor] = {}
        for _ in range(SWEEPS):
            ceiling = torch.repeat_interleave(
                torch.stack(log_envelopes(torch.split(scores, sizes))), torch.tensor(sizes)
            )
            for first, last in spans:
                choice = rows[:, first:last].argmax(1)
                for turn in turns:
                    weight = torch.cat(
                        [
                            torch.softmax(s, 0) * share.exp()
                            for s, share in zip(
                                torch.split(torch.minimum(scores, ceiling), sizes),
                                log_share,
                                strict=True,
                            )
                        ]
                    )
                    held = member[:, turn] * weight[:, None]
                    found = torch.zeros(len(turn), last - first).index_add_(1, choice, held.T)
                    found /= within[turn]
                    goal = wanted[turn, first:last]
                    count = self.rows[turn, None]
                    trained = own.setdefault((first, int(turn[0])), found)
                    goal = (count * goal + BELIEF * trained) / (count + BELIEF)
                    step = (goal.clamp_min(TINY) / found.clamp_min(TINY)).log()
                    step = torch.where((found > 0) & (goal > 0), step, 0.0)
                    place = torch.arange(first, last)
                    levels[turn[:, None], place, place] += step
                    scores = scores + (member[:, turn] @ step).gather(1, choice[:, None])[:, 0]
        return levels

    def solved(self, tell: Callable[[int], None] = lambda steps: None) -> Tensor:
        """Levels, by accelerated proximal steps in units of each product's deviation.

        Args:
            tell: Hears how many of `STEPS` are done.
        """
        within = (self.members.T @ self.shares)[:, None, None]
        threshold, limit = self.slack / self.spread, MAX_TILT * self.spread

        def smooth(point: Tensor) -> tuple[float, list[Tensor]]:
            value, shares = self.value(point / self.spread)
            return value + RIDGE / 2 * float((within * point.square()).sum()), shares

        point = ahead = torch.zeros_like(self.target)
        momentum, size, best, since = 1.0, 1.0, float("inf"), 0
        for done in range(STEPS):
            tell(done)
            value, shares = smooth(ahead)
            slope = (self.moments(shares) - self.target) / self.spread + RIDGE * within * ahead
            while True:
                moved = ahead - size * slope
                moved = moved.sign() * (moved.abs() - size * threshold).clamp_min(0)
                moved = torch.clamp(moved, -limit, limit)
                step = moved - ahead
                reached = smooth(moved)[0]
                bound = value + float((slope * step).sum()) + float(step.square().sum()) / 2 / size
                # Said this way round, what is not a number ends the search too.
                if not reached > bound + 1e-7:
                    break
                size /= 2
            if float(((ahead - moved) * (moved - point)).sum()) > 0:
                momentum = 1.0
            after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = moved + (momentum - 1) / after * (moved - point)
            point, momentum, size = moved, after, size * 1.05
            whole = reached + float((threshold * moved.abs()).sum())
            since = 0 if whole < best - CONVERGED else since + 1
            best = min(best, whole)
            if since >= 10:
                break
        return point / self.spread


def log_envelopes(scores: Sequence[Tensor]) -> list[Tensor]:
    """The score from which a row of each part is surely kept."""
    found = []
    for score in scores:
        mean = torch.logsumexp(score, 0) - np.log(len(score))
        found.append(torch.minimum(torch.quantile(score, QUANTILE), mean + np.log(MAX_WEIGHT)))
    return found


def _means(
    parts: Sequence[Products], members: Tensor, shares: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Means of products of coordinates and of their squares in every level, `(C + 1, W, W)`."""
    first, second = torch.zeros(2, members.shape[1], width, width)
    for part, member, share in zip(parts, members, shares, strict=True):
        each = torch.ones(len(part.rows))
        first[member > 0] += share * part.total(each) / len(each)
        second[member > 0] += share * part.squared().total(each) / len(each)
    within = (members.T @ shares).clamp_min(TINY)[:, None, None]
    return first / within, second / within
