"""Rows of a trained generator kept or not, so that second moments are those of the sites' sums."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clients.protocol.plan import Plan, seed_of
from fairness.groups.conditions import ConditionSpace
from fairness.matching.binning import Binning
from fairness.matching.moments import LevelMoments
from fairness.postprocessing.dependencies import find_dependencies, impute_dependents
from fairness.postprocessing.projection import project
from fairness.weighting.group_weights import row_weights
from server.config.settings import Settings
from server.synthesis.calibration import fit_proposal
from server.synthesis.synthesizer import Synthesizer
from wgan.data.codec import TableCodec
from wgan.generators import SkipGenerator
from wgan.numerics import flush_denormals

LEAST, MOST = 8192, 65_536
"""Rows that a projection is fitted on: twice the sites' own, within these."""

WORK = 8_000_000_000
"""Rows times their squared width at most: a fit on more takes many minutes. `LEAST` they are."""

FEWEST = 50
"""Rows of a cell among them at least: of fewer, nothing is known, and the cell is left alone."""

ENTRIES = 8_000_000
"""Most entries of all levels' matrices: a fit over more takes minutes and gigabytes."""


def projects(settings: Settings, plan: Plan) -> bool:
    """Whether rows are held to second moments at the end, where the sites have summed them up."""
    return _wanted(settings, plan.conditions) and (
        _entries(plan.shape.width + plan.binning.width, plan.conditions) <= ENTRIES
    )


def build_binning(
    settings: Settings, codec: TableCodec, conditions: ConditionSpace, tell: Callable[[str], None]
) -> int:
    """Bins that the sites cut numbers into for the projection; 0: none.

    Args:
        settings: The configuration; its number is halved until moments are not too many.
        codec: What encodes rows.
        conditions: Groups and labels.
        tell: Hears what is left out, and why.
    """
    if not _wanted(settings, conditions):
        return 0
    bins = settings.model.bins

    def entries() -> int:
        return _entries(codec.width + Binning.of(codec, bins).width, conditions)

    while bins and entries() > ENTRIES:
        bins = bins // 2 if bins > 3 else 0
    if (found := entries()) > ENTRIES:
        tell(
            f"the projection onto second moments is left out: {found:,} of them are more than "
            f"{ENTRIES:,}; leave columns of many categories out with data.drop to have it"
        )
    elif bins < settings.model.bins:
        tell(
            f"note: numbers are cut into {bins or 'no'} bins, not {settings.model.bins}: second "
            f"moments with so many would be more than {ENTRIES:,}"
        )
    return bins


def _wanted(settings: Settings, conditions: ConditionSpace) -> bool:
    # Not where groups are moved on purpose, nor with latent clusters, whose cells are too many and
    # too narrow for the rows that a fit can be made on.
    wanted = settings.model.projection and conditions.clusters == 1
    return wanted and not settings.groups_moved and settings.federation.generator != "own"


def _entries(row: int, conditions: ConditionSpace) -> int:
    """Entries of all levels' matrices over rows of so many coordinates."""
    return (conditions.width + 1) * (row + conditions.width) ** 2


def projected(
    synthesizer: Synthesizer,
    moments: LevelMoments,
    tell: Callable[[int, int], None] = lambda steps, of: None,
) -> tuple[Synthesizer, dict[str, Any]]:
    """The synthesizer with a projection, and what that does.

    Args:
        synthesizer: As trained and calibrated, with one generator.
        moments: What the sites' sums tell.
        tell: Hears how many steps of the fit are done of at most how many; may raise to end it.
    """
    plan = synthesizer.plan
    module = synthesizer.generators[0].module
    assert isinstance(module, SkipGenerator)
    conditions = plan.conditions
    found = find_dependencies(
        plan.codec,
        plan.binning,
        moments,
        int(conditions.table.sum()),
        conditions,
    )
    synthesizer = replace(synthesizer, followings=tuple(found.values()))
    each = row_weights(plan.mass, conditions.group_counts)
    mass = (conditions.table * each[:, None]).reshape(-1)
    width = len(moments.choices)
    most = max(LEAST, min(MOST, WORK // width**2))
    count = int(np.clip(2 * conditions.table.sum(), LEAST, most))

    def rows(count: int, seed: str) -> dict[int, Tensor]:
        rng = np.random.default_rng(seed_of(plan.seed, seed))
        cells = rng.choice(len(mass), count, p=fit_proposal(mass / mass.sum()))
        drawn = torch.Generator().manual_seed(seed_of(plan.seed, seed))
        made = {}
        for cell, many in zip(*np.unique(cells, return_counts=True), strict=True):
            if many >= FEWEST:
                told = torch.from_numpy(conditions.encode(np.full(many, cell)))
                part = module.head.chosen(module(told, drawn))
                part = impute_dependents(synthesizer.followings, part, told)
                made[int(cell)] = plan.binning(part)
        return made

    with torch.no_grad(), flush_denormals():
        made, fresh = rows(count, "projection"), rows(2 * count, "projection shares")
        fresh = {cell: part for cell, part in fresh.items() if cell in made}
        # Categories come last, and so are what their shares say.
        spans = plan.binning.spans(plan.shape.width)
        spans += [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
        fit = project(made, fresh, torch.from_numpy(mass), conditions, moments, spans, tell)
    told = {
        "moments_off_before": fit.before,
        "moments_off_after": fit.after,
        "kept": fit.kept,
        "columns_that_follow": {target: source for source, target in found},
    }
    return replace(synthesizer, projection=fit.projection), told
