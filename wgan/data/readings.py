"""The one reading of a column that is chosen for all sites, from counts of its cells.

It is the same however the rows are split. A few cells that do not fit it (a line `Total`) do not
spoil it: they are strays, which are missing and counted.
"""

from dataclasses import dataclass, field

import numpy as np

from everymode.wgan.data.calendar_steps import common_step
from everymode.wgan.data.cell_counts import COMPACT, DIGITS, ENOUGH, CellCounts
from everymode.wgan.data.date_forms import (
    DATE_FORMS,
    READING_FORMS,
    form_step,
    is_date_form,
    reading_form,
)
from everymode.wgan.data.notation import (
    AFFIXES,
    BRACKETS,
    EXPONENTS,
    MARKS,
    Notation,
    parse_notation,
)
from everymode.wgan.data.schema import Kind


@dataclass(frozen=True)
class Reading:
    """How a column is read, at all sites.

    Attributes:
        kind: What its values are; None where every cell is missing.
        missing: Whether any cell has no value, strays included.
        form: The form of its date-times, or the pattern of its numbers.
        decimals: Digits behind the mark that its numbers need.
        strays: Cells that do not fit, and are taken for missing.
        bounds: Cells such as `≤5`, which are read as their bound.
        alike: Share of the cells of a category that read as numbers or dates.
        step: The step of `everymode.wgan.data.calendar_steps` on which all date-times lie.
        values: Cells with a value.
    """

    kind: Kind | None
    missing: bool
    form: str = ""
    decimals: int = 0
    strays: int = 0
    bounds: int = 0
    alike: float = 0.0
    step: str = field(default="", repr=False)
    values: int = field(default=0, compare=False, repr=False)

    @property
    def readable(self) -> bool:
        """Whether strays are few enough to be taken for missing."""
        return self.strays <= (1 - ENOUGH) * self.values


def read_counts(
    counts: CellCounts,
    kind: Kind | None = None,
    form: str = "",
    decimal: str = "",
    thousands: str | None = None,
) -> Reading:
    """The reading of a column.

    Args:
        counts: Of its cells.
        kind: What its values are declared to be; None: what the counts say.
        form: How they are declared to be written; empty: as the counts say.
        decimal: The decimal mark that is declared; empty: as the counts say.
        thousands: What is declared to separate thousands; None: as the counts say.
    """
    missing, present, blank = counts["missing"] > 0, counts["present"], counts["blank"]
    values = present - blank
    if not present:
        return Reading(None, missing)
    if form:
        return _declared(counts, kind, form)
    open_ = [
        m
        for m, (own, between) in enumerate(MARKS)
        if decimal in ("", own) and thousands in (None, between)
    ]
    mark = max(open_ or [0], key=lambda m: (counts["numbers"][m], -m))
    numbers = int(counts["numbers"][mark]) + counts["infinite"]
    family = int(np.argmax(counts["dates"]))
    dates = int(counts["dates"][family])
    if kind is None:
        kind = _kind(counts, values, numbers, dates, mark)
    if kind == "datetime":
        chosen = _date_form(counts, family)
        strays = values - dates
        gaps = missing or blank > 0 or strays > 0
        step = common_step(counts["stepped"][family], dates, form_step(chosen))
        return Reading("datetime", gaps, chosen, strays=strays, step=step, values=values)
    if kind in ("integer", "float"):
        strays = values - numbers
        chosen = _notation(counts, mark, kind).pattern
        needed = counts["needed"][mark].nonzero()[0]
        decimals = int(needed.max()) if kind == "float" and len(needed) else 0
        gaps = missing or blank > 0 or strays > 0
        return Reading(kind, gaps, chosen, decimals, strays, counts["bounds"], values=values)
    alike = max(numbers, dates) / max(values, 1) if kind == "category" else 0.0
    if counts["kept"] or counts["code"]:
        alike = 0.0
    return Reading(kind, missing, alike=alike, values=values)


def _declared(counts: CellCounts, kind: Kind | None, form: str) -> Reading:
    values = counts["present"] - counts["blank"]
    strays = values - counts["declared"]
    missing = counts["missing"] > 0 or counts["blank"] > 0 or strays > 0
    if is_date_form(form):
        step = common_step(counts["stepped"][0], counts["declared"], form_step(form))
        return Reading("datetime", missing, form, strays=strays, step=step, values=values)
    needed = counts["needed"][0].nonzero()[0]
    decimals = int(needed.max()) if len(needed) else 0
    if kind not in ("integer", "float"):
        kind = "integer" if parse_notation(form).digits == 0 and not decimals else "float"
    return Reading(kind, missing, form, decimals, strays, counts["bounds"], values=values)


def _kind(counts: CellCounts, values: int, numbers: int, dates: int, mark: int) -> Kind:
    if not values or counts["kept"] or counts["code"]:
        return "category"
    if counts["boolean"] == values:
        return "boolean"
    compact = READING_FORMS[int(np.argmax(counts["dates"]))] in COMPACT
    if dates >= ENOUGH * values and (dates == values if compact else dates > numbers):
        return "datetime"
    finite = numbers - counts["infinite"]
    affixes = counts["affixes"]
    dressed = affixes[1:]
    if dressed.sum() and dressed.max() < ENOUGH * dressed.sum():
        return "category"
    if finite and numbers >= ENOUGH * values:
        whole = counts["written"][mark, 0] == finite and not counts["infinite"]
        return "integer" if whole else "float"
    return "category"


def _date_form(counts: CellCounts, family: int) -> str:
    form = READING_FORMS[family]
    spellings = [d for d, own in enumerate(DATE_FORMS) if reading_form(own) == form]
    most = int(counts["dates"][family])
    for d in spellings:
        if counts["spelled"][d] >= ENOUGH * most:
            return DATE_FORMS[d]
    return DATE_FORMS[max(spellings, key=lambda d: (counts["spelled"][d], -d))]


def _notation(counts: CellCounts, mark: int, kind: Kind) -> Notation:
    decimal, thousands = MARKS[mark]
    numbers = max(int(counts["numbers"][mark]), 1)
    written = counts["written"][mark]
    held = written.nonzero()[0]
    digits = int(held[0]) if len(held) == 1 and held[0] < DIGITS else None
    exponents = counts["exponents"]
    exponent = EXPONENTS[int(exponents.argmax())] if exponents.sum() >= ENOUGH * numbers else ""
    affixes = counts["affixes"].copy()
    affix = int(affixes.argmax())
    negative = BRACKETS[int(counts["negative"].argmax())]
    grouped = thousands if counts["grouped"][mark] else ""
    if kind == "integer":
        digits = 0
    found = Notation(
        decimal if grouped or digits != 0 else ".",
        grouped,
        digits,
        *AFFIXES[affix],
        negative,
        exponent,
    )
    # The plain notation of whole numbers needs no pattern, nor numbers of as many digits as needed.
    return Notation() if found in (Notation(digits=0), Notation()) else found
