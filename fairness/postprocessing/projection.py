"""A trained generator moved to the nearest law with the sites' second moments, by rejection.

What training leaves undone is seen by the sums that it was drawn towards: wives who are not
married, ages a little off. Of all laws whose second moments lie, in every level of the condition,
as close to the data's as chance would let them, the one with the least relative entropy to the
generator's own has the density

    p(z | c) = q(z | c) exp(z^T A_c z) / Z_c,     A_c = A_all + sum of A_l over the levels l of c,

and is drawn from by making rows and keeping each with the probability exp(z^T A_c z - ceiling_c).
Most entries of every A are 0: only what chance does not explain is moved. Conditions keep their
rows, since Z_c is each condition's own. Shares of categories, on the diagonals, are then brought
back to the data's by iterative scaling on rows that the fit has not seen. Where numbers come with
their bins (`everymode.fairness.matching.binning`), so do the shapes of their distributions.

Sources: Csiszar, "I-Divergence Geometry of Probability Distributions and Minimization Problems",
1975 (the projection); Dudik, Phillips, Schapire, "Maximum Entropy Density Estimation with
Generalized Regularization", 2007 (moments met within a tolerance are an L1 penalty on A); Beck,
Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009; O'Donoghue, Candes, "Adaptive
Restart for Accelerated Gradient Schemes", 2015; Azadi et al., "Discriminator Rejection Sampling",
2019 (rejection from a generator).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.postprocessing.products import Products
from everymode.fairness.postprocessing.projection_problem import (
    STEPS,
    Made,
    ProjectionProblem,
    joint_tilt,
    log_envelopes,
)

Ints = npt.NDArray[np.int64]

TENSORS = ("projection_levels", "projection_ceilings")
"""Names in a saved generator."""


@dataclass(frozen=True)
class Projection:
    """Which rows of a generator are kept.

    Attributes:
        levels: A of each level and, last, of all rows, `(C + 1, W, W)`.
        log_envelopes: z^T A z from which a row of each cell is surely kept, `(cells,)`; minus
            infinity where all are.
    """

    levels: Tensor
    log_envelopes: Tensor

    def accept(self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator) -> Tensor:
        """Which rows to keep, `(B,)`.

        Args:
            rows: Rows, `(B, D)`, every category chosen.
            conditions: What they were made for, `(B, C)`.
            cells: Their cells, `(B,)`.
            rng: Decides.
        """
        joined = torch.cat([rows, conditions], 1)
        score = torch.empty(len(rows))
        for cell in np.unique(cells):
            index = torch.from_numpy((cells == cell).nonzero()[0])
            part = joined[index]
            tilt = self._tilt(int(cell), conditions[index[0]])
            score[index] = Products.of(part).form(tilt)
        chance = torch.rand(len(rows), generator=rng).log()
        return chance < score - self.log_envelopes[torch.from_numpy(cells)]

    def _tilt(self, cell: int, condition: Tensor) -> Tensor:
        """A of a cell's condition, kept for the next rows of it: a table asks for it many times."""
        if cell not in self._tilts:
            self._tilts[cell] = joint_tilt(self.levels, condition)
        return self._tilts[cell]

    @cached_property
    def _tilts(self) -> dict[int, Tensor]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """What a saved generator holds of it."""
        return dict(zip(TENSORS, (self.levels, self.log_envelopes), strict=True))

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor]) -> "Projection | None":
        """The inverse: takes its tensors out of those of a saved generator, if they are there.

        Raises:
            KeyError: One is there without the other.
        """
        if not any(name in tensors for name in TENSORS):
            return None
        levels, log_envelopes = (tensors.pop(name) for name in TENSORS)
        return Projection(levels, log_envelopes)


@dataclass(frozen=True)
class Fit:
    """A projection and what it does.

    Attributes:
        projection: The projection; None: every moment lay within its tolerance.
        before: Moments beyond their tolerance by more than a tenth, over all levels, as trained.
        after: Likewise among rows that the fit has not seen, weighted.
        kept: Share of the generator's rows that are kept, over the data's mixture.
    """

    projection: Projection | None
    before: int
    after: int
    kept: float


def project(
    made: Made,
    fresh: Made,
    mass: Tensor,
    conditions: ConditionSpace,
    moments: LevelMoments,
    spans: Sequence[tuple[int, int]],
    tell: Callable[[int, int], None] = lambda steps, of: None,
) -> Fit:
    """Fits a projection on rows of the generator.

    Args:
        made: Rows to fit on.
        fresh: Other rows of the same cells, for shares, log_envelopes and what is said of the fit.
        mass: Weight of each cell in the moments, `(cells,)`.
        conditions: Groups, labels and their counts.
        moments: What the sites' sums say.
        spans: Coordinates of each one-hot vector of a row.
        tell: Hears how many steps are done of at most how many; what it raises ends the fit.
    """
    problem = ProjectionProblem.of(made, mass, conditions, moments)
    if not problem.cells:
        return Fit(None, 0, 0, 1.0)
    before = problem.count_violations([torch.zeros(len(part.rows)) for part in problem.parts])
    if not before:
        return Fit(None, 0, 0, 1.0)
    levels = problem.solved(lambda steps: tell(steps, STEPS))
    tell(STEPS, STEPS)
    problem = ProjectionProblem.of(fresh, mass, conditions, moments)
    if spans:
        levels = problem.with_shares(levels, spans, conditions.blocks)
    scores = problem.scores(levels)
    own = log_envelopes(scores)
    within = torch.full((conditions.table.size,), -torch.inf)
    within[problem.cells] = torch.stack(own)
    each = [(s - c).exp().clamp_max(1.0).mean() for s, c in zip(scores, own, strict=True)]
    kept = float(problem.shares @ torch.stack(each))
    return Fit(Projection(levels, within), before, problem.count_violations(scores), kept)
