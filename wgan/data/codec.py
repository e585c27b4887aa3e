"""A table's rows as tensors and back: rows hold numbers and one-hot groups, side by side."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.ranks import from_scores, jitter, resolution, to_scores
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_values
from everymode.wgan.errors import DataError, NumericalError
from everymode.wgan.shape import Block, Shape

JITTER: Final = 0.98
"""Share of the resolution over which noise spreads a value; decoding in float32 rounds it back."""


class Codec(Protocol):
    """What networks, sums and audits must know of encoded rows, whatever they stand for."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What the outputs of a row are, in order; none: all are plain numbers."""
        ...

    @property
    def width(self) -> int:
        """D, length of an encoded row."""
        ...

    def shape(self, condition: int) -> Shape:
        """What the networks must know, for conditions of length `condition`."""
        ...


@dataclass(frozen=True)
class _Slots:
    """Where one column lies in a row; `None` for a part that it does not need."""

    column: Column
    value: int | None
    choice: slice | None
    start: int
    stop: int


class TableCodec:
    """Turns rows of a table into rows of numbers and back, as its schema says.

    A numeric column is one number (see `everymode.wgan.data.ranks`) and a one-hot state:
    continuous, each atom, missing; the number is 0 unless the state is continuous. Without atoms
    and missing values there is no state, without continuous values no number. A category is
    one-hot, values too rare to be told apart are one more category, and so is a missing value. Of
    very many categories several share a state. A column that can only hold one value takes no room.

    Attributes:
        schema: The columns.
        blocks: What the outputs of a row are, in order, without gaps.
        width: Length of a row.
    """

    def __init__(self, schema: Schema) -> None:
        """Lays out the columns of `schema` side by side."""
        self.schema = schema
        blocks: list[Block] = []
        slots: list[_Slots] = []
        width = 0
        for column in schema.columns:
            start, value, choice = width, None, None
            options = len(_options(column))
            if column.numeric and column.edges:
                value = width
                gate = width + 1 if options > 1 else None
                blocks.append(Block(width, width + 1, "value", gate))
                width += 1
            if options > 1:
                choice = slice(width, width + options)
                blocks.append(Block(width, width + options, "choice"))
                width += options
            slots.append(_Slots(column, value, choice, start, width))
        self.blocks: tuple[Block, ...] = tuple(blocks)
        self.width = width
        self._slots = tuple(slots)

    def shape(self, condition: int) -> Shape:
        """What the networks must know, for conditions of length `condition`."""
        return Shape(self.blocks, self.width, condition)

    def span(self, name: str) -> slice:
        """The outputs of a row that hold the column called `name`; raises `KeyError`."""
        for slots in self._slots:
            if slots.column.name == name:
                return slice(slots.start, slots.stop)
        raise KeyError(name)

    def encode(
        self, frame: pd.DataFrame, rng: np.random.Generator | None, where: str = "the table"
    ) -> npt.NDArray[np.float32]:
        """Rows of the table as numbers, `(n, width)`; other columns are ignored.

        Values that lie on a grid (integers, dates, few decimals) are jittered within their step, so
        that the numbers are dense. Text that the schema does not know (see `unknown`) is encoded as
        rare where the column has such a state. Where it has shares instead, as one of the
        categories that begin like it, by their shares. Otherwise it is missing where the column may
        be, else the first option. Numbers outside the edges are the nearest edge, and the nearest
        atom where that is nearer or there are no edges.

        Args:
            frame: The rows, as text or typed.
            rng: Source of the jitter; None: there is none, and a row depends on no other.
            where: The table's file, for messages.

        Raises:
            DataError: A column is absent, or values do not parse.
        """
        rows = np.zeros((len(frame), self.width), dtype=np.float32)
        cells = self._canonical(frame, where)
        for slots, values in zip(self._slots, cells, strict=True):
            column = slots.column
            states, _ = _states(column, values, rng)
            if slots.choice is not None:
                rows[np.arange(len(rows)), slots.choice.start + states] = 1
            if slots.value is not None:
                step = JITTER * jitter(column)
                noise = rng.uniform(-step / 2, step / 2, len(rows)) if step and rng else 0.0
                dense = (states == 0) & ~np.isnan(values)
                scores = to_scores(np.where(dense, values + noise, column.edges[0]), column)
                rows[:, slots.value] = np.where(dense, scores, 0)
        return rows

    def unknown(self, frame: pd.DataFrame, where: str = "the table") -> dict[str, int]:
        """Counts, per column with any, the cells that the schema has no room for.

        They are categories outside the vocabulary (floored as too rare), missing values in a
        column that had none, and numbers where all values should be atoms.
        """
        counts = {}
        for slots, values in zip(self._slots, self._canonical(frame, where), strict=True):
            _, known = _states(slots.column, values)
            if not known.all():
                counts[slots.column.name] = int((~known).sum())
        return counts

    def decode(
        self, rows: npt.NDArray[np.floating[Any]], rng: np.random.Generator | None = None
    ) -> pd.DataFrame:
        """The table that rows of numbers stand for; every row gives legal values.

        Args:
            rows: Numbers, `(n, width)`; of a one-hot group the largest entry counts.
            rng: Draws a category where several share a state; None: the commonest of them.

        Returns:
            Integers as `int64` (`Int64` where they may be missing), floats, `bool` (`boolean`),
            `datetime64` in UTC, text; or of the column's own dtype where it has one.

        Raises:
            ValueError: The shape is not `(n, width)`.
            NumericalError: A number is NaN.
        """
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"expected rows of shape (n, {self.width}), got {rows.shape}")
        if np.isnan(rows).any():
            raise NumericalError("rows to decode hold NaN; expected the outputs of a generator")
        return pd.DataFrame({s.column.name: _decode(s, rows, rng) for s in self._slots})

    def _canonical(self, frame: pd.DataFrame, where: str) -> list[npt.NDArray[Any]]:
        problems: list[str] = []
        cells = []
        for column in self.schema.columns:
            if column.name not in frame.columns:
                problems.append(f"{where}: no column {column.name!r}; expected one as elsewhere")
                continue
            try:
                cells.append(parse_values(frame, column, where))
            except DataError as error:
                problems.extend(error.problems)
        if problems:
            raise DataError(problems)
        return cells


