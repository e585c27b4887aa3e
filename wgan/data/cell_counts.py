"""How the cells of a column are written, as counts that add up over sites.

Each site counts how many of its cells read as truth values, as numbers in each notation, as
date-times in each form. What follows from the sums is in `everymode.wgan.data.readings`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everymode.wgan.data.calendar_steps import STEPS, on_steps
from everymode.wgan.data.date_forms import (
    DATE_FORMS,
    READING_FORMS,
    is_date_form,
    pattern,
    reading_form,
)
from everymode.wgan.data.dates import read_dates
from everymode.wgan.data.notation import (
    AFFIXES,
    BRACKETS,
    EXPONENTS,
    MARKS,
    PLAIN,
    Notation,
    number_pattern,
)
from everymode.wgan.data.numbers import read_numbers, undressed

Ints = npt.NDArray[np.int64]

ENOUGH: Final = 0.95
"""Share of a column's cells that must read as numbers or date-times for it to hold them."""

DIGITS: Final = 16
"""Digits behind the mark that are counted: 0 to 15; one entry more is for any other spelling."""

_AMONG_NUMBERS: Final = (
    "None none NONE n/a N.A. n.a. - -- . .. NIL nil -nan -NaN 1.#QNAN -1.#IND #VALUE! #REF! "
    "#DIV/0! #NUM! #NAME? missing Missing (missing) (null) nat"
)
MISSING_NUMBERS: Final = frozenset(_AMONG_NUMBERS.split(" "))
"""What stands for no value among numbers and dates, and may be a value among words."""

_FIELDS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("missing", ()),
    ("present", ()),
    ("blank", ()),
    ("boolean", ()),
    ("code", ()),
    ("kept", ()),
    ("infinite", ()),
    ("bounds", ()),
    ("declared", ()),
    ("negative", (len(BRACKETS),)),
    ("exponents", (len(EXPONENTS),)),
    ("affixes", (len(AFFIXES),)),
    ("numbers", (len(MARKS),)),
    ("grouped", (len(MARKS),)),
    ("written", (len(MARKS), DIGITS + 1)),
    ("needed", (len(MARKS), DIGITS)),
    ("dates", (len(READING_FORMS),)),
    ("spelled", (len(DATE_FORMS),)),
    ("stepped", (len(READING_FORMS), len(STEPS))),
)


def _places() -> Iterator[tuple[str, tuple[slice, tuple[int, ...]]]]:
    start = 0
    for name, shape in _FIELDS:
        stop = start + int(np.prod(shape, dtype=int))
        yield name, (slice(start, stop), shape)
        start = stop


_PLACES: Final = dict(_places())

SIZE: Final = max(place.stop for place, _ in _PLACES.values())
"""Length of the vector of a column."""

_CODE = r"^[+-]?0[0-9]+([.,][0-9]*)?$"
_BARE = r"^[-+(\x{2212}≤≥<>~≈=]*[0-9.,](.*[0-9.,])?[-)]?$"
_USUAL = r"^-?[0-9]+(\.[0-9]+)?$"
_DATED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]*([+-][0-9:]+|Z)?)?$"
_NOT_FINITE = r"(?i)^[+-]?(inf|infinity|nan)$"
_TOO_LONG = r"^([0-9]{20,}|9[3-9][0-9]{17}|92[3-9][0-9]{16})$"
"""Whole numbers beyond 2^63 (about): they are codes."""

COMPACT: Final = ("%Y%m%d", "%Y%m%d%H%M%S")
"""Forms that are whole numbers, too."""

_SAMPLE = 200


@dataclass(frozen=True)
class CellCounts:
    """Counts of a column's cells by how they are written.

    Attributes:
        vector: All of them, `(SIZE,)`; vectors of parts of a table add up to the table's.
    """

    vector: Ints

    def __getitem__(self, name: str) -> Any:
        """One kind of count: a whole number, or an array."""
        place, shape = _PLACES[name]
        return self.vector[place].reshape(shape) if shape else int(self.vector[place.start])

    def __setitem__(self, name: str, value: Any) -> None:
        """Sets one kind of count."""
        place, _ = _PLACES[name]
        self.vector[place] = np.asarray(value).reshape(-1)

    @staticmethod
    def blank() -> "CellCounts":
        """Counts of no cells."""
        return CellCounts(np.zeros(SIZE, dtype=np.int64))


