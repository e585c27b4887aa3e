"""What a run will ask, said with its first request: a site that will not answer says so at once.

A site answers or refuses each question when it comes, whatever was announced. So an announcement
that leaves a question out gains a server nothing but a refusal after training instead of before.
"""

import math
from dataclasses import dataclass

from pydantic import TypeAdapter

from everymode.clients.protocol import limits
from everymode.clients.protocol.refusal import RefusedError, readable

TASKS = 32
"""Questions that an announcement may name; there are thirteen."""


@dataclass(frozen=True)
class Announcement:
    """What a run will ask of each site.

    Attributes:
        tasks: Names of the questions, as `everymode.clients.protocol.messages` gives them.
        sensitive: Columns that groups will be made of.
        releases: Answers that it will ask for at most, repeated ones aside.
        minimum: Rows that a site's step uses at least.
        masked: Whether all answers will be masked.
        rho: What the answers of one site will spend together of its privacy, in zCDP, as the
            coordinator sees them; 0: they are exact.
        plans: Plans of the run, if it goes on: what was spent about them is part of `rho`.
    """

    tasks: tuple[str, ...]
    sensitive: tuple[str, ...] = ()
    releases: int = 0
    minimum: int = 1
    masked: bool = False
    rho: float = 0.0
    plans: tuple[str, ...] = ()


_ADAPTER: TypeAdapter[Announcement] = TypeAdapter(Announcement)


def announcement_to_json(announced: Announcement) -> str:
    """An announcement as JSON text.

    >>> parse_announcement(announcement_to_json(Announcement(("look",)))).tasks
    ('look',)
    """
    return _ADAPTER.dump_json(announced).decode()


def parse_announcement(text: str) -> Announcement:
    """The inverse of `announcement_to_json`.

    Raises:
        RefusedError: It is none, or too long.
    """
    with readable("the announcement"):
        if len(text) > limits.RECIPE:
            raise RefusedError(f"an announcement of more than {limits.RECIPE:,} characters")
        found = _ADAPTER.validate_json(text)
    words = (*found.tasks, *found.sensitive, *found.plans)
    sizes = len(found.tasks) <= TASKS and len(found.sensitive) <= limits.COLUMNS
    sizes &= len(found.plans) <= TASKS and 0 <= found.rho < math.inf
    numbers = 0 <= found.releases <= limits.ROWS and 0 <= found.minimum <= limits.BATCH
    if not (sizes and numbers and all(len(word) <= limits.STRING for word in words)):
        raise RefusedError("an announcement beyond all limits")
    return found
