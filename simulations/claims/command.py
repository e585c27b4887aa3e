"""Measures claims for `everymode claims`, shows progress, and ends with a table."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, say, told
from everymode.simulations.claims.catalogue import CLAIMS
from everymode.simulations.claims.claim import Claim, Result
from everymode.simulations.claims.run import chosen, run
from everymode.wgan.errors import StateError


def list_claims() -> None:
    """Prints all claims."""
    Terminal().print(listed(CLAIMS))


def measure_claims(only: Sequence[str], seeds: int | None, out: Path, jobs: int) -> bool:
    """Measures claims, writes pages and pictures, and prints a table.

    Args:
        only: Names or numbers of claims; none for all.
        seeds: Seeds of every claim; None for what each asks for.
        out: The folder for results.
        jobs: Claims measured at once; 0 for one a core.

    Returns:
        Whether all of them hold.

    Raises:
        EveryModeError: There is no such claim, or `out` cannot be used.
    """
    picked = chosen(only)
    if out.exists() and not out.is_dir():
        raise StateError(f"--out {out}: is a file; expected a folder")
    results = _measure(picked, out, seeds, jobs or os.cpu_count() or 1)
    order = {claim.name: claim.number for claim in CLAIMS}
    results.sort(key=lambda result: order[result.claim])
    Terminal().print(outcome(results))
    holding = sum(result.verdict == "holds" for result in results)
    say(f"{holding} of {len(results)} claims hold; pictures: {out / 'claims.html'}")
    return holding == len(results)


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
