"""Where a comparison's tables come from: files, or a scenario, whose truth is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pandas as pd

from server.settings import Settings
from simulations.compare.plan import SCENARIO


class Scored(Protocol):
    """What a comparison needs of a scenario."""

    @property
    def higher(self) -> Mapping[str, bool]:
        """Scores by name, and whether more is better."""
        ...

    def score(self, synthetic: pd.DataFrame, seed: int) -> dict[str, float]:
        """Figures of a synthetic table."""
        ...


def scenario_of(settings: Settings) -> Scored | None:
    """The scenario that `data.path` names; None where it names files."""
    path = settings.data.path
    if not path.startswith(SCENARIO):
        return None
    from simulations.scenarios import SCENARIOS

    return SCENARIOS[path.removeprefix(SCENARIO)]


def placed(settings: Settings, folder: Path) -> Settings:
    """The configuration with tables that lie on this machine.

    Args:
        settings: As the person wrote it.
        folder: Where a scenario's tables go: a folder of their own, apart from the sites'.
    """
    if not settings.data.path.startswith(SCENARIO):
        return settings
    from simulations.scenarios import place

    return place(settings, folder)