def count_texts(array: pa.Array, rows: Ints, missing: int, form: str = "") -> CellCounts:
    """Counts of cells that are text.

    Args:
        array: The distinct ones, `(n,)`.
        rows: Cells of each, `(n,)`.
        missing: Cells without a value.
        form: How dates or numbers are declared to be written; empty: not.
    """
    counts = CellCounts.blank()
    counts["missing"], counts["present"] = missing, int(rows.sum())
    if not len(array):
        return counts

    def of(mask: npt.NDArray[np.bool_]) -> int:
        return int(rows[mask].sum())

    blank = _mask(pc.is_in(array, pa.array(sorted(MISSING_NUMBERS), array.type)))
    counts["blank"] = of(blank)
    counts["boolean"] = of(_matches(array, r"(?i)^(true|false)$"))
    counts["code"] = of(_matches(array, _CODE))
    if form:
        _count_declared(counts, array, rows, form)
        return counts
    _count_numbers(counts, array, rows)
    _count_dates(counts, array, rows, blank)
    return counts


def _count_declared(counts: CellCounts, texts: pa.Array, rows: Ints, form: str) -> None:
    """Counts of what fits the one form that counts."""
    if is_date_form(form):
        moments = read_dates(texts, form)
        fits = ~np.isnan(moments)
        if "%z" not in reading_form(form):
            stepped = counts["stepped"].copy()
            # Of a declared form there is one reading alone.
            stepped[0] = rows[fits] @ on_steps(moments[fits])
            counts["stepped"] = stepped
    else:
        numbers, wrong, bounds = read_numbers(texts, form)
        fits = ~wrong
        needed = np.zeros((len(MARKS), DIGITS), np.int64)
        short = np.array(
            [min(max(_decimals(repr(float(v))), 0), DIGITS - 1) for v in numbers[fits]]
        )
        if fits.any():
            needed[:] = np.bincount(short, rows[fits], DIGITS).astype(np.int64)
        counts["needed"], counts["bounds"] = needed, int(rows[bounds].sum())
    counts["declared"] = int(rows[fits].sum())


def _matches(array: pa.Array, regex: str) -> npt.NDArray[np.bool_]:
    return _mask(pc.match_substring_regex(array, regex))


