"""Limits of attacks, and how much they do."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class AttackLimits(BaseModel):
    """From which figure on an attack succeeds; None leaves the check out.

    An attack succeeds where the lower end of the figure's 95 % interval is above the limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    membership_auc: float | None = Field(
        0.55,
        ge=0.5,
        le=1,
        description="most area under the ROC curve of a membership attack, of all rows, every "
        "group and the tenth most isolated rows; .5 is chance",
    )
    membership_tpr: float | None = Field(
        0.05,
        ge=0.01,
        le=1,
        description="most rows trained on that are found at a rate of false alarms of .01",
    )
    risk: float | None = Field(
        0.05,
        ge=0,
        le=1,
        description="most that an attack on attributes, links or single rows gains over the same "
        "on rows not trained on, as a share of what it could gain",
    )


@dataclass(frozen=True)
class AttackEffort:
    """How much is attacked.

    Attributes:
        rows: Rows of either kind that are scored in a group at most.
        targets: Rows of either kind whose attributes are guessed, and whose halves are linked.
        predicates: Predicates of either kind that are made to single rows out.
        minimum: Fewest rows of either kind to judge a group by.
        synthetic: Most synthetic rows that are looked at; further ones are left out at random.
    """

    rows: int = 4000
    targets: int = 1000
    predicates: int = 500
    minimum: int = 300
    synthetic: int = 50_000
