"""What a sample is: schema, reading of tables, codecs between rows and tensors."""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.wgan.data.arrays import ArrayCodec
    from everymode.wgan.data.codec import TableCodec
    from everymode.wgan.data.date_forms import DATE_FORMS
    from everymode.wgan.data.delimited import coded_frame, load_table, save_table
    from everymode.wgan.data.fit import fit_schema
    from everymode.wgan.data.formats import MISSING, SUFFIXES
    from everymode.wgan.data.frame import is_delimited, read_delimited, read_table
    from everymode.wgan.data.ranks import jitter, resolution, to_scores
    from everymode.wgan.data.schema import KINDS, Column, Kind, Schema
    from everymode.wgan.data.spreadsheets import Marked, guessed_marks, safe_table, table_read_back
    from everymode.wgan.data.values import describe, parse_column, parse_values
    from everymode.wgan.data.whitening import Whitened, Whitening, second_moments
    from everymode.wgan.data.write import write_table
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.wgan.data.arrays": ("ArrayCodec",),
            "everymode.wgan.data.codec": ("TableCodec",),
            "everymode.wgan.data.date_forms": ("DATE_FORMS",),
            "everymode.wgan.data.delimited": ("coded_frame", "load_table", "save_table"),
            "everymode.wgan.data.fit": ("fit_schema",),
            "everymode.wgan.data.formats": ("MISSING", "SUFFIXES"),
            "everymode.wgan.data.frame": ("is_delimited", "read_delimited", "read_table"),
            "everymode.wgan.data.ranks": ("jitter", "resolution", "to_scores"),
            "everymode.wgan.data.schema": ("KINDS", "Column", "Kind", "Schema"),
            "everymode.wgan.data.spreadsheets": (
                "Marked",
                "guessed_marks",
                "safe_table",
                "table_read_back",
            ),
            "everymode.wgan.data.values": ("describe", "parse_column", "parse_values"),
            "everymode.wgan.data.whitening": ("Whitened", "Whitening", "second_moments"),
            "everymode.wgan.data.write": ("write_table",),
        },
    )

__all__ = [
    "DATE_FORMS",
    "KINDS",
    "MISSING",
    "SUFFIXES",
    "ArrayCodec",
    "Column",
    "Kind",
    "Marked",
    "Schema",
    "TableCodec",
    "Whitened",
    "Whitening",
    "coded_frame",
    "describe",
    "fit_schema",
    "guessed_marks",
    "is_delimited",
    "jitter",
    "load_table",
    "parse_column",
    "parse_values",
    "read_delimited",
    "read_table",
    "resolution",
    "safe_table",
    "save_table",
    "second_moments",
    "table_read_back",
    "to_scores",
    "write_table",
]
