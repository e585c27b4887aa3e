"""Arrays (points, images) as rows of numbers and back: moved, and scaled by one number.

One scale s for all coordinates keeps the shape of the data, and W1 between encoded samples is s
times W1 between the samples themselves; a slope of 1 in the data's units is 1/s in the codec's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from everymode.wgan.errors import DataError, SettingsError
from everymode.wgan.shape import Block, Shape

Moments = tuple[int, NDArray[np.float64], NDArray[np.float64]]
"""How many samples, their sum `(D,)` and the sum of their squares `(D,)`; entries add up."""

_NUMBERS = 2**22
"""Numbers worked on at once, to keep 64-bit copies of large data small."""

_ROUNDING: Final = 1e-12
"""Variance, as a share of the mean square, that sums in float64 cannot tell from 0."""


@dataclass(frozen=True)
class ArrayCodec:
    """Turns samples into rows (x - centre) * scale and back.

    Attributes:
        sample: Axes of one sample: (2,) of points in the plane, (channels, height, width) of
            images.
        centre: What is taken off: one number, or one for each of the D coordinates.
        scale: s, what is multiplied by then.

    >>> ArrayCodec((2,), (1.0, 2.0), 0.5).encode(np.array([[3.0, 2.0]]))
    array([[1., 0.]], dtype=float32)
    """

    sample: tuple[int, ...]
    centre: float | tuple[float, ...] = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Checks that it can encode and decode.

        Raises:
            SettingsError: It cannot.
        """
        problems = []
        if not self.sample or any(size < 1 for size in self.sample):
            problems.append(f"sample = {list(self.sample)}: expected axes of length 1 or more")
        if not (math.isfinite(self.scale) and self.scale > 0):
            problems.append(f"scale = {self.scale}: expected a positive number")
        centre = self.centre if isinstance(self.centre, tuple) else (self.centre,)
        if isinstance(self.centre, tuple) and len(centre) != self.width:
            problems.append(f"centre: {len(centre)} numbers; expected one, or {self.width}")
        if not all(map(math.isfinite, centre)):
            problems.append("centre: expected finite numbers")
        if problems:
            raise SettingsError(problems)

    @classmethod
    def fit(cls, array: NDArray[Any], where: str = "the array") -> Self:
        """A codec to mean 0 in every coordinate and mean variance 1 over all of them.

        Args:
            array: Samples `(n, *sample)`.
            where: The array's file, for messages.

        Raises:
            DataError: There are none, they do not vary, or some number is not finite.
        """
        sample = _sample(array, where)
        count, width = len(array), math.prod(sample)
        total = np.zeros(width)
        for _, rows in _rows(array, sample, where):
            total += rows.sum(0)
        centre = total / count
        # Squares about the centre, not about 0: there is no difference of large sums to be taken.
        spread = sum(float(np.square(r - centre).sum()) for _, r in _rows(array, sample, where))
        floor = _ROUNDING**2 * float(np.square(centre).mean())
        return cls._scaled(sample, centre, spread / (count * width), floor, where)

    @classmethod
    def from_moments(
        cls,
        sample: Sequence[int],
        count: int,
        total: NDArray[Any],
        squares: NDArray[Any],
        where: str = "the samples",
    ) -> Self:
        """The codec that `fit` gives, from `moments` summed over sites.

        The variance is a difference of sums, in which digits are lost where the mean is large
        beside the deviation: at 1000 times about 6 of 16. From a million times on it is refused.

        Args:
            sample: Axes of one sample.
            count: How many samples went in.
            total: Sum of the samples, `(D,)`.
            squares: Sum of their squares, `(D,)`.
            where: What the samples are, for messages.

        Raises:
            DataError: There are none, they do not vary or too little beside their mean, or the
                moments are not finite or do not fit the axes.
        """
        width = math.prod(sample)
        if np.shape(total) != (width,) or np.shape(squares) != (width,):
            raise DataError(
                f"{where}: moments of shapes {np.shape(total)} and {np.shape(squares)}; "
                f"expected {(width,)}, as samples have axes {tuple(sample)}"
            )
        if count < 1:
            raise DataError(f"{where}: no samples; expected at least 2")
        if not (np.isfinite(total).all() and np.isfinite(squares).all()):
            raise DataError(f"{where}: moments not finite; expected sums of finite numbers")
        centre = np.asarray(total, dtype=np.float64) / count
        mean_square = float(np.mean(squares)) / count
        variance = mean_square - float(np.square(centre).mean())
        return cls._scaled(tuple(sample), centre, variance, _ROUNDING * mean_square, where)

    @classmethod
    def images(cls, sample: Sequence[int], low: float = 0.0, high: float = 255.0) -> Self:
        """A codec of pixels from `low` to `high` to numbers from -1 to 1; looks at no data.

        Decoded pixels are not rounded, nor cut off at `low` and `high`.

        Args:
            sample: (channels, height, width).
            low: What becomes -1.
            high: What becomes 1.

        Raises:
            SettingsError: Not three axes, or `high` is not above `low`.

        >>> ArrayCodec.images((1, 28, 28)).scale * 127.5
        1.0
        """
        if len(sample) != 3:
            raise SettingsError(
                f"sample = {list(sample)}: expected the axes of images, [channels, height, width]"
            )
        if not low < high:
            raise SettingsError(f"low = {low}, high = {high}: expected low < high")
        return cls(tuple(sample), (low + high) / 2, 2 / (high - low))

    @classmethod
    def _scaled(
        cls,
        sample: tuple[int, ...],
        centre: NDArray[np.float64],
        variance: float,
        floor: float,
        where: str,
    ) -> Self:
        if not variance > floor:
            raise DataError(
                f"{where}: samples are all equal, or vary too little beside their mean to tell; "
                "expected at least 2 that differ: if they do, take a constant off all of them first"
            )
        return cls(sample, tuple(centre.tolist()), 1 / math.sqrt(variance))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """None: all outputs are plain numbers."""
        return ()

    @property
    def width(self) -> int:
        """D, length of a row."""
        return math.prod(self.sample)

    def shape(self, condition: int) -> Shape:
        """What the networks must know, for conditions of length `condition`."""
        sample = self.sample if len(self.sample) == 3 else ()
        return Shape(self.blocks, self.width, condition, self.scale, sample)

    def encode(self, array: NDArray[Any], where: str = "the array") -> NDArray[np.float32]:
        """Samples `(n, *sample)` as rows `(n, D)`.

        Raises:
            DataError: The axes are others, or some number is not finite.
        """
        rows = np.empty((len(array) if np.ndim(array) else 0, self.width), dtype=np.float32)
        centre = np.asarray(self.centre)
        for start, numbers in _rows(array, self.sample, where):
            rows[start : start + len(numbers)] = (numbers - centre) * self.scale
        return rows

    def decode(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """The samples `(n, *sample)` that rows `(n, D)` stand for.

        Raises:
            ValueError: The shape is not `(n, D)`.
        """
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"expected rows of shape (n, {self.width}), got {rows.shape}")
        numbers = rows.astype(np.float64) / self.scale + np.asarray(self.centre)
        decoded: NDArray[np.float64] = numbers.reshape(len(rows), *self.sample)
        return decoded

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON.

        >>> ArrayCodec.from_json(ArrayCodec((2,), (1.0, 2.0), 0.5).to_json()).centre
        (1.0, 2.0)
        """
        centre = list(self.centre) if isinstance(self.centre, tuple) else self.centre
        return {"sample": list(self.sample), "centre": centre, "scale": self.scale}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ArrayCodec":
        """The inverse of `to_json`."""
        centre = value["centre"]
        centre = tuple(centre) if isinstance(centre, list) else centre
        return ArrayCodec(tuple(value["sample"]), centre, value["scale"])


DTYPES: Final = (
    *("bool", "uint8", "uint16", "int8", "int16", "int32", "int64"),
    *("float32", "float64"),
)
"""Types that the numbers of samples may have."""


@dataclass(frozen=True)
class SampleLayout:
    """What one sample is, before anything is known of the data.

    Attributes:
        axes: Its axes, (channels, height, width) of an image.
        dtype: The type of its numbers, one of `DTYPES`.
    """

    axes: tuple[int, ...]
    dtype: str

    @property
    def width(self) -> int:
        """D, how many numbers it has."""
        return math.prod(self.axes)

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole, so that their sums are exact."""
        return not self.dtype.startswith("float")


