"""What numbers a column can hold at all: of a type so many bits, of a calendar so many years.

A range that few rows decide is rounded outward. It must not leave what can be written.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from everymode.wgan.data.date_forms import has_day, is_date_form, reading_form
from everymode.wgan.data.schema import Column
from everymode.wgan.data.storage import arrow_type

FIRST, LAST = -62_135_596_800.0, 253_402_300_799.0
"""The first second of the year 1 and the last of 9999, in seconds since 1970."""

DAY: Final = 86_400.0

_TICKS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def extent(column: Column) -> tuple[float, float]:
    """The least and the largest number that can be written in a column; of date-times in seconds.

    >>> extent(Column("born", "datetime", form="%H:%M"))
    (0.0, 86399.0)
    >>> extent(Column("n", "integer", storage="uint8"))
    (0.0, 255.0)
    """
    low, high = -np.inf, np.inf
    kind = arrow_type(column.storage) if column.storage else None
    if column.kind == "datetime":
        form = reading_form(column.form) if is_date_form(column.form) else ""
        zoned = column.zone or "%z" in form
        # In another time zone it may be the day before, or the day after.
        margin = DAY if zoned else 0.0
        low, high = FIRST + margin, LAST - margin
        timed = kind is not None and pa.types.is_time(kind)
        if timed or (form and not has_day(form)):
            low, high = 0.0, DAY - 1
    if kind is None:
        return low, high
    least, most = _of_type(kind)
    return max(low, least), min(high, most)


def _of_type(kind: pa.DataType) -> tuple[float, float]:
    """The range of a type; infinite where it needs no bound."""
    types = pa.types
    if types.is_dictionary(kind):
        return _of_type(kind.value_type)
    if types.is_integer(kind):
        bits = np.iinfo(str(kind))
        most = float(bits.max)
        # Of 64 bits a double is rounded up, beyond the type.
        return float(bits.min), most if int(most) <= bits.max else float(np.nextafter(most, 0))
    if types.is_float16(kind) or types.is_float32(kind):
        most = float(np.finfo(kind.to_pandas_dtype()).max)
        return -most, most
    if types.is_decimal(kind):
        # One below the largest: of many digits a double holds no more.
        most = 10.0 ** (kind.precision - kind.scale) * (1 - 1e-15) - 10.0**-kind.scale
        return -most, most
    if types.is_timestamp(kind) or types.is_duration(kind):
        most = 2.0**63 / _TICKS[kind.unit] * (1 - 1e-15)
        return -most, most
    return -np.inf, np.inf
