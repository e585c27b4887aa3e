"""Reads CSV and TSV into columns of text, each distinct cell once.

A parsed file is an Arrow table of dictionary-encoded columns: for every row the number of its cell
among the column's distinct ones. It is a fraction of the file's size, and reading it back
(`load_table`) takes a few hundredths of the time that parsing takes.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from everymode.wgan.data.dialect import DecodedText, Dialect, read_text
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.threads import in_threads
from everymode.wgan.errors import DataError

_MARKS: Final = b"missing"
"""Key of a field's metadata: its cells of each spelling of no value."""

_CHUNK: Final = 1 << 14
"""Rows held as lists of cells at a time."""


class _Distinct(dict[str, int]):
    """Codes of a column's cells as they are written; below 0 where one stands for no value.

    Cells repeat: each distinct one is cleaned, and kept in memory, once.
    """

    def __init__(self, missing: frozenset[str]) -> None:
        self.values_by_code: dict[str, int] = {}
        self.gaps: dict[str, int] = {}
        self._missing = missing

    def __missing__(self, cell: str) -> int:
        text = cell.strip()
        if text in self._missing:
            code = -1 - self.gaps.setdefault(text, len(self.gaps))
        else:
            code = self.values_by_code.setdefault(text, len(self.values_by_code))
        self[cell] = code
        return code

    def marks(self, codes: npt.NDArray[np.int32]) -> dict[str, int]:
        """Cells of each spelling of no value, among cells of these codes."""
        rows = np.bincount(-1 - codes[codes < 0], minlength=len(self.gaps))
        return dict(zip(self.gaps, rows.tolist(), strict=True))


def parse_delimited(
    content: bytes, path: Path, missing: frozenset[str], form: FileForm = RECOGNISED
) -> pa.Table:
    """A CSV or TSV file as a table of dictionary-encoded text; nulls where a value is missing.

    Args:
        content: The file's bytes; `everymode.wgan.data.dialect` recognises how it is written.
        path: Its name, for messages; its ending says which separator is tried first.
        missing: What stands for a missing value, once surrounding blanks are stripped.
        form: How it is declared to be written.

    Raises:
        DataError: It is no table, has no rows, or its columns are not named apart or not equally
            long.
    """
    return parse_text(read_text(content, path, form), path, missing)


def parse_text(text: DecodedText, path: Path, missing: frozenset[str]) -> pa.Table:
    """As `parse_delimited`, of a file whose dialect is known."""
    body = memoryview(text.content)[text.start :]
    table = _parse_regular(text, path, missing)
    if table is not None:
        return table
    # Lines are decoded again one by one: a whole text in a buffer takes four bytes a character.
    lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
    return _parse(lines, text.dialect, path, missing)


def _parse_regular(text: DecodedText, path: Path, missing: frozenset[str]) -> pa.Table | None:
    """Arrow's reader, several times as fast; `None` where it might read otherwise than `csv`."""
    body, separator = memoryview(text.content)[text.start :], text.dialect.separator
    bounds, named = regular_rows(body, separator), text.dialect.header
    # `csv` passes over blanks after a separator, so that several separate like one.
    if bounds is None or len(bounds[0]) < 1 + named or separator == " ":
        return None
    starts, ends = bounds
    first = bytes(body[starts[0] : ends[0]]).decode()
    record = next(csv.reader([first], delimiter=separator, skipinitialspace=True, strict=True), [])
    header = [cell.strip() for cell in record] if named else numbered(len(record))
    rows = body[starts[int(named)] :]
    # Arrow passes over a byte-order mark wherever its own text begins.
    refused = header_problems(header, path) or data_problems(header, path)
    if not header or refused or bytes(rows[:3]) == codecs.BOM_UTF8:
        return None
    names = [str(i) for i in range(len(header))]
    coded = pa.dictionary(pa.int32(), pa.string())
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(rows),
            pa_csv.ReadOptions(column_names=names, block_size=1 << 24),
            pa_csv.ParseOptions(delimiter=separator, newlines_in_values=b'"' in text.content),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, coded), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != len(starts) - named:
        return None
    cleaned = in_threads(lambda column: _cleaned(column, missing), table.columns)
    return _table(header, cleaned)


def _table(header: Sequence[str], columns: Sequence[tuple[pa.Array, dict[str, int]]]) -> pa.Table:
    """Columns under their headers, with the cells of each spelling of no value."""
    fields = [
        pa.field(name, array.type, metadata={_MARKS: json.dumps(marks)})
        for name, (array, marks) in zip(header, columns, strict=True)
    ]
    return pa.Table.from_arrays([array for array, _ in columns], schema=pa.schema(fields))


