"""What must hold of a reply with noise: that it states the noise that was asked for.

Sums with noise may be negative and need not add up, so nothing else holds of them but their range.
"""

import json
from typing import Any

from everymode.clients.gate.noise import NAME, NO_ROWS
from everymode.clients.protocol.messages import EncodeData, Task
from everymode.clients.protocol.sensitivity import sensitivity
from everymode.clients.protocol.sums import LARGEST
from everymode.server.replies.invariants import Problems, Reply


def with_noise(order: Task, reply: Reply) -> Problems:
    """The noise is stated as both sides work it out; without it a release would go unaccounted."""
    stated: list[dict[str, Any]] = [json.loads(text) for text in reply.sums.mechanisms]
    own = [each for each in stated if each["name"] in (NAME, NO_ROWS)]
    if isinstance(order, EncodeData):
        if own != [{"name": NO_ROWS}]:
            yield "it does not state that it holds nothing of any row"
        elif reply.count("sites") != reply.asked:
            yield f"it counts as {reply.count('sites'):,} sites, and {reply.asked} were asked"
        return
    noise = getattr(order, "noise", None)
    if noise is None:
        yield "it answers a question without noise in a run whose answers all have some"
        return
    bound = sensitivity(order, None if reply.plan is None else reply.plan.conditions)
    wanted = {
        "sensitivity": bound.l2,
        "deviation": bound.deviation(noise),
        "rho": bound.charged(noise),
        "site_rho": bound.charged_at_site(noise),
        "adders": noise.adders,
    }
    if len(own) != 1 or {name: own[0].get(name) for name in wanted} != wanted:
        yield "it does not state the noise that was asked for"
    if int(abs(reply.sums.vector).max(initial=0)) >= LARGEST:
        yield "it leaves the range that sums can carry"
