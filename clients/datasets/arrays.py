"""A site's samples (points, images) with their labels, in one `.npz` file.

The array `samples` is `(n, *sample)`; every other array that is asked for is `(n,)` and holds a
label or a sensitive feature: whole numbers, truth values or text. Nothing is ever unpickled.
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.datasets.base import held_out
from everymode.clients.datasets.columns import ColumnDataset, Mask
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import EncodeData
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    DescribeColumns,
    KMeansStep,
)
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.arrays import DTYPES, SampleLayout, moments
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import ARRAYS, MISSING
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

SAMPLES = "samples"
"""The array that holds the samples; the others are labels."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ArrayDataset(ColumnDataset):
    """Samples and labels of an `.npz` file; see `everymode.clients.datasets.base.Dataset`."""

    @property
    def arrays(self) -> Arrays:
        """All arrays of the file, by name; not to be written to.

        Raises:
            DataError: It cannot be read, or its arrays do not fit together; all problems at once.
        """
        found = self.site.table.stat() if self.site.table.exists() else None
        stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_size) if found else ()
        return _arrays(self.site.table, stamp)

    @property
    def layout(self) -> SampleLayout:
        """What one sample is."""
        samples = self.arrays[SAMPLES]
        return SampleLayout(tuple(samples.shape[1:]), str(samples.dtype))

    def frame(self, missing: Sequence[str], form: FileForm = RECOGNISED) -> pd.DataFrame:
        """The labels as text; a text listed in `missing` is no value."""
        spellings = tuple(missing) or MISSING
        columns = {}
        for name, array in self.arrays.items():
            if name != SAMPLES:
                text = pd.Series(array.astype(np.str_), dtype=object)
                columns[name] = text.mask(text.isin(spellings), None)
        return pd.DataFrame(columns, index=range(len(self.arrays[SAMPLES])))

    def check(self, order: DescribeColumns) -> None:
        """Raises `DataError` where labels are lacking or samples are not those announced."""
        where, problems = self.site.table, []
        labels = [name for name in self.arrays if name != SAMPLES]
        for name in order.columns:
            if name not in labels:
                problems.append(
                    f"{where}: lacks the array '{name}' of labels; there are "
                    f"{', '.join(labels) or 'none'}"
                )
        if order.samples is not None and self.layout != order.samples:
            problems.append(
                f"{where}: array '{SAMPLES}' holds samples of axes {list(self.layout.axes)} and "
                f"type {self.layout.dtype}; expected {list(order.samples.axes)} and "
                f"{order.samples.dtype}, as elsewhere"
            )
        if problems:
            raise DataError(problems)

    def vocabulary(self, order: CollectVocabulary) -> Answer:
        """See `Dataset.vocabulary`; of samples, how many there are, their sums and squares.

        With a floor, a coordinate that fewer rows than it have a number other than 0 in adds
        nothing, and a site of fewer rows adds none at all.
        """
        answer = super().vocabulary(order)
        if order.samples is None:
            return answer
        held = order.held_out
        samples = self.arrays[SAMPLES]
        learnt = ~held_out(len(samples), held.share, held.seed, self.site.name)
        count, sums, squares = moments(samples[learnt], self._where)
        if least := self.site.floor:
            rows = np.count_nonzero(samples[learnt].reshape(count, -1), axis=0)
            small = rows < least
            sums, squares = np.where(small, 0.0, sums), np.where(small, 0.0, squares)
            count = count if count >= least else 0
        found = {"samples": np.array([count]), "sample_sums": sums, "sample_squares": squares}
        return Answer(order.layout(), {**answer.sums, **found})

    def codes(
        self,
        kept: Mask,
        schema: Schema,
        conditions: ConditionSpace,
        order: KMeansStep | EncodeData,
    ) -> npt.NDArray[np.float32]:
        """Samples, moved and scaled, `(kept.sum(), D)`; see `ArrayCodec`."""
        if schema.samples is None:
            raise DataError(f"{self.site.table}: holds samples, and a table is trained on")
        return schema.samples.codec.encode(self.arrays[SAMPLES][kept], self._where)

    @property
    def _where(self) -> str:
        return f"{self.site.table}: array '{SAMPLES}'"


def forget() -> None:
    """Lets go of the arrays in memory: rounds train on encoded rows."""
    _arrays.cache_clear()


@lru_cache(maxsize=1)
def _arrays(path: Path, stamp: tuple[int, ...]) -> Arrays:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    problems = []
    arrays: Arrays = {}
    try:
        # numpy.load would take other kinds of files, too.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("no archive")
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    array = file[name]
                except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                    problems.append(f"{path}: array '{name}' {_unreadable(error)}")
                    continue
                if isinstance(array, np.ndarray):
                    arrays[name] = array
                else:
                    problems.append(f"{path}: '{name}' is no array; leave it out")
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: is no {ARRAYS} file ({_words(error)}); write one with numpy.savez"
        ) from None
    if not problems:
        problems = [f"{path}: {problem}" for problem in _misfits(arrays)]
    if problems:
        raise DataError(problems)
    return arrays


def _unreadable(error: Exception) -> str:
    if "pickle" in str(error):
        return "holds Python objects, which are never read; write numbers or text"
    return f"is damaged ({_words(error)}); write the file anew"


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]


def _misfits(arrays: Arrays) -> list[str]:
    """What is wrong with the arrays of a file."""
    samples = arrays.get(SAMPLES)
    if samples is None:
        return [f"lacks the array '{SAMPLES}'; there are {', '.join(arrays) or 'none'}"]
    problems = []
    if samples.ndim < 2 or not samples.size:
        problems.append(
            f"array '{SAMPLES}' has shape {samples.shape}; expected (n, d) of points or "
            "(n, channels, height, width) of images"
        )
    if str(samples.dtype) not in DTYPES:
        problems.append(
            f"array '{SAMPLES}' is of type {samples.dtype}; expected one of {', '.join(DTYPES)}"
        )
    rows = samples.shape[:1]
    for name, array in arrays.items():
        if name == SAMPLES:
            continue
        if array.shape != rows:
            problems.append(
                f"array '{name}' has shape {array.shape}; expected {rows}, a label for each sample"
            )
        elif array.dtype.kind not in "biuU":
            problems.append(
                f"array '{name}' is of type {array.dtype}; expected whole numbers, truth values or "
                "text"
            )
    return problems