def first_cells(text: DecodedText) -> tuple[str, ...]:
    """The cells of the first row that is not blank, headers or not; none where it is not clear."""
    lines = io.TextIOWrapper(
        io.BytesIO(memoryview(text.content)[text.start :]), encoding="utf-8", newline=""
    )
    reader = csv.reader(lines, delimiter=text.dialect.separator, skipinitialspace=True)
    try:
        return tuple(next(filter(None, reader), ()))
    except csv.Error:
        return ()


def missing_marks(table: pa.Table) -> dict[str, dict[str, int]]:
    """Of each column of a parsed file, how many cells spell "no value" in which way."""
    found = {}
    for field in table.schema:
        found[field.name] = json.loads((field.metadata or {}).get(_MARKS, b"{}"))
    return found


def _cleaned(
    column: pa.ChunkedArray, missing: frozenset[str]
) -> tuple[pa.DictionaryArray, dict[str, int]]:
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    indices, cells = array.indices.to_numpy(), array.dictionary
    if _bare(cells):
        # Nothing to strip, and no two of them are one: what most long columns are like.
        gone = pc.is_in(cells, pa.array(sorted(missing), cells.type)).to_numpy(zero_copy_only=False)
        codes = np.where(gone, -1, np.cumsum(~gone) - 1).astype(np.int32)
        marks = {}
        if gone.any():
            rows = np.bincount(indices, minlength=len(cells))
            spelled = cells.filter(pa.array(gone)).to_pylist()
            marks = dict(zip(spelled, rows[gone].tolist(), strict=True))
        return _encoded(cells.filter(pa.array(~gone)), codes[indices]), marks
    distinct = _Distinct(missing)
    codes = np.fromiter(map(distinct.__getitem__, cells.to_pylist()), np.int32, len(cells))
    codes = codes[indices]
    texts = pa.array(list(distinct.values_by_code), pa.large_string())
    return _encoded(texts, codes), distinct.marks(codes)


