"""`everymode simulate --backend inline`: the rounds in this process, without Flower and Ray."""

from typing import Any

from everymode.server.config.settings import Settings
from everymode.server.in_process import run_in_process
from everymode.server.outputs.console import Display
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal
from everymode.server.simulated_sites import SimulatedSites
from everymode.simulations.streams import Stop


def run_inline(
    settings: Settings, folder: RunFolder, stage: SimulatedSites, resume: bool, quiet: bool = False
) -> dict[str, Any]:
    """Runs to the end with a display and returns the summary; Ctrl-C stops after the round.

    Raises:
        EveryModeError: As `everymode.server.session.Session`.
    """
    shown = Display(Terminal(stderr=True), quiet, Terminal())
    with Stop().listening() as stop, shown as display:
        return run_in_process(settings, folder, stage, listener=display, resume=resume, stop=stop)
