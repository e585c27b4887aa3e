"""Where generator and critic live.

| | critic shared | critic of each site |
|---|---|---|
| generator at the sites, averaged | FedGAN (Rasouli et al., 2020) | site-specialised critics |
| generator on the server | DP-FedAvg-GAN (Augenstein et al., 2020) | MD-GAN (Hardy et al., 2019) |
| generator of each site | refused | training at each site alone |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Player = Literal["generator", "critic"]

PLAYERS: tuple[Player, ...] = ("critic", "generator")


@dataclass(frozen=True)
class Placement:
    """Who trains each player.

    Attributes:
        generator: On the server, against the critics that the sites send; at the sites, and
            averaged; or each site has its own for good.
        critic: Averaged in every round, or each site keeps its own.
    """

    generator: Literal["server", "sites", "own"] = "server"
    critic: Literal["shared", "own"] = "shared"

    @property
    def local_players(self) -> tuple[Player, ...]:
        """Players that are each site's own instead of shared."""
        own: dict[Player, bool] = {
            "generator": self.generator == "own",
            "critic": self.critic == "own",
        }
        return tuple(player for player in PLAYERS if own[player])

    @property
    def averaged_players(self) -> tuple[Player, ...]:
        """Players whose updates are averaged over sites."""
        averaged: dict[Player, bool] = {
            "generator": self.generator == "sites",
            "critic": self.critic == "shared",
        }
        return tuple(player for player in PLAYERS if averaged[player])

    def incompatibilities(self) -> Iterator[str]:
        """What is wrong with it."""
        if self.generator == "own" and self.critic != "own":
            yield (
                "federation.generator = 'own' with a shared critic: it would be averaged over "
                "sites whose generators differ, and be right for none; write federation.critic = "
                "'own'"
            )
