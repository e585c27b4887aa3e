"""What a site answers where noise is asked for, and what it never answers about the same rows."""

import json
from collections.abc import Iterator
from functools import lru_cache

from everymode.clients.gate.held import rows_held_out
from everymode.clients.protocol import limits
from everymode.clients.protocol.messages import EncodeData, SumMoments, Task
from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import CountHistograms
from everymode.clients.site import Site
from everymode.fairness.matching.suppression import of_text
from everymode.wgan.data.schema import Schema

MOST = 1e6
"""Largest zCDP and clip: more would be no privacy, and no norm of an encoded row."""


def is_private(order: Task) -> bool:
    """Whether a question wants noise, or begins a plan about which all questions do."""
    return getattr(order, "noise", None) is not None or getattr(order, "noised", False)


def noise_problems(order: Task) -> Iterator[str]:
    """What is wrong with the noise that a question asks for."""
    noise: Noise | None = getattr(order, "noise", None)
    if noise is None:
        return
    if not 0 < noise.rho <= MOST:
        yield f"noise of {noise.rho} zCDP; expected more than 0, {MOST:g} at most"
    if not 1 <= noise.adders <= limits.SITES:
        yield f"{noise.adders} sites that add noise; expected 1 to {limits.SITES:,}"
    if not 0 <= noise.sites <= limits.SITES:
        yield f"{noise.sites} sites that are asked; expected 0 to {limits.SITES:,}"
    if not 0 <= noise.first_share < 1:
        yield f"a first portion's share of {noise.first_share}; expected 0 to below 1"
    if isinstance(order, SumMoments):
        if not (0 < noise.clip <= MOST and 0 < noise.group_clip <= MOST):
            yield (
                f"clips of {noise.clip} and {noise.group_clip}; expected more than 0, "
                f"{MOST:g} at most"
            )
        published = of_text(order.published)
        if (published.any(1) != published.all(1)).any():
            yield "moments of some coordinates of a level; with noise, of all or none"
    if isinstance(order, CountHistograms):
        schema = Schema.from_json(order.schema)
        if schema.samples is not None or schema.constraints or schema.hidden:
            yield "noise on counts of arrays or of constraints, whose sensitivity is not known"


@lru_cache(maxsize=8)
def _is_noised(plan_text: str) -> bool:
    """Whether a plan is private; kept, for a plan's JSON is long and every round asks."""
    return bool(json.loads(plan_text).get("noised", False))


def check_private(order: Task, plan_text: str | None, site: Site) -> None:
    """Refuses what would leave an answer without noise beside answers with it.

    Args:
        order: The question; its contents have been checked.
        plan_text: The JSON of the plan that it builds on; None before there is one.
        site: Who is asked.

    Raises:
        RefusedError: The plan is private and the question is not, or the other way round; rows
            are held out or left out by a rule that a single row can tip.
    """
    asked = is_private(order)
    if plan_text is not None:
        planned = _is_noised(plan_text)
        if planned and not asked:
            raise RefusedError(
                f"'{order.order}' without noise: all that is asked of this plan's rows is asked "
                "with noise ([privacy] of the coordinator's configuration)"
            )
        if asked and not planned and not isinstance(order, EncodeData):
            raise RefusedError(f"'{order.order}' with noise, of a plan that is not private")
    if not asked:
        return
    if site.floor:
        raise RefusedError(
            f"noise and a floor of {site.floor} rows (site.floor): one row more would lift a whole "
            "cell over the floor, and no noise covers that; with noise, set the floor to 0"
        )
    if rows_held_out(order).share:
        raise RefusedError(
            "noise and rows held out: which rows they are hangs on how many there are; write "
            "data.held_out = 0"
        )
