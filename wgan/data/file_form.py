"""How delimited text files are declared to be written, where it cannot be recognised."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NO_ENCODINGS: Final = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")
"""Codecs of Python's for text that no table is written in."""

LONGEST: Final = 40
"""Characters of a codec's name or of a comment's prefix at most."""

_SAME: Final = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""Codecs that read or write a byte-order mark by themselves, and those of the text after it."""


@dataclass(frozen=True)
class FileForm:
    r"""How CSV and TSV files are declared to be written. What is not declared is recognised.

    Attributes:
        separator: The character between cells; empty: recognised.
        encoding: Python's name of the encoding; empty: recognised.
        comment: What comment lines at the top of a file begin with; empty: recognised.
        header: Whether the first line names the columns; otherwise they are `column_1`,
            `column_2` and so on.

    >>> FileForm(separator="\t", encoding="cp1250").problems
    []
    >>> [text.partition(":")[0] for text in FileForm(separator=";;", encoding="klingon").problems]
    ["data.separator = ';;'", "data.encoding = 'klingon'"]
    """

    separator: str = ""
    encoding: str = ""
    comment: str = ""
    header: bool = True

    @property
    def problems(self) -> list[str]:
        """What is wrong with the declaration, in sentences that name the key."""
        named = (("separator", self.separator), ("encoding", self.encoding))
        return [
            f"data.{key} = '{value}': {problem}"
            for key, value in (*named, ("comment", self.comment))
            for problem in form_problems(key, value)
        ]

    @property
    def codec(self) -> str:
        """The name of the encoding as Python lists it, without a mark; empty: recognised."""
        if not self.encoding:
            return ""
        name = codecs.lookup(self.encoding).name
        return _SAME.get(name, name)


RECOGNISED: Final = FileForm()
"""Nothing is declared: files are recognised, and their first line names the columns."""


def form_problems(key: str, value: str) -> Iterator[str]:
    """What is wrong with the value of `separator`, `encoding` or `comment`, in sentences."""
    if not value:
        return
    if key == "separator":
        if len(value) != 1 or not value.isascii() or value in '"\r\n\0':
            yield (
                "expected one character of ASCII other than a quote and a line end, for instance "
                "';' or '|', or 'tab'; write '' to have it recognised"
            )
    elif key == "comment":
        if len(value) > LONGEST or any(c in value for c in "\r\n\0"):
            yield (
                f"expected what comment lines begin with, at most {LONGEST} characters of one "
                "line, for instance '%'; write '' to have it recognised"
            )
    elif not _is_encoding(value):
        yield (
            "no encoding that Python knows and that a table is written in has this name; write its "
            "name, for instance 'cp1250', 'latin-1' or 'utf-16', or '' to have it recognised"
        )


def _is_encoding(name: str) -> bool:
    try:
        found = codecs.lookup(name) if len(name) <= LONGEST else None
    except (LookupError, ValueError):
        return False
    # Codecs from bytes to bytes (zip, base64) have no name in the documented interface.
    text = getattr(found, "_is_text_encoding", True)
    return found is not None and text and found.name.replace("_", "-") not in NO_ENCODINGS
