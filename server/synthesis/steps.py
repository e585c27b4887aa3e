"""Postprocessing steps: what happens to rows between the generator and the table.

A step is a function of encoded rows, their conditions and their cells. It may change rows, and it
may reject some, which are then drawn again. `Synthesizer.post` is a tuple of steps. The mathematics
is in `everymode.fairness.postprocessing`; `everymode.server.synthesis.fitting` fits the steps of a
run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan
from everymode.fairness.matching.binning import Binning
from everymode.fairness.postprocessing.dependencies import FunctionalDependency, impute_dependents
from everymode.fairness.postprocessing.forbidden import ForbiddenPairs
from everymode.fairness.postprocessing.leaf_weights import LeafWeights
from everymode.fairness.postprocessing.projection import Projection
from everymode.wgan.generators import Head

Ints = npt.NDArray[np.int64]

PIECE = 8192
"""Rows that a step holds in memory with their bins."""


class PostprocessingStep(Protocol):
    """Changes or rejects rows of a generator."""

    def __call__(
        self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Applies the step.

        Args:
            rows: Encoded rows, `(n, D)`, as the generator makes them: one-hot vectors are soft.
            conditions: The conditions that they were made for, `(n, C)`.
            cells: Their cells, `(n,)`.
            rng: Source of random numbers.

        Returns:
            The rows, `(n, D)`, and which of them stay, `(n,)` of booleans.
        """
        ...


@dataclass(frozen=True)
class ImputeDependencies:
    """Fills in columns that are functions of another column in the data; rejects no row.

    Attributes:
        dependencies: The functions.
    """

    dependencies: tuple[FunctionalDependency, ...]

    def __call__(
        self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `PostprocessingStep`."""
        filled = impute_dependents(self.dependencies, rows, conditions)
        return filled, torch.ones(len(rows), dtype=torch.bool)


@dataclass(frozen=True)
class ProjectByRejection:
    """Rejects rows so that the rest have the sites' second moments; changes none.

    Attributes:
        projection: The probability with which a row stays.
        binning: How the numbers of a row are cut into bins.
        choose: Makes one-hot vectors of soft ones, `(n, D)` both; None: rows have none that are
            soft, as those that trees draw.
    """

    projection: Projection
    binning: Binning
    choose: Callable[[Tensor], Tensor] | None = field(compare=False)

    @staticmethod
    def of(plan: Plan, projection: Projection, soft: bool = True) -> "ProjectByRejection":
        """For rows of a plan.

        Args:
            plan: What server and sites agreed on.
            projection: The probability with which a row stays.
            soft: Whether rows come with one-hot vectors that are soft.
        """
        head = Head(plan.shape.blocks, 1.0)
        return ProjectByRejection(projection, plan.binning, head.chosen if soft else None)

    def __call__(
        self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `PostprocessingStep`."""
        kept = torch.zeros(len(rows), dtype=torch.bool)
        for start in range(0, len(rows), PIECE):
            piece = slice(start, start + PIECE)
            own = rows[piece] if self.choose is None else self.choose(rows[piece])
            binned = self.binning(own)
            kept[piece] = self.projection.accept(binned, conditions[piece], cells[piece], rng)
        return rows, kept


@dataclass(frozen=True)
class KeepByLeaves:
    """Rejects rows so that leaves of trees hold as many as of the data; changes none.

    Attributes:
        weights: The probability with which a row stays.
    """

    weights: LeafWeights

    def __call__(
        self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `PostprocessingStep`."""
        return rows, torch.from_numpy(self.weights.accept(rows.numpy(), cells, rng))


@dataclass(frozen=True)
class DropForbidden:
    """Rejects rows with a pair of values that the data never hold; changes none.

    Attributes:
        pairs: The pairs.
    """

    pairs: ForbiddenPairs

    def __call__(
        self, rows: Tensor, conditions: Tensor, cells: Ints, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `PostprocessingStep`."""
        codes = self.pairs.coding.codes(rows.numpy(), cells)
        return rows, torch.from_numpy(~self.pairs.broken(codes))