def _mask(found: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _count_numbers(counts: CellCounts, array: pa.Array, rows: Ints) -> None:
    if _matches(array, _DATED).all():
        # No number holds two signs without an exponent: nothing else can be counted.
        affixes = counts["affixes"].copy()
        affixes[0] = int(rows[_matches(array, _BARE)].sum())
        counts["affixes"] = affixes
        return
    usual = bool(_matches(array, _USUAL).all())
    infinite = np.zeros(len(rows), bool) if usual else _matches(array, _NOT_FINITE)
    counts["infinite"] = int(rows[infinite].sum())
    affix = 0 if usual else _affix(array, rows)
    bare = np.ones(len(rows), bool) if usual else _matches(array, _BARE)
    prefix, suffix = AFFIXES[affix]
    if usual:
        # Nearly all columns of numbers: nothing has to be taken off but a sign.
        core, bound = pc.utf8_ltrim(array, "-"), np.zeros(len(rows), bool)
        negative = _matches(array, "^-")
    else:
        core, negative, bound = undressed(array, prefix, suffix)
    # Of other affixes than the commonest nothing is made.
    of_affix = ~bare & _dressed(array, prefix, suffix) if affix else np.zeros(len(bare), bool)
    place = np.zeros(len(AFFIXES), np.int64)
    place[0], place[affix] = int(rows[bare].sum()), int(rows[of_affix if affix else bare].sum())
    counts["affixes"] = place
    possible = (bare | of_affix) & ~(_matches(core, _TOO_LONG))
    if not possible.any():
        return
    index = np.flatnonzero(possible)
    core, weights = core.take(pa.array(index)), rows[index]
    negative, bound = negative[index], bound[index]
    exponent = np.zeros(len(index), bool) if usual else _matches(core, "[eE]")
    numbers, grouped = np.zeros(len(MARKS), np.int64), np.zeros(len(MARKS), np.int64)
    written = np.zeros((len(MARKS), DIGITS + 1), np.int64)
    needed = np.zeros((len(MARKS), DIGITS), np.int64)
    plain = _matches(core, "^[0-9]+$")
    strict = ~_matches(core, "^0[0-9]")
    bounded = 0
    rest = np.flatnonzero(~plain)
    part = core.take(pa.array(rest))
    held = {mark: _holds(part, mark) for mark in {*".,", *(t for _, t in MARKS if t)}}
    done: dict[tuple[str, str], int] = {}
    for m, (decimal, thousands) in enumerate(MARKS):
        between = thousands if thousands and held[thousands].any() else ""
        if (before := done.setdefault((decimal, between), m)) != m:
            # Nothing is separated by it: the same texts fit.
            numbers[m], written[m], needed[m] = numbers[before], written[before], needed[before]
            continue
        fits = plain & strict
        # Where no text has the mark, whole numbers alone can fit.
        if len(rest) and (held[decimal].any() or between or exponent.any()):
            found = _matches(part, _strict_pattern(Notation(decimal, thousands)))
            fits[rest] = found
            if between:
                grouped[m] = int(weights[rest][found & held[between]].sum())
        numbers[m] = int(weights[fits].sum())
        if not numbers[m]:
            continue
        if m == 0:
            bounded = int(weights[fits & bound].sum())
        chosen = np.flatnonzero(fits)
        spelled, short = _digits(core.take(pa.array(chosen)), decimal, exponent[chosen])
        written[m] = np.bincount(spelled, weights[chosen], DIGITS + 1).astype(np.int64)
        needed[m] = np.bincount(short, weights[chosen], DIGITS).astype(np.int64)
    counts["numbers"], counts["grouped"] = numbers, grouped
    counts["written"], counts["needed"], counts["bounds"] = written, needed, bounded
    if negative.any():
        own, rows_below = array.take(pa.array(index[negative])), weights[negative]
        brackets, behind = _matches(own, r"\)$"), _matches(own, "-$")
        below = (~(brackets | behind), brackets, behind)
        counts["negative"] = [int(rows_below[mask].sum()) for mask in below]
    brief, full = r"{0}-?[0-9]$|{0}-?[1-9][0-9]+$", r"{0}[+-][0-9]{{2,}}$"
    styles = [style.format(sign) for style in (brief, full) for sign in "Ee"]
    if exponent.any():
        counts["exponents"] = [int(weights[_matches(core, style)].sum()) for style in styles]


def _strict_pattern(notation: Notation) -> str:
    """Numbers without needless zeros: `007` is a code."""
    loose = number_pattern(notation)
    strict = loose.replace("([0-9]{1,3}", "([1-9][0-9]{0,2}").replace("[0-9]+)", "(0|[1-9][0-9]*))")
    if not notation.thousands:
        strict = loose.replace("([0-9]+", "((0|[1-9][0-9]*)", 1)
    return f"^{strict}$"


def _holds(array: pa.Array, text: str) -> npt.NDArray[np.bool_]:
    return _mask(pc.match_substring(array, text))


def _affix(array: pa.Array, rows: Ints) -> int:
    """The commonest affix of a sample; 0 where it is none."""
    order = np.argsort(-rows, kind="stable")[:_SAMPLE]
    sample, weights = array.take(pa.array(order)), rows[order]
    open_ = ~_matches(sample, _BARE) & _matches(sample, "[0-9]")
    if not open_.any():
        return 0
    some = sample.filter(pa.array(open_))
    sizes = [
        int(weights[open_][_dressed(some, prefix, suffix)].sum()) if prefix or suffix else 0
        for prefix, suffix in AFFIXES
    ]
    # The longest of those that fit as many: "R$" ends in "$".
    best = max(range(len(AFFIXES)), key=lambda a: (sizes[a], len("".join(AFFIXES[a])), -a))
    return best if sizes[best] else 0


def _dressed(array: pa.Array, prefix: str, suffix: str) -> npt.NDArray[np.bool_]:
    sign = r"[-+(\x{2212}≤≥<>~≈=]*"
    before = f"{sign}\\Q{prefix}\\E{sign}" if prefix else sign
    behind = f"\\Q{suffix}\\E" if suffix else ""
    return _matches(array, f"^{before}[0-9.,].*{behind}[-)]?$") & _matches(
        array, f"[0-9.,][-)]?{behind}[-)]?$"
    )


def _digits(core: pa.Array, decimal: str, exponent: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Digits behind the mark as written, and as needed, of each number `(n,)`."""
    at = pc.find_substring(core, decimal).to_numpy(zero_copy_only=False).astype(np.int64)
    # Positions are in bytes, too.
    size = pc.binary_length(core).to_numpy(zero_copy_only=False).astype(np.int64)
    written = np.where(at < 0, 0, size - at - 1)
    # "5." is spelled unlike any number of digits.
    written = np.where((at >= 0) & (written == 0), DIGITS, written)
    short = pc.utf8_rtrim(core, "0")
    rest = pc.binary_length(short).to_numpy(zero_copy_only=False).astype(np.int64)
    needed = np.where(at < 0, 0, rest - at - 1)
    alike = bool(exponent.all())
    for i in np.flatnonzero(exponent):
        text = str(core[int(i)].as_py()).replace(decimal, ".").lower()
        # Where all have exponents, 2.10e3 has two digits as 9.13e3 has.
        digits = len(text.partition("e")[0].partition(".")[2]) if alike else 0
        written[i], needed[i] = digits or DIGITS, _decimals(text)
    return np.clip(written, 0, DIGITS), np.clip(needed, 0, DIGITS - 1)


def _decimals(text: str) -> int:
    """Digits after the point that a number needs: 1 for `2.50`, 3 for `1e-3`."""
    mantissa, _, exponent = text.lower().partition("e")
    digits = mantissa.partition(".")[2].rstrip("0")
    if not digits:
        whole = mantissa.partition(".")[0].lstrip("+-")
        zeros = len(whole) - len(whole.rstrip("0"))
        return -zeros - int(exponent) if exponent and whole.strip("0") else 0
    return len(digits) - int(exponent or 0)


def _count_dates(
    counts: CellCounts, array: pa.Array, rows: Ints, blank: npt.NDArray[np.bool_]
) -> None:
    possible = _matches(array, "[0-9]") & ~blank
    plain = _matches(array, f"^{PLAIN}$")
    compact = _matches(array, "^[12][0-9]{7}([0-9]{6})?$")
    possible &= ~plain | compact
    if not possible.any() or int(rows[possible].sum()) < ENOUGH / 2 * rows.sum():
        return
    index = np.flatnonzero(possible)
    part, weights = array.take(pa.array(index)), rows[index]
    step = max(1, len(part) // 40)
    sample = part.take(pa.array(np.arange(0, len(part), step)))
    dates, spelled = np.zeros(len(READING_FORMS), np.int64), np.zeros(len(DATE_FORMS), np.int64)
    stepped = np.zeros((len(READING_FORMS), len(STEPS)), np.int64)
    for r, form in enumerate(READING_FORMS):
        # A few values rule out most forms; each attempt on a whole column is slow.
        if (form in COMPACT) != bool(compact[index].all()):
            continue
        if _matches(sample, f"^{pattern(form, loose=True)}$").mean() < ENOUGH / 2:
            continue
        moments = read_dates(part, form)
        fits = ~np.isnan(moments)
        dates[r] = int(weights[fits].sum())
        if dates[r]:
            if "%z" not in form:
                stepped[r] = weights[fits] @ on_steps(moments[fits])
            for d, own in enumerate(DATE_FORMS):
                if reading_form(own) == form:
                    right = fits & _matches(part, f"^{pattern(own)}$")
                    spelled[d] = int(weights[right].sum())
    counts["dates"], counts["spelled"], counts["stepped"] = dates, spelled, stepped
