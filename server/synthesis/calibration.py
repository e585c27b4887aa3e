"""Calibration: a trained generator is shifted to the sites' shares of categories."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.postprocessing.calibration import CategoryMarginals, fit_calibration
from everymode.fairness.weighting.group_weights import row_weights
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.codec import Codec
from everymode.wgan.flat import FlatModule
from everymode.wgan.generators import table_generator
from everymode.wgan.numerics import flush_denormals

ProgressCallback = Callable[[int, int], None]

MIN_ROWS, MAX_ROWS = 16_384, 131_072
"""Bounds of the rows that a calibration is fitted on, eight times the data's between them. With
fewer, chance would show in the shares."""

EVEN_SHARE = 0.25
"""Share of these rows that is split evenly over the cells, so that small groups have enough."""

PIECE = 8192


def has_categories(codec: Codec) -> bool:
    """Whether an encoded row has any categorical part."""
    return any(block.kind == "choice" for block in codec.blocks)


def category_marginals(
    plan: Plan, sums: npt.NDArray[np.float64], groups_moved: bool
) -> CategoryMarginals:
    """Category shares from the sums, without those of groups that a penalty moves on purpose.

    Args:
        plan: What server and sites agreed on.
        sums: The sites' sums, `(C + 1, W + 1)`.
        groups_moved: Whether a penalty moves the groups' shares on purpose.
    """
    spans = [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
    shares = CategoryMarginals.of(sums, plan.conditions, spans)
    return shares.without_groups() if groups_moved else shares


def fit_proposal(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How often each cell occurs among rows to fit on, from its share in the data, `(cells,)`."""
    proposal: npt.NDArray[np.float64] = (1 - EVEN_SHARE) * share + EVEN_SHARE * (share > 0) / (
        share > 0
    ).sum()
    return proposal


@dataclass(frozen=True)
class CalibrateCategories:
    """Shifts the logits of the one generator so that categories have the sites' shares.

    See `everymode.fairness.postprocessing.calibration`. It is applied once, to the parameters:
    categories are drawn from the logits, so that a step on finished rows would come too late.

    Attributes:
        marginals: Shares of categories in every stratum, from the sites' sums.
    """

    marginals: CategoryMarginals
    name = "calibration"
    text = "calibration to the sites' shares of categories"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """See `Fit`; reports the largest distance before and after."""
        plan = synthesizer.plan
        packed = FlatModule(deepcopy(synthesizer.generators[0].module))
        module = table_generator(packed.module)
        each = row_weights(plan.mass, plan.conditions.group_counts)
        weights = (plan.conditions.table * each[:, None]).reshape(-1)
        share = weights / weights.sum()
        proposal = fit_proposal(share)
        rows = int(np.clip(8 * plan.conditions.table.sum(), MIN_ROWS, MAX_ROWS))
        rng = np.random.default_rng(derive_seed(plan.seed, "calibration"))
        cells = rng.choice(len(share), rows, p=proposal)
        conditions = torch.from_numpy(plan.conditions.encode(cells))
        noise = torch.randn(
            (rows, module.noise),
            generator=torch.Generator().manual_seed(derive_seed(plan.seed, "calibration noise")),
        )
        with torch.no_grad(), flush_denormals():
            pieces = zip(torch.split(noise, PIECE), torch.split(conditions, PIECE), strict=True)
            raw = torch.cat([module.raw(z, c) for z, c in pieces])
            tilt = fit_calibration(
                raw,
                conditions,
                torch.from_numpy(share[cells] / proposal[cells]),
                self.marginals,
            )
            module.tilt(tilt.bias, tilt.levels)
        found = {"largest_distance_before": tilt.before, "largest_distance_after": tilt.after}
        return replace(synthesizer, generators=(packed,)), found