@dataclass(frozen=True)
class Samples:
    """How samples are encoded.

    Attributes:
        codec: Between samples and rows.
        dtype: The type that decoded samples are written with.
    """

    codec: ArrayCodec
    dtype: str

    @property
    def layout(self) -> SampleLayout:
        """What one sample is."""
        return SampleLayout(self.codec.sample, self.dtype)

    def decode(self, rows: NDArray[np.floating[Any]]) -> NDArray[Any]:
        """Samples `(n, *sample)` of rows `(n, D)`; whole numbers are rounded, into their range."""
        numbers = self.codec.decode(rows)
        if not self.layout.whole:
            return numbers.astype(self.dtype)
        low, high = (0, 1) if self.dtype == "bool" else _range(self.dtype)
        return np.clip(np.rint(numbers), low, high).astype(self.dtype)

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"codec": self.codec.to_json(), "dtype": self.dtype}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Samples":
        """The inverse of `to_json`."""
        return Samples(ArrayCodec.from_json(value["codec"]), value["dtype"])


def _range(dtype: str) -> tuple[int, int]:
    found = np.iinfo(dtype)
    return int(found.min), int(found.max)


def moments(array: NDArray[Any], where: str = "the array") -> Moments:
    """Count, sums and sums of squares of samples `(n, *sample)`; those of two sites add up.

    Raises:
        DataError: The array has one axis only, or some number is not finite.

    >>> moments(np.array([[1, 2], [3, 4]]))
    (2, array([4., 6.]), array([10., 20.]))
    """
    sample = _sample(array, where, fewest=0)
    total, squares = np.zeros((2, math.prod(sample)))
    for _, rows in _rows(array, sample, where):
        total += rows.sum(0)
        squares += np.square(rows).sum(0)
    return len(array), total, squares


