"""Numbers in text as people write them: separators, currencies, percent, brackets, exponents.

A notation is written as a pattern, in the manner of spreadsheets (Unicode TR 35, "Number Format
Patterns"): `#,##0.00`, `0,#`, `$#,##0`, `0 %`, `0.00;(0.00)`, `0.#E0`. Zeros behind the decimal
mark are digits that are always written, `#` as many as a number needs. The empty pattern is the
plain notation: a point, no separators, as many digits as needed. No pandas is needed here.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MARKS: Final[tuple[tuple[str, str], ...]] = (
    (".", ""),
    (".", ","),
    (",", ""),
    (",", "."),
    (",", " "),
    (",", "\u00a0"),
    (",", "\u202f"),
    (".", " "),
    (".", "'"),
    (".", "\u2019"),
)
"""Decimal mark and thousands separator, in the order in which they are preferred."""

_SIGNS = ("$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₪", "₴", "₫", "₱", "R$", "US$")
_CODES = ("USD", "EUR", "GBP", "CHF", "JPY", "kr", "zł", "Kč", "Ft", "Fr.")

AFFIXES: Final[tuple[tuple[str, str], ...]] = (
    ("", ""),
    *((s, "") for s in _SIGNS),
    *((f"{s} ", "") for s in _SIGNS),
    *(("", s) for s in _SIGNS),
    *(("", f" {s}") for s in _SIGNS),
    *((f"{s} ", "") for s in _CODES),
    *(("", f" {s}") for s in _CODES),
    *(("", f"{space}{s}") for s in ("%", "‰") for space in ("", " ", "\u00a0")),
)
"""What may stand before and behind a number, without a declaration: currencies and percent."""

EXPONENTS: Final = ("E0", "e0", "E+00", "e+00")

BRACKETS: Final = ("-0", "(0)", "0-")
"""How numbers below zero are written."""

BOUNDS: Final = "≤≥<>~≈"
"""Signs of a number that is only bounded or near; it is read as its bound."""

_PATTERN = re.compile(
    r"(?P<whole>#(?P<thousands>[,. '\u00a0\u202f\u2019])##0|0)"
    r"((?P<decimal>[.,])(?P<digits>0+|#+))?(?P<exponent>[eE](?:\+00|0))?"
)
_CORE = re.compile(r"[#0]")


@dataclass(frozen=True)
class Notation:
    """How a column's numbers are written.

    Attributes:
        decimal: The decimal mark.
        thousands: What separates thousands; empty: nothing.
        digits: Digits behind the decimal mark that are always written; None: those needed.
        prefix: What stands before the number.
        suffix: What stands behind it.
        negative: One of `BRACKETS`.
        exponent: One of `EXPONENTS`; empty: none.
    """

    decimal: str = "."
    thousands: str = ""
    digits: int | None = None
    prefix: str = ""
    suffix: str = ""
    negative: str = "-0"
    exponent: str = ""

    @property
    def pattern(self) -> str:
        """The pattern; `parse_notation` is its inverse.

        >>> Notation(thousands=",", digits=2, prefix="$", negative="(0)").pattern
        '$#,##0.00;($#,##0.00)'
        """
        if self == Notation():
            return ""
        core = f"#{self.thousands}##0" if self.thousands else "0"
        if self.digits:
            core += self.decimal + "0" * self.digits
        elif self.digits is None:
            core += f"{self.decimal}#"
        core = f"{self.prefix}{core}{self.exponent}{self.suffix}"
        return core if self.negative == "-0" else f"{core};{self.negative.replace('0', core)}"


@lru_cache(maxsize=1024)
def parse_notation(pattern: str) -> Notation:
    """A notation from its pattern.

    Raises:
        ValueError: It is no pattern of a number.

    >>> notation = parse_notation("#.##0,00 €")
    >>> notation.decimal, notation.thousands, notation.digits, notation.suffix
    (',', '.', 2, ' €')
    """
    if not pattern:
        return Notation()
    positive, _, negative = pattern.partition(";")
    found = _PATTERN.search(positive)
    if found is None or _CORE.search(positive[: found.start()] + positive[found.end() :]):
        raise ValueError(f"{pattern!r} is no pattern of a number such as #,##0.00, 0,# or $0.00")
    thousands, decimal = found["thousands"] or "", found["decimal"]
    if decimal is None:
        decimal = "," if thousands == "." else "."
    if decimal == thousands:
        raise ValueError(f"{pattern!r}: decimal mark and thousands separator are the same")
    digits = found["digits"]
    below = "-0"
    if negative:
        below = next((b for b in BRACKETS if negative == b.replace("0", positive)), "")
        if not below:
            raise ValueError(f"{pattern!r}: write numbers below zero as in {positive};({positive})")
    return Notation(
        decimal,
        thousands,
        (0 if digits is None else len(digits)) if not digits or "0" in digits else None,
        positive[: found.start()],
        positive[found.end() :],
        below,
        found["exponent"] or "",
    )


PLAIN: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""A number in the plain notation, as a regular expression."""


def number_pattern(notation: Notation) -> str:
    """A regular expression for the digits of a number, without signs and affixes."""
    mark = re.escape(notation.decimal)
    whole = "[0-9]+"
    if notation.thousands:
        space = re.escape(notation.thousands)
        whole = f"([0-9]{{1,3}}({space}[0-9]{{3}})+|[0-9]+)"
    return rf"({whole}({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]+)?"
