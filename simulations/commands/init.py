"""`everymode init`: a configuration for a table, with every key explained."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from everymode.server.outputs.terminal import Terminal, say
from everymode.simulations.commands.written import (
    CommentOption,
    EncodingOption,
    HeaderOption,
    SeparatorOption,
    declared_form,
)


def init(
    file: Annotated[
        str,
        typer.Argument(
            help="A table (CSV, Parquet, Excel, ...), a folder of them, or a table in a database, "
            "'sqlite:///clinic.db#people'."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The TOML file to write.")],
    sensitive: Annotated[
        list[str] | None, typer.Option(help="A sensitive feature; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to be predicted.")] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(help="Cells that stand for no value, beside those that usually do; repeat."),
    ] = None,
    separator: SeparatorOption = "",
    encoding: EncodingOption = "",
    comment: CommentOption = "",
    header: HeaderOption = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Look at a table and write a configuration for it, with every key explained."""
    from everymode.simulations.starter import source_path, start_configuration
    from everymode.wgan.data.frame import notes

    form = declared_form(separator, encoding, comment, header)
    found_at = source_path(file)
    seen, found = start_configuration(
        file, tuple(sensitive or ()), target, output, force, tuple(missing or ()), form
    )
    Terminal().print(seen)
    for note in (*notes(found_at, form), *found):
        say(f"note: {note}")
    say(f"wrote {output}; next: everymode simulate {shlex.quote(str(output))}")
