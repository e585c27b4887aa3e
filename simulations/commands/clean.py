"""`everymode clean`: options and help; the search is `everymode.simulations.clean`."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """List what killed runs left behind, and remove it.

A run that is ended by force (kill -9, a crash of the machine) cannot remove the tables of its
simulated sites, which are private rows, nor the session files of Ray. FOLDER is a run directory or
a folder of them; the system's temporary folder is looked into as well. What a living run uses,
what is not marked as EveryMode's, and what lies behind a link is never touched.
"""


def clean(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="A run directory, or a folder of them.")
    ] = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.clean import remove_leftovers

    remove_leftovers(folder, yes)
