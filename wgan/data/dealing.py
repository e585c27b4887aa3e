"""Deals the rows of a file out as they are written there: lines byte for byte, types unchanged."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

from everymode.wgan.data.delimited import numbered, row_bounds
from everymode.wgan.data.dialect import DecodedText, Dialect, default_separator
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import find_suffix
from everymode.wgan.data.frame import is_delimited, read_arrow, read_lines, read_table
from everymode.wgan.data.packed import pack
from everymode.wgan.errors import DataError

Places = npt.NDArray[np.int64]


def dealt_suffix(path: Path) -> str:
    """The ending of files that the rows of `path` are dealt out to.

    That of `path` itself for text and columnar files; Parquet, which keeps types, for others.
    """
    suffix = find_suffix(path.name)
    if is_delimited(path) or suffix.lower() in (".parquet", ".feather", ".arrow"):
        return suffix
    return ".parquet"


def deal(
    path: Path,
    owners: Places,
    names: Sequence[str],
    plain: bool = False,
    form: FileForm = RECOGNISED,
) -> Iterator[bytes]:
    """The content of one file for each site.

    Of a text file every part repeats what stands above the first row, headers included where the
    file has them; rows keep their bytes and their order. Other files keep their schema and its
    metadata.

    Args:
        path: The file.
        owners: `(n,)`, the site of each of its rows.
        names: The sites' files; their endings say how text is compressed and types are stored.
        plain: Whether text is written in UTF-8, says its separator itself and has a line of
            headers: what was recognised of the whole file may not be clear from some of its rows,
            and whoever reads the parts needs no declaration.
        form: How text is declared to be written.

    Raises:
        DataError: The file cannot be read, or was changed since its rows were counted.
    """
    if is_delimited(path):
        text = read_lines(path, form)
        if not (plain or form.header) and form.comment:
            _check_rows(text, path, form.comment)
        yield from _lines(path, _plain(text, path) if plain else text, owners, names)
        return
    table = read_arrow(path)
    if table is None or find_suffix(path.name) != find_suffix(names[0]):
        table = _table(read_table(path, missing=("",)))
    _check(path, table.num_rows, owners)
    for site, name in enumerate(names):
        yield _bytes(table.take(np.flatnonzero(owners == site)), name)


def _plain(text: DecodedText, path: Path) -> DecodedText:
    separator = text.dialect.separator
    starts, ends = row_bounds(text)
    named = b""
    if not text.dialect.header:
        first = text.content[starts[0] : ends[0]].decode()
        cells = next(csv.reader([first], delimiter=separator, skipinitialspace=True))
        named = f"{separator.join(numbered(len(cells)))}\n".encode()
    head = named or text.content[text.start : starts[1]]
    clear = separator == default_separator(path) and separator.encode() in head
    mark = b"" if clear and not head.startswith(b"#") else f"sep={separator}\n".encode()
    dialect = Dialect(separator, comments=1 if mark else 0)
    return DecodedText(mark + named + text.content[text.start :], len(mark), dialect)


def _check_rows(text: DecodedText, path: Path, comment: str) -> None:
    """Raises `DataError` where a row would be a comment at the top of a part without headers."""
    prefix = comment.encode()
    for number, start in enumerate(row_bounds(text)[0].tolist(), 1):
        if text.content.startswith(prefix, start):
            raise DataError(
                f"{path}: row {number} begins with '{comment}', which data.comment declares to "
                "begin comments, and a part without headers may begin with that row; quote its "
                "first cell, or remove the comments and the declaration"
            )


def _lines(path: Path, text: DecodedText, owners: Places, names: Sequence[str]) -> Iterator[bytes]:
    starts, ends = row_bounds(text)
    above = int(text.dialect.header)
    _check(path, len(starts) - above, owners)
    head = text.content[: starts[above]]
    if _encoded(text.content, text.dialect) is None:
        raise DataError(
            f"{path}: {text.dialect.encoding} does not write its text back as it was; save the "
            "file with the encoding UTF-8"
        )
    view = memoryview(text.content)
    for site, name in enumerate(names):
        rows = np.flatnonzero(owners == site) + above
        parts = [view[a:b] for a, b in zip(starts[rows].tolist(), ends[rows].tolist(), strict=True)]
        content = _encoded(b"".join([head, *parts]), text.dialect)
        assert content is not None
        yield pack(content, name)


def _encoded(content: bytes, dialect: Dialect) -> bytes | None:
    """UTF-8 text in a file's own encoding; `None` where that cannot write it."""
    mark = "\ufeff".encode(dialect.encoding) if dialect.mark else b""
    if dialect.encoding == "utf-8":
        return mark + content if mark else content
    try:
        return mark + content.decode().encode(dialect.encoding)
    except UnicodeEncodeError:
        return None


def _check(path: Path, rows: int, owners: Places) -> None:
    if rows != len(owners):
        raise DataError(
            f"{path}: has {rows} rows, and {len(owners)} were counted before; leave the file as it "
            "is while it is read"
        )


def _table(frame: pd.DataFrame) -> pa.Table:
    columns = {}
    for name in frame.columns:
        series = frame[name]
        try:
            columns[name] = pa.Array.from_pandas(series)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Values of several types in one column have text in common.
            columns[name] = pa.array([None if v is None else str(v) for v in series])
    return pa.table(columns)


def _bytes(table: pa.Table, name: str) -> bytes:
    out = pa.BufferOutputStream()
    if name.lower().endswith(".parquet"):
        # `store_schema` keeps what Parquet itself has no type for.
        pq.write_table(table, out, store_schema=True)
    else:
        feather.write_feather(table, out)
    content: bytes = out.getvalue().to_pybytes()
    return content
