"""Fits of the steps that rest on second moments: dependencies and the projection."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.postprocessing.dependencies import find_dependencies
from everymode.fairness.postprocessing.projection import project
from everymode.fairness.weighting.group_weights import row_weights
from everymode.server.synthesis.calibration import ProgressCallback, fit_proposal
from everymode.server.synthesis.steps import ImputeDependencies, ProjectByRejection
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.codec import Codec
from everymode.wgan.generators import table_generator
from everymode.wgan.numerics import flush_denormals

MIN_ROWS, MAX_ROWS = 8192, 65_536
"""Bounds of the rows that a projection is fitted on, twice the sites' own between them."""

WORK = 8_000_000_000
"""Bound of rows times their squared width, above `MIN_ROWS`: a larger fit takes many minutes."""

MIN_CELL_ROWS = 50
"""Rows of a cell among them below which the cell is left as it is."""

MAX_ENTRIES = 8_000_000
"""Most entries of the matrices of all strata: a larger fit takes minutes and gigabytes."""


def can_project(plan: Plan) -> bool:
    """Whether rows can be projected onto the sites' second moments after the training.

    Not with latent clusters, whose cells are too many and too narrow for the rows that a fit can be
    made on, nor with too many moments.
    """
    return plan.conditions.clusters == 1 and (
        _entries(plan.shape.width + plan.binning.width, plan.conditions) <= MAX_ENTRIES
    )


def build_binning(
    wanted: int, codec: Codec, conditions: ConditionSpace, note: Callable[[str], None]
) -> int:
    """How many bins the sites cut numbers into for the projection; 0: none.

    Args:
        wanted: Bins at most; the number is halved until there are not too many moments.
        codec: Encodes rows.
        conditions: Groups and labels.
        note: Receives what is left out, and why.
    """
    if conditions.clusters > 1:
        return 0
    bins = wanted

    def entries() -> int:
        return _entries(codec.width + Binning.of(codec, bins).width, conditions)

    while bins and entries() > MAX_ENTRIES:
        bins = bins // 2 if bins > 3 else 0
    if (found := entries()) > MAX_ENTRIES:
        note(
            f"the projection onto second moments is left out: {found:,} of them are more than "
            f"{MAX_ENTRIES:,}; leave columns of many categories out with data.drop to have it"
        )
    elif bins < wanted:
        note(
            f"numbers are cut into {bins or 'no'} bins, not {wanted}: second "
            f"moments with so many would be more than {MAX_ENTRIES:,}"
        )
    return bins


def _entries(row: int, conditions: ConditionSpace) -> int:
    """Entries of the matrices of all strata, for encoded rows of `row` coordinates."""
    return (conditions.width + 1) * (row + conditions.width) ** 2


@dataclass(frozen=True)
class FindDependencies:
    """Finds columns that are functions of another column, and fills them in from then on.

    See `everymode.fairness.postprocessing.dependencies`.

    Attributes:
        moments: Second moments of the encoded rows, from the sites' sums.
    """

    moments: LevelMoments
    name = "dependencies"
    text = "columns that follow from another"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """See `everymode.server.synthesis.fitting.Fit`; reports the columns."""
        plan, conditions = synthesizer.plan, synthesizer.plan.conditions
        found = find_dependencies(
            conditions.table_codec(plan.schema),
            plan.binning,
            self.moments,
            int(conditions.table.sum()),
            conditions,
        )
        report = {"columns_that_follow": {target: source for source, target in found}}
        if not found:
            return synthesizer, report
        step = ImputeDependencies(tuple(found.values()))
        return replace(synthesizer, post=(*synthesizer.post, step)), report


@dataclass(frozen=True)
class FitProjection:
    """Fits the probabilities with which rows stay, so that they have the sites' second moments.

    See `everymode.fairness.postprocessing.projection`. Rows are fitted on as the steps so far leave
    them.

    Attributes:
        moments: Second moments of the encoded rows, from the sites' sums.
    """

    moments: LevelMoments
    name = "projection"
    text = "projection onto the sites' second moments"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Reports moments off before and after, and rows kept.

        See `everymode.server.synthesis.fitting.Fit`. What `progress` raises ends the fit.
        """
        plan, conditions = synthesizer.plan, synthesizer.plan.conditions
        each = row_weights(plan.mass, conditions.group_counts)
        mass = (conditions.table * each[:, None]).reshape(-1)
        width = len(self.moments.choices)
        most = max(MIN_ROWS, min(MAX_ROWS, WORK // width**2))
        count = int(np.clip(2 * conditions.table.sum(), MIN_ROWS, most))
        with torch.no_grad(), flush_denormals():
            made = _rows_by_cell(synthesizer, mass, count, "projection")
            fresh = _rows_by_cell(synthesizer, mass, 2 * count, "projection shares")
            fresh = {cell: part for cell, part in fresh.items() if cell in made}
            # Categories come last, and so are what their shares say.
            spans = plan.binning.spans(plan.shape.width)
            spans += [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
            fit = project(
                made, fresh, torch.from_numpy(mass), conditions, self.moments, spans, progress
            )
        report = {
            "moments_off_before": fit.before,
            "moments_off_after": fit.after,
            "kept": fit.kept,
        }
        if fit.projection is None:
            return synthesizer, report
        step = ProjectByRejection.of(plan, fit.projection, soft=synthesizer.proposal is None)
        return replace(synthesizer, post=(*synthesizer.post, step)), report


def _rows_by_cell(
    synthesizer: Synthesizer, mass: npt.NDArray[np.float64], count: int, purpose: str
) -> dict[int, Tensor]:
    """Rows with their bins, `(n, W)`, of each cell of which there are enough.

    Args:
        synthesizer: Makes them; its steps are applied.
        mass: Weight of each cell, `(cells,)`.
        count: Rows of all cells.
        purpose: What they are for; seeds derive from it.
    """
    plan, conditions = synthesizer.plan, synthesizer.plan.conditions
    proposal = synthesizer.proposal
    module = None if proposal else table_generator(synthesizer.generators[0].module)
    rng = np.random.default_rng(derive_seed(plan.seed, purpose))
    cells = rng.choice(len(mass), count, p=fit_proposal(mass / mass.sum()))
    drawn = torch.Generator().manual_seed(derive_seed(plan.seed, purpose))
    made = {}
    for cell, many in zip(*np.unique(cells, return_counts=True), strict=True):
        if many >= MIN_CELL_ROWS:
            own = np.full(many, cell)
            condition = torch.from_numpy(conditions.encode(own))
            if module is not None:
                rows = module.chosen(module(condition, drawn))
            else:
                rows = torch.from_numpy(synthesizer.propose(own, plan.seed, drawn))
            for step in synthesizer.post:
                rows, _ = step(rows, condition, own, drawn)
            made[int(cell)] = plan.binning(rows)
    return made
