"""Trains several strategies on the same data, seeds and budget, for `everymode compare`."""

import os
import shlex
from pathlib import Path
from typing import Any

from everymode.server.outputs.locks import locked
from everymode.server.outputs.terminal import Terminal, say, told
from everymode.server.session import Interrupted
from everymode.simulations.compare import pictures, tables
from everymode.simulations.compare.plan import Comparison, planned
from everymode.simulations.compare.progress import ProgressMonitor
from everymode.simulations.compare.results import collected, compute_budget
from everymode.simulations.compare.run import Outcome, pending, run_all
from everymode.simulations.streams import Stop
from everymode.wgan.errors import SettingsError
from everymode.wgan.files import write_bytes, write_json


def compare_strategies(
    config: str,
    strategies: str,
    seeds: str,
    out: Path,
    overrides: list[str],
    jobs: int,
    backend: str,
    again: bool,
    quiet: bool,
) -> int:
    """Trains what is missing in `out`, writes tables and pictures, and prints them.

    Arguments are those of `everymode compare`; `again` retries runs that diverged or failed.

    Returns:
        How many runs diverged or failed.

    Raises:
        EveryModeError: Anything the user can correct; `Interrupted` where the user asked to stop.
    """
    comparison = planned(config, strategies, seeds, out, overrides, jobs, backend)
    with locked(out):
        report = _compared(comparison, jobs, backend, again, quiet)
    broken = sum(run["status"] in ("diverged", "failed") for run in _runs(report))
    if broken and not quiet:
        say(f"runs that did not end well: {broken}; --retry-failed tries them again")
    return broken


def _compared(
    comparison: Comparison, jobs: int, backend: str, again: bool, quiet: bool
) -> dict[str, Any]:
    """Trains, writes and shows, in a folder that is held; returns what `compare.json` holds."""
    # From here on the folder says what it is, even if the first run is killed at once.
    write_json(comparison.out / "compare.json", collected(comparison))
    # Flower's backend sends what is printed to a log; the display keeps the real standard error.
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as person:
        console = Terminal(file=person)
        if not quiet:
            _announce(comparison, console)
        _train(comparison, jobs, backend, again, console, quiet)
    report = write(comparison)
    if not quiet:
        screen = Terminal()
        screen.print(*tables.shown(report, screen.width))
        for note in tables.notes(report):
            say(note)
        say(f"tables and pictures: {comparison.out / 'compare.md'}")
    return report


def write(comparison: Comparison) -> dict[str, Any]:
    """Writes `compare.json`, pictures and `compare.md` of what there is; returns the first."""
    report = collected(comparison)
    write_json(comparison.out / "compare.json", report)
    names = pictures.draw(comparison, report)
    write_bytes(comparison.out / "compare.md", tables.page(report, names).encode())
    return report


def _train(
    comparison: Comparison, jobs: int, backend: str, again: bool, console: Terminal, quiet: bool
) -> None:
    """Trains what is left.

    Raises:
        Interrupted: The user asked to stop.
        SettingsError: A run was refused.
    """
    left = pending(comparison.runs, again)
    refused: list[Outcome] = []
    with (
        Stop().listening() as stop,
        ProgressMonitor(comparison.runs, left, console, quiet) as watch,
    ):
        for outcome in run_all(left, jobs, backend, stop, watch.started):
            if outcome.kind != "stopped":
                left.remove(outcome.run)
            refused += [outcome] if outcome.kind == "refused" else []
            watch.ended(outcome)
            # What is there already can be looked at while the rest is trained.
            write_json(comparison.out / "compare.json", collected(comparison))
    if refused:
        raise SettingsError(
            f"{outcome.run.strategy}, seed {outcome.run.seed}: {problem}"
            for outcome in refused
            for problem in outcome.problems
        )
    if left:
        done = len(comparison.runs) - len(left)
        command = shlex.join(_command(comparison, jobs, backend, again))
        raise Interrupted(
            f"stopped with {done} of {len(comparison.runs)} runs done; continue with: {command}"
        )


def _announce(comparison: Comparison, console: Terminal) -> None:
    strategies, seeds, runs = comparison.strategies, comparison.seeds, comparison.runs
    lines = [
        f"{len(runs)} runs: strategies {', '.join(strategies)}; seeds {', '.join(map(str, seeds))}",
        tables.budget_line(compute_budget(comparison)),
        *(f"note: {note}" for note in comparison.notes),
    ]
    for line in lines:
        console.print(told(line), soft_wrap=True)


def _command(comparison: Comparison, jobs: int, backend: str, again: bool) -> list[str]:
    """The command that goes on."""
    words = ["everymode", "compare", comparison.config]
    words += ["--strategies", ",".join(comparison.strategies)]
    words += ["--seeds", ",".join(map(str, comparison.seeds)), "--out", str(comparison.out)]
    words += [word for override in comparison.overrides for word in ("--set", override)]
    words += ["--jobs", str(jobs)] if jobs > 1 else []
    words += ["--backend", backend] if backend != "inline" else []
    return [*words, "--retry-failed"] if again else words


def _runs(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for row in report["strategies"] for run in row["runs"]]
