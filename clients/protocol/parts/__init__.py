"""The parts of a federation: one file for each mechanism, beside its paper.

A part is a small frozen dataclass that travels in `everymode.clients.protocol.messages.Train`. It
says which arrays it needs on the way up and down, what it does to a gradient at a site, what it
does to the state on the server, and what it does not go with.

- `base`: what a correction of local training may do; every hook does nothing by default.
- `proximal`, `control_variates`, ...: one correction each.
- `corrections`: the register of corrections; a new one is its file and a line there.
- `statistics`: what becomes of the optimizers' moments (averaged, frozen, private).
- `weighting`: what a site's update counts.
- `placement`: where generator and critic live.
- `arrays`: the layout of a round, put together from the parts.
- `states`: a player's state, and what one site carries from round to round.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.clients.protocol.parts.arrays import (
        SCORES,
        LocalTraining,
        RoundArrays,
        round_arrays,
    )
    from everymode.clients.protocol.parts.base import LocalRule
    from everymode.clients.protocol.parts.control_variates import ControlVariates
    from everymode.clients.protocol.parts.corrections import LocalCorrection
    from everymode.clients.protocol.parts.placement import PLAYERS, Placement, Player
    from everymode.clients.protocol.parts.proximal import Proximal
    from everymode.clients.protocol.parts.states import PlayerState, SiteState, load_players
    from everymode.clients.protocol.parts.statistics import (
        Averaged,
        Frozen,
        OptimizerStatistics,
        Private,
        change,
    )
    from everymode.clients.protocol.parts.weighting import (
        AFL,
        IFLGAN,
        TERM,
        EqualWeights,
        FedTGAN,
        FeGAN,
        GroupWeights,
        PerSiteRule,
        QFedAvg,
        RowWeights,
        SiteFigures,
        WeightingRule,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.clients.protocol.parts.arrays": (
                "SCORES",
                "LocalTraining",
                "RoundArrays",
                "round_arrays",
            ),
            "everymode.clients.protocol.parts.base": ("LocalRule",),
            "everymode.clients.protocol.parts.control_variates": ("ControlVariates",),
            "everymode.clients.protocol.parts.corrections": ("LocalCorrection",),
            "everymode.clients.protocol.parts.placement": ("PLAYERS", "Placement", "Player"),
            "everymode.clients.protocol.parts.proximal": ("Proximal",),
            "everymode.clients.protocol.parts.states": ("PlayerState", "SiteState", "load_players"),
            "everymode.clients.protocol.parts.statistics": (
                "Averaged",
                "Frozen",
                "OptimizerStatistics",
                "Private",
                "change",
            ),
            "everymode.clients.protocol.parts.weighting": (
                "AFL",
                "IFLGAN",
                "TERM",
                "EqualWeights",
                "FedTGAN",
                "FeGAN",
                "GroupWeights",
                "PerSiteRule",
                "QFedAvg",
                "RowWeights",
                "SiteFigures",
                "WeightingRule",
            ),
        },
    )

__all__ = [
    "AFL",
    "IFLGAN",
    "PLAYERS",
    "SCORES",
    "TERM",
    "Averaged",
    "ControlVariates",
    "EqualWeights",
    "FeGAN",
    "FedTGAN",
    "Frozen",
    "GroupWeights",
    "LocalCorrection",
    "LocalRule",
    "LocalTraining",
    "OptimizerStatistics",
    "PerSiteRule",
    "Placement",
    "Player",
    "PlayerState",
    "Private",
    "Proximal",
    "QFedAvg",
    "RoundArrays",
    "RowWeights",
    "SiteFigures",
    "SiteState",
    "WeightingRule",
    "change",
    "load_players",
    "round_arrays",
]
