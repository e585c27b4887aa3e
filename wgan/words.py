r"""Words of others, made harmless where a person reads them.

Names of sites, columns, categories and groups, and the texts of errors, come from tables and from
sites. Written as they are, an escape sequence among them commands the terminal (clears it, renames
it, hides what follows), a line break forges a line of ours, and a change of direction turns what
stands beside it. Here such characters are shown as Python would write them: `\x1b`, `\u202e`.

Source: Unicode Technical Report 36, Unicode Security Considerations; CWE-150.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

NAME: Final = 120
"""Characters of a name that are shown in a table or a list; a category has at most so many."""

WORD: Final = 1000
"""Characters without a blank that are shown within a line: more than the path of a file has."""

LINE: Final = 10_000
"""Characters of a line that are shown at all."""

FILE_NAME: Final = 255
"""Bytes that a file system takes for one name."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINED = frozenset({"Lo", "Mc", "Mn", "So", "Sk"})
_JOINERS = "\u200c\u200d"
_ODD = re.compile("[^ -~]")
_LONG = re.compile(rf"\S{{{WORD + 1},}}")


def visible(text: str) -> str:
    r"""The text on one line, with every character that is not seen written out.

    Written out are control characters (also line breaks and tabs), characters of format (zero
    width, direction of writing), separators of lines, half characters and what Unicode reserves.
    Joiners stay where scripts and emoji need them: between letters without case, or symbols.
    A second time changes nothing.

    >>> visible("a\x1b[31mb\r\u202ec"), visible("Zürich 東京")
    ('a\\x1b[31mb\\r\\u202ec', 'Zürich 東京')
    """
    return text if text.isprintable() else _written_out(text, _as_python)


def brief(text: str, most: int = NAME) -> str:
    """`visible`, of at most `most` characters; where it is cut, its length is said.

    >>> brief("a" * 5000, 5)
    'aaaaa… (5,000 characters)'
    """
    return (
        visible(text)
        if len(text) <= most
        else f"{visible(text[:most])}… ({len(text):,} characters)"
    )


def line(text: str) -> str:
    """`visible`, where words beyond `WORD` and the whole beyond `LINE` are cut, as in `brief`."""
    return brief(_LONG.sub(lambda found: brief(found[0]), text), LINE)


def json_text(value: Any, indent: int | None = None) -> str:
    r"""JSON in which letters of any script stay as they are and what is not seen is escaped.

    >>> json_text({"é": "\x9b\u202e\U000e0001"})
    '{"é": "\\u009b\\u202e\\udb40\\udc01"}'

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    # A raw line break can only be one between entries: those within texts are escaped by now.
    return text if text.isprintable() else _written_out(text, _as_json, keep="\n")


def toml_text(text: str) -> str:
    """TOML in which what is not seen is escaped; only basic strings may hold any of it."""
    return text if text.isprintable() else _written_out(text, _as_toml, keep="\n")


def file_name_problem(name: str) -> str | None:
    """Why a file or a folder may not get this name; None where it may.

    >>> file_name_problem("../x")
    "holds '/'"
    >>> file_name_problem("north")
    """
    if not name.strip():
        return "is empty"
    for character in "/\\\0":
        if character in name:
            return f"holds '{visible(character)}'"
    if name.startswith("."):
        return "begins with a dot"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not in UTF-8"
    return f"has {size} bytes, more than {FILE_NAME}" if size > FILE_NAME else None


def _cut(text: str, most: int) -> str:
    return f"{visible(text[:most])}… ({len(text):,} characters)"


def _written_out(text: str, how: Callable[[str], str], keep: str = "") -> str:
    def written(found: re.Match[str]) -> str:
        character = found[0]
        return how(character) if character not in keep and _unseen(found) else character

    return _ODD.sub(written, text)


def _unseen(found: re.Match[str]) -> bool:
    character, code = found[0], ord(found[0])
    if character in _JOINERS:
        before = found.string[max(found.start() - 1, 0) : found.start()]
        after = found.string[found.end() : found.end() + 1]
        return not (before and after and {*map(unicodedata.category, (before, after))} <= _JOINED)
    reserved = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return reserved or unicodedata.category(character) in _UNSEEN


def _as_python(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _as_json(character: str) -> str:
    code = ord(character)
    # Beyond the first plane JSON takes the two halves of UTF-16.
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]


def _as_toml(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
