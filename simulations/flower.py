"""The one file that starts Flower: its simulation on Ray, one actor a core, in this process.

Flower marks `run_simulation` as deprecated in favour of `flwr run`, which starts a daemon that
outlives the command and installs the app's dependencies anew; a user of one command wants neither.
The message goes to the log with the rest of what Flower says.
"""

# First: Flower and Ray read it as they are imported.
from everymode.clients import environment  # isort: split

import contextlib
import io
import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import psutil
import ray
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from everymode.clients.app import app as client_app
from everymode.server.app import SimulationExchange
from everymode.server.config.settings import Settings
from everymode.server.outputs.console import Display, show_results
from everymode.server.outputs.leftovers import Scratch
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal
from everymode.server.progress import ProgressListener
from everymode.server.session import Session, choose_device
from everymode.server.simulated_sites import SimulatedSites
from everymode.server.transport.grid import deal
from everymode.server.transport.sockets import refuse_exposed
from everymode.simulations.shadows import refuse_shadow
from everymode.simulations.streams import Stop, diverted
from everymode.wgan.errors import StateError
from everymode.wgan.portable import folder_for_sockets

STORE = 256 * 1024**2
"""Bytes of Ray's object store: an exchange moves a few megabytes."""

GRACE = 0.5
"""Seconds that Ray's processes get to end by themselves: its agents would take half a minute."""

PATIENCE = 5.0
"""Seconds that the system gets to end them."""


def backend(settings: Settings, sites: int, scratch: str) -> tuple[int, dict[str, Any]]:
    """How many nodes there are, and what is asked of Ray for them.

    As many nodes as actors, since a node serves as many sites as are dealt to it; never more than
    sites. An actor that dies is started anew: its part of the round is asked for again.
    Ray keeps its session files under `scratch`.
    """
    simulation = settings.simulation
    cores = os.cpu_count() or 1
    actors = simulation.actors or max(1, int(cores / simulation.num_cpus))
    nodes = min(actors, sites)
    gpus = simulation.num_gpus if choose_device(settings) == "cuda" else 0.0
    resources: dict[str, Any] = {
        "num_cpus": simulation.num_cpus,
        "num_gpus": gpus,
        "max_restarts": -1,
    }
    init = _ray_options(max(1, round(nodes * simulation.num_cpus)), scratch)
    return nodes, {"client_resources": resources, "init_args": init}


def _ray_options(cpus: int, scratch: str) -> dict[str, Any]:
    """What `ray.init` takes."""
    return {
        "address": "local",
        "num_cpus": cpus,
        "include_dashboard": False,
        # One below: Ray opens its folder to every user of the machine, `scratch` is this one's.
        "_temp_dir": os.path.join(scratch, "r"),
        "object_store_memory": STORE,
        "log_to_driver": False,
        "logging_level": "warning",
    }


def try_ray() -> None:
    """Starts Ray as a simulation does, has a worker answer, and stops it again.

    Raises:
        EveryModeError: What would refuse a simulation, too. Ray's own errors as they are.
    """
    environment.require_guards()
    refuse_shadow()
    with RayProcesses() as processes:
        ray.init(**_ray_options(1, processes.folder))
        try:
            ray.get(ray.remote(lambda: None).remote())
            refuse_exposed()
        finally:
            processes.count()


def run_flower(
    settings: Settings,
    folder: RunFolder,
    stage: SimulatedSites,
    resume: bool,
    quiet: bool = False,
    listener: ProgressListener | None = None,
) -> dict[str, Any]:
    """Runs to the end in Flower's simulation and returns the summary.

    Args:
        settings: The configuration.
        folder: The run directory, which the caller holds.
        stage: The sites.
        resume: Whether to go on from the newest checkpoint.
        quiet: Whether only errors are shown.
        listener: Receives the progress; None: a display on standard error.

    Raises:
        EveryModeError: What the session raises; Flower's own failures as `StateError`.
    """
    environment.require_guards()
    refuse_shadow()
    train, missing = settings.train, settings.data.missing
    results: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    app = ServerApp()
    with Stop().listening() as stop, diverted(folder.log) as person, RayProcesses() as processes:
        nodes, resources = backend(settings, len(stage.sites), processes.folder)
        assignment = deal([site.name for site in stage.sites], stage.loads, nodes)
        # Standard output is Flower's until it ends: results are shown after that.
        unseen = Terminal(file=io.StringIO())
        display = Display(Terminal(file=person), quiet, unseen)
        hears = listener or display
        hears.on_stage_begin("start", f"starting Ray: {nodes} actor{'s' if nodes > 1 else ''}")

        @app.main()
        def main(grid: Grid, context: Context) -> None:
            exchange = SimulationExchange(
                grid,
                assignment,
                stage.simulation_paths,
                0 if train.on_failure == "stop" else train.retries,
                train.on_failure == "skip",
                train.timeout,
                tell=hears.on_note,
                exact=settings.site.floor == 0,
            )
            try:
                with display:
                    session = Session(
                        settings=settings,
                        folder=folder,
                        exchange=exchange,
                        columns=stage.columns,
                        samples=stage.samples,
                        form=stage.form,
                        listener=hears,
                        real_rows=lambda: stage.frame(missing),
                        resume=resume,
                        stop=stop,
                    )
                    results.append(session())
            except BaseException as error:
                # Flower would wrap it; the command line wants the error itself.
                errors.append(error)
            finally:
                processes.count()

        try:
            run_simulation(app, client_app, num_supernodes=nodes, backend_config=resources)
        except Exception as error:
            if not errors:
                raise StateError(
                    f"Flower's simulation failed: {error}; see {folder.log}"
                ) from error
    if errors:
        raise errors[0]
    if not results:
        raise StateError(f"Flower's simulation ended without a result; see {folder.log}")
    if listener is None and not quiet:
        show_results(Terminal(), results[0], folder)
    return results[0]


class RayProcesses:
    """Ray's processes and session files: none of them outlives the run."""

    def __init__(self) -> None:
        """Makes the folder for the session files."""
        self._scratch = Scratch(folder_for_sockets())
        self.folder = str(self._scratch.path)
        self._members: set[psutil.Process] = set()

    def count(self) -> None:
        """Notes the processes there are: once their parent is gone, nothing tells they are ours."""
        self._members.update(psutil.Process().children(recursive=True))

    def __enter__(self) -> "RayProcesses":
        """Nothing runs yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends what is left, in the end by force."""
        self.count()
        ray.shutdown()
        alive = _wait(self._members, GRACE)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _wait(alive, PATIENCE)
        self._scratch.close()


def _wait(processes: Iterable[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Those that still run after some seconds at most.

    `psutil.wait_procs` would also wait for a dead process to be reaped. That is for its parent to
    do, and in a container the one that inherits it may never do so.
    """
    deadline = time.monotonic() + seconds
    while alive := {process for process in processes if _runs(process)}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
