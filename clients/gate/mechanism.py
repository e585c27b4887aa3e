"""What a site does to an answer before it leaves: clip, add noise, or refuse. Today: nothing.

A privacy mechanism is one frozen dataclass that implements `Mechanism`.
`everymode.clients.gate.release` applies it to every answer of a site, at the one place where
answers are packed. The site chooses it (`everymode.clients.site.Site.mechanism`); a server cannot
switch it off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.sums import Layout

Arrays = Mapping[str, npt.NDArray[Any]]

Statement = Mapping[str, str | int | float | bool]
"""What a mechanism states about a release for the ledgers, such as a clip bound or a noise scale.

It travels to the server, so it holds parameters of the mechanism and nothing of the table.
"""


@dataclass(frozen=True)
class Answer:
    """What a site has computed for a task, before it passes the gate.

    Attributes:
        layout: The names, shapes and resolutions that were agreed on.
        sums: Additive arrays, in their own units, one for each of `layout.fields`.
        per_site: Arrays that the server keeps apart by site, one for each of `layout.per_site`.
            They are not sums. None: the site sends none.
    """

    layout: Layout
    sums: Arrays
    per_site: Arrays | None = None

    @staticmethod
    def zero(layout: Layout) -> "Answer":
        """The answer of a site none of whose rows takes part."""
        return Answer(layout, {f.name: np.zeros(f.shape, np.int64) for f in layout.fields})


@dataclass(frozen=True)
class ReleaseContext:
    """Which question an answer belongs to.

    Attributes:
        site: The site's name.
        scope: Fingerprint of the plan; before there is one, the run's name.
        task: Name of the task.
        round: Round of training, from 1; 0 for every other task.
    """

    site: str
    scope: str
    task: str
    round: int = 0


class Mechanism(Protocol):
    """What every answer of a site goes through.

    It must be hashable, because a site is, and a function of the answer and its context: a question
    that comes again gets the same answer to the last bit (`everymode.clients.gate.ledger`). Fresh
    noise would let a server average it away. Random numbers therefore come from a generator that is
    seeded by a secret of the site and by the context.
    """

    @property
    def name(self) -> str:
        """Its name, as the ledgers give it."""
        ...

    def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
        """The answer that leaves, of the same layout.

        Raises:
            RefusedError: The site does not give this answer at all.
        """
        ...

    def statement(self, layout: Layout) -> Statement | None:
        """What it does to an answer of this layout; None: it leaves such an answer as it is."""
        ...


@dataclass(frozen=True)
class Identity:
    """Lets every answer pass unchanged."""

    name: str = "none"

    def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
        """The answer itself."""
        return answer

    def statement(self, layout: Layout) -> Statement | None:
        """Nothing is done to any answer."""
        return None


NO_MECHANISM = Identity()
"""What a site has unless it says otherwise."""
