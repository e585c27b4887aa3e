"""A run's privacy budget: what it is, how it is shared out, and what each question may spend."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from everymode.clients.protocol.accounting import rho_for
from everymode.clients.protocol.noise import Noise

Part = Literal["counts", "moments", "leaves"]
"""What a run asks of rows: counts of cells and numbers; second moments; rows in leaves of trees."""

PARTS: tuple[Part, ...] = get_args(Part)

SURVIVES = 15.0
"""Levels with fewer rows than so many standard deviations of the noise take no part."""

GROUP_SURVIVES = 3.0
"""The same of levels of groups, which are drawn towards all rows by as much as noise explains."""

CELLS = 0.7
"""Share of the counts' budget for cells of group and label, which have fewer rows than numbers."""


@dataclass(frozen=True)
class Budget:
    """What a run may spend.

    Attributes:
        epsilon: For the union of all sites' rows, adding or removing one.
        delta: Likewise.
        shares: Share of each part in zCDP; they add up to 1.
        adders: Sites that are counted on to add their share of the noise.
        sites: All sites.
        seed: What noise derives from, in tests; None: secrets of the sites.
        group_share: Share of the moments' budget for levels of groups.
    """

    epsilon: float
    delta: float
    shares: Mapping[Part, float]
    adders: int
    sites: int
    seed: int | None = None
    group_share: float = 0.5

    @property
    def rho(self) -> float:
        """ZCDP of the whole."""
        return rho_for(self.epsilon, self.delta)

    def noise(self, part: Part, clips: tuple[float, float] = (0.0, 0.0)) -> Noise:
        """What the question of a part asks sites to add; each part is one question.

        Args:
            part: Which.
            clips: For moments, of levels of groups and of all others.
        """
        first = {"counts": CELLS, "moments": self.group_share, "leaves": 0.0}[part]
        group_clip, clip = clips
        return Noise(self.rho * self.shares[part], self.adders, clip, self.sites, group_clip, first)


def share_out(wanted: Mapping[Part, float], asked: tuple[Part, ...]) -> dict[Part, float]:
    """Shares of the parts that a run asks for: what the others would have had is theirs.

    >>> share_out({"counts": 0.25, "moments": 0.25, "leaves": 0.5}, ("counts", "moments"))
    {'counts': 0.5, 'moments': 0.5}
    """
    total = math.fsum(wanted[part] for part in asked)
    return {part: wanted[part] / total for part in asked}
