"""Calibration of numbers in small tables: each gets mean and spread of the ranks agreed on.

Numbers are encoded by their ranks in the data, as normal scores of mean 0 and deviation .5
(`everymode.wgan.data.ranks`), so that a generator's scores should have just these. In a large table
second moments see to it. In one of fewer than `FEW` rows hardly any products are published, and a
short training leaves numbers anywhere, all at one end of their range even. What is known of them
all the same, the agreed histogram, is met by a linear map of each output: it keeps how columns, and
groups within a column, are related.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.matching.moments import MINIMUM
from everymode.fairness.weighting.group_weights import row_weights
from everymode.server.synthesis.calibration import ProgressCallback
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.flat import FlatModule
from everymode.wgan.generators import TableGenerator

FEW = 2 * MINIMUM
"""Rows below which numbers are calibrated."""

ROWS = 8192
"""Rows of the generator that means and deviations are taken of."""

SPREAD = 0.5
"""Deviation of half the standard normal quantiles of ranks."""

LEAST = 1e-3
"""Deviation that is taken for one at least: an output that hardly varies is noise."""


def wants_calibrated_numbers(plan: Plan) -> bool:
    """Whether a table is so small that second moments leave its numbers open."""
    return plan.schema.samples is None and plan.conditions.table.sum() < FEW


@dataclass(frozen=True)
class CalibrateNumbers:
    """Maps the numbers that the one generator makes to mean and spread of their ranks.

    It is applied once, to the parameters.
    """

    name = "numbers"
    text = "calibration of numbers to their ranks"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """See `everymode.server.synthesis.fitting.Fit`; reports how many columns were mapped.

        Generators of single sites stay as they are.
        """
        plan, conditions = synthesizer.plan, synthesizer.plan.conditions
        packed = FlatModule(deepcopy(synthesizer.generators[0].module))
        module, codec = packed.module, plan.codec
        places = []
        alone = len(synthesizer.generators) == 1
        if alone and isinstance(codec, TableCodec) and isinstance(module, TableGenerator):
            columns = [c for c in codec.schema.columns if c.numeric and c.edges]
            places = [codec.span(c.name).start for c in columns if c.scale == "ranks"]
        if not places or not isinstance(module, TableGenerator):
            return synthesizer, {"columns": 0}
        share = (
            conditions.table * row_weights(plan.mass, conditions.group_counts)[:, None]
        ).reshape(-1)
        rng = np.random.default_rng(derive_seed(plan.seed, "numbers"))
        cells = rng.choice(len(share), ROWS, p=share / share.sum())
        own = torch.Generator().manual_seed(derive_seed(plan.seed, "numbers noise"))
        noise = torch.randn((ROWS, module.noise), generator=own)
        scale, shift = torch.ones(plan.shape.width), torch.zeros(plan.shape.width)
        with torch.no_grad():
            raw = module.raw(noise, torch.from_numpy(conditions.encode(cells)))
            for place in places:
                weight = _present(raw, place, plan)
                weight = weight / weight.sum()
                mean = weight @ raw[:, place]
                spread = (weight @ (raw[:, place] - mean).square()).sqrt().clamp_min(LEAST)
                scale[place], shift[place] = SPREAD / spread, -mean * SPREAD / spread
            module.rescale(scale, shift)
        return replace(synthesizer, generators=(packed,)), {"columns": len(places)}


def _present(raw: Tensor, place: int, plan: Plan) -> Tensor:
    """The probability with which each row has a number in a column, `(n,)`."""
    gate = next(b.gate for b in plan.shape.blocks if b.kind == "value" and b.start == place)
    if gate is None:
        return torch.ones(len(raw))
    block = next(b for b in plan.shape.blocks if b.kind == "choice" and b.start <= gate < b.stop)
    return torch.softmax(raw[:, block.start : block.stop], 1)[:, gate - block.start] + 1e-12
