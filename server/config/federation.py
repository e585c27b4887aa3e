"""The switches of a federation: who trains what, what a site counts, who takes part.

Known methods are choices of them (`everymode.server.config.strategies`).
"""

import re
from typing import Literal

from pydantic import Field, field_validator

from everymode.clients.protocol.parts.corrections import LocalCorrection
from everymode.server.config.sections import Section


class FederationSettings(Section):
    """How sites work together. A `strategy` other than everymode and pooled sets these itself."""

    generator: Literal["server", "sites", "own"] = Field(
        "server",
        description="where the generator is trained: on the server, against the critics that the "
        "sites send; at the sites, and averaged; or each site has its own for good",
    )
    critic: Literal["shared", "own", "none"] = Field(
        "shared",
        description="shared: averaged in every round; own: each site keeps its critic; none: no "
        "site trains anything, and the server's generator learns from model.matching alone",
    )
    mixture: Literal["parts", "odds"] = Field(
        "parts",
        description="how critics of their own judge the server's rows: each its part of a batch "
        "(MD-GAN), or all by their odds (UA-GAN)",
    )
    swap_every: int = Field(
        0, ge=0, description="rounds until sites swap critics of their own (MD-GAN); 0: never"
    )
    weights: Literal[
        "groups", "rows", "equal", "fegan", "fed_tgan", "ifl_gan", "afl", "q_fedavg", "term"
    ] = Field(
        "groups",
        description="what a site's update counts: its rows' group weights, exactly; its number of "
        "rows; all alike; or by a rule of the literature, for which each site's update is sent "
        "apart",
    )
    weights_strength: float = Field(
        1.0, gt=0, description="rate of afl, q of q_fedavg, tilt of term"
    )
    draw: Literal["groups", "rows"] = Field(
        "groups", description="how a site draws its rows: by their groups' weights, or all alike"
    )
    statistics: Literal["averaged", "frozen", "private"] = Field(
        "averaged",
        description="optimizer statistics: averaged with the parameters; frozen at the common "
        "point (Mime-lite with a guard; for sites that share no mode); or each site's own",
    )
    warmup: int = Field(5, ge=1, description="rounds of averaged statistics before they are frozen")
    proximal: float = Field(
        0.0, ge=0, description="mu of FedProx, which pulls local steps back; 0: off"
    )
    control_variates: bool = Field(
        False, description="whether local steps are corrected by SCAFFOLD's control variates"
    )
    corrections: tuple[LocalCorrection, ...] = Field(
        (),
        description="further corrections of local steps, by their kind and parameters: "
        "[{kind = 'proximal', mu = 0.01}], say",
    )
    aggregation: Literal[
        "mean", "median", "trimmed_mean", "geometric_median", "krum", "multi_krum"
    ] = Field(
        "mean",
        description="how the sites' updates become one: by their mean, from sums alone; or by a "
        "rule that withstands hostile sites, for which each site's update is sent apart",
    )
    hostile_sites: int = Field(
        0,
        ge=0,
        description="how many sites may send whatever they like; median, trimmed_mean and "
        "geometric_median need more than twice, krum and multi_krum twice as many and 3 in a round",
    )
    update_bound: float = Field(
        0.0,
        ge=0,
        description="how many times as long as the median of a round an update may be, longer ones "
        "are shortened to it: 3, say; 0: any length. Each site's update is sent apart for it",
    )
    largest_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of all rows that one site may claim to have, where its counts are seen "
        "singly; the run ends with its name before training. 1: any",
    )
    optimizer: Literal["mean", "momentum", "adam"] = Field(
        "mean", description="what the server does with that update: adds it, or steps along it"
    )
    rate: float = Field(1.0, gt=0, description="of the server's optimizer; FedAdam wants 3e-4, say")
    glide: bool = Field(
        False,
        description="whether the server's generator steps meet the critic on its way from the last "
        "round's weights to this one's, not at the end of it",
    )
    sites_per_round: int = Field(
        0, ge=0, description="sites that take part in a round, drawn anew each time; 0: all"
    )
    selection: Literal["uniform", "balanced"] = Field(
        "uniform",
        description="how they are drawn; balanced: so that they cover all labels (FeGAN)",
    )
    away: tuple[str, ...] = Field(
        (),
        description="rounds that sites miss, first to last: ['site-03:1-50'] joins after round 50, "
        "['site-04:200-300', 'site-04:400-999999'] is away a while and leaves in the end",
    )
    sums_only: bool = Field(
        False,
        description="whether to refuse all that needs more than sums over sites, as secure "
        "summation will",
    )

    @field_validator("away")
    @classmethod
    def _absences(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [text for text in value if not re.fullmatch(r".+:\d+-\d+", text)]
        if wrong:
            raise ValueError(
                f"expected a site and its first and last round away, 'site-03:1-50', got {wrong[0]}"
            )
        return value
