"""Who takes part in a round, and what the server carries for single sites between rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from clients.protocol.messages import Tensors, Train
from clients.protocol.plan import seed_of
from clients.protocol.sums import SitePayload
from server.config.federation import FederationSettings
from wgan.errors import SettingsError
from wgan.players import Players

PREFIX = "letter/"

Selection = Callable[[Sequence[str], int, np.random.Generator], Sequence[str]]


@dataclass(frozen=True)
class ClientSampler:
    """Which sites take part in which round.

    Attributes:
        names: All sites.
        settings: The [federation] keys.
        seed: The run's.
        select: How a number of those present is drawn.
        rounds: How many rounds there are at most.
    """

    names: tuple[str, ...]
    settings: FederationSettings
    seed: int
    select: Selection
    rounds: int = 2**31

    def check(self) -> None:
        """Raises `SettingsError` where keys name sites that are none, or more than there are."""
        wanted, known = self.settings.sites_per_round, ", ".join(self.names)
        problems = [
            f"federation.away names {name}, and the sites are {known}"
            for name in self.settings.absences()
            if name not in self.names
        ]
        if wanted > len(self.names):
            problems.append(
                f"federation.sites_per_round = {wanted}, but there are only {len(self.names)} "
                f"sites; write at most {len(self.names)}"
            )
        problems += self._alone()
        if problems:
            raise SettingsError(problems)

    def _alone(self) -> list[str]:
        """Where a sum would be that of a single site, and `sums_only` forbids it."""
        if not self.settings.sums_only or not self.names:
            return []
        if len(self.names) == 1:
            return [
                f"federation.sums_only: there is one site, {self.names[0]}, whose sums are the "
                "total; two are the least"
            ]
        # Who is present changes only where an absence begins, and after one ends.
        turns = {1} | {
            number
            for spans in self.settings.absences().values()
            for first, last in spans
            for number in (max(first, 1), last + 1)
        }
        for number in sorted(n for n in turns if n <= self.rounds):
            if len(present := self.present(number)) < 2:
                left = f"leave {present[0]} alone" if present else "leave no site"
                return [
                    f"federation.sums_only: absences (federation.away) {left} in round {number}, "
                    "whose sums would be the total; two sites are the least"
                ]
        return []

    def present(self, number: int) -> tuple[str, ...]:
        """The sites that could take part in round `number`."""
        away = self.settings.absences()
        return tuple(
            name
            for name in self.names
            if not any(first <= number <= last for first, last in away.get(name, ()))
        )

    def chosen(self, number: int) -> tuple[str, ...]:
        """The sites that do."""
        present, wanted = self.present(number), self.settings.sites_per_round
        if not wanted or wanted >= len(present):
            return present
        rng = np.random.default_rng(seed_of(self.seed, "sites", number))
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


def uniform(names: Sequence[str], wanted: int, rng: np.random.Generator) -> Sequence[str]:
    """A sample without replacement in which every site is as likely as any other."""
    return [names[i] for i in rng.choice(len(names), wanted, replace=False)]


@dataclass
class Letters:
    """States that are single sites' own, by site and name; a checkpoint holds them."""

    states: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def open(self, names: Sequence[str], order: Train, players: Players) -> None:
        """Gives every site that has none its first state: the shared start."""
        start = players.tensors() | {"seen": torch.zeros(2)}
        wanted = _stored(order)
        for name in names:
            own = self.states.setdefault(name, {})
            for field_ in wanted:
                if field_ not in own:
                    size = len(players.critic.vector)
                    if field_.startswith("generator"):
                        size = len(players.generator.vector)
                    own[field_] = start.get(field_, torch.zeros(size)).clone()
            if "generator" in order.own and "average" not in own:
                own["average"] = start["average"].clone()

    def sent(self, order: Train, names: Sequence[str]) -> dict[str, Tensors]:
        """What each site gets with an order."""
        wanted = _stored(order)
        if not wanted:
            return {}
        return {n: {f: self.states[n][f].numpy() for f in wanted} for n in names}

    def keep(self, order: Train, letters: Mapping[str, SitePayload], averaging: float) -> None:
        """Takes in what came back; follows generators with their averages (see `Players`)."""
        wanted = _stored(order)
        for name, letter in letters.items():
            own = self.states[name]
            own |= {f: torch.from_numpy(np.array(letter[f])) for f in wanted}
            if "average" in own:
                seen = float(own["seen"][1])
                decay = min(averaging, (1 + seen) / (10 + seen))
                own["average"].lerp_(own["generator"], 1 - decay**order.generator_steps)

    def swap(self, seed: int, number: int) -> None:
        """Moves every critic to another site, in a random circle (MD-GAN, algorithm 1)."""
        names = sorted(self.states)
        order = np.random.default_rng(seed_of(seed, "swap", number)).permutation(len(names))
        circle = [names[i] for i in order]
        critics = [self.states[name]["critic"] for name in circle]
        for name, critic in zip(circle, [critics[-1], *critics[:-1]], strict=True):
            self.states[name]["critic"] = critic

    @property
    def trained(self) -> list[str]:
        """Sites that have taken a step, by name."""
        return sorted(name for name, own in self.states.items() if float(own["seen"][0]) > 0)

    def stacked(self, name: str, sites: Sequence[str]) -> Tensor:
        """One vector of each of the sites, `(K, P)`."""
        return torch.stack([self.states[site][name] for site in sites])

    def tensors(self) -> dict[str, Tensor]:
        """All, as tensors of a checkpoint."""
        return {
            f"{PREFIX}{site}/{name}": tensor
            for site, own in self.states.items()
            for name, tensor in own.items()
        }

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> "Letters":
        """The inverse of `tensors`; others are passed over."""
        found = Letters()
        for key, tensor in tensors.items():
            if key.startswith(PREFIX):
                site, _, name = key.removeprefix(PREFIX).rpartition("/")
                found.states.setdefault(site, {})[name] = tensor.clone()
        return found


def _stored(order: Train) -> list[str]:
    passing = {*order.updates(), "risk"}
    return [f.name for f in order.layout().letters if f.name not in passing]