def _options(column: Column) -> tuple[Any, ...]:
    """What a one-hot group chooses from: NaN for continuous, `None` for missing.

    Where categories share states, the commonest of each.
    """
    last = (None,) if column.missing else ()
    if not column.numeric:
        rare = (column.rare,) if column.rare else ()
        return _leaders(column) + rare + last
    return ((np.nan,) if column.edges else ()) + column.atoms + last


def _leaders(column: Column) -> tuple[str, ...]:
    if not column.states:
        return column.categories
    order = sorted(range(len(column.categories)), key=lambda c: (-column.shares[c], c))
    found: dict[int, str] = {}
    for c in order:
        found.setdefault(column.states[c], column.categories[c])
    return tuple(found[state] for state in range(len(found)))


def _states(
    column: Column, values: npt.NDArray[Any], rng: np.random.Generator | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Index into `_options` of each cell, and whether the schema knows the cell's value."""
    if not column.numeric:
        return _text_states(column, values, rng)
    first = int(bool(column.edges))
    gone = np.isnan(values)
    known = np.full(len(values), bool(column.edges))
    states = np.zeros(len(values), dtype=np.intp)
    if column.atoms:
        distance = np.abs(np.where(gone, 0, values)[:, None] - np.array(column.atoms))
        nearer = distance.min(axis=1) < _beyond(column, values)
        states = np.where(nearer, first + distance.argmin(axis=1), 0)
    for index, atom in enumerate(column.atoms, first):
        hit = values == atom
        states[hit], known[hit] = index, True
    states[gone] = first + len(column.atoms) if column.missing else 0
    known[gone] = column.missing
    return states, known


def _beyond(column: Column, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far numbers lie outside the range of the edges, 0 within; infinity without edges."""
    if not column.edges:
        return np.full(len(values), np.inf)
    # Edges are halfway between the values of a grid.
    half = jitter(column) / 2
    low, high = column.edges[0] + half, column.edges[-1] - half
    away: npt.NDArray[np.float64] = np.maximum(np.maximum(low - values, values - high), 0.0)
    return away


def _text_states(
    column: Column, values: npt.NDArray[Any], rng: np.random.Generator | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    fold = str.lower if column.kind == "boolean" else str
    vocabulary = pd.Index([fold(c) for c in column.categories], dtype=object)
    if column.kind == "boolean":
        values = np.array([v if v is None else fold(v) for v in values], dtype=object)
    places = vocabulary.get_indexer(pd.Index(values, dtype=object))
    gone = pd.isna(values)
    known = (places >= 0) | (gone & column.missing)
    strange = (places < 0) & ~gone
    if strange.any() and column.shares and not column.rare and rng is not None:
        places[strange] = _similar(column, values[strange], rng)
    states = np.array(column.states, np.intp)[places] if column.states else places
    count = len(_leaders(column))
    states = np.where(places < 0, (count + bool(column.rare)) * column.missing, states)
    if column.rare:
        states[strange] = count
    return states, known


def _similar(
    column: Column, values: npt.NDArray[Any], rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """For each text one of the categories that agree with most of its beginning, by shares."""
    names, shares = column.categories, np.array(column.shares)
    codes, texts = pd.factorize(values)
    found = np.zeros(len(values), np.intp)
    for t, text in enumerate(texts):
        common = [_common(str(text), name) for name in names]
        alike = np.flatnonzero(np.array(common) == max(common))
        weights = shares[alike] + 1e-12
        rows = np.flatnonzero(codes == t)
        found[rows] = alike[rng.choice(len(alike), len(rows), p=weights / weights.sum())]
    return found


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return i
    return min(len(one), len(other))


def _members(
    column: Column, states: npt.NDArray[np.intp], rng: np.random.Generator
) -> npt.NDArray[np.object_]:
    """A category of each state `(n,)`, drawn by shares; None for states that are none's."""
    names = np.array([*column.categories, None], dtype=object)
    owners, shares = np.array(column.states), np.array(column.shares)
    found = np.full(len(states), None, dtype=object)
    draws = rng.random(len(states))
    for state in np.unique(states[states < owners.max() + 1]):
        own = np.flatnonzero(owners == state)
        cumulative = np.cumsum(shares[own]) / shares[own].sum()
        rows = np.flatnonzero(states == state)
        found[rows] = names[own[np.searchsorted(cumulative[:-1], draws[rows], side="right")]]
    return found


def _decode(
    slots: _Slots, rows: npt.NDArray[np.floating[Any]], rng: np.random.Generator | None
) -> "pd.Series[Any]":
    column, options = slots.column, _options(slots.column)
    states = np.zeros(len(rows), dtype=np.intp)
    if slots.choice is not None:
        states = rows[:, slots.choice].argmax(axis=1)
    if not column.numeric:
        texts = np.array(options or (None,), dtype=object)[states]
        if column.states and rng is not None:
            drawn = _members(column, states, rng)
            texts = np.where(pd.isna(drawn), texts, drawn)
        return typed(pd.Series(texts, dtype=object), column)
    numbers = np.array([np.nan if o is None else o for o in options] or [np.nan])[states]
    if slots.value is not None:
        dense = states == 0
        numbers[dense] = from_scores(rows[dense, slots.value].astype(np.float64), column)
    # Adding zero turns -0.0 into 0.0.
    return typed(pd.Series(numbers + 0.0), column)


def typed(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    """The column in its own dtype where that holds its values, else in that of its kind."""
    plain = _natural(series, column)
    if column.dtype in ("str", "object", plain.dtype.name):
        return plain
    try:
        dtype = pd.api.types.pandas_dtype(column.dtype)
        if isinstance(dtype, pd.CategoricalDtype):
            return plain.astype(pd.CategoricalDtype(list(column.categories) or None))
        if isinstance(dtype, pd.DatetimeTZDtype):
            return pd.Series(plain.dt.tz_localize("UTC").astype(dtype))
        # A dtype without room for missing values is not taken for a column that may have some.
        if column.missing and isinstance(dtype, np.dtype) and dtype.kind in "iub":
            return plain
        return plain.astype(dtype)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return plain


def from_seconds(series: "pd.Series[Any]", digits: int) -> npt.NDArray[np.int64]:
    """Seconds as whole numbers of 10^-digits seconds, the least number where there are none."""
    ticks = (series * 10.0**digits).round().astype("Int64")
    return ticks.to_numpy(dtype="int64", na_value=np.iinfo("int64").min).astype(
        np.int64, copy=False
    )


NANOSECONDS = 9e9
"""Seconds before and after 1970 within which a date-time in nanoseconds fits into 64 bits."""


def _natural(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if column.kind == "integer":
        # 2^63 itself is the next float below which all whole numbers are.
        wide = column.high >= 2.0**63
        series = series.clip(0 if wide else -(2.0**63), 2.0**64 - 2048 if wide else 2.0**63 - 1024)
        if column.missing:
            return series.astype("UInt64") if wide else series.astype("Int64")
        return series.astype("uint64") if wide else series.astype("int64")
    if column.kind == "datetime":
        if "%9f" in column.form and max(abs(column.low), abs(column.high)) < NANOSECONDS:
            return pd.Series(from_seconds(series, 9).view("datetime64[ns]"))
        times = from_seconds(series, 6)
        unit = "s" if resolution(column) >= 1 else "us"
        return pd.Series(times.view("datetime64[us]").astype(f"datetime64[{unit}]"))
    if column.kind == "boolean" and {c.lower() for c in column.categories} <= {"true", "false"}:
        truth = series.map(lambda text: None if pd.isna(text) else text.lower() == "true")
        return truth.astype("boolean" if column.missing else "bool")
    return series if column.kind == "float" else pd.Series(series.to_numpy(), dtype="str")
