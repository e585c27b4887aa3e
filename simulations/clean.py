"""Finds and removes what killed runs left behind, for `everymode clean`."""

import shlex
import sys
from pathlib import Path

import typer

from everymode.server.outputs.leftovers import Leftover, leftovers
from everymode.server.outputs.terminal import say
from everymode.wgan.errors import EveryModeError, SettingsError, StateError

DEPTH = 3
"""Run directories of a comparison lie two folders below its own."""


def remove_leftovers(folder: Path, yes: bool) -> None:
    """Lists what killed runs left behind and removes it.

    Args:
        folder: A run directory, or a folder of them.
        yes: Whether to remove without asking.

    Raises:
        EveryModeError: `folder` is a file, or something cannot be removed.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: is a file; name a run directory or a folder of them")
    found = leftovers(folder, DEPTH)
    if not found:
        say("nothing is left of killed runs")
        return
    for left in found:
        say(str(left))
    what = "folder" if len(found) == 1 else f"{len(found)} folders"
    if not yes and not typer.confirm(f"remove the {what}?"):
        say("nothing was removed")
        return
    problems: list[str] = []
    for left in found:
        try:
            left.remove()
        except EveryModeError as error:
            problems += error.problems
    if problems:
        raise StateError(problems)
    say(f"removed the {what}")


def offer(folder: Path) -> None:
    """Says on standard error what runs beside a run directory left behind, and what removes it."""
    found: list[Leftover] = leftovers(folder.parent)
    if found:
        say(
            f"note: killed runs left behind {', '.join(map(str, found))}; remove with: "
            f"everymode clean {shlex.quote(str(folder.parent))}",
            file=sys.stderr,
        )
