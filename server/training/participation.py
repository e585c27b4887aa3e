"""Which sites take part in which round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from everymode.clients.protocol.plan import derive_seed
from everymode.server.federation.aggregation import Aggregation
from everymode.server.federation.participation import Participation
from everymode.wgan.errors import SettingsError

Selection = Callable[[Sequence[str], int, np.random.Generator], Sequence[str]]


def uniform(names: Sequence[str], wanted: int, rng: np.random.Generator) -> Sequence[str]:
    """A sample without replacement in which every site is as likely as any other."""
    return [names[i] for i in rng.choice(len(names), wanted, replace=False)]


@dataclass(frozen=True)
class ClientSampler:
    """Which sites take part in which round.

    Attributes:
        names: All sites.
        participation: The rule.
        seed: The run's.
        select: How a number of those present is drawn.
        rounds: How many rounds there are at most.
    """

    names: tuple[str, ...]
    participation: Participation
    seed: int
    select: Selection = uniform
    rounds: int = 2**31

    def check(self, aggregation: Aggregation | None = None) -> None:
        """Raises `SettingsError` where a round cannot have the sites that it needs.

        Args:
            aggregation: How the sites' updates become one; None: by their mean.
        """
        wanted, known = self.participation.sites_per_round, ", ".join(self.names)
        away = dict.fromkeys(absence.site for absence in self.participation.absences)
        problems = [
            f"federation.away names {name}, and the sites are {known}"
            for name in away
            if name not in self.names
        ]
        if wanted > len(self.names):
            problems.append(
                f"federation.sites_per_round = {wanted}, but there are only {len(self.names)} "
                f"sites; write at most {len(self.names)}"
            )
        problems += self._alone()
        if not problems and self.names and aggregation is not None:
            problems += self._few(aggregation)
        if problems:
            raise SettingsError(problems)

    def _alone(self) -> list[str]:
        """Where a sum would be that of a single site, and `sums_only` forbids it."""
        if not self.participation.sums_only or not self.names:
            return []
        if len(self.names) == 1:
            return [
                f"federation.sums_only: there is one site, {self.names[0]}, whose sums are the "
                "total; two are the least"
            ]
        for number in self._turns():
            if len(present := self.present(number)) < 2:
                left = f"leave {present[0]} alone" if present else "leave no site"
                return [
                    f"federation.sums_only: absences (federation.away) {left} in round {number}, "
                    "whose sums would be the total; two sites are the least"
                ]
        return []

    def _few(self, rule: Aggregation) -> list[str]:
        """Where fewer sites take part than an aggregation needs to withstand so many of them."""
        for number in self._turns():
            wanted = self.participation.sites_per_round or len(self.names)
            if (taking := min(wanted, len(self.present(number)))) < rule.fewest:
                most = max((taking - rule.fewest) // 2 + rule.hostile, 0)
                return [
                    f"federation.hostile_sites = {rule.hostile}: aggregation = '{rule.name}' needs "
                    f"{rule.fewest} sites in every round, and {taking} take part in round "
                    f"{number}; write at most {most}, or let more sites take part"
                ]
        return []

    def _turns(self) -> list[int]:
        """Rounds from which on others are present: an absence begins, or one has ended."""
        turns = {1} | {
            number
            for absence in self.participation.absences
            for number in (max(absence.first, 1), absence.last + 1)
        }
        return sorted(number for number in turns if number <= self.rounds)

    def present(self, number: int) -> tuple[str, ...]:
        """The sites that could take part in round `number`."""
        return tuple(
            name
            for name in self.names
            if not any(a.first <= number <= a.last for a in self.participation.spans(name))
        )

    def chosen(self, number: int) -> tuple[str, ...]:
        """The sites that do."""
        present, wanted = self.present(number), self.participation.sites_per_round
        if not wanted or wanted >= len(present):
            return present
        rng = np.random.default_rng(derive_seed(self.seed, "sites", number))
        return tuple(sorted(self.select(present, wanted, rng)))

    def scale(self, number: int, weight: float) -> float:
        """What makes a drawn sample's mean update unbiased (Horvitz and Thompson, 1952).

        The mean over a sample is a sum of p_k times changes over the sample's own weight. Over
        the weight that a sample has on average, m / K of the whole, its expectation is the mean
        over all sites, whatever their weights; this is the ratio of the two.

        Args:
            number: The round.
            weight: Sum of p_k over the sample; over all sites it is 1.
        """
        present, chosen = self.present(number), self.chosen(number)
        if len(chosen) == len(present):
            return 1.0
        return weight * len(self.names) / len(chosen)