def _sample(array: NDArray[Any], where: str, fewest: int = 2) -> tuple[int, ...]:
    """The axes of one sample."""
    if array.ndim < 2 or 0 in array.shape[1:]:
        raise DataError(
            f"{where}: shape {array.shape}; expected (n, d) of points or "
            "(n, channels, height, width) of images"
        )
    if len(array) < fewest:
        raise DataError(f"{where}: {len(array)} samples; expected at least {fewest}")
    return tuple(array.shape[1:])


def _rows(
    array: NDArray[Any], sample: Sequence[int], where: str
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Pieces of an array as finite rows `(m, D)`, each with the index of its first sample."""
    if array.ndim < 1 or array.shape[1:] != tuple(sample):
        expected = ", ".join(["n", *map(str, sample)])
        raise DataError(f"{where}: shape {array.shape}; expected ({expected})")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: holds values of type {array.dtype}; expected numbers")
    piece = max(1, _NUMBERS // math.prod(sample))
    for start in range(0, len(array), piece):
        rows = array[start : start + piece].reshape(-1, math.prod(sample)).astype(np.float64)
        bad = ~np.isfinite(rows).all(1)
        if bad.any():
            raise DataError(
                f"{where}: sample {start + int(bad.argmax())} (from 0) holds NaN or infinity; "
                "expected finite numbers: leave such samples out or fill them in"
            )
        yield start, rows
