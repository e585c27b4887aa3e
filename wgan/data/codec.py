"""A table's rows as tensors and back: rows hold numbers and one-hot groups, side by side."""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.ranks import from_scores, jitter, resolution, to_scores
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_column
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
    one-hot, a missing value one more category. A column that can only hold one value takes no room.

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
        self, frame: pd.DataFrame, rng: np.random.Generator, where: str = "the table"
    ) -> npt.NDArray[np.float32]:
        """Rows of the table as numbers, `(n, width)`; other columns are ignored.

        Values that lie on a grid (integers, dates, few decimals) are jittered within their step, so
        that the numbers are dense. What the schema does not know (see `unknown`) is encoded as
        missing where the column may be, else as its first option; numbers outside the edges as
        the nearest edge, and as the nearest atom where there are no edges.

        Args:
            frame: The rows, as text or typed.
            rng: Source of the jitter.
            where: The table's file, for messages.

        Raises:
            DataError: A column is absent, or values do not parse.
        """
        rows = np.zeros((len(frame), self.width), dtype=np.float32)
        cells = self._canonical(frame, where)
        for slots, values in zip(self._slots, cells, strict=True):
            column = slots.column
            states, _ = _states(column, values)
            if slots.choice is not None:
                rows[np.arange(len(rows)), slots.choice.start + states] = 1
            if slots.value is not None:
                step = JITTER * jitter(column)
                noise = rng.uniform(-step / 2, step / 2, len(rows)) if step else 0.0
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

    def decode(self, rows: npt.NDArray[np.floating[Any]]) -> pd.DataFrame:
        """The table that rows of numbers stand for; every row gives legal values.

        Args:
            rows: Numbers, `(n, width)`; of a one-hot group the largest entry counts.

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
        return pd.DataFrame({s.column.name: _decode(s, rows) for s in self._slots})

    def _canonical(self, frame: pd.DataFrame, where: str) -> list[npt.NDArray[Any]]:
        problems: list[str] = []
        cells = []
        for column in self.schema.columns:
            if column.name not in frame.columns:
                problems.append(f"{where}: no column {column.name!r}; expected one as elsewhere")
                continue
            try:
                series = frame[column.name]
                cells.append(parse_column(series, column.kind, column.name, where, column.form))
            except DataError as error:
                problems.extend(error.problems)
        if problems:
            raise DataError(problems)
        return cells


def _options(column: Column) -> tuple[Any, ...]:
    """What a one-hot group chooses from: NaN for continuous, `None` for missing."""
    last = (None,) if column.missing else ()
    if not column.numeric:
        return column.categories + last
    return ((np.nan,) if column.edges else ()) + column.atoms + last


def _states(
    column: Column, values: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Index into `_options` of each cell, and whether the schema knows the cell's value."""
    if not column.numeric:
        fold = str.lower if column.kind == "boolean" else str
        vocabulary = pd.Index([fold(c) for c in column.categories], dtype=object)
        if column.kind == "boolean":
            values = np.array([v if v is None else fold(v) for v in values], dtype=object)
        states = vocabulary.get_indexer(pd.Index(values, dtype=object))
        gone = pd.isna(values)
        known = (states >= 0) | (gone & column.missing)
        states[states < 0] = len(column.categories) if column.missing else 0
        return states, known
    first = int(bool(column.edges))
    gone = np.isnan(values)
    known = np.full(len(values), bool(column.edges))
    states = np.zeros(len(values), dtype=np.intp)
    if not column.edges and column.atoms:
        distance = np.abs(np.where(gone, 0, values)[:, None] - np.array(column.atoms))
        states = distance.argmin(axis=1)
    for index, atom in enumerate(column.atoms, first):
        hit = values == atom
        states[hit], known[hit] = index, True
    states[gone] = first + len(column.atoms) if column.missing else 0
    known[gone] = column.missing
    return states, known


def _decode(slots: _Slots, rows: npt.NDArray[np.floating[Any]]) -> "pd.Series[Any]":
    column, options = slots.column, _options(slots.column)
    states = np.zeros(len(rows), dtype=np.intp)
    if slots.choice is not None:
        states = rows[:, slots.choice].argmax(axis=1)
    if not column.numeric:
        texts = np.array(options or (None,), dtype=object)[states]
        return _typed(pd.Series(texts, dtype=object), column)
    numbers = np.array([np.nan if o is None else o for o in options] or [np.nan])[states]
    if slots.value is not None:
        dense = states == 0
        numbers[dense] = from_scores(rows[dense, slots.value].astype(np.float64), column)
    # Adding zero turns -0.0 into 0.0.
    return _typed(pd.Series(numbers + 0.0), column)


def _typed(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
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


def _natural(series: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if column.kind == "integer":
        return series.astype("Int64" if column.missing else "int64")
    if column.kind == "datetime":
        micros = (series * 1e6).round()
        times = micros.astype("Int64").to_numpy(dtype="int64", na_value=np.iinfo("int64").min)
        unit = "s" if resolution(column) else "us"
        return pd.Series(times.view("datetime64[us]").astype(f"datetime64[{unit}]"))
    if column.kind == "boolean" and {c.lower() for c in column.categories} <= {"true", "false"}:
        truth = series.map(lambda text: None if text is None else text.lower() == "true")
        return truth.astype("boolean" if column.missing else "bool")
    return series if column.kind == "float" else pd.Series(series.to_numpy(), dtype="str")
