"""Runs across simulated sites on this machine, for `everymode simulate`."""

import contextlib
from pathlib import Path

from everymode.server.config.files import load, resolve, resumed
from everymode.server.config.settings import Settings
from everymode.server.outputs.locks import InUseError
from everymode.server.outputs.run_directory import RunFolder, default_folder
from everymode.server.outputs.terminal import say
from everymode.server.outputs.trackers import require_trackers
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.trial import explained
from everymode.simulations.clean import offer
from everymode.simulations.inline import run_inline
from everymode.simulations.scenarios import find_scenario, place
from everymode.wgan.data.formats import split_sheet
from everymode.wgan.errors import DataError, EveryModeError, SettingsError


def start_run(
    config: str, overrides: list[str], out: Path | None, backend: str, quiet: bool
) -> None:
    """Runs a configuration or a preset in a new run directory.

    Args:
        config: The file or the preset.
        overrides: `KEY=VALUE` each.
        out: The run directory; None for `runs/NAME`.
        backend: "ray" or "inline".
        quiet: Whether only errors are shown.

    Raises:
        EveryModeError: Anything the user can correct.
    """
    with contextlib.ExitStack() as stack:
        settings = load(config, overrides)
        require_trackers(settings)
        _check_tables(settings)
        folder = _held(config, out, stack)
        folder.create(settings)
        _run(settings, folder, False, backend, quiet)


def resume_run(path: Path, overrides: list[str], backend: str, quiet: bool) -> None:
    """Continues the run in a run directory; arguments and errors as for `start_run`."""
    folder = RunFolder(path)
    if not folder.config.exists():
        raise SettingsError(f"--resume {path}: no config.toml there, so it is no run directory")
    with folder.locked():
        settings = resumed(folder.config, overrides)
        require_trackers(settings)
        _run(settings, folder, True, backend, quiet)


def _run(settings: Settings, folder: RunFolder, resume: bool, backend: str, quiet: bool) -> None:
    """Runs to the end in a directory that is held."""
    if not quiet:
        offer(folder.path)
    try:
        sites = folder.fresh_sites()
        placed = place(settings, sites)
        with explained(placed):
            stage = create_simulated_sites(placed, sites)
            for note in () if quiet else stage.notes:
                say(f"note: {note}")
            if backend == "inline":
                run_inline(settings, folder, stage, resume, quiet)
            else:
                from everymode.simulations.flower import run_flower

                run_flower(settings, folder, stage, resume, quiet)
    except (EveryModeError, KeyboardInterrupt) as error:
        # What Flower and Ray said is worth keeping where the tables are not to blame.
        logged = isinstance(error, EveryModeError) and folder.log.exists()
        keep = logged and not isinstance(error, (DataError, SettingsError))
        if not resume and not folder.metrics.exists() and not keep:
            folder.discard()
        raise


def _held(config: str, out: Path | None, stack: contextlib.ExitStack) -> RunFolder:
    """The directory of a new run, held by this process."""
    while True:
        folder = RunFolder(out or default_folder(Path(config).stem))
        try:
            stack.enter_context(folder.locked())
            return folder
        except InUseError:
            # Another run that was started just now took the name first; there are others.
            if out is not None:
                raise


def _check_tables(settings: Settings) -> None:
    """Finds missing files before a run directory is made."""
    problems: list[str] = []
    for key, value in (("data.path", settings.data.path), ("data.holdout", settings.data.holdout)):
        if value is None or (key == "data.path" and find_scenario(settings)):
            continue
        try:
            path = resolve(value)
        except SettingsError as error:
            problems += error.problems
            continue
        if not split_sheet(path)[0].exists():
            problems.append(f"{key}: {path}: no such file or folder")
    if problems:
        raise SettingsError(problems)
