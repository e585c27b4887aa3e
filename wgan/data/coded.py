"""Columns of dictionary-encoded text: each distinct cell is read once, however often it occurs.

`everymode.wgan.data.delimited` reads files into such columns. What distinct cells stand for is kept
for the next question about the same column; rows that are taken from it share its cells.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from everymode.wgan.data.cell_counts import MISSING_NUMBERS, CellCounts, count_texts
from everymode.wgan.data.date_forms import READING_FORMS
from everymode.wgan.data.dates import read_dates
from everymode.wgan.data.numbers import read_numbers
from everymode.wgan.data.readings import Reading, read_counts

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

LARGEST: Final = 2.0**63
"""Whole numbers beyond are codes."""

_KEPT = 64
"""Columns whose numbers or dates are kept."""


@dataclass(frozen=True, eq=False)
class DistinctTexts:
    """The distinct cells of a column; equal where they lie at the same place in memory.

    Attributes:
        array: The texts, `(n,)`, none of them missing.
    """

    array: pa.Array

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.array)

    @property
    def _place(self) -> tuple[int, ...]:
        # While this object lives the memory is not used for others.
        buffers = (0 if b is None else b.address for b in self.array.buffers())
        return self.array.offset, len(self.array), *buffers

    def __hash__(self) -> int:
        """By place."""
        return hash(self._place)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same memory."""
        return isinstance(other, DistinctTexts) and self._place == other._place

    def read_alone(self) -> Reading:
        """How they are read if each occurs once and there are no others."""
        return read_counts(self.counts(np.ones(len(self), np.int64), 0))

    def counts(self, rows: npt.NDArray[np.int64], missing: int, form: str = "") -> CellCounts:
        """How cells are written of which each text has `rows` `(n,)`."""
        return count_texts(self.array, rows, missing, form)

    def among(self, texts: frozenset[str]) -> Mask:
        """Which of them are among others, `(n,)`."""
        own = pa.array(sorted(texts), self.array.type)
        found = pc.is_in(self.array, own).to_numpy(zero_copy_only=False)
        return np.asarray(found, dtype=np.bool_)


def is_coded(dtype: Any) -> bool:
    """Whether cells are dictionary-encoded text."""
    return isinstance(dtype, pd.ArrowDtype) and pa.types.is_dictionary(dtype.pyarrow_dtype)


def factorize_cells(series: "pd.Series[Any]") -> tuple[Codes, DistinctTexts]:
    """The place of each cell among the distinct ones, `(n,)`, -1 where missing, and these.

    Of rows that were taken from a column not all distinct texts need occur.
    """
    array = series.array.__arrow_array__()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.intp)
    return codes, DistinctTexts(array.dictionary)


def used_texts(codes: Codes, texts: DistinctTexts) -> tuple[Codes, DistinctTexts]:
    """Codes and texts without those that no cell has."""
    used = np.bincount(codes + 1, minlength=len(texts) + 1)[1:] > 0
    if used.all():
        return codes, texts
    renumbered = np.append(np.where(used, np.cumsum(used) - 1, -1), -1)
    return renumbered[codes], DistinctTexts(texts.array.filter(pa.array(used)))


@lru_cache(maxsize=_KEPT)
def distinct_numbers(texts: DistinctTexts, form: str) -> tuple[Numbers, Mask]:
    """The number that each text stands for, NaN where none, and which are wrong; `(n,)` each.

    Wrong is what is neither a number nor stands for none. Infinite ones are numbers.

    Args:
        texts: The texts.
        form: The pattern that they are written in; where it does not fit, as they are read alone.
    """
    parsed, wrong, _ = read_numbers(texts.array, form)
    if wrong.any():
        # Written otherwise than agreed: by another program, say.
        own = texts.read_alone()
        for other in ("", own.form if own.kind in ("integer", "float") else ""):
            found, still, _ = read_numbers(texts.array, other)
            if still.sum() < wrong.sum():
                parsed, wrong = found, still
        gone = texts.among(MISSING_NUMBERS)
        special = pc.match_substring_regex(texts.array, r"(?i)^[+-]?(inf|infinity|nan)$")
        infinite = np.asarray(special.to_numpy(zero_copy_only=False), np.bool_) & ~gone
        parsed = np.where(wrong, np.where(infinite, np.inf, np.nan), parsed)
        wrong = wrong & ~infinite & ~gone
    return _shared(parsed), _shared(wrong)


@lru_cache(maxsize=_KEPT)
def distinct_dates(texts: DistinctTexts, form: str) -> tuple[Numbers, Mask]:
    """The moment of each text in seconds since 1970, NaN where none, and which are wrong.

    Args:
        texts: The texts.
        form: The form that they are written in; where it does not fit, as they are read alone.
    """
    blank = texts.among(MISSING_NUMBERS)
    parsed = read_dates(texts.array, form) if form else np.full(len(texts), np.nan)
    if (np.isnan(parsed) & ~blank).any():
        own = texts.read_alone()
        if own.kind == "datetime":
            other = read_dates(texts.array, own.form)
        else:
            other = min((read_dates(texts.array, f) for f in READING_FORMS), key=_gaps)
        parsed = min(parsed, other, key=_gaps)
    return _shared(parsed), _shared(np.isnan(parsed) & ~blank)


@lru_cache(maxsize=_KEPT)
def distinct_ranks(
    texts: DistinctTexts, form: str, dates: bool, whole: bool
) -> tuple[Numbers, Codes]:
    """The distinct numbers among those that texts stand for, ascending, and each text's place.

    Several texts may stand for one number, `2.50` and `2.5`.

    Args:
        texts: The texts, `(n,)`.
        form: The form that they are written in.
        dates: Whether they are dates.
        whole: Whether numbers that are not whole stand for none.

    Returns:
        Numbers `(m,)`, and `(n,)` places from 0 on, -1 for what stands for none.
    """
    numbers, wrong = (distinct_dates if dates else distinct_numbers)(texts, form)
    there = ~(np.isnan(numbers) | wrong)
    if whole:
        there &= ~odd_numbers(numbers)
    found, at = np.unique(numbers[there], return_inverse=True)
    places = np.full(len(numbers), -1, dtype=np.intp)
    places[there] = at.reshape(-1)
    return _shared(found), _shared(places)


def odd_numbers(numbers: Numbers) -> Mask:
    """Which numbers are not whole, or too large to be."""
    with np.errstate(invalid="ignore"):
        broken: Mask = (np.rint(numbers) != numbers) | (np.abs(numbers) > LARGEST)
    return ~np.isnan(numbers) & broken


def _shared(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def _gaps(parsed: Numbers) -> int:
    return int(np.isnan(parsed).sum())


def forget_texts() -> None:
    """Lets go of what distinct texts stand for."""
    distinct_numbers.cache_clear()
    distinct_dates.cache_clear()
    distinct_ranks.cache_clear()
