"""What a sample is: schema, reading of tables, codecs between rows and tensors."""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from wgan.data.arrays import ArrayCodec
    from wgan.data.codec import TableCodec
    from wgan.data.delimited import coded_frame, load_table, save_table
    from wgan.data.fit import fit_schema
    from wgan.data.formats import MISSING, SUFFIXES
    from wgan.data.frame import is_delimited, read_delimited, read_table
    from wgan.data.ranks import jitter, resolution, to_scores
    from wgan.data.schema import KINDS, Column, Kind, Schema
    from wgan.data.spreadsheets import Marked, guessed_marks, safe_table, table_read_back
    from wgan.data.values import DATE_FORMS, date_forms, describe, parse_column, widest
    from wgan.data.whitening import Whitened, Whitening, second_moments
    from wgan.data.write import write_table
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "wgan.data.arrays": ("ArrayCodec",),
            "wgan.data.codec": ("TableCodec",),
            "wgan.data.delimited": ("coded_frame", "load_table", "save_table"),
            "wgan.data.fit": ("fit_schema",),
            "wgan.data.formats": ("MISSING", "SUFFIXES"),
            "wgan.data.frame": ("is_delimited", "read_delimited", "read_table"),
            "wgan.data.ranks": ("jitter", "resolution", "to_scores"),
            "wgan.data.schema": ("KINDS", "Column", "Kind", "Schema"),
            "wgan.data.spreadsheets": ("Marked", "guessed_marks", "safe_table", "table_read_back"),
            "wgan.data.values": ("DATE_FORMS", "date_forms", "describe", "parse_column", "widest"),
            "wgan.data.whitening": ("Whitened", "Whitening", "second_moments"),
            "wgan.data.write": ("write_table",),
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
    "date_forms",
    "describe",
    "fit_schema",
    "guessed_marks",
    "is_delimited",
    "jitter",
    "load_table",
    "parse_column",
    "read_delimited",
    "read_table",
    "resolution",
    "safe_table",
    "save_table",
    "second_moments",
    "table_read_back",
    "to_scores",
    "widest",
    "write_table",
]
