"""`everymode split`: the rows of one table dealt out to sites."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, named, say, told
from everymode.simulations.commands.written import (
    CommentOption,
    EncodingOption,
    HeaderOption,
    SeparatorOption,
    declared_form,
)
from everymode.wgan.errors import SettingsError, suggest

SHOWN = 8
"""Values that the table on the terminal has a column for; the rest are added up."""


def split(
    file: Annotated[Path, typer.Argument(help="A table: CSV, Parquet, Excel, JSON lines, ...")],
    out: Annotated[Path, typer.Option(help="A new folder for one table per site.")],
    sites: Annotated[int, typer.Option(min=1, help="How many sites.")] = 10,
    by: Annotated[
        Literal["iid", "dirichlet", "group", "quantity", "column"],
        typer.Option(
            help="iid: alike; quantity: sizes differ; dirichlet: shares of each value differ; "
            "group: each value lives on few sites; column: each value is a site."
        ),
    ] = "iid",
    alpha: Annotated[float, typer.Option(help="Dirichlet's concentration; small is uneven.")] = 0.3,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are dealt out; may be repeated."),
    ] = None,
    largest: Annotated[
        float,
        typer.Option(help="Share of the rows on one site, with --by quantity; 0: off."),
    ] = 0.0,
    minimum: Annotated[int, typer.Option(min=1, help="Rows every site gets at least.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    separator: SeparatorOption = "",
    encoding: EncodingOption = "",
    comment: CommentOption = "",
    header: HeaderOption = True,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe/--no-spreadsheet-safe",
            help="In CSV, an apostrophe before text that begins like a formula (= + - @). Only for "
            "people: a site would take the apostrophe for a part of the value.",
        ),
    ] = False,
) -> None:
    """Deal the rows of one table out to sites, one file each."""
    from everymode.server.partition import (
        Split,
        assign,
        deal_sites,
        minimum_note,
        site_table,
        write_sites,
    )
    from everymode.simulations.options import joined_names
    from everymode.wgan.data.formats import find_suffix
    from everymode.wgan.data.frame import is_delimited, notes, read_table
    from everymode.wgan.data.spreadsheets import safe_table

    columns = tuple(column or ())
    if by in ("dirichlet", "group", "column") and not columns:
        raise SettingsError(
            f"--by {by} needs --column NAME, the column whose values are dealt out "
            "(may be repeated)"
        )
    form = declared_form(separator, encoding, comment, header)
    frame = read_table(file, form=form)
    joined = joined_names({"--column": columns}, frame.columns)
    unknown = [c for c in columns if c not in frame.columns and ("--column", c) not in joined]
    if joined or unknown:
        raise SettingsError(
            [
                *joined.values(),
                *(
                    f"--column {c}: {file} has no such column; {suggest(c, frame.columns)}"
                    for c in unknown
                ),
            ]
        )
    text = frame[list(columns)].astype("str")
    text = text.mask(frame[list(text.columns)].isna(), "")
    how = Split(by, sites, alpha, columns, minimum, largest=largest)
    owners = assign(text, how, seed)
    for note in notes(file, form):
        say(f"note: {note}")
    if note := minimum_note(owners, how):
        say(f"note: {note}")
    if spreadsheet_safe and is_delimited(file):
        frame, marked = safe_table(frame)
        if marked:
            say(f"note: {marked.sentence(str(out))}")
        written = write_sites(frame, owners, out, ".csv")
    else:
        written = deal_sites(file, owners, out, form=form)
        if find_suffix(file.name).lower() != find_suffix(written[0].name).lower():
            say(f"note: {file} is dealt out to Parquet files, which keep its types")
    counts = site_table(text, owners)
    names = [str(name) for name in counts.columns]
    table = Table(title=told(f"rows per site in {out}"), title_justify="left")
    table.add_column("site", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    shown = names[:SHOWN] if columns else []
    for name in shown:
        table.add_column(named(name), justify="right", overflow="fold")
    if columns and len(names) > SHOWN:
        table.add_column(f"{len(names) - SHOWN} more", justify="right")
    for path, (_, row) in zip(written, counts.iterrows(), strict=True):
        numbers = [int(row.sum()), *row.iloc[: len(shown)]]
        if columns and len(names) > SHOWN:
            numbers.append(row.iloc[SHOWN:].sum())
        table.add_row(path.name, *(f"{int(n):,}" for n in numbers))
    Terminal().print(table)
