"""Reads CSV and TSV into columns of text, each distinct cell once.

A parsed file is an Arrow table of dictionary-encoded columns: for every row the number of its cell
among the column's distinct ones. It is a fraction of the file's size, and reading it back
(`load_table`) takes a few hundredths of the time that parsing takes.
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from everymode.wgan.errors import DataError

_CHUNK: Final = 1 << 14
"""Rows held as lists of cells at a time."""


class _Distinct(dict[str, int]):
    """Codes of a column's cells as they are written; -1 where one stands for no value.

    Cells repeat: each distinct one is cleaned, and kept in memory, once.
    """

    def __init__(self, missing: frozenset[str]) -> None:
        self.values_by_code: dict[str, int] = {}
        self._missing = missing

    def __missing__(self, cell: str) -> int:
        text = cell.strip()
        code = -1
        if text not in self._missing:
            code = self.values_by_code.setdefault(text, len(self.values_by_code))
        self[cell] = code
        return code


def parse_delimited(content: bytes, path: Path, missing: frozenset[str]) -> pa.Table:
    """A CSV or TSV file as a table of dictionary-encoded text; nulls where a value is missing.

    Args:
        content: The file's bytes, in UTF-8, gzipped where its name says so.
        path: Its name, for messages; its ending says what separates cells.
        missing: What stands for a missing value, once surrounding blanks are stripped.

    Raises:
        DataError: It is no table, has no rows, or its columns are not named apart or not equally
            long.
    """
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise DataError(
                f"{path}: not a whole gzip file; copy it again, or drop .gz from its name"
            ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is not UTF-8; save the file with the encoding UTF-8"
        ) from None
    if not text or text.isspace():
        raise DataError(f"{path}: empty file; expected a line of headers and one line a row")
    # Lines are decoded again one by one: a whole text in a buffer takes four bytes a character.
    del text
    separator = "\t" if path.name.lower().endswith((".tsv", ".tsv.gz")) else ","
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    return _parse(lines, separator, path, missing)


def _parse(lines: Iterable[str], separator: str, path: Path, missing: frozenset[str]) -> pa.Table:
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    header: list[str] = []
    columns: list[_Distinct] = []
    codes: list[list[npt.NDArray[np.int32]]] = []
    pending: list[list[str]] = []
    uneven: list[str] = []

    def flush() -> None:
        for cells, column, chunks in zip(zip(*pending, strict=True), columns, codes, strict=True):
            chunks.append(np.fromiter(map(column.__getitem__, cells), np.int32, len(pending)))
        pending.clear()

    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                columns = [_Distinct(missing) for _ in header]
                codes = [[] for _ in header]
            elif len(cells) == len(header):
                pending.append(cells)
                if len(pending) == _CHUNK:
                    flush()
            else:
                uneven.append(f"line {reader.line_num} ({len(cells)} cells)")
    except csv.Error:
        raise DataError(
            f'{path}: the quotes of line {reader.line_num} do not pair up; write a " within a '
            'quoted cell as ""'
        ) from None
    if pending:
        flush()
    problems = header_problems(header, path, separator)
    if uneven:
        more = f" and {len(uneven) - 3} more" if len(uneven) > 3 else ""
        problems.append(
            f"{path}: {', '.join(uneven[:3])}{more}: expected {len(header)} cells as in the "
            "header; quote cells that hold the separator"
        )
    elif not codes or not codes[0]:
        problems.append(f"{path}: no rows below the header; expected at least one")
    if problems:
        raise DataError(problems)
    arrays = [_encoded(c, np.concatenate(k)) for c, k in zip(columns, codes, strict=True)]
    return pa.Table.from_arrays(arrays, names=header)


def _encoded(column: _Distinct, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
    distinct = list(column.values_by_code)
    small = codes.astype(np.min_scalar_type(-len(distinct) - 1))
    indices = pa.array(small, mask=small < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.large_string()))


def header_problems(header: Sequence[str], path: Path, separator: str = "") -> list[str]:
    """What is wrong with a table's headers, in sentences; `separator` of text files only."""
    problems = []
    empty = [str(i) for i, name in enumerate(header, 1) if not name]
    if empty:
        problems.append(
            f"{path}: no header for column {', '.join(empty)}; name it, or remove it if it only "
            "numbers the rows"
        )
    counts = Counter(header)
    twice = [str(i) for i, name in enumerate(header, 1) if name and counts[name] > 1]
    if twice:
        # Not by name: without a line of headers the first row's cells are taken for them.
        problems.append(
            f"{path}: columns {', '.join(twice)} have the same header as another; give each its "
            "own name, in the first line of the file"
        )
    others = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
    for other in set(others) - {separator}:
        if separator and len(header) == 1 and other in header[0]:
            problems.append(
                f"{path}: columns are separated by {others[other]}; expected {others[separator]} "
                "in a file with this ending"
            )
    return problems


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A parsed file as columns of Python text, `None` where a value is missing."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.combine_chunks()
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        # The last is where -1 points to.
        columns[name] = np.array([*array.dictionary.to_pylist(), None], dtype=object)[codes]
    frame = pd.DataFrame(columns, dtype=object, copy=False)
    frame.columns = pd.Index(table.column_names)
    return frame


def coded_frame(table: pa.Table) -> pd.DataFrame:
    """A parsed file as it is: columns of codes, over the table's own memory.

    `everymode.wgan.data.values` reads them as it reads columns of text, and faster.
    """
    arrays = [pd.arrays.ArrowExtensionArray(column) for column in table.columns]
    frame = pd.DataFrame(dict(enumerate(arrays)), copy=False)
    frame.columns = pd.Index(table.column_names)
    return frame


def save_table(table: pa.Table, file: BinaryIO) -> None:
    """Writes a parsed file to an open one, in Arrow's IPC format."""
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def load_table(path: Path) -> pa.Table | None:
    """The inverse of `save_table`; `None` where there is no such file, or it is damaged."""
    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException):
        return None
