"""Date-times and times of day in text, read and written in a form of `date_forms`.

A time of day is a date-time on the first of January 1970.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from everymode.wgan.data.date_forms import DIRECTIVE, has_day, pattern, reading_form

Numbers = npt.NDArray[np.float64]


def read_dates(texts: Sequence[str] | npt.NDArray[np.object_] | pa.Array, form: str) -> Numbers:
    """Seconds since 1970, `(n,)`, in UTC where offsets are written; NaN where a form does not fit.

    >>> read_dates(["31-Jan-2024", "1970-01-01"], "%d-%b-%Y").tolist()
    [1706659200.0, nan]
    """
    plain = reading_form(form)
    array = texts
    if not isinstance(array, pa.Array):
        array = pa.array(np.asarray(texts, dtype=object), pa.large_string(), from_pandas=True)
    if plain in _ISO and len(array) and (found := _read_iso(array, plain)) is not None:
        return found
    # pandas reads "now" and "today" in any form.
    found = pc.match_substring_regex(array, f"^{pattern(form, True)}$")
    fits = np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)
    index = pd.Series(array.to_numpy(zero_copy_only=False), dtype=object)
    if "%V" in plain:
        return _read_weeks(index, fits, plain)
    if not has_day(plain):
        index, plain = "1970-01-01 " + index, "%Y-%m-%d " + plain
    seconds = np.full(len(index), np.nan)
    if fits.any():
        dates = pd.to_datetime(index[fits], format=plain, errors="coerce", utc=True)
        seconds[fits] = to_seconds(pd.DatetimeIndex(dates))
    return seconds


_ISO = tuple(
    f"%Y-%m-%d{clock}"
    for clock in ("", *(f"{t}%H:%M:%S{part}" for t in " T" for part in ("", ".%f")))
)
"""Forms that Arrow reads, several times as fast as pandas."""


def _read_iso(array: pa.Array, form: str) -> Numbers | None:
    """Seconds since 1970, `(n,)`; None where not all texts are written in full, or no dates."""
    strict = pattern(form).replace("{1,9}", "{1,6}")
    if array.null_count or not pc.all(pc.match_substring_regex(array, f"^{strict}$")).as_py():
        return None
    try:
        moments = pc.cast(array, pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return np.asarray(pc.cast(moments, pa.int64()).to_numpy(zero_copy_only=False) / 1e6)


def _read_weeks(index: "pd.Series[str]", fits: npt.NDArray[np.bool_], form: str) -> Numbers:
    day = "" if "%u" in form else " 1"
    seconds = np.full(len(index), np.nan)
    for i in np.flatnonzero(fits):
        try:
            date = datetime.strptime(f"{index.iloc[i]}{day}", form + (" %u" if day else ""))
        except ValueError:
            continue
        seconds[i] = date.replace(tzinfo=UTC).timestamp()
    return seconds


def to_seconds(index: pd.DatetimeIndex) -> Numbers:
    """Seconds since 1970 (UTC where there is a time zone), NaN where missing."""
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    moments = index.to_numpy()
    micros = moments.astype("datetime64[us]")
    seconds = micros.astype(np.int64) / 1e6
    if index.unit == "ns":
        # A double holds the moments of these years to a quarter of a microsecond.
        seconds += (moments - micros).astype(np.int64) / 1e9
    seconds[np.isnat(micros)] = np.nan
    return seconds


def parse_zone(name: str) -> tzinfo | None:
    """A time zone by its name, or an offset such as `+02:00`; None where there is none such.

    >>> parse_zone("+02:00"), parse_zone("Mars/Olympus")
    (datetime.timezone(datetime.timedelta(seconds=7200)), None)
    """
    offset = re.fullmatch(r"([+-])([0-9]{2}):?([0-9]{2})", name)
    if offset:
        sign, hours, minutes = offset.groups()
        size = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-size if sign == "-" else size) if size < timedelta(days=1) else None
    try:
        return UTC if name in ("", "UTC") else ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return None


def zone_name(zone: tzinfo) -> str:
    """The name of a time zone; `parse_zone` is its inverse.

    >>> zone_name(ZoneInfo("Europe/Berlin")), zone_name(timezone(timedelta(hours=-3.5)))
    ('Europe/Berlin', '-03:30')
    """
    if not isinstance(zone, timezone) or zone is UTC:
        return str(zone)
    offset = f"{datetime(1970, 1, 1, tzinfo=zone):%z}"
    return f"{offset[:3]}:{offset[3:5]}"


def write_dates(index: pd.DatetimeIndex, form: str, zone: str = "") -> npt.NDArray[np.object_]:
    """Date-times without a time zone, in UTC, written in a form; None where missing.

    Args:
        index: The moments, `(n,)`.
        form: The form.
        zone: The time zone that they are written in, by `parse_zone`.

    >>> index = pd.DatetimeIndex(["2021-07-03 22:30:00.5"])
    >>> write_dates(index, "%-m/%-d/%Y %-I:%M %p").tolist()
    ['7/3/2021 10:30 PM']
    >>> write_dates(index, "%Y-%m-%dT%H:%M%:z", "+02:00").tolist()
    ['2021-07-04T00:30+02:00']
    """
    codes, moments = pd.factorize(index)
    place = parse_zone(zone) or UTC
    spelled = [
        _write(m.to_pydatetime(warn=False), form, place, m.nanosecond)
        for m in pd.DatetimeIndex(moments)
    ]
    return np.array([*spelled, None], dtype=object)[codes]


def _write(moment: datetime, form: str, zone: tzinfo, nanosecond: int) -> str:
    local = moment.replace(tzinfo=UTC).astimezone(zone)

    def piece(match: "re.Match[str]") -> str:
        name = match.group(1)
        if name == "Y":
            return f"{local.year:04d}"
        if name == "3f":
            return f"{local.microsecond // 1000:03d}"
        if name == "9f":
            return f"{local.microsecond:06d}{nanosecond:03d}"
        if name == ":z":
            offset = local.strftime("%z")
            return f"{offset[:3]}:{offset[3:5]}"
        if name == "^b":
            return local.strftime("%b").upper()
        if name.startswith("-"):
            return local.strftime(f"%{name[1:]}").lstrip("0") or "0"
        return local.strftime(f"%{name}")

    return DIRECTIVE.sub(piece, form)


def find_offset(texts: Sequence[str]) -> str:
    """The offset that all texts end in, with a colon; empty where they differ.

    >>> find_offset(["2021-07-04T00:30+0200", "2021-08-01T00:00+02:00"])
    '+02:00'
    >>> find_offset(["x", "y+01:00"])
    ''
    """
    found = {m.group(1) + m.group(2) if (m := _OFFSET.search(text)) else "" for text in texts}
    offset = found.pop() if len(found) == 1 else ""
    return f"{offset[:3]}:{offset[3:]}" if offset else ""


_OFFSET = re.compile(r"([+-][0-9]{2}):?([0-9]{2})$")
