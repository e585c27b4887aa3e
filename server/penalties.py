"""What the server's generator pays for besides the critic, from the configuration and the sums."""

import numpy as np

from clients.orders import Matched
from clients.plan import Plan, seed_of
from clients.sums import SiteSums
from fairness.feature_matching import Description, matching_of
from fairness.matching import LevelMoments, MomentMatching
from server.generating import bias_head_of, parity_of
from server.settings import Settings
from wgan.penalties import GeneratorPenalty


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
    moments = _matching(settings, plan, sums, device) if kind == "moments" else None
    matching: GeneratorPenalty | None = moments
    if kind in ("kernel", "sliced"):
        seed = seed_of(plan.seed, "description")
        description = Description.of(kind, plan.shape.blocks, plan.conditions.width, seed)
        matching = matching_of(description, sums["description"], settings.model.matching, device)
    parity = parity_of(settings, plan, moments, device)
    head = bias_head_of(settings, plan, device)
    return tuple(term for term in (matching, parity, head) if term is not None)


def moments_of(plan: Plan, sums: SiteSums) -> LevelMoments:
    """What the sites' second moments say, of rows with their numbers' bins behind them."""
    binned = plan.shape.width + plan.binning.width
    choices = np.ones(binned, dtype=bool)
    for block in plan.shape.blocks:
        choices[block.start : block.stop] = block.kind == "choice"
    last = [size for size in plan.conditions.blocks if size][-1]
    return LevelMoments.of(sums["moments"], plan.conditions.width - last, choices)


def _matching(settings: Settings, plan: Plan, sums: SiteSums, device: str) -> MomentMatching:
    # Which bin a number lies in has no slope, so the generator is matched without.
    first = plan.shape.width
    found = moments_of(plan, sums).without(first, first + plan.binning.width)
    return MomentMatching.of(found, settings.model.matching, device)
