"""How far a comparison is: a bar over all runs, and a line for each that runs now."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from everymode.server.outputs.terminal import named, told
from everymode.simulations.compare.entries import ENTRIES
from everymode.simulations.compare.plan import Run
from everymode.simulations.compare.run import Outcome

PULSE = 30.0
"""Seconds between plain lines where there is no terminal."""

TAIL = 1 << 16
"""Bytes at the end of `metrics.jsonl` that hold its last line."""


class ProgressMonitor:
    """Shows what runs do by reading what they write; use as a context manager.

    Runs may be in other processes: their `metrics.jsonl` says where they are.
    """

    def __init__(
        self, runs: Sequence[Run], left: Sequence[Run], console: Console, quiet: bool = False
    ) -> None:
        """Nothing is shown yet.

        Args:
            runs: All runs of the comparison.
            left: Those that something is left to do for.
            console: Where it is shown.
            quiet: Whether nothing is.
        """
        self.console, self.quiet = console, quiet
        self._rounds = {run.folder.path: run.settings.train.rounds for run in runs}
        waiting = {run.folder.path for run in left}
        self._ended = {path: n for path, n in self._rounds.items() if path not in waiting}
        self._running: tuple[Run, ...] = ()
        self._bar = Progress(
            TextColumn("{task.fields[runs]} runs"),
            BarColumn(bar_width=None),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
        )
        total = sum(self._rounds.values())
        self._task = self._bar.add_task("runs", total=total, runs="", completed=self._done())
        self._live: Live | None = None
        self._over = threading.Event()

    def __enter__(self) -> "ProgressMonitor":
        """Begins to show: live on a terminal, a line now and then elsewhere."""
        if self.quiet:
            return self
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._view, console=self.console, refresh_per_second=2)
            self._live.start()
        else:
            threading.Thread(target=self._pulse, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the terminal as it was."""
        self._over.set()
        if self._live:
            self._live.stop()

    def started(self, run: Run) -> None:
        """A run begins."""
        self._running = (*self._running, run)

    def ended(self, outcome: Outcome) -> None:
        """A run has ended; says so in a line that stays."""
        run = outcome.run
        self._running = tuple(r for r in self._running if r != run)
        if outcome.kind != "stopped":
            self._ended[run.folder.path] = self._rounds[run.folder.path]
        if not self.quiet:
            said = "; ".join(outcome.problems)
            self._print(f"{_name(run)}: {outcome.kind}{f': {said}' if said else ''}")

    def _done(self) -> int:
        return sum(self._ended.values()) + sum(
            int(_last(run).get("round", 0)) for run in self._running
        )

    def _view(self) -> RenderableType:
        runs = f"{len(self._ended)}/{len(self._rounds)}"
        self._bar.update(self._task, completed=self._done(), runs=runs)
        table = Table(box=None, pad_edge=False, expand=True)
        for name in ("strategy", "seed", "round", "worst group", "estimate"):
            table.add_column(
                name, justify="left" if name in ("strategy", "worst group") else "right"
            )
        for run in self._running:
            table.add_row(*map(named, _line(run)))
        return Group(self._bar, table)

    def _pulse(self) -> None:
        while not self._over.wait(PULSE):
            for run in self._running:
                _, _, done, *worst = _line(run)
                state = f"round {done}" if run.baseline is None else "without rounds"
                self._print(f"{_name(run)}: {state}  {'  '.join(worst)}".rstrip())

    def _print(self, text: str) -> None:
        self.console.print(told(text), soft_wrap=True)


def _name(run: Run) -> str:
    return f"{ENTRIES[run.strategy].title}, seed {run.seed}"


def _line(run: Run) -> tuple[str, str, str, str, str]:
    """Strategy, seed, rounds, worst group, its estimate."""
    title, seed, rounds = ENTRIES[run.strategy].title, str(run.seed), run.settings.train.rounds
    if run.baseline is not None:
        return title, seed, "-", "", ""
    last = _last(run)
    done = last.get("round", 0)
    worst = last.get("worst_group") or ""
    estimate = (last.get("estimate_by_group") or {}).get(worst)
    shown = "" if estimate is None else f"{estimate:.4f}"
    if run.finished:
        return title, seed, f"{done}/{rounds}", "judging the checkpoints", ""
    return title, seed, f"{done}/{rounds}", worst, shown


def _last(run: Run) -> dict[str, Any]:
    """The last whole line of a run's metrics; empty before there is one."""
    return _tail(run.folder.metrics)


def _tail(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    # What follows the last line break is a line that is still being written.
    for line in reversed(lines[:-1]):
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        return found
    return {}
