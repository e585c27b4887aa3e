"""`everymode sample`: options and help; rows are drawn by `everymode.simulations.sample`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

HELP = """Draw rows from a trained generator.

`--where COLUMN=VALUE` asks for some rows only: `sex=F`; `country=DE|FR` for either; `age=60..90`,
`age=60..` or `born=..1960-12-31` for a range, ends included; `sex=(missing)` for no value.
Different columns must all be met; a column named twice is met by either. A value that holds `|` or
`..` is taken as it is where the run knows it, otherwise write a backslash before the sign.

Sensitive features and a target with classes are conditions of the generator: asking for their
values costs nothing. Conditions on other columns are met by drawing until enough rows fit. If that
would take longer than `--patience`, an estimate is given instead.

`--complete FILE` completes partial rows: cells that are there stay as written, empty ones are
filled in. Categories that are given, and missing values (`(missing)`), are met exactly where the
rows drawn allow it. For given numbers one of the 16 nearest such rows is taken, so the rest of the
row depends on them approximately. How many rows had no exact match is said at the end.
"""


def sample(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .csv, .parquet, .feather, .jsonl or .xlsx file."),
    ],
    rows: Annotated[
        int | None, typer.Option("-n", "--rows", min=1, help="How many rows.", show_default=False)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only such rows; may be repeated."),
    ] = None,
    complete: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A table of partial rows to complete, instead of -n."),
    ] = None,
    groups: Annotated[
        Literal["data", "uniform"],
        typer.Option(help="data: groups as in the data; uniform: all groups alike."),
    ] = "data",
    parity_level: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the gap in the target between groups that stays; 0: no gap. "
            "[default: as the run was configured]",
        ),
    ] = None,
    parity_feature: Annotated[
        list[str] | None,
        typer.Option(help="A sensitive feature that --parity-level is for; repeatable; none: all."),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds that drawing may take under conditions.")
    ] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows.")] = 0,
    spreadsheet_safe: Annotated[
        bool | None,
        typer.Option(
            "--spreadsheet-safe/--no-spreadsheet-safe",
            help="In CSV, an apostrophe before text that begins like a formula (= + - @), so that "
            "no spreadsheet runs what a site sent. [default: as the run was configured]",
        ),
    ] = None,
) -> None:
    """See HELP."""
    from everymode.simulations.sample import Mixture, complete_rows, sample_rows
    from everymode.wgan.errors import SettingsError

    mixture = Mixture(groups, parity_level, tuple(parity_feature or ()))
    if complete is not None:
        if rows is not None or where:
            raise SettingsError(
                "--complete takes the number of rows and their conditions from the file: leave "
                "out -n and --where"
            )
        complete_rows(run, complete, output, mixture, patience, seed, spreadsheet_safe)
    elif rows is None:
        raise SettingsError("say how many rows with -n, or which to complete with --complete FILE")
    else:
        sample_rows(run, rows, output, where or [], mixture, patience, seed, spreadsheet_safe)
