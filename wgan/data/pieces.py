"""Tables of any length written piece by piece, so that no more than a few pieces are in memory.

CSV and TSV (also gzipped), Parquet and JSON lines grow with every piece. A workbook and Feather
hold the table as a whole, so that their pieces are collected first.
"""

import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from everymode.wgan.data.schema import Schema
from everymode.wgan.data.spreadsheets import Marked, SafeTexts
from everymode.wgan.data.write import as_text, check_place, json_lines, to_arrow, write_table
from everymode.wgan.errors import DataError
from everymode.wgan.files import write_whole

WHOLE = (".feather", ".xlsx")
"""Endings of the files that are not written piece by piece."""

GZIP = 31
"""zlib's window for a gzip header without a time, so that equal content makes equal files."""


def write_pieces(
    pieces: Iterable[pd.DataFrame], schema: Schema, path: Path, spreadsheet_safe: bool = False
) -> tuple[int, Marked]:
    """Writes decoded pieces one after another, as `write_table` writes one table.

    A file of that name is replaced once the new one is complete; whatever a piece raises leaves it
    as it is. One piece alone gives the bytes of `write_table`, and so do several in CSV and JSON
    lines. In Parquet every piece is a row group.

    Args:
        pieces: Tables of the same columns, one at least.
        schema: What their columns are.
        path: Where they go; the ending of its name says in which format.
        spreadsheet_safe: As of `write_table`.

    Returns:
        How many rows were written, and what got an apostrophe.

    Raises:
        DataError: The ending is none of those written, or a later piece holds values that do not
            fit the types of the first (Parquet).
        StateError: The file cannot be written.
    """
    path = Path(path)
    name = check_place(path)
    source = iter(pieces)
    first = next(source)
    second = next(source, None)
    if second is None or name.endswith(WHOLE):
        frame = first
        if second is not None:
            frame = pd.concat([first, second, *source], ignore_index=True)
        return len(frame), write_table(frame, schema, path, spreadsheet_safe)
    safe = SafeTexts()
    rows = 0

    waiting = deque([first, second])
    # Held by nobody else, so that they go once they are written.
    del first, second

    def told() -> Iterator[pd.DataFrame]:
        nonlocal rows
        while waiting:
            rows += len(waiting[0])
            yield waiting.popleft()
            waiting.extend(itertools.islice(source, 1))

    def write(file: BinaryIO) -> None:
        if name.endswith(".parquet"):
            _write_parquet(told(), schema, file, path)
        elif name.endswith(".jsonl"):
            for frame in told():
                file.write(json_lines(to_arrow(frame, schema)))
        else:
            separator = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
            append, close = _packer(file, name)
            for number, frame in enumerate(told()):
                text = as_text(frame, schema)
                text = safe.apply(text) if spreadsheet_safe else text
                append(
                    text.to_csv(
                        sep=separator, index=False, lineterminator="\n", header=not number
                    ).encode()
                )
            close()

    write_whole(path, write)
    return rows, safe.marked


def _packer(file: BinaryIO, name: str) -> tuple[Callable[[bytes], object], Callable[[], object]]:
    """How bytes are added to a file, and what is done at the end."""
    if not name.endswith(".gz"):
        return file.write, lambda: None
    packed = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    return (
        lambda content: file.write(packed.compress(content)),
        lambda: file.write(packed.flush()),
    )


def _write_parquet(
    pieces: Iterator[pd.DataFrame], schema: Schema, file: BinaryIO, path: Path
) -> None:
    first = to_arrow(next(pieces), schema)
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for frame in pieces:
            writer.write_table(_cast(to_arrow(frame, schema), first.schema, path))


def _cast(table: pa.Table, kind: Any, path: Path) -> pa.Table:
    if table.schema.equals(kind):
        return table
    try:
        return table.cast(kind)
    except (pa.ArrowException, ValueError) as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"{path}: a later row does not fit the types of the first ones ({why}); write CSV "
            "instead"
        ) from None
