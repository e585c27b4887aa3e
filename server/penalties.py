"""What the server's generator pays for besides the critic, from the configuration and the sums."""

import numpy as np
import numpy.typing as npt

from clients.orders import Matched
from clients.plan import Plan, seed_of
from clients.sums import SiteSums
from fairness.feature_matching import Description, matching_of
from fairness.matching import MomentMatching
from server.generating import bias_head_of, parity_of
from server.settings import Settings
from wgan.penalties import GeneratorPenalty

Choices = npt.NDArray[np.bool_]


def penalties_of(
    settings: Settings, plan: Plan, kind: Matched, sums: SiteSums, device: str
) -> tuple[GeneratorPenalty, ...]:
    """Matching, parity and the bias head, as far as they are asked for.

    Args:
        settings: The configuration.
        plan: What server and sites agreed on.
        kind: What the sites have described their rows by.
        sums: What `Prepare` brought.
        device: Where the generator lives.
    """
    moments = _moments(settings, plan, sums, device) if kind == "moments" else None
    matching: GeneratorPenalty | None = moments
    if kind in ("kernel", "sliced"):
        seed = seed_of(plan.seed, "description")
        description = Description.of(kind, plan.shape.blocks, plan.conditions.width, seed)
        matching = matching_of(description, sums["description"], settings.model.matching, device)
    parity = parity_of(settings, plan, moments, device)
    head = bias_head_of(settings, plan, device)
    return tuple(term for term in (matching, parity, head) if term is not None)


def moments_of(plan: Plan, sums: SiteSums) -> tuple[npt.NDArray[np.float64], int, Choices]:
    """Totals of second moments as `LevelMoments.of` reads them."""
    choices = np.zeros(plan.shape.width, dtype=bool)
    for block in plan.shape.blocks:
        choices[block.start : block.stop] = block.kind == "choice"
    last = [size for size in plan.conditions.blocks if size][-1]
    return sums["moments"], plan.conditions.width - last, choices


def _moments(settings: Settings, plan: Plan, sums: SiteSums, device: str) -> MomentMatching:
    totals, first, choices = moments_of(plan, sums)
    return MomentMatching.of(totals, first, settings.model.matching, choices, device)
