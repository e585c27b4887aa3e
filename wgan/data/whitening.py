"""Whitening: a linear map after which all directions of the data vary alike.

A critic with a bounded slope sees the directions of largest variance first; once whitened, none
comes first. Everything is computed from second moments, which add up over sites.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.errors import DataError, SettingsError
from everymode.wgan.shape import Block, Shape

P = ParamSpec("P")
Decoded = TypeVar("Decoded", covariant=True)
Rows = TypeVar("Rows", Tensor, NDArray[np.floating[Any]])


class Codec(Protocol[P, Decoded]):
    """What turns data into rows `(n, D)` and back."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """How a row is laid out; empty: plain numbers."""
        ...

    @property
    def width(self) -> int:
        """D, length of a row."""
        ...

    def encode(self, *args: P.args, **kwargs: P.kwargs) -> NDArray[np.float32]:
        """Data as rows `(n, D)`."""
        ...

    def decode(self, rows: NDArray[np.floating[Any]]) -> Decoded:
        """The data that rows `(n, D)` stand for."""
        ...


def second_moments(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The sum of [x, 1] [x, 1]^T over rows `(n, D)`, `(D + 1, D + 1)`; those of sites add up.

    >>> second_moments(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[10., 14.,  4.],
           [14., 20.,  6.],
           [ 4.,  6.,  2.]])
    """
    extended = np.column_stack([rows, np.ones(len(rows))]).astype(np.float64)
    return extended.T @ extended


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> (x - mean) W with a symmetric W (ZCA), the whitening that moves the data least.

    Source: Kessy, Lewin, Strimmer, "Optimal Whitening and Decorrelation", 2018, section 3.1.

    Attributes:
        mean: `(D,)`.
        matrix: W, `(D, D)`.
        inverse: The inverse of W, `(D, D)`.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]
    inverse: NDArray[np.float64]

    @classmethod
    def from_moments(cls, total: NDArray[np.float64], regularisation: float = 1e-3) -> Self:
        """The whitening of the rows whose `second_moments` add up to `total`.

        W = (S + r * l * I)^(-1/2) for the covariance S with mean eigenvalue l: a direction of
        variance v is left with variance v / (v + r * l), and the condition number is at most
        sqrt(1 + D / r), however few rows there are.

        Args:
            total: `(D + 1, D + 1)`.
            regularisation: r.

        Raises:
            DataError: There are no rows, they do not vary, or a sum is not finite; or some
                direction does not vary and r is 0.
            SettingsError: r is negative.
        """
        if not 0 <= regularisation < np.inf:
            raise SettingsError(f"regularisation = {regularisation}: expected 0 or more, say 1e-3")
        if not np.isfinite(total).all():
            raise DataError("second moments that are not finite; expected sums over finite rows")
        count = float(total[-1, -1])
        if not count > 0:
            raise DataError("second moments of no rows; expected those of at least 2 rows")
        mean = total[:-1, -1] / count
        square = total[:-1, :-1] / count
        covariance = square - np.outer(mean, mean)
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
        # What rounding leaves of a variance of 0, and may make negative.
        rounding = len(mean) * np.finfo(np.float64).eps * float(np.trace(square))
        if not values[-1] > rounding:
            raise DataError("all rows are equal; expected at least 2 that differ")
        values = values.clip(0)
        ridged = values + regularisation * values.mean()
        if not ridged[0] > rounding:
            flat = int((ridged <= rounding).sum())
            raise DataError(
                f"{flat} of {len(mean)} directions do not vary and cannot be whitened with "
                f"regularisation = {regularisation}; write a larger one, say 1e-3"
            )
        root = np.sqrt(ridged)
        return cls(mean, (vectors / root) @ vectors.T, (vectors * root) @ vectors.T)

    @property
    def slope_bounds(self) -> tuple[float, float]:
        """Smallest and largest singular value of W: by how much it may stretch a direction.

        A critic of slope 1 on whitened rows has a slope within these bounds on the rows
        themselves; W1 between whitened samples over W1 between the samples lies within them too.
        """
        values = np.linalg.svd(self.matrix, compute_uv=False)
        return float(values[-1]), float(values[0])

    @property
    def condition_number(self) -> float:
        """Largest over smallest singular value of W; 1 for a mere scaling."""
        low, high = self.slope_bounds
        return high / low

    def apply(self, rows: Rows) -> Rows:
        """Rows `(n, D)`, whitened; in their dtype. Gradients pass."""
        if isinstance(rows, Tensor):
            return (rows - _like(self.mean, rows)) @ _like(self.matrix, rows)
        return ((rows - self.mean) @ self.matrix).astype(rows.dtype)

    def invert(self, rows: Rows) -> Rows:
        """Whitened rows `(n, D)` as they were; in their dtype. Gradients pass."""
        if isinstance(rows, Tensor):
            return rows @ _like(self.inverse, rows) + _like(self.mean, rows)
        return (rows @ self.inverse + self.mean).astype(rows.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Its three attributes, for a file of tensors."""
        return {
            "mean": torch.from_numpy(self.mean),
            "matrix": torch.from_numpy(self.matrix),
            "inverse": torch.from_numpy(self.inverse),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`."""
        return cls(*(tensors[name].double().numpy() for name in ("mean", "matrix", "inverse")))


@dataclass(frozen=True, eq=False)
class Whitened(Generic[P, Decoded]):
    """A codec, then a whitening.

    Its scale is 1, in whitened units: a map that stretches directions differently has no one s.
    So a distance between whitened samples, and the critic's estimate of it, is in whitened units;
    divided by `Whitening.slope_bounds` it bounds the distance between the codec's own rows,
    from above by the smaller and from below by the larger one.

    Attributes:
        codec: What makes rows; all of their outputs are plain numbers.
        whitening: What is done to them then.

    >>> data = np.random.default_rng(0).normal(size=(500, 2)) * [1, 10]
    >>> codec = ArrayCodec.fit(data)
    >>> whitened = Whitened(codec, Whitening.from_moments(second_moments(codec.encode(data)), 0.0))
    >>> np.cov(whitened.encode(data).T, bias=True).round(3) + 0.0
    array([[1., 0.],
           [0., 1.]])
    """

    codec: Codec[P, Decoded]
    whitening: Whitening

    def __post_init__(self) -> None:
        """Checks that the codec's rows may be mixed.

        Raises:
            SettingsError: Some outputs are one-hot or hang on one that is.
            ValueError: The whitening is for rows of another length.
        """
        check_plain(self.codec.blocks)
        if len(self.whitening.mean) != self.codec.width:
            raise ValueError(
                f"a whitening of {len(self.whitening.mean)} outputs for rows of {self.codec.width}"
            )

    @property
    def blocks(self) -> tuple[Block, ...]:
        """None: all outputs are plain numbers."""
        return ()

    @property
    def width(self) -> int:
        """D, length of a row."""
        return self.codec.width

    @property
    def scale(self) -> float:
        """1, in whitened units."""
        return 1.0

    def shape(self, condition: int) -> Shape:
        """What the networks must know, for conditions of length `condition`."""
        inner = self.codec
        # A symmetric whitening keeps pixels near where they were: images remain images.
        sample = inner.shape(condition).sample if isinstance(inner, ArrayCodec) else ()
        return Shape((), self.width, condition, self.scale, sample)

    def encode(self, *args: P.args, **kwargs: P.kwargs) -> NDArray[np.float32]:
        """Data as whitened rows `(n, D)`; arguments and errors as the codec's."""
        return self.whitening.apply(self.codec.encode(*args, **kwargs))

    def decode(self, rows: NDArray[np.floating[Any]]) -> Decoded:
        """The data that whitened rows `(n, D)` stand for; errors as the codec's."""
        return self.codec.decode(self.whitening.invert(rows))


def check_plain(blocks: tuple[Block, ...]) -> None:
    """Checks that all outputs are plain numbers, which may be whitened.

    Raises:
        SettingsError: Some outputs are one-hot or hang on one that is.
    """
    choices = sum(block.kind == "choice" for block in blocks)
    gated = sum(block.gate is not None for block in blocks)
    if choices or gated:
        raise SettingsError(
            f"whitening: {choices} blocks of the rows are one-hot and {gated} numbers hang on one; "
            "whitening would mix their outputs, and the generator's head could no longer make "
            "one-hot choices: write whitening = false, or leave such columns out"
        )


def _like(array: NDArray[np.float64], rows: Tensor) -> Tensor:
    return torch.as_tensor(array, dtype=rows.dtype, device=rows.device)
