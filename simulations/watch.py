"""What `everymode watch` shows: the state that a run keeps in `watch.json`."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from everymode.server.outputs.locks import in_use
from everymode.server.outputs.status import Curve, Status, duration, read_status, size
from everymode.server.outputs.terminal import Terminal, named, told
from everymode.server.outputs.watch_page import largest

EVERY = 1.0
"""Seconds between two looks at the file."""

GROUPS, NOTES, WIDTH = 12, 5, 24

_BARS = "▁▂▃▄▅▆▇█"


def show_progress(
    run: Path,
    once: bool = False,
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Shows a run until it ends, or once.

    Args:
        run: The run directory.
        once: Whether to print the state and return.
        console: Where; None: standard output.
        sleep: Waits for a number of seconds.

    Raises:
        StateError: It is no directory of a run that can be watched.
    """
    console = console or Terminal()
    state = _state(run)
    if once:
        console.print(shown(state))
    elif console.is_terminal:
        with Live(shown(state), console=console, refresh_per_second=2) as live:
            while state.state == "running":
                sleep(EVERY)
                state = _state(run)
                live.update(shown(state))
    else:
        last = ""
        while True:
            if (text := summary_line(state)) != last:
                console.print(told(text), soft_wrap=True)
                last = text
            if state.state != "running":
                return
            sleep(EVERY)
            state = _state(run)


def summary_line(status: Status) -> str:
    """The state on one line, without what changes while nothing happens.

    >>> summary_line(Status(run="r", activity="train", done=3, total=5, round_seconds=2.0))
    'r: running, train, round 3 of 5, training left 4 s, down 0 B, up 0 B'
    """
    parts = [f"{status.run}: {status.state}", status.activity]
    if status.total:
        parts.append(f"round {status.done} of {status.total}")
    if status.seconds_left is not None:
        parts.append(f"training left {duration(status.seconds_left)}")
    parts += [f"down {size(status.bytes_down)}", f"up {size(status.bytes_up)}"]
    if status.notes:
        parts.append(f"last note: {status.notes[-1]}")
    return ", ".join([*parts, *([f"error: {status.error}"] if status.error else [])])


def shown(status: Status) -> RenderableType:
    """The state as tables."""
    head = summary_line(status.model_copy(update={"notes": (), "error": ""}))
    parts: list[RenderableType] = [told(head, "bold")]
    if status.total:
        # A bar ends no line by itself; a grid's row does.
        grid = Table.grid(expand=True)
        grid.add_row(ProgressBar(total=status.total, completed=status.done))
        parts.append(grid)
    if status.error:
        parts.append(told(status.error, "bold red"))
    if status.last_seen:
        sites = Table("site", "last accepted reply", box=None, header_style="dim")
        for name, when in sorted(status.last_seen.items(), key=lambda item: (item[1], item[0])):
            sites.add_row(named(name), f"{duration(max(time.time() - when, 0.0))} ago")
        parts.append(sites)
    if status.estimate:
        groups = Table("group", "estimate", "over rounds", box=None, header_style="dim")
        for name, curve in [("all groups", status.estimate), *largest(status, GROUPS)]:
            groups.add_row(named(name), f"{curve[-1][1]:.4g}", bars(curve))
        parts.append(groups)
    parts += [told(f"note: {note}", "yellow") for note in status.notes[-NOTES:]]
    return Group(*parts)


def bars(curve: Curve) -> str:
    """The last values of a curve as one line of block characters.

    >>> bars(((1, 0.0), (2, 1.0), (3, 0.5)))
    '▁█▅'
    """
    values = [value for _, value in curve[-WIDTH:]]
    low, wide = min(values), max(values) - min(values) or 1.0
    return "".join(_BARS[round(7 * (value - low) / wide)] for value in values)


def _state(run: Path) -> Status:
    """The state in the file; a run that was killed could not write that it ended."""
    held = in_use(run)
    status = read_status(run)
    if status.state == "running" and not held:
        # It may have ended between the two looks.
        status = read_status(run)
    if status.state == "running" and not held:
        error = "no process works on this run directory: it was killed; go on with --resume"
        status = status.model_copy(update={"state": "failed", "error": error})
    return status
