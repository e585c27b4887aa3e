"""All scenarios, and laying the table of one on the disk."""

from collections.abc import Mapping
from pathlib import Path

from everymode.server.config.settings import Settings
from everymode.simulations.scenarios.digits import DIGITS
from everymode.simulations.scenarios.points import POINTS
from everymode.simulations.scenarios.scenario import Scenario
from everymode.wgan.errors import SettingsError
from everymode.wgan.files import write_bytes

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in (*POINTS, *DIGITS)}

PREFIX = "scenario:"


def find_scenario(settings: Settings) -> Scenario | None:
    """The scenario whose table a configuration trains on; None for another table.

    Raises:
        SettingsError: There is no scenario of that name.
    """
    if not settings.data.path.startswith(PREFIX):
        return None
    name = settings.data.path.removeprefix(PREFIX)
    if name not in SCENARIOS:
        raise SettingsError(
            f"data.path = '{settings.data.path}': there is no such scenario; "
            f"write one of {', '.join(PREFIX + known for known in SCENARIOS)}"
        )
    return SCENARIOS[name]


def place(settings: Settings, folder: Path) -> Settings:
    """Settings that name a table on the disk: that of a scenario is made under `folder`.

    Others are returned as they are.
    """
    scenario = find_scenario(settings)
    if scenario is None:
        return settings
    path = folder / f"{scenario.name}.csv"
    if not path.exists():
        content = scenario.make(settings.seed).to_csv(index=False).encode()
        # Made anew for every run, and laid beside the sites' rows.
        write_bytes(path, content, durable=False, private=True)
    data = settings.data.model_copy(update={"path": str(path)})
    return settings.model_copy(update={"data": data})
