"""The ServerApp: what `flwr run` starts."""

import shlex
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from everymode.clients import environment
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.server.config.files import load
from everymode.server.config.settings import Settings
from everymode.server.outputs.console import Display
from everymode.server.outputs.run_directory import RunFolder, default_folder
from everymode.server.outputs.trackers import require_trackers
from everymode.server.session import Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.grid import GridExchange, deal
from everymode.server.transport.sockets import refuse_exposed
from everymode.wgan.errors import DataError, SettingsError

app = ServerApp()


@dataclass
class SimulationExchange(GridExchange):
    """A grid of simulated nodes, in processes of Ray's that nobody else may reach."""

    _closed: bool = field(default=False, init=False)

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; after the first, looks where Ray's processes listen.

        Raises:
            StateError: On an interface that others reach. Else as `GridExchange`.
        """
        sums = super().__call__(request)
        if not self._closed:
            refuse_exposed()
            self._closed = True
        return sums


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Under `flwr run`: everything comes from the run configuration."""
    environment.require_guards()
    run_config = context.run_config
    source = str(run_config.get("config", "quick"))
    settings = load(source, shlex.split(str(run_config.get("set", ""))))
    require_trackers(settings)
    out = str(run_config.get("out", ""))
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(Path(out) if out else default_folder(f"{Path(source).stem}-{stamp}"))
    with folder.locked():
        folder.create(settings)
        try:
            _run(settings, folder, grid)
        except (DataError, SettingsError):
            if not folder.metrics.exists():
                folder.discard()
            raise


def _run(settings: Settings, folder: RunFolder, grid: Grid) -> None:
    """Lays out the sites and runs to the end, in a directory that is held."""
    stage = create_simulated_sites(settings, folder.fresh_sites())
    nodes = min(len(list(grid.get_node_ids())), len(stage.sites))
    train = settings.train
    with Display(None) as display:
        exchange = SimulationExchange(
            grid,
            deal([s.name for s in stage.sites], stage.loads, nodes),
            stage.simulation_paths,
            train.retries,
            train.on_failure == "skip",
            train.timeout,
            tell=display.on_note,
            exact=settings.site.floor == 0,
        )
        Session(
            settings=settings,
            folder=folder,
            exchange=exchange,
            columns=stage.columns,
            samples=stage.samples,
            form=stage.form,
            listener=display,
            real_rows=lambda: stage.frame(settings.data.missing),
        )()
