"""`everymode claims`: options and help; measuring is `everymode.simulations.claims.command`."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Measure what the theory of WGANs says, on this package's own parts.

Each claim is measured on trainings of its own, compared with the value that theory or an exact
solver gives, and drawn. DIR gets `claims.json` (expected, measured and verdict of each),
`claims.html` (a page with all pictures), a PNG a claim and `claims.png` with all of them; lists and
page are kept up to date while claims are measured. All of them take about ten minutes on two cores.

The exit code is 1 if a claim fails, 2 if something is wrong with the command.
"""


def claims(
    only: Annotated[
        list[str] | None,
        typer.Option(help="A claim by name or number; may be repeated. See --list."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Seeds of every claim; by default what each asks for, mostly 3."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for results.")] = Path("claims"),
    jobs: Annotated[int, typer.Option(min=0, help="Claims measured at once; 0: one a core.")] = 0,
    list_: Annotated[bool, typer.Option("--list", help="List the claims and stop.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.claims.command import list_claims, measure_claims

    if list_:
        list_claims()
    elif not measure_claims(only or (), seeds, out, jobs):
        raise typer.Exit(1)
