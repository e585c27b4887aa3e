"""Types of columns in Parquet and other typed files: named by text, and given back exactly.

The names are those of Arrow, `timestamp[us, tz=Europe/Berlin]` or `decimal128(10, 2)`, so that a
site can send one in a sum of sketches.
"""

import re
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

_SIMPLE: Final = {
    str(kind): kind
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
        *(pa.string(), pa.large_string(), pa.date32(), pa.date64()),
        *(pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    )
}
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=([A-Za-z0-9_+:/-]{1,40})\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d{1,2}), (-?\d{1,2})\)")
_DICTIONARY = re.compile(
    r"dictionary<values=(.{1,60}), indices=(u?int(?:8|16|32|64)), ordered=([01])>"
)


def name_storage(kind: pa.DataType) -> str:
    """The name of a type; empty where columns of it are not modelled.

    >>> name_storage(pa.timestamp("us", "Europe/Berlin")), name_storage(pa.list_(pa.int8()))
    ('timestamp[us, tz=Europe/Berlin]', '')
    """
    name = str(kind)
    return name if len(name) <= 100 and arrow_type(name) == kind else ""


def arrow_type(name: str) -> pa.DataType | None:
    """The inverse of `name_storage`; None for a text that names no such type."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    if zoned := _ZONED.fullmatch(name):
        return pa.timestamp(zoned[1], zoned[2])
    try:
        if decimal := _DECIMAL.fullmatch(name):
            made = {"32": pa.decimal32, "64": pa.decimal64, "128": pa.decimal128}
            return made.get(decimal[1], pa.decimal256)(int(decimal[2]), int(decimal[3]))
        if coded := _DICTIONARY.fullmatch(name):
            inner = arrow_type(coded[1])
            if inner is not None and not pa.types.is_dictionary(inner):
                return pa.dictionary(_SIMPLE[coded[2]], inner, coded[3] == "1")
    except (ValueError, pa.ArrowException):
        return None
    return None


def common_storage(names: set[str]) -> str:
    """The type that holds what sites store in several; empty where there is none.

    >>> common_storage({"int8", "int32"}), common_storage({"int8", "string"})
    ('int32', '')
    """
    if len(names) < 2:
        return next(iter(names), "")
    try:
        schemas = [pa.schema([pa.field("x", arrow_type(name))]) for name in sorted(names)]
        merged = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowException, TypeError):
        return ""
    return name_storage(merged.field("x").type)


def stored(series: "pd.Series[Any]", storage: str) -> pa.Array | None:
    """A decoded column as an Arrow array of its type; None where the type does not hold it.

    Args:
        series: Numbers, date-times in UTC without a time zone (times of day on the first of
            January 1970), durations in seconds, truth values or text.
        storage: The name of the type.
    """
    kind = arrow_type(storage)
    if kind is None:
        return None
    try:
        return _array(series, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _array(series: "pd.Series[Any]", kind: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_dictionary(kind):
        return _array(series, kind.value_type).dictionary_encode().cast(kind)
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return _moments(series, kind)
    if types.is_duration(kind):
        factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        ticks = (series.astype("Float64") * factor).round().astype("Int64")
        return pa.array(ticks, pa.int64(), from_pandas=True).cast(kind)
    if types.is_decimal(kind):
        # By way of text: a float has digits that no decimal of this scale holds.
        spelled = [
            None if gone else f"{value:.{max(kind.scale, 0)}f}"
            for value, gone in zip(series, series.isna(), strict=True)
        ]
        return pa.array(spelled, pa.string()).cast(kind)
    if types.is_integer(kind):
        limits = np.iinfo(str(kind))
        numbers = pd.to_numeric(series).round()
        if numbers.dtype.kind == "f":
            numbers = numbers.astype("Float64").astype("UInt64" if limits.min == 0 else "Int64")
        return pa.array(numbers, from_pandas=True).cast(kind)
    if types.is_floating(kind):
        numbers = pd.to_numeric(series).astype("Float64")
        return pa.array(numbers, pa.float64(), from_pandas=True).cast(kind)
    if types.is_boolean(kind):
        return pa.array(series.astype("boolean"), pa.bool_(), from_pandas=True)
    if types.is_string(kind) or types.is_large_string(kind):
        texts = [None if gone else str(v) for v, gone in zip(series, series.isna(), strict=True)]
        return pa.array(texts, kind)
    # Dates and times that came as something else.
    return pa.array(series, from_pandas=True).cast(kind)


def _moments(series: "pd.Series[Any]", kind: pa.DataType) -> pa.Array:
    unit = "ns" if "ns" in str(series.dtype) else "us"
    plain = series.astype("datetime64[ns]" if unit == "ns" else "datetime64[us]")
    moments = pa.array(plain, pa.timestamp(unit), from_pandas=True)
    if pa.types.is_time(kind):
        return moments.cast(pa.time64(unit)).cast(kind, safe=False)
    if pa.types.is_timestamp(kind) and kind.tz:
        return moments.cast(pa.timestamp(unit, "UTC")).cast(kind, safe=False)
    return moments.cast(kind, safe=False)
