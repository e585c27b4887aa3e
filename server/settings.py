"""A whole configuration, and what its sections say of one another.

How it is read from files and written to them: `server.configuration`.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from server.federation import FederationSettings
from server.sections import (
    DataSettings,
    GroupSettings,
    ModelSettings,
    OutputSettings,
    Section,
    SimulationSettings,
    SplitSettings,
    TrainSettings,
    ViewSettings,
)
from server.strategies import RIVALS, StrategyName, conflicts, switched


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
    groups: GroupSettings = GroupSettings()
    model: ModelSettings = ModelSettings()
    views: ViewSettings = ViewSettings()
    train: TrainSettings = TrainSettings()
    federation: FederationSettings = FederationSettings()
    simulation: SimulationSettings = SimulationSettings()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="before")
    @classmethod
    def _strategy(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return switched(values, FederationSettings().model_dump())

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if problems := conflicts(self.model_dump()):
            raise ValueError("; ".join(problems))
        used = [*self.data.sensitive, *([self.data.target] if self.data.target else [])]
        dropped = [name for name in used if name in self.data.drop]
        if dropped:
            raise ValueError(
                f"data.drop leaves out {', '.join(dropped)}, named in data.sensitive or data.target"
            )
        split = self.split.column if self.split.by == "column" else ()
        modelled = [name for name in used if name in split]
        if modelled:
            raise ValueError(
                f"split.column = {', '.join(modelled)} says whose a row is and is not modelled, "
                "but data.sensitive or data.target names it; take it out of one of them"
            )
        repeated = sorted({n for n in self.data.sensitive if self.data.sensitive.count(n) > 1})
        if repeated:
            raise ValueError(f"data.sensitive names {', '.join(repeated)} twice")
        if self.data.holdout is not None and self.data.holdout == self.data.path:
            raise ValueError(
                "data.holdout is the table of data.path: rows that were trained on cannot test; "
                "name other rows, or leave it out"
            )
        views = self.views
        follows = views.use and views.rule == "adaptive" and views.statistic == "held_out"
        if follows and not self.data.held_out:
            raise ValueError(
                "views.rule = 'adaptive' follows rows that the sites hold out, and data.held_out "
                "is 0; set data.held_out = 0.05, say, or views.rule = 'decay'"
            )
        if self.device == "cpu" and self.simulation.num_gpus > 0:
            raise ValueError(
                f"simulation.num_gpus = {self.simulation.num_gpus} asks for a GPU while device is "
                "'cpu'; set device = 'cuda' or 'auto', or num_gpus = 0"
            )
        return self
