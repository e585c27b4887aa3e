"""Recognises how a delimited text file is written: compression, encoding, separator, comments.

What `everymode.wgan.data.file_form` declares is not recognised but taken as declared, and refused
where a file contradicts it.

Nothing changes for a UTF-8 file whose cells a comma (in a .tsv, a tab) separates: it is tried
first. Another separator is taken only if every one of the first rows has the same number of cells
by it, quotes respected. `csv.Sniffer` votes on characters and errs on text; clevercsv takes seconds
for a file and brings its own parser. Encodings other than Unicode are recognised by
charset-normalizer.
"""

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from charset_normalizer import from_bytes

from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import find_suffix
from everymode.wgan.data.packed import unpack
from everymode.wgan.errors import DataError

_SAMPLE: Final = 1 << 18
"""Characters that separators are tried on."""

_ROWS: Final = 300

_SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}

_DECLARED = re.compile(r'"?sep=(.)"?\r?\n?\r?', re.IGNORECASE)

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_ENCODINGS: Final = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("koi8_r", "shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp949"),
    *("utf_16_le", "utf_16_be"),
]
"""What tables are found in, besides Unicode with a mark; mac_latin2 and the like only mislead."""

_SAVE: Final = "save the file with the encoding UTF-8"

_DECLARE: Final = "or declare the one that it has with data.encoding"


@dataclass(frozen=True)
class Dialect:
    """How a delimited text file is written.

    Attributes:
        separator: The character between cells.
        encoding: Python's name of the encoding.
        compression: `gz`, `zip`, `xz` or `zst`; empty where it is not compressed.
        comments: Lines above the line of headers that are no part of the table.
        mark: Whether a byte-order mark precedes the text.
        header: Whether the first line after the comments names the columns.
    """

    separator: str = ","
    encoding: str = "utf-8"
    compression: str = ""
    comments: int = 0
    mark: bool = False
    header: bool = True

    def note(self, path: Path, form: FileForm = RECOGNISED) -> str:
        """What a reader may not expect of a file of this name, in a sentence; often empty.

        Nothing is said of what `form` declares.
        """
        name = path.name.lower()
        said = []
        if self.separator != default_separator(path) and not form.separator:
            called = _SEPARATORS.get(self.separator, repr(self.separator))
            said.append(f"cells are separated by a {called}")
        if self.encoding != "utf-8" and not form.encoding:
            said.append(f"the encoding is {self.encoding}")
        if self.compression and not name.endswith(f".{self.compression}"):
            said.append(f"it is compressed ({self.compression})")
        if not self.compression and name.endswith((".gz", ".zip", ".xz", ".zst")):
            said.append("it is not compressed")
        if self.comments and not form.comment:
            lines = "line is" if self.comments == 1 else f"{self.comments} lines are"
            said.append(f"the first {lines} no part of the table")
        return f"{path}: recognised: {'; '.join(said)}" if said else ""


@dataclass(frozen=True)
class DecodedText:
    """A delimited file, decompressed.

    Attributes:
        content: Its text in UTF-8, without a byte-order mark.
        start: Where the line of headers, or the first row without one, begins in `content`.
        dialect: How the file is written.
    """

    content: bytes
    start: int
    dialect: Dialect


def read_text(content: bytes, path: Path, form: FileForm = RECOGNISED) -> DecodedText:
    """The text of a delimited file.

    Args:
        content: The file's bytes.
        path: Its name, for messages and for the separator that is tried first.
        form: How it is declared to be written.

    Raises:
        DataError: It is empty, damaged, too large, not as declared, or its encoding or separator
            is not clear.
    """
    if problems := form.problems:
        raise DataError(f"{path}: {problem}" for problem in problems)
    plain, compression = unpack(content, path)
    utf8, encoding, mark = _declared(plain, path, form) if form.encoding else _decoded(plain, path)
    if not utf8 or utf8.isspace():
        headers = "a line of headers and " if form.header else ""
        raise DataError(f"{path}: empty file; expected {headers}one line a row")
    head = utf8[:_SAMPLE]
    whole = len(head) == len(utf8)
    lines = io.StringIO(head.decode("utf-8", "ignore"), newline="").readlines()
    if not whole:
        lines = lines[:-1] or lines
    separator, comments = _separator(lines, path, form)
    start = len("".join(lines[:comments]).encode())
    dialect = Dialect(separator, encoding, compression, comments, mark, form.header)
    return DecodedText(utf8, start, dialect)


def default_separator(path: Path) -> str:
    """The separator that a file of this name has unless its rows say otherwise."""
    return "\t" if find_suffix(path.name).lower().startswith(".tsv") else ","


def _declared(content: bytes, path: Path, form: FileForm) -> tuple[bytes, str, bool]:
    """As `_decoded`, in the encoding that is declared."""
    said, encoding = f"data.encoding = '{form.encoding}'", form.codec
    mark = next(((bom, name) for bom, name in _BOMS if content.startswith(bom)), (b"", encoding))
    if mark[1] != encoding:
        # UTF-16 and UTF-32 have two orders of bytes, and the mark says which.
        if mark[1].replace("-be", "-le") != encoding or form.encoding.lower().endswith("le"):
            raise DataError(
                f"{path}: line 1 begins with the byte-order mark of {mark[1]}, and {said}; write "
                f"data.encoding = '{mark[1]}', or '' to have it recognised"
            )
        encoding = mark[1]
    rest = content[len(mark[0]) :]
    try:
        utf8 = rest.decode(encoding).encode()
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = rest[:start].decode(encoding, "ignore").count("\n") + 1
        raise DataError(
            f"{path}: line {line} is not in the encoding that {said} declares; write another one, "
            "or '' to have it recognised"
        ) from None
    return utf8, encoding, bool(mark[0])


