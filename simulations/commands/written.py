"""The options that declare how a CSV or TSV file is written, shared by `init` and `split`."""

from dataclasses import replace
from typing import Annotated

import typer

from everymode.wgan.data.file_form import FileForm
from everymode.wgan.errors import SettingsError

SeparatorOption = Annotated[
    str, typer.Option(help="The character between cells of CSV, or 'tab'; not given: recognised.")
]

EncodingOption = Annotated[
    str, typer.Option(help="The encoding of CSV, cp1250, say; not given: recognised.")
]

CommentOption = Annotated[
    str,
    typer.Option(help="What comment lines at the top of CSV begin with; not given: recognised."),
]

HeaderOption = Annotated[
    bool,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of CSV names the columns; without: column_1, column_2, ...",
    ),
]


def declared_form(separator: str, encoding: str, comment: str, header: bool) -> FileForm:
    """How files are declared to be written.

    Raises:
        SettingsError: What is wrong with the options, all at once.
    """
    form = FileForm(separator, encoding, comment, header)
    if separator.lower() == "tab":
        form = replace(form, separator="\t")
    if problems := form.problems:
        raise SettingsError(f"--{problem.removeprefix('data.')}" for problem in problems)
    return form
