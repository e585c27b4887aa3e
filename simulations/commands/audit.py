"""`everymode audit`: options and help; the audit is `everymode.simulations.audit`."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, told
from everymode.simulations.commands.examples import WithExamples

HELP = """Say which groups a synthetic table covers and which it forgets, and how sure that is.

Compares `--synthetic FILE`, or the table of `--run RUN`, with the real rows it was made from: all
rows, the values of each sensitive feature, their intersections; without sensitive features all rows
are one group. DIR gets `audit.html` (one page, verdict first), `audit.json` and `audit.junit.xml`
(for a CI that gates releases of synthetic data).

The exit code is 0 for a table that is fit for release, 1 if a check fails, 2 for bad input, and 3
if none fails but what a release needs was not decided: coverage and sizes of groups at every level,
and copies, which take held-out rows. A group too small to judge is `insufficient`, never a pass.
With `--run`, real rows, held-out rows, sensitive features and target are those of the run unless
they are named. Real tables in CSV are then read as the run's `[data]` declares them.

For instance: `everymode audit --real people.csv --synthetic made.csv --sensitive sex --sensitive
race --target income --holdout later.csv --out audit`
"""


class WithThresholds(WithExamples):
    """A command whose help has a table of all thresholds."""

    def format_more(self) -> None:
        """Writes the table."""
        from everymode.fairness.audit.thresholds import Thresholds

        table = Table(title="Thresholds for --set", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("key", no_wrap=True, style="cyan")
        table.add_column("default", justify="right")
        table.add_column("meaning")
        for name, field in Thresholds.model_fields.items():
            table.add_row(name, str(field.default), told(field.description or ""))
        Terminal().print(table)


def audit(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the report.")],
    real: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The real rows: CSV, Parquet, Excel, ...")
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The synthetic rows, likewise.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run directory, in place of a file.")
    ] = None,
    sensitive: Annotated[
        list[str] | None, typer.Option(help="A sensitive feature; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column users will predict.")] = None,
    holdout: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Real rows that were not trained on.")
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with thresholds, in a table [audit]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A threshold, or KEY=off; repeatable."),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="CxHxW",
            help="All columns but sensitive features and target are the pixels of an image, "
            "channel by channel, row by row; 8x8, say.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="A column to leave out, an identifier, say; may be repeated."),
    ] = None,
    minimum: Annotated[int, typer.Option(min=1, help="Rows to judge a group by.")] = 30,
    rows: Annotated[
        int,
        typer.Option(
            min=20,
            help="Rows compared in a group at most; classifiers that tell real rows from synthetic "
            "ones get four times as many.",
        ),
    ] = 2000,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the rows that are drawn; default: RUN's own, or 0."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.audit import audit_table

    code = audit_table(
        out,
        real=real,
        synthetic=synthetic,
        run=run,
        sensitive=sensitive,
        target=target,
        holdout=holdout,
        thresholds=thresholds,
        overrides=set_ or [],
        image=image,
        drop=drop or [],
        minimum=minimum,
        rows=rows,
        seed=seed,
        quiet=quiet,
    )
    raise typer.Exit(code)
