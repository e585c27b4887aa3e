"""Data frames in and out: checked, written for the sites, and given back in their own types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from everymode.wgan.data.schema import Schema
from everymode.wgan.data.write import spell_column
from everymode.wgan.errors import DataError, suggest
from everymode.wgan.files import write_bytes
from everymode.wgan.words import file_name_problem

HELD = ("string", "boolean", "integer", "floating", "date", "decimal", "empty")
"""What the cells of an object column may be (`pandas.api.types.infer_dtype`)."""


@dataclass(frozen=True)
class ColumnType:
    """The type that a column has in the user's frame, to which synthetic values are converted.

    Attributes:
        dtype: As pandas writes it; of categories "category".
        cells: What an object column holds, as pandas infers it; else empty.
        categories: Of a categorical column, in their order.
        ordered: Whether the order of categories means something.
        decimals: Digits after the point of `decimal.Decimal` cells.
    """

    dtype: str
    cells: str = ""
    categories: tuple[Any, ...] | None = None
    ordered: bool = False
    decimals: int = 0

    @staticmethod
    def of(series: "pd.Series[Any]") -> "ColumnType":
        """The type of a checked column."""
        dtype = series.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            kept = tuple(c.item() if isinstance(c, np.generic) else c for c in dtype.categories)
            return ColumnType("category", categories=kept, ordered=bool(dtype.ordered))
        if pd.api.types.is_object_dtype(dtype):
            cells = pd.api.types.infer_dtype(series, skipna=True)
            digits = 0
            if cells == "decimal":
                exponents = [int(v.as_tuple().exponent) for v in series.dropna()]
                digits = max(0, -min(exponents, default=0))
            return ColumnType("object", cells, decimals=digits)
        return ColumnType(str(dtype))

    @property
    def text(self) -> bool:
        """Whether cells are text, whatever it stands for."""
        return self.cells == "string" or self.dtype in ("str", "string") or "string" in self.dtype

    def restore(self, series: Any) -> Any:
        """Synthetic values, a series, in this type."""
        if self.categories is not None:
            by_text = {str(category): category for category in self.categories}
            # Rare values have a name of their own, which is none of the table's categories.
            more = [str(v) for v in series.dropna().unique() if str(v) not in by_text]
            by_text |= dict(zip(more, more, strict=True))
            values = series.astype(object).map(
                lambda value: by_text[str(value)], na_action="ignore"
            )
            dtype = pd.CategoricalDtype([*self.categories, *sorted(more)], self.ordered)
            return pd.Series(pd.Categorical(values, dtype=dtype), series.index, name=series.name)
        if self.dtype.startswith("datetime64"):
            utc = pd.to_datetime(series, utc=True)
            if "," in self.dtype:
                return utc.astype(self.dtype)
            return utc.dt.tz_localize(None).astype(self.dtype)
        if self.dtype.startswith("timedelta64"):
            return pd.to_timedelta(series, unit="s").astype(self.dtype)
        if self.dtype == "object":
            return self._restore_objects(series)
        if self.dtype in ("bool", "boolean") and not pd.api.types.is_bool_dtype(series.dtype):
            truth = {"true": True, "false": False}
            series = series.astype(object).map(lambda v: truth[str(v).lower()], na_action="ignore")
        if pd.api.types.is_integer_dtype(self.dtype):
            series = series.round()
        return series.astype(self.dtype)

    def _restore_objects(self, series: Any) -> Any:
        if self.cells == "date":
            return pd.to_datetime(series).dt.date.astype(object).where(series.notna(), None)
        if self.cells == "decimal":
            step = Decimal(1).scaleb(-self.decimals)
            return series.astype(object).map(
                lambda value: Decimal(repr(float(value))).quantize(step), na_action="ignore"
            )
        values = series.astype(object)
        return values.where(series.notna(), None)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "dtype": self.dtype,
            "cells": self.cells,
            "categories": None if self.categories is None else list(self.categories),
            "ordered": self.ordered,
            "decimals": self.decimals,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ColumnType":
        """From plain values."""
        categories = value["categories"]
        return ColumnType(
            str(value["dtype"]),
            str(value["cells"]),
            None if categories is None else tuple(categories),
            bool(value["ordered"]),
            int(value["decimals"]),
        )


def check_frame(frame: object, what: str = "the table") -> pd.DataFrame:
    """The frame, if its rows can be modelled.

    Args:
        frame: What was given.
        what: What messages call it.

    Raises:
        DataError: All that is wrong, at once.
    """
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{what}: expected a pandas DataFrame, got {type(frame).__name__}")
    problems: list[str] = []
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(
            f"{what}: its columns have {frame.columns.nlevels} levels; expected one; write "
            "frame.columns = ['_'.join(map(str, c)) for c in frame.columns]"
        )
    if strange := [repr(name) for name in frame.columns if not isinstance(name, str)]:
        problems.append(
            f"{what}: columns {', '.join(strange[:5])} are not named by text; write "
            "frame.rename(columns=str)"
        )
    if twice := sorted({str(n) for n in frame.columns[frame.columns.duplicated()]}):
        problems.append(f"{what}: columns {', '.join(twice)} occur twice; rename or drop them")
    if not len(frame) or not len(frame.columns):
        problems.append(
            f"{what}: has {len(frame)} rows and {len(frame.columns)} columns; expected at least one"
        )
    if frame.index.has_duplicates:
        problems.append(f"{what}: its index holds labels twice; write frame.reset_index(drop=True)")
    if not problems:
        for name in frame.columns:
            if wrong := _problem(frame[name]):
                problems.append(f"{what}: column '{name}' {wrong}")
    if problems:
        raise DataError(problems)
    return frame


def _problem(series: "pd.Series[Any]") -> str | None:
    """Why a column cannot be modelled, and what to write instead."""
    dtype = series.dtype
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return f"holds values of type {dtype}; write them as text with .astype(str)"
    if pd.api.types.is_complex_dtype(dtype):
        return "holds complex numbers; write the real and the imaginary part as two columns"
    if isinstance(dtype, pd.SparseDtype):
        return "is sparse; write .sparse.to_dense()"
    if not pd.api.types.is_object_dtype(dtype):
        return None
    for cell in series:
        if isinstance(cell, list | dict | set | tuple | np.ndarray):
            return f"holds a {type(cell).__name__} in a cell; expected one value a cell"
    found = pd.api.types.infer_dtype(series, skipna=True)
    if found in HELD:
        return None
    if found.startswith("mixed"):
        kinds = sorted({type(cell).__name__ for cell in series.dropna()})
        return f"holds values of several types ({', '.join(kinds)}); write them with .astype(str)"
    return f"holds values of type {found}; write them as text with .astype(str)"


def check_columns(frame: pd.DataFrame, wanted: Mapping[str, str], what: str = "the table") -> None:
    """Raises where columns that an argument names are none of the frame's.

    Args:
        frame: The table.
        wanted: The argument, by the column that it names.
        what: What messages call the table.

    Raises:
        DataError: All of them at once.
    """
    problems = [
        f"{argument}: {what} has no column '{name}'; {suggest(name, map(str, frame.columns))}"
        for name, argument in wanted.items()
        if name not in frame.columns
    ]
    if problems:
        raise DataError(problems)


def check_sites(frames: Mapping[str, pd.DataFrame]) -> None:
    """Raises where tables of sites do not fit together.

    Raises:
        DataError: All differences from the first table, at once.
    """
    (first, table), *others = frames.items()
    columns, problems = list(table.columns), []
    for name, frame in others:
        lacking = [c for c in columns if c not in frame.columns]
        beyond = [str(c) for c in frame.columns if c not in columns]
        if lacking:
            problems.append(f"site '{name}': lacks {', '.join(lacking)}, which '{first}' has")
        if beyond:
            problems.append(f"site '{name}': has {', '.join(beyond)}, which '{first}' lacks")
    if problems:
        raise DataError(problems)


def named_sites(sites: Sequence[Any] | Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Checked tables of sites by name; of a sequence site-00 and so on.

    Raises:
        DataError: There is none, or they cannot be used; all problems at once.
    """
    if isinstance(sites, Mapping):
        given = {str(name): frame for name, frame in sites.items()}
    else:
        width = max(2, len(str(len(sites) - 1)))
        given = {f"site-{i:0{width}d}": frame for i, frame in enumerate(sites)}
    if not given:
        raise DataError("sites: holds no table; expected one for each site")
    problems: list[str] = []
    for name, frame in given.items():
        # The name becomes that of a file.
        if problem := file_name_problem(name):
            problems.append(f"site '{name}': its name {problem}; give it another one")
        try:
            check_frame(frame, f"site '{name}'")
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    check_sites(given)
    first = next(iter(given.values()))
    return {name: frame[list(first.columns)] for name, frame in given.items()}


def common_types(frames: Sequence[pd.DataFrame]) -> dict[str, ColumnType]:
    """The type of each column that holds all frames' values."""
    whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    return {str(name): ColumnType.of(whole[name]) for name in whole.columns}


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes a table for its user only, as Parquet, which keeps types."""
    write_bytes(path, frame.reset_index(drop=True).to_parquet(index=False), private=True)


def restore(frame: pd.DataFrame, types: Mapping[str, ColumnType], schema: Schema) -> pd.DataFrame:
    """Synthetic rows in the types of the user's frame; columns of no known type stay.

    Args:
        frame: The rows.
        types: The types of the frame's columns.
        schema: What is known of the columns; numbers and dates that were text are written as such.
    """
    columns: dict[str, Any] = {}
    for name in map(str, frame.columns):
        series, kind = frame[name], types.get(name)
        if kind is not None and kind.text and name in schema.names:
            series = spell_column(series, schema[name])
        columns[name] = series if kind is None else kind.restore(series)
    return pd.DataFrame(columns, index=frame.index)
