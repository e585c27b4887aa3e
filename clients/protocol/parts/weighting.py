"""What a site's update counts: by rows' group weights, by rows, alike, or by a published rule.

The formulas stand beside their papers in `everymode.fairness.weighting.site_weights`; a rule here
says what a site sends for it, and which of the site's figures it reads. Rules that look at every
single site need its update apart from the sum, which secure summation would hide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Discriminator

from everymode.fairness.weighting import site_weights

Floats = npt.NDArray[np.float64]

RiskTime = Literal["none", "before", "after"]
"""Whether each site measures its risk, before its local steps or after them."""


@dataclass(frozen=True)
class SiteFigures:
    """What rules read of K sites.

    Attributes:
        rows: Rows trained on, `(K,)`.
        classes: Rows of each class, `(K, L)`.
        columns: Rows in each bin, of every column, `(K, bins)` each.
        ordered: Whether the bins of a column have an order.
        before: The last shares, `(K,)`.
        risk: Squared kernel distance of a site's rows to the generator's, `(K,)`.
    """

    rows: Floats
    classes: Floats
    columns: Sequence[Floats]
    ordered: Sequence[bool]
    before: Floats
    risk: Floats


@dataclass(frozen=True)
class _Rule:
    """Base: sums suffice.

    Attributes:
        basis: p_k, what a site says it counts: the sum of its rows' group weights, its share of all
            rows, or 1 / K.
        per_site_updates: Whether each site sends its update apart from the sum.
        risk: Whether each site measures its risk.
    """

    basis: ClassVar[Literal["groups", "rows", "equal"]] = "equal"
    per_site_updates: ClassVar[bool] = False
    risk: ClassVar[RiskTime] = "none"


@dataclass(frozen=True)
class GroupWeights(_Rule):
    """The group weights of the site's rows; see `everymode.fairness.weighting.group_weights`."""

    kind: Literal["groups"] = "groups"

    basis: ClassVar[Literal["groups", "rows", "equal"]] = "groups"


@dataclass(frozen=True)
class RowWeights(_Rule):
    """The number of the site's rows (McMahan et al., 2017)."""

    kind: Literal["rows"] = "rows"

    basis: ClassVar[Literal["groups", "rows", "equal"]] = "rows"


@dataclass(frozen=True)
class EqualWeights(_Rule):
    """Every site alike."""

    kind: Literal["equal"] = "equal"


@dataclass(frozen=True)
class PerSiteRule(_Rule):
    """Base of rules that look at every site's figures and weigh each update on the server."""

    per_site_updates: ClassVar[bool] = True

    def shares(self, figures: SiteFigures) -> Floats:
        """Shares of the sites, `(K,)`, that sum to 1."""
        raise NotImplementedError


@dataclass(frozen=True)
class FeGAN(PerSiteRule):
    """Divergence of a site's classes (Guerraoui et al., 2020)."""

    kind: Literal["fegan"] = "fegan"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.fegan`."""
        return site_weights.fegan(figures.classes)


@dataclass(frozen=True)
class FedTGAN(PerSiteRule):
    """Similarity of a site's columns (Zhao et al., 2021)."""

    kind: Literal["fed_tgan"] = "fed_tgan"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.fed_tgan`."""
        return site_weights.fed_tgan(list(figures.columns), list(figures.ordered), figures.rows)


@dataclass(frozen=True)
class IFLGAN(PerSiteRule):
    """Softmax of risks after local steps (Li et al., 2022)."""

    kind: Literal["ifl_gan"] = "ifl_gan"

    risk: ClassVar[RiskTime] = "after"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.ifl_gan`."""
        return site_weights.ifl_gan(figures.risk)


@dataclass(frozen=True)
class AFL(PerSiteRule):
    """Agnostic federated learning (Mohri, Sivek, Suresh, 2019).

    Attributes:
        rate: Step size of the shares.
    """

    rate: float = 1.0
    kind: Literal["afl"] = "afl"

    risk: ClassVar[RiskTime] = "before"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.afl`."""
        return site_weights.afl(figures.before, figures.risk, self.rate)


@dataclass(frozen=True)
class QFedAvg(PerSiteRule):
    """Weights p_k F_k^q (Li, Sanjabi, Beirami, Smith, 2020).

    Attributes:
        q: How much a larger risk counts.
    """

    q: float = 1.0
    kind: Literal["q_fedavg"] = "q_fedavg"

    risk: ClassVar[RiskTime] = "before"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.q_fedavg`."""
        rows = site_weights.row_shares(figures.rows)
        return site_weights.q_fedavg(figures.risk, rows, self.q)


@dataclass(frozen=True)
class TERM(PerSiteRule):
    """Weights p_k exp(t F_k) (Li, Beirami, Sanjabi, Smith, 2021).

    Attributes:
        tilt: t.
    """

    tilt: float = 1.0
    kind: Literal["term"] = "term"

    risk: ClassVar[RiskTime] = "before"

    def shares(self, figures: SiteFigures) -> Floats:
        """See `site_weights.term`."""
        rows = site_weights.row_shares(figures.rows)
        return site_weights.term(figures.risk, rows, self.tilt)


WeightingRule = Annotated[
    GroupWeights | RowWeights | EqualWeights | FeGAN | FedTGAN | IFLGAN | AFL | QFedAvg | TERM,
    Discriminator("kind"),
]
