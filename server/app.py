"""The ServerApp: what `flwr run` starts, between real sites and in Flower's simulation.

Under `[deployment]` this machine holds no table: columns and sites come from the configuration,
everything else from sums. Without it sites are simulated, and lie on this machine's disk.
"""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from everymode.clients import environment
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sums import SiteSums
from everymode.server.config.files import load, resumed
from everymode.server.config.secure import build_masking
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.outputs.console import Display
from everymode.server.outputs.run_directory import RunFolder, default_folder
from everymode.server.outputs.terminal import say
from everymode.server.outputs.trackers import require_trackers
from everymode.server.progress import Interrupted
from everymode.server.schema.agreement import check_names
from everymode.server.secure.choice import secured
from everymode.server.session import Session
from everymode.server.simulated_sites import check_count, create_simulated_sites
from everymode.server.transport.deployment import DeploymentExchange, leave_when
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
    run_config = context.run_config
    overrides = shlex.split(str(run_config.get("set", "")))
    if earlier := str(run_config.get("resume", "")):
        settings, folder = _earlier(Path(earlier), overrides), RunFolder(Path(earlier), True)
    else:
        source = str(run_config.get("config", "quick"))
        settings = load(source, overrides)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = str(run_config.get("out", ""))
        path = Path(out) if out else default_folder(f"{Path(source).stem}-{stamp}")
        folder = RunFolder(path, bool(settings.deployment.sites))
    require_trackers(settings)
    if not settings.deployment.sites:
        environment.require_guards()
    with folder.locked():
        if not earlier:
            folder.create(settings)
        try:
            if settings.deployment.sites:
                _deployed(settings, folder, grid, bool(earlier))
            else:
                _simulated(settings, folder, grid)
        except (DataError, SettingsError):
            if not earlier and not folder.metrics.exists():
                folder.discard()
            raise


def _earlier(path: Path, overrides: list[str]) -> Settings:
    """The configuration of the run between real sites that is to go on.

    Raises:
        SettingsError: There is none, or it is one of simulated sites.
    """
    folder = RunFolder(path, True)
    if not folder.config.exists():
        raise SettingsError(f"resume = '{path}': no config.toml there, so it is no run directory")
    settings = resumed(folder.config, overrides)
    if not settings.deployment.sites:
        raise SettingsError(
            f"resume = '{path}': the run's sites are simulated; continue it with everymode "
            f"simulate --resume {shlex.quote(str(path))}"
        )
    return settings


def _simulated(settings: Settings, folder: RunFolder, grid: Grid) -> None:
    """Lays out the sites and runs to the end, in a directory that is held."""
    stage = create_simulated_sites(settings, folder.fresh_sites())
    nodes = min(len(list(grid.get_node_ids())), len(stage.sites))
    train = settings.train
    with Display(None) as display:
        exchange = SimulationExchange(
            grid,
            deal([s.name for s in stage.sites], stage.loads, nodes),
            stage.simulation_paths,
            0 if train.on_failure == "stop" else train.retries,
            train.on_failure == "skip",
            train.timeout,
            tell=display.on_note,
            exact=settings.site.floor == 0,
            pause=train.retry_pause,
            largest_share=settings.federation.largest_share,
            longest=train.retry_longest,
        )
        Session(
            settings=settings,
            folder=folder,
            exchange=secured(exchange, build_masking(settings), display.on_note),
            columns=stage.columns,
            samples=stage.samples,
            form=stage.form,
            listener=display,
            real_rows=lambda: stage.frame(settings.data.missing),
        )()


def deployed_columns(settings: Settings) -> tuple[str, ...]:
    """The columns that real sites' tables are modelled by.

    Raises:
        DataError: The configuration names columns that are not there, or too many.
    """
    data, declared = settings.data, settings.deployment.columns
    columns = tuple(name for name in declared if name not in data.drop)
    check_count(len(columns), "deployment.columns")
    check_names(columns, build_table_spec(data))
    return columns


def _deployed(settings: Settings, folder: RunFolder, grid: Grid, resume: bool) -> None:
    """Runs between real sites, of which this machine has names and columns only."""
    columns, train = deployed_columns(settings), settings.train
    with Display(None) as display, _stopping() as asked:
        leave_when(grid, asked.is_set)
        exchange = DeploymentExchange(
            grid,
            [(name,) for name in settings.deployment.sites],
            SimulationPaths(),
            0 if train.on_failure == "stop" else train.retries,
            train.on_failure == "skip",
            train.timeout,
            tell=display.on_note,
            # Each site has a floor of its own, which it need not tell.
            exact=False,
            pause=train.retry_pause,
            largest_share=settings.federation.largest_share,
            longest=train.retry_longest,
            stop=asked.is_set,
            wait=settings.deployment.wait,
        )
        Session(
            settings=settings,
            folder=folder,
            exchange=secured(exchange, build_masking(settings), display.on_note),
            columns=columns,
            form=settings.data.form,
            listener=display,
            resume=resume,
            stop=asked.is_set,
        )()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, the latter from Flower after `flwr stop`, too.

    Flower's own handlers leave at once, wherever the run is. They get the signal after the run has
    written its checkpoint.
    """
    asked, came = threading.Event(), list[int]()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: object) -> None:
        came.append(number)
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    except Interrupted as error:
        say(str(error))
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
