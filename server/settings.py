"""A whole configuration.

How it is read from files and written to them: `server.configuration`. What its sections must not
say of one another: `server.conflicts`.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from fairness.thresholds import Thresholds
from server.federation import FederationSettings
from server.sections import (
    DataSettings,
    FairnessSettings,
    GroupSettings,
    ModelSettings,
    OutputSettings,
    Section,
    SimulationSettings,
    SiteSettings,
    SplitSettings,
    TrainSettings,
    ViewSettings,
)
from server.strategies import RIVALS, StrategyName, switched


class Settings(Section):
    """A whole configuration."""

    seed: int = Field(0, ge=0, lt=2**31, description="all randomness derives from it")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where tensors live; auto: a GPU if there is one"
    )
    strategy: StrategyName = Field(
        "everymode",
        description="everymode: as the other keys say; pooled: the same on one site that holds all "
        f"rows (the upper bound to compare with); or a rival: {', '.join(RIVALS)}",
    )
    data: DataSettings
    split: SplitSettings = SplitSettings()
    site: SiteSettings = SiteSettings()
    groups: GroupSettings = GroupSettings()
    fairness: FairnessSettings = FairnessSettings()
    model: ModelSettings = ModelSettings()
    views: ViewSettings = ViewSettings()
    train: TrainSettings = TrainSettings()
    federation: FederationSettings = FederationSettings()
    simulation: SimulationSettings = SimulationSettings()
    output: OutputSettings = OutputSettings()
    audit: Thresholds = Thresholds()

    @model_validator(mode="before")
    @classmethod
    def _strategy(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return switched(values, FederationSettings().model_dump())

    @property
    def groups_moved(self) -> bool:
        """Whether a term of the generator's loss draws the groups' rows together."""
        return self.penalised or self.fairness.bias_head > 0

    @property
    def penalised(self) -> bool:
        """Whether parity takes a penalty; demographic parity of told cells is asked for instead."""
        asked = self.data.condition == "group_and_label"
        parity = self.fairness.parity
        return parity == "equal_opportunity" or (parity == "demographic" and not asked)
