"""`[privacy]`: differential privacy of a run."""

import math

from pydantic import Field, field_validator, model_validator

from everymode.server.config.sections import Section
from everymode.server.privacy.budget import PARTS, Part


class PrivacySettings(Section):
    """Differential privacy of the union of all sites' rows, for adding or removing one of them."""

    epsilon: float | None = Field(
        None,
        gt=0,
        description="the budget; left out: no noise is added, and privacy.json says what left",
    )
    delta: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="the probability with which epsilon may not hold; below 1 / rows",
    )
    shares: dict[Part, float] = Field(
        {"counts": 0.15, "moments": 0.45, "leaves": 0.4},
        description="how the budget is shared out, in zCDP: counts (of groups, labels, numbers), "
        "moments (pairs of columns by group and label), leaves (model.critic_trees); what a run "
        "does not ask for goes to the rest",
    )
    group_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the moments' budget for what groups have of their own: categories "
        "and numbers by label within each group; the rest is for pairs of columns by label. More "
        "of it helps small groups, and costs what all rows have in common",
    )
    trusted_sites: int = Field(
        0,
        ge=0,
        description="sites that are counted on to add their share of the noise; 0: all. With 1, "
        "every site adds all of it, and epsilon holds against the server too, which sees each "
        "site's sums",
    )
    dropouts: int = Field(
        0, ge=0, description="trusted sites that may drop out while the total keeps its noise"
    )
    seed: int | None = Field(
        None,
        ge=0,
        description="for tests only: the noise derives from it, and whoever knows it can take the "
        "noise off; left out: from secrets of the sites",
    )

    @field_validator("shares")
    @classmethod
    def _positive(cls, value: dict[Part, float]) -> dict[Part, float]:
        lacking = [part for part in PARTS if part not in value]
        wrong = [part for part, share in value.items() if not 0 < share < math.inf]
        if lacking or wrong:
            raise ValueError(
                f"expected a share above 0 for each of {', '.join(PARTS)}; write for instance "
                "{ counts = 0.15, moments = 0.45, leaves = 0.4 }"
            )
        return value

    @model_validator(mode="after")
    def _adders(self) -> "PrivacySettings":
        if self.trusted_sites and self.dropouts >= self.trusted_sites:
            raise ValueError(
                f"dropouts = {self.dropouts} of trusted_sites = {self.trusted_sites} leave no site "
                "that adds noise; write fewer"
            )
        return self

    @property
    def on(self) -> bool:
        """Whether noise is added."""
        return self.epsilon is not None
