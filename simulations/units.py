"""In which unit the values of a column are, as far as the table says: what can be compared.

A date is no time of day, and `$5` is no `5%`. Headers say units, too: `bill_length_mm`,
`weight (kg)`.
"""

import re
from typing import Any, Final

import pandas as pd

from everymode.wgan.data.date_forms import has_day, is_date_form, reading_form
from everymode.wgan.data.notation import parse_notation
from everymode.wgan.data.schema import Column

_UNITS: Final = (
    "mg g kg t oz lb lbs nm um mm cm m km in inch inches ft feet yd mi miles ml l gal ms s sec "
    "secs seconds mins minutes h hr hrs hours days weeks months years yrs usd eur gbp chf jpy "
    "cents pct percent ppm ppb hpa mmhg kw kwh kj kcal hz mph kmh"
)
_NAMED: Final = frozenset(_UNITS.split(" "))
"""Units as headers end in them."""

_END: Final = re.compile(r"(?:[_\s.]|[\s_]?[(\[])([A-Za-z%]+)[)\]]?$")


def find_unit(column: Column, series: "pd.Series[Any]") -> tuple[str, str]:
    """What the cells say of their unit, and what the header says; empty: nothing.

    >>> find_unit(Column("price", "float", form="$#,##0.00"), pd.Series(["$1.00"]))
    ('$', '')
    >>> find_unit(Column("weight (kg)", "float"), pd.Series(["1.5"]))
    ('', 'kg')
    """
    if column.kind == "datetime":
        form = reading_form(column.form)
        day = has_day(form) if is_date_form(form) else True
        return ("moment" if "%z" in form else "date") if day else "time of day", ""
    if pd.api.types.is_timedelta64_dtype(series.dtype):
        return "duration", ""
    found = parse_notation("" if is_date_form(column.form) else column.form)
    return (found.prefix + found.suffix).strip(), _named(column.name)


def _named(header: str) -> str:
    found = _END.search(header.strip())
    unit = found.group(1).lower() if found else ""
    return unit if unit in _NAMED else ""


def comparable(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether values of these units can be compared: none says what contradicts the other.

    >>> comparable(("", "kg"), ("", "")), comparable(("", "kg"), ("", "cm"))
    (True, False)
    """
    return one[0] == other[0] and (one[1] == other[1] or not (one[1] and other[1]))
