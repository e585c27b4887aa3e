"""A whole configuration, and what its sections say of one another.

How it is read from files and written to them: `server.configuration`.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from fairness.checks import Thresholds
from server.federation import FederationSettings
from server.sections import (
    DataSettings,
    FairnessSettings,
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
        if problems := self._parity():
            raise ValueError("; ".join(problems))
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

    def _parity(self) -> list[str]:
        """What of [fairness] does not go with the rest."""
        data, fairness = self.data, self.fairness
        found = []
        if fairness.bias_head and not data.sensitive:
            found.append("fairness.bias_head tells the groups apart; name data.sensitive")
        if fairness.bias_head and self.federation.generator != "server":
            found.append(
                "fairness.bias_head acts on the server's generator, and the sites train theirs; "
                "write federation.generator = 'server'"
            )
        if fairness.parity == "none":
            return found
        told = f"fairness.parity = '{fairness.parity}'"
        if not data.sensitive or data.target is None:
            found.append(
                f"{told} compares the target between groups; name data.sensitive and data.target"
            )
        elif data.target in data.sensitive:
            found.append(
                f"{told}: data.target '{data.target}' is a sensitive feature itself; take it out "
                "of data.sensitive"
            )
        strangers = [name for name in fairness.parity_features if name not in data.sensitive]
        if strangers:
            found.append(
                f"fairness.parity_features: {', '.join(strangers)} not among data.sensitive; "
                f"write some of {', '.join(data.sensitive) or 'those'}"
            )
        if self.penalised and self.federation.generator != "server":
            found.append(
                f"{told} is here a penalty on the server's generator, and the sites train theirs; "
                "write federation.generator = 'server'"
                + (
                    ", or data.condition = 'group_and_label'"
                    if fairness.parity == "demographic"
                    else ""
                )
            )
        scores = fairness.parity == "equal_opportunity" and fairness.parity_level > 0
        if scores and (
            self.model.matching == 0
            or self.model.matching_by != "moments"
            or data.condition not in ("group", "group_and_label")
        ):
            found.append(
                f"fairness.parity_level = {fairness.parity_level}: the data's own gap in a score "
                "is read from the second moments of each group; write model.matching = 0.3, "
                "model.matching_by = 'moments' and "
                "data.condition = 'group_and_label', or parity_level = 0"
            )
        return found
