"""The forms in which date-times and times of day are written: no pandas is needed.

A form is one of `strftime`, with these directives beside the usual ones: `%-d`, `%-m`, `%-H` and
`%-I` without leading zeros, `%3f` for milliseconds, `%9f` for nanoseconds, `%^b` for a month in
capitals, `%:z` for an offset with a colon. A time of day is a date-time on the first of January
1970.
"""

import re
from functools import lru_cache
from typing import Final

_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%3f", "%H:%M:%S.%9f", "%H:%M:%S.%f")
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y")
_OF_DAYS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_SHORT = ("%d.%m.%y", "%m/%d/%y", "%d/%m/%y")
_NAMED = ("%d-%b-%Y", "%d %b %Y", "%d%b%Y", "%d-%b-%y", "%d%b%y", "%b %d, %Y", "%b %Y", "%b-%y")
_WORDY = ("%d %B %Y", "%B %d, %Y")


def _forms() -> tuple[str, ...]:
    zones = {"": " T", "Z": "T ", "%z": "T ", "%:z": "T "}
    iso = [f"%Y-%m-%d{t}{c}{z}" for z, between in zones.items() for t in between for c in _CLOCKS]
    days = [day + clock for day in _DAYS for clock in _OF_DAYS]
    named = [*_NAMED, *(form.replace("%b", "%^b") for form in _NAMED), *_WORDY]
    clocks = [*_CLOCKS, "%I:%M %p", "%I:%M:%S %p"]
    compact = ["%Y%m%d", "%Y%m%d%H%M%S", "%Y-%m", "%m/%Y"]
    found: list[str] = []
    for form in ("%Y-%m-%d", *iso, *days, *_SHORT, *named, *clocks, *compact):
        found.append(form)
        bare = re.sub("%([dmHI])", r"%-\1", form)
        # Only where a leading zero is a matter of taste: never in ISO 8601, nor without separators.
        if bare != form and form not in iso and form not in ("%Y-%m-%d", *compact, "%d%b%Y"):
            found.append(bare)
    return tuple(dict.fromkeys(found))


DATE_FORMS: Final[tuple[str, ...]] = _forms()
"""The forms that are recognised, in the order in which they are preferred."""

_DIGITS = {"Y": "[0-9]{4}", "y": "[0-9]{2}", "f": "[0-9]{1,9}", "3f": "[0-9]{3}", "9f": "[0-9]{9}"}
_TWO = dict.fromkeys("dmHIMS", "[0-9]{2}") | {
    f"-{name}": "([1-9][0-9]?|0)" for name in ("d", "m", "H", "I")
}
_TEXT = {
    "b": "[A-Z][a-z]{2}",
    "^b": "[A-Z]{3}",
    "B": "[A-Z][a-z]+",
    "p": "(AM|PM|am|pm)",
    "z": r"[+-][0-9]{4}",
    ":z": r"[+-][0-9]{2}:[0-9]{2}",
    "G": "[0-9]{4}",
    "V": "[0-9]{2}",
    "u": "[1-7]",
    "j": "[0-9]{3}",
}
_PIECES = _DIGITS | _TWO | _TEXT
_LOOSE = dict.fromkeys("dmHIMS", "[0-9]{1,2}") | {"b": "[A-Za-z]{3,4}", "B": "[A-Za-z]+"}
_LOOSE |= {"z": r"([+-][0-9]{2}:?[0-9]{2}|Z)", "p": "[AaPp][Mm]"}
DIRECTIVE: Final = re.compile(r"%(-?[a-zA-Z]|\^b|3f|9f|:z|%)")
"""A part of a form that stands for a part of a moment."""


@lru_cache(maxsize=512)
def reading_form(form: str) -> str:
    """The form that pandas reads all spellings of a family by.

    >>> reading_form("%-d/%-m/%Y %H:%M:%S.%3f"), reading_form("%^b-%y")
    ('%d/%m/%Y %H:%M:%S.%f', '%b-%y')
    """
    for ours, plain in (("%-", "%"), ("%3f", "%f"), ("%9f", "%f"), ("%^b", "%b"), ("%:z", "%z")):
        form = form.replace(ours, plain)
    return form


READING_FORMS: Final[tuple[str, ...]] = tuple(dict.fromkeys(map(reading_form, DATE_FORMS)))
"""One for each family of forms that differ in zeros and capitals alone."""


@lru_cache(maxsize=512)
def pattern(form: str, loose: bool = False) -> str:
    """A regular expression for what is written in a form.

    Args:
        form: The form.
        loose: Whether leading zeros, capitals and spellings of an offset are left open.

    Raises:
        ValueError: The form has a directive that is not known.
    """
    pieces = _PIECES | _LOOSE if loose else _PIECES
    found, at = "", 0
    for match in DIRECTIVE.finditer(reading_form(form) if loose else form):
        whole = match.string
        name = match.group(1)
        if name == "%":
            piece = "%"
        elif name in pieces:
            piece = pieces[name]
        else:
            raise ValueError(f"{match.group()}: no directive that is known")
        found += re.escape(whole[at : match.start()]) + piece
        at = match.end()
    source = reading_form(form) if loose else form
    return found + re.escape(source[at:])


def is_date_form(form: str) -> bool:
    """Whether a form is one of dates or times, and no pattern of numbers.

    >>> is_date_form("%H:%M"), is_date_form("0.0%")
    (True, False)
    """
    return re.search(r"%(-?[a-zA-Z]|\^b|3f|9f|:z)", form) is not None


def form_problem(form: str) -> str | None:
    """Why a form cannot be used; None if it can.

    >>> form_problem("%Q"), form_problem("%d.%m.%Y")
    ('%Q: no directive that is known', None)
    """
    if not DIRECTIVE.search(form):
        return "names no part of a date or time"
    if left := re.search("%.?", DIRECTIVE.sub("", form)):
        return f"{left.group()}: no directive that is known"
    try:
        pattern(form)
    except ValueError as error:
        return str(error)
    return None


def form_step(form: str) -> float:
    """Seconds between neighbouring moments that a form tells apart; 0: microseconds or nanoseconds.

    >>> [form_step(form) for form in ("%Y-%m-%d", "%H:%M", "%H:%M:%S.%3f", "%G-W%V")]
    [86400.0, 60.0, 0.001, 604800.0]
    """
    steps = (
        ("%f", 0.0),
        ("%9f", 0.0),
        ("%3f", 1e-3),
        ("%S", 1.0),
        ("%M", 60.0),
        ("%H", 3600.0),
        ("%I", 3600.0),
    )
    plain = form.replace("%-", "%")
    for directive, step in steps:
        if directive in plain:
            return step
    return 604800.0 if "%V" in plain and "%u" not in plain else 86400.0


def has_day(form: str) -> bool:
    """Whether a form names a day: without one it is a time of day."""
    return re.search("%-?[dmYyjGbB]|%\\^b", form) is not None
