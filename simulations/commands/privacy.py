"""`everymode privacy`: what a private run will spend on what, before any row is read."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Show what [privacy] of a configuration gives to each question, before any row is read.

Each part of the budget with its mechanism, sensitivity and noise in rows; what holds for all of
them together; groups too small to survive, where their rows are known. No table is opened but the
one of --counts. The exit code is 1 where the run would be refused.
"""


def privacy(
    config: Annotated[str, typer.Argument(help="A preset or a TOML file with [privacy].")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in privacy.epsilon=1.")
    ] = None,
    sites: Annotated[
        int | None,
        typer.Option(min=1, help="How many sites, where only their tables would say so."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of all sites, if known.")] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            help="A CSV with a column for each sensitive feature, one for the target, and 'rows': "
            "rows of each cell, as far as they are known."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.privacy import print_plan

    if not print_plan(config, overrides or [], sites, rows, counts, as_json=json):
        raise typer.Exit(1)
