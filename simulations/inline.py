"""The same rounds in this process, without Flower and Ray."""

from typing import Any

from server.config.settings import Settings
from server.outputs.console import Display
from server.outputs.run_directory import RunFolder
from server.outputs.terminal import Terminal
from server.session import Session
from server.simulated_sites import SimulatedSites
from server.transport.exchange import InProcess
from simulations.streams import Stop


def run_inline(
    settings: Settings, folder: RunFolder, stage: SimulatedSites, resume: bool, quiet: bool = False
) -> dict[str, Any]:
    """Runs to the end and returns the summary; see `server.session.Session`."""
    missing = settings.data.missing
    with Stop().listening() as stop, Display(Terminal(stderr=True), quiet) as display:
        session = Session(
            settings=settings,
            folder=folder,
            exchange=InProcess(stage.sites, tell=display.on_note),
            columns=stage.columns,
            listener=display,
            real_rows=lambda: stage.frame(missing),
            resume=resume,
            stop=stop,
        )
        return session()