def _bare(cells: pa.StringArray) -> bool:
    """Whether all characters of all cells are printable ASCII other than a blank."""
    _, offsets, data = cells.buffers()
    if data is None:
        return True
    bounds = np.frombuffer(offsets, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    held = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    return bool(((held > 32) & (held < 127)).all())


def regular_rows(
    body: memoryview, separator: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Where rows and a line of headers begin and end, line ends included; blank lines left out.

    Returns:
        `(n,)` and `(n,)`, or `None` where a quote stands within a cell, or the quotes do not pair
        up: then only a parser knows.
    """
    data = np.frombuffer(body, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    feeds = (data == 10) | (data == 13)
    # A line feed after a carriage return ends the same line.
    marks = np.flatnonzero(feeds)
    if not len(data) or not (data != 0).all():
        return None
    if len(quotes):
        if len(quotes) % 2:
            return None
        allowed = np.zeros(256, dtype=bool)
        allowed[[ord(separator), 10, 13, ord('"')]] = True
        opening, closing = quotes[::2], quotes[1::2]
        before = data[np.maximum(opening - 1, 0)]
        after = data[np.minimum(closing + 1, len(data) - 1)]
        if not (allowed[before] | (opening == 0)).all():
            return None
        if not (allowed[after] | (closing == len(data) - 1)).all():
            return None
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    returned = (data[marks] == 13) & (marks + 1 < len(data))
    returned &= data[np.minimum(marks + 1, len(data) - 1)] == 10
    ends = marks[~returned] + 1
    if not len(ends) or ends[-1] < len(data):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1]))
    full = ~np.isin(data[starts], (10, 13)) & (starts < ends)
    return starts[full].astype(np.int64), ends[full].astype(np.int64)


def row_bounds(
    text: DecodedText,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the rows of a table that `parse_text` has read begin and end in `text.content`."""
    body = memoryview(text.content)[text.start :]
    bounds = regular_rows(body, text.dialect.separator)
    if bounds is None:
        offset, starts, ends = 0, [], []

        def counted() -> Iterator[str]:
            nonlocal offset
            for line in io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline=""):
                offset += len(line.encode())
                yield line

        reader = csv.reader(
            counted(), delimiter=text.dialect.separator, skipinitialspace=True, strict=True
        )
        start = 0
        for cells in reader:
            if cells:
                starts.append(start)
                ends.append(offset)
            start = offset
        bounds = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    return bounds[0] + text.start, bounds[1] + text.start


def numbered(count: int) -> list[str]:
    """The names of columns in a file without a line of headers.

    >>> numbered(2)
    ['column_1', 'column_2']
    """
    return [f"column_{number}" for number in range(1, count + 1)]


def _parse(lines: Iterable[str], dialect: Dialect, path: Path, missing: frozenset[str]) -> pa.Table:
    reader = csv.reader(lines, delimiter=dialect.separator, skipinitialspace=True, strict=True)
    above = dialect.comments
    header: list[str] = []
    columns: list[_Distinct] = []
    codes: list[list[npt.NDArray[np.int32]]] = []
    pending: list[list[str]] = []
    uneven: list[str] = []
    causes: set[str] = set()

    def flush() -> None:
        for cells, column, chunks in zip(zip(*pending, strict=True), columns, codes, strict=True):
            chunks.append(np.fromiter(map(column.__getitem__, cells), np.int32, len(pending)))
        pending.clear()

    try:
        for cells in reader:
            if not cells:
                continue
            first = not header
            if first:
                header = [c.strip() for c in cells] if dialect.header else numbered(len(cells))
                columns = [_Distinct(missing) for _ in header]
                codes = [[] for _ in header]
            if first and dialect.header:
                continue
            if len(cells) == len(header):
                pending.append(cells)
                if len(pending) == _CHUNK:
                    flush()
            else:
                uneven.append(f"line {reader.line_num + above} ({len(cells)} cells)")
                causes.add(_cause(cells, len(header)))
    except csv.Error:
        raise DataError(
            f"{path}: the quotes of line {reader.line_num + above} do not pair up; write a "
            '" within a quoted cell as ""'
        ) from None
    if pending:
        flush()
    problems = header_problems(header, path, text=True) + data_problems(header, path)
    if uneven:
        more = f" and {len(uneven) - 3} more" if len(uneven) > 3 else ""
        problems.append(
            f"{path}: {', '.join(uneven[:3])}{more}: expected {len(header)} cells as in the "
            f"{'header' if dialect.header else 'first row'}; "
            f"{causes.pop() if len(causes) == 1 else _QUOTE}"
        )
    elif not codes or not codes[0]:
        below = " below the header" if dialect.header else ""
        problems.append(f"{path}: no rows{below}; expected at least one")
    if problems:
        raise DataError(problems)
    arrays = []
    for column, own in zip(columns, map(np.concatenate, codes), strict=True):
        texts = pa.array(list(column.values_by_code), pa.large_string())
        arrays.append((_encoded(texts, own), column.marks(own)))
    return _table(header, arrays)


def _encoded(distinct: pa.Array, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
    small = np.maximum(codes, -1).astype(np.min_scalar_type(-len(distinct) - 1))
    indices = pa.array(small, mask=small < 0)
    return pa.DictionaryArray.from_arrays(indices, distinct.cast(pa.large_string()))


_QUOTE: Final = "quote cells that hold the separator"


def _cause(cells: Sequence[str], expected: int) -> str:
    """What helps where a row has another number of cells than expected."""
    if len(cells) < expected:
        return "write a separator for each cell, empty ones included"
    if len(cells) == expected + 1 and not cells[-1].strip():
        return "remove the separator at the end of the line"
    return _QUOTE


_NO_HEADER: Final = "if it is a row, declare data.header = false (with init and split: --no-header)"


def header_problems(header: Sequence[str], path: Path, text: bool = False) -> list[str]:
    """What is wrong with a table's headers, in sentences; `text`: of a CSV or TSV file."""
    problems = []
    empty = [str(i) for i, name in enumerate(header, 1) if not name]
    if empty:
        problems.append(
            f"{path}: no header for column {_listed(empty)}; name it, or remove it if it only "
            "numbers the rows or if every line ends with a separator"
        )
    counts = Counter(header)
    twice = [str(i) for i, name in enumerate(header, 1) if name and counts[name] > 1]
    if twice:
        # Not by name: without a line of headers the first row's cells are taken for them.
        problems.append(
            f"{path}: columns {_listed(twice)} have the same header as another; give each its "
            f"own name, in the first line of the file{f', or {_NO_HEADER}' if text else ''}"
        )
    return problems


def _listed(places: Sequence[str]) -> str:
    """Places of columns, in words; of very many the first ones."""
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more


_SHOWN: Final = 12
"""Columns that an error lists."""

_VALUE = re.compile(
    r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    r"|\d{4}-\d\d?-\d\d?([T ][\d:.]+)?|\d\d?[./]\d\d?[./]\d{2,4}"
)
_YEAR = re.compile(r"1[89]\d\d|20\d\d")


def data_problems(header: Sequence[str], path: Path) -> list[str]:
    """That a line of headers is a row of numbers and dates, in a sentence.

    Years, and numbers that count the columns from 0 or 1, are names as people give them.
    """
    counted = [str(i) for i in range(len(header))], [str(i) for i in range(1, len(header) + 1)]
    if not header or any(not _VALUE.fullmatch(name) for name in header) or header in counted:
        return []
    if all(_YEAR.fullmatch(name) for name in header):
        return []
    # Without its cells: the message may travel.
    return [
        f"{path}: its first line looks like a row, not like headers; {_NO_HEADER}, else put a "
        "letter before names that are numbers"
    ]


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