def _decoded(content: bytes, path: Path) -> tuple[bytes, str, bool]:
    """The text as UTF-8, its encoding, and whether a byte-order mark preceded it."""
    for bom, encoding in _BOMS:
        if content.startswith(bom):
            rest = content[len(bom) :]
            try:
                text = rest.decode(encoding)
            except UnicodeDecodeError:
                raise DataError(
                    f"{path}: its first bytes say {encoding}, and it is not; {_SAVE}"
                ) from None
            return (rest if encoding == "utf-8" else text.encode()), encoding, True
    if content[:4096].count(b"\0") > len(content[:4096]) // 4:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
        try:
            return content.decode(encoding).encode(), encoding, False
        except UnicodeDecodeError:
            raise DataError(f"{path}: holds bytes of value 0; {_SAVE}, {_DECLARE}") from None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = _guess(content)
        try:
            text = content.decode(encoding)
            # What does not lead back to the same bytes is another encoding.
            if text.encode(encoding) != content:
                encoding = ""
        except (UnicodeError, LookupError):
            encoding = ""
        if not encoding:
            raise DataError(
                f"{path}: line {line} is not UTF-8, and no other encoding is clear; {_SAVE}, "
                f"{_DECLARE}"
            ) from None
        return text.encode(), encoding, False
    return content, "utf-8", False


def _guess(content: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8; empty where none is clear."""
    telling = [line for line in re.split(rb"[\r\n]+", content[: 1 << 22]) if not line.isascii()]
    if not telling:
        telling = [line for line in content.splitlines() if not line.isascii()]
    sample = b"\n".join(dict.fromkeys(telling))[: 1 << 15]
    matches = list(from_bytes(sample, cp_isolation=_ENCODINGS))
    if not matches:
        return ""
    best = min(match.chaos for match in matches)
    for match in matches:
        western = "cp1252" in match.could_be_from_charset
        if western and match.chaos <= best + 0.1 and not _WITHIN.search(str(match)):
            return "cp1252"
    others = [m for m in matches if "cp1252" not in m.could_be_from_charset]
    return others[0].encoding if others else ""


_WITHIN = re.compile(
    "[^\\W\\d_][\xa3\xa5\xa6\xac\xaf\xb1-\xb3\xb9\xbc-\xbf\xa1\xa4\xb6-\xb8]"
    "|[\xa3\xa5\xa6\xac\xaf\xa4\xb6\xb8\xb9\xb3][^\\W\\d_]"
)
"""Signs within words, as other encodings' letters look in Windows-1252."""


def _separator(lines: list[str], path: Path, form: FileForm) -> tuple[str, int]:
    """The separator and the number of lines above the headers, or above the first row."""
    if lines and (said := _DECLARED.fullmatch(lines[0])):
        if form.separator not in ("", said[1]):
            raise DataError(
                f"{path}: line 1 says 'sep={said[1]}', and data.separator = '{form.separator}'; "
                "remove one of them"
            )
        return said[1], 1
    if form.comment:
        above = _comments(lines, form.comment)
        return form.separator or _agreed(lines[above:], path), above
    marked = 0
    while marked < len(lines) and lines[marked].startswith("#"):
        marked += 1
    found = form.separator or _agreed(lines[marked:], path)
    if marked and marked < len(lines):
        # A header may begin with the sign: then it has as many cells as a row.
        if _width(lines[marked - 1], found) == _width(lines[marked], found):
            marked -= 1
        return found, marked
    return (form.separator or _agreed(lines, path), 0) if marked else (found, 0)


def _comments(lines: list[str], prefix: str) -> int:
    """How many lines at the top are comments, blank lines between them included."""
    above = 0
    for number, line in enumerate(lines, 1):
        if line.startswith(prefix):
            above = number
        elif not line.isspace():
            break
    return above


def _width(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator, skipinitialspace=True), []))


def _agreed(lines: list[str], path: Path) -> str:
    default = default_separator(path)
    even: dict[str, int] = {}
    likely: dict[str, float] = {}
    for separator in (default, *(s for s in _SEPARATORS if s != default)):
        widths: list[int] = []
        try:
            for cells in csv.reader(lines, delimiter=separator, skipinitialspace=True):
                if cells:
                    widths.append(len(cells))
                if len(widths) == _ROWS:
                    break
        except csv.Error:
            pass
        if not widths or widths[0] < 2:
            continue
        if len(set(widths)) == 1:
            even[separator] = widths[0]
        likely[separator] = Counter(widths)[widths[0]] / len(widths)
    if default in even or (not even and default in likely):
        return default
    if even:
        most = max(even.values())
        widest = [s for s, width in even.items() if width == most]
        if len(widest) > 1:
            names = " or ".join(f"a {_SEPARATORS[s]}" for s in widest)
            raise DataError(
                f"{path}: cells may be separated by {names}; write a first line 'sep={widest[0]}' "
                f"that says which, or data.separator = '{widest[0]}'"
            )
        return widest[0]
    close = [s for s, share in likely.items() if share > 0.6]
    return close[0] if close else default
