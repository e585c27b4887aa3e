"""Who takes part in a round: absences, and sampling of sites."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Absence:
    """Rounds that a site misses.

    Attributes:
        site: Its name.
        first: The first round away, from 1.
        last: The last round away.
    """

    site: str
    first: int
    last: int


@dataclass(frozen=True)
class Participation:
    """Which sites take part in which round.

    Attributes:
        sites_per_round: Sites drawn for each round; 0: all that are present.
        selection: How they are drawn: uniformly, or so that they cover all labels (FeGAN:
            Guerraoui et al., 2020, balanced sampling).
        absences: Rounds that sites miss.
        sums_only: Whether a round must have two sites, so that no sum is that of a single one.
    """

    sites_per_round: int = 0
    selection: Literal["uniform", "balanced"] = "uniform"
    absences: tuple[Absence, ...] = ()
    sums_only: bool = False

    def spans(self, site: str) -> tuple[Absence, ...]:
        """The absences of one site."""
        return tuple(absence for absence in self.absences if absence.site == site)
