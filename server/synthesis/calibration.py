"""Shares of categories from the sites' sums, and a trained generator held to them."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from clients.protocol.plan import Plan, seed_of
from fairness.postprocessing.calibration import CategoryMarginals, fit_calibration
from fairness.weighting.group_weights import row_weights
from server.config.settings import Settings
from server.synthesis.synthesizer import Synthesizer
from wgan.data.codec import TableCodec
from wgan.data.schema import Schema
from wgan.flat import FlatModule
from wgan.generators import table_generator
from wgan.numerics import flush_denormals

LEAST, MOST = 16_384, 131_072
"""Rows that a tilt is fitted on, eight times the data's within these: what chance does to fewer
would show in the shares."""

EVEN = 0.25
"""Part of these rows that all cells share alike, so that small groups have enough of them."""

PIECE = 8192


def has_categories(schema: Schema) -> bool:
    """Whether an encoded row has any part that is chosen among options."""
    return any(block.kind == "choice" for block in TableCodec(schema).blocks)


def category_marginals(
    settings: Settings, plan: Plan, sums: npt.NDArray[np.float64]
) -> CategoryMarginals:
    """Category shares from the sums, without those of groups that a penalty moves on purpose."""
    spans = [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
    shares = CategoryMarginals.of(sums, plan.conditions, spans)
    return shares.without_groups() if settings.groups_moved else shares


def fit_proposal(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How often each cell is made to fit on, of its share in the data, `(cells,)` both."""
    proposal: npt.NDArray[np.float64] = (1 - EVEN) * share + EVEN * (share > 0) / (share > 0).sum()
    return proposal


def calibrated(
    synthesizer: Synthesizer, shares: CategoryMarginals
) -> tuple[Synthesizer, dict[str, float]]:
    """The synthesizer with its one generator tilted to `shares`, and how far it was and is off.

    Args:
        synthesizer: As trained, with one generator.
        shares: What the sites' sums tell.
    """
    plan = synthesizer.plan
    packed = FlatModule(deepcopy(synthesizer.generators[0].module))
    module = table_generator(packed.module)
    each = row_weights(plan.mass, plan.conditions.group_counts)
    weights = (plan.conditions.table * each[:, None]).reshape(-1)
    share = weights / weights.sum()
    proposal = fit_proposal(share)
    rows = int(np.clip(8 * plan.conditions.table.sum(), LEAST, MOST))
    rng = np.random.default_rng(seed_of(plan.seed, "calibration"))
    cells = rng.choice(len(share), rows, p=proposal)
    conditions = torch.from_numpy(plan.conditions.encode(cells))
    noise = torch.randn(
        (rows, module.noise),
        generator=torch.Generator().manual_seed(seed_of(plan.seed, "calibration noise")),
    )
    with torch.no_grad(), flush_denormals():
        pieces = zip(torch.split(noise, PIECE), torch.split(conditions, PIECE), strict=True)
        raw = torch.cat([module.raw(z, c) for z, c in pieces])
        tilt = fit_calibration(
            raw, conditions, torch.from_numpy(share[cells] / proposal[cells]), shares
        )
        module.tilt(tilt.bias, tilt.levels)
    found = {"largest_distance_before": tilt.before, "largest_distance_after": tilt.after}
    return replace(synthesizer, generators=(packed,)), found
