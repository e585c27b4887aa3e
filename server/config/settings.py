"""A whole configuration, and which of its keys make a result what it is.

How it is read from files and written to them: `everymode.server.config.files`. What its sections
must not say of one another: `everymode.server.config.compatibility`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from everymode.fairness.audit.thresholds import Thresholds
from everymode.server.config.federation import FederationSettings
from everymode.server.config.gradients import GradientSettings
from everymode.server.config.privacy import PrivacySettings
from everymode.server.config.sections import (
    HARMLESS,
    DataSettings,
    DeploymentSettings,
    FairnessSettings,
    GroupSettings,
    ModelSettings,
    OutputSettings,
    Section,
    SecureSettings,
    SimulationSettings,
    SiteSettings,
    SplitSettings,
    TrainSettings,
    ViewSettings,
)
from everymode.server.config.strategies import BASELINES, StrategyName, apply_strategy
from everymode.wgan.files import compute_digest


class Settings(Section):
    """A whole configuration."""

    seed: int = Field(0, ge=0, lt=2**31, description="all randomness derives from it")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="where tensors live; auto: a GPU if there is one",
        json_schema_extra=HARMLESS,
    )
    strategy: StrategyName = Field(
        "everymode",
        description="everymode: as the other keys say; pooled: the same on one site that holds all "
        f"rows (the upper bound to compare with); or a rival: {', '.join(BASELINES)}",
    )
    data: DataSettings
    split: SplitSettings = SplitSettings()
    site: SiteSettings = SiteSettings()
    deployment: DeploymentSettings = DeploymentSettings()
    groups: GroupSettings = GroupSettings()
    fairness: FairnessSettings = FairnessSettings()
    model: ModelSettings = ModelSettings()
    views: ViewSettings = ViewSettings()
    gradients: GradientSettings = GradientSettings()
    train: TrainSettings = TrainSettings()
    federation: FederationSettings = FederationSettings()
    secure: SecureSettings = SecureSettings()
    simulation: SimulationSettings = SimulationSettings()
    output: OutputSettings = OutputSettings()
    privacy: PrivacySettings = PrivacySettings()
    audit: Thresholds = Thresholds()

    @model_validator(mode="before")
    @classmethod
    def _strategy(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return apply_strategy(values, FederationSettings().model_dump())

    @property
    def projected(self) -> bool:
        """Whether rows are projected onto the sites' second moments, if there are not too many.

        Not where groups are moved on purpose, nor with generators of each site.
        """
        moved = self.groups_moved or self.federation.generator == "own"
        return self.model.projection and not moved

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


def harmless_keys(section: type[BaseModel] = Settings, path: str = "") -> tuple[str, ...]:
    """The keys that cannot change a result; all others make a run what it is.

    >>> "output.keep" in harmless_keys(), "output.rows" in harmless_keys()
    (True, False)
    """
    found: list[str] = []
    for name, info in section.model_fields.items():
        inner = info.annotation
        if info.json_schema_extra == HARMLESS:
            found.append(path + name)
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            found += harmless_keys(inner, f"{path}{name}.")
    return tuple(found)


def decisive(settings: Settings) -> dict[str, Any]:
    """The value of every key that can change a result, as plain JSON values."""
    harmless = harmless_keys()
    found = {key: value for key, value in flat_values(settings).items() if key not in harmless}
    if settings.privacy.on:
        return found
    # Runs without privacy are what they were before there were these keys.
    return {key: value for key, value in found.items() if not _of_privacy(key)}


def _of_privacy(key: str) -> bool:
    column = key.startswith("data.columns.")
    return key.startswith("privacy.") or (
        column and key.endswith((".low", ".high", ".atoms", ".missing"))
    )


def flat_values(settings: Settings) -> dict[str, Any]:
    """The value of every key, as plain JSON values; keys are dotted, as for `--set`.

    >>> flat_values(Settings.model_validate({"data": {"path": "a.csv"}}))["data.path"]
    'a.csv'
    """
    return dict(_flat(settings.model_dump(mode="json")))


def settings_digest(settings: Settings) -> str:
    """SHA-256, in hexadecimal, of every key that can change a result, and its value.

    >>> one = Settings.model_validate({"data": {"path": "a.csv"}})
    >>> two = one.model_copy(update={"device": "cpu"})
    >>> settings_digest(one) == settings_digest(two)
    True
    >>> settings_digest(one) == settings_digest(one.model_copy(update={"seed": 1}))
    False
    """
    return compute_digest(decisive(settings))


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys of two flat configurations that differ, with both values.

    >>> differing({"seed": 0, "data.target": None}, {"seed": 7, "data.target": None})
    ['seed is 0 there and 7 now']
    """
    return [
        f"{key} is {_shown(before.get(key))} there and {_shown(now.get(key))} now"
        for key in dict.fromkeys((*before, *now))
        if before.get(key) != now.get(key)
    ]


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", None if value == {} else value


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)
