"""What the server's generator pays for besides the critic, from the configuration and the sums."""

import numpy as np

from clients.protocol.messages import Matched, Request, SumMoments
from clients.protocol.plan import Plan, seed_of
from clients.protocol.sums import SiteSums
from fairness.matching.features import FeatureMap, build_matching
from fairness.matching.moments import LevelMoments, MomentMatching, eligible_strata
from fairness.matching.suppression import publishable, to_text
from server.config.settings import Settings
from server.training.generator_step import build_adversary, build_parity
from server.transport.exchange import Exchange
from wgan.penalties import GeneratorPenalty


def build_penalties(
    settings: Settings,
    plan: Plan,
    kind: Matched,
    sums: SiteSums,
    moments: LevelMoments | None,
    device: str,
) -> tuple[GeneratorPenalty, ...]:
    """Matching, parity and the bias head, as far as they are asked for.

    Args:
        settings: The configuration.
        plan: What server and sites agreed on.
        kind: What the sites have described their rows by.
        sums: What `EncodeData` brought.
        moments: Second moments, where the rows were described by these.
        device: Where the generator lives.
    """
    matching: GeneratorPenalty | None = None
    matched: MomentMatching | None = None
    if moments is not None:
        # Which bin a number lies in has no slope, so the generator is matched without.
        first = plan.shape.width
        narrow = moments.without(first, first + plan.binning.width)
        matching = matched = MomentMatching.of(narrow, settings.model.matching, device)
    if kind in ("kernel", "sliced"):
        seed = seed_of(plan.seed, "description")
        description = FeatureMap.of(kind, plan.shape.blocks, plan.conditions.width, seed)
        matching = build_matching(description, sums["description"], settings.model.matching, device)
    parity = build_parity(settings, plan, matched, device)
    head = build_adversary(settings, plan, device)
    return tuple(term for term in (matching, parity, head) if term is not None)


def request_moments(
    exchange: Exchange, plan: Plan, plan_name: str, sums: SiteSums
) -> tuple[LevelMoments, float]:
    """Asks the sites once for the second moments that rest on enough rows.

    Args:
        exchange: The way to the sites.
        plan: What server and sites agreed on.
        plan_name: Its fingerprint.
        sums: What `EncodeData` brought: counts and shares of coordinates in every level.

    Returns:
        The moments, of rows with their numbers' bins behind them; and the share of those products
        of coordinates that some row has which were left out.
    """
    counts = sums.units("counts")
    _, levels = eligible_strata(plan.conditions)
    active = np.append(levels, True)
    published = publishable(counts, active, plan.conditions.blocks, plan.spans)
    found = exchange(Request(SumMoments(plan_name, to_text(published))))
    moments = LevelMoments.of(found["moments"], published, sums["marginals"], plan.choices)
    held = ((counts > 0) & active[:, None]).sum(1)
    kept = ((counts > 0) & published).sum(1)
    return moments, 1 - float((kept**2).sum()) / max(float((held**2).sum()), 1.0)
