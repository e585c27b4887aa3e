"""`everymode claims`: measures, shows how far it is, ends with a table."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from server.outputs.terminal import Terminal, say, told
from simulations.claims.catalogue import CLAIMS
from simulations.claims.claim import Claim, Result
from simulations.claims.run import chosen, run
from wgan.errors import StateError

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
    """Measures claims; see `HELP`."""
    if list_:
        Terminal().print(listed(CLAIMS))
        return
    picked = chosen(only or ())
    if out.exists() and not out.is_dir():
        raise StateError(f"--out {out}: is a file; expected a folder")
    results = _measure(picked, out, seeds, jobs or os.cpu_count() or 1)
    order = {claim.name: claim.number for claim in CLAIMS}
    results.sort(key=lambda result: order[result.claim])
    Terminal().print(outcome(results))
    holding = sum(result.verdict == "holds" for result in results)
    say(f"{holding} of {len(results)} claims hold; pictures: {out / 'claims.html'}")
    if holding < len(results):
        raise typer.Exit(1)


def _measure(picked: Sequence[Claim], out: Path, seeds: int | None, jobs: int) -> list[Result]:
    console = Terminal(stderr=True)
    bar = Progress(
        TextColumn("claims"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
        console=console,
        expand=True,
    )
    running: list[str] = []
    results: list[Result] = []
    with bar:
        task = bar.add_task("claims", total=len(picked), now="")

        def started(claim: Claim) -> None:
            running.append(claim.name)
            bar.update(task, now=", ".join(running))

        for result in run(picked, out, seeds, jobs, started):
            running.remove(result.claim)
            results.append(result)
            bar.update(task, advance=1, now=", ".join(running))
            said = f"{result.claim} {result.verdict}, {result.seconds:.0f} s {result.error}"
            bar.console.print(told(said.strip()), soft_wrap=True)
    return results


def listed(claims: Sequence[Claim]) -> Table:
    """The claims as a table."""
    table = Table(title="claims", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("name", no_wrap=True)
    table.add_column("claim")
    for claim in claims:
        table.add_row(str(claim.number), claim.name, told(claim.statement))
    return table


def outcome(results: Sequence[Result]) -> Table:
    """Expected and measured of every check, as a table."""
    table = Table(title="claims", title_justify="left")
    for name in ("claim", "figure", "expected", "measured", "verdict"):
        table.add_column(name, overflow="fold")
    for result in results:
        table.add_section()
        if result.error:
            table.add_row(result.claim, told(result.error), "", "", _verdict(False))
        for place, check in enumerate(result.checks):
            name = result.claim if not place else ""
            row = told(check.what), told(check.expected), told(check.measured)
            table.add_row(name, *row, _verdict(check.holds))
    return table


def _verdict(holds: bool | None) -> RenderableType:
    if holds is None:
        return ""
    return told("holds", "green") if holds else told("fails", "bold red")
