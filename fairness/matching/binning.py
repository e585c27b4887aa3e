"""Numbers cut into bins: what second moments of the numbers themselves do not see.

A number enters second moments by its mean, its variance and its correlations. Told beside it which
of a few bins it lies in, the same sums also hold the shape of its distribution, how often two
numbers lie in each pair of bins, and every category's share within every bin: what a tree that
splits on it can find.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.wgan.data.codec import Codec, TableCodec
from everymode.wgan.data.ranks import resolution, to_scores
from everymode.wgan.data.schema import Column

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Binning:
    """Where the numbers of an encoded row are cut.

    Attributes:
        numbers: Outputs of a row that are numbers.
        gates: Of each, the output that says whether there is a number at all; None: always.
        edges: Of each, where one bin ends and the next begins, ascending.
        values: Of each, the one number that stands in each bin; none where bins hold several.
    """

    numbers: tuple[int, ...] = ()
    gates: tuple[int | None, ...] = ()
    edges: tuple[tuple[float, ...], ...] = ()
    values: tuple[tuple[float, ...], ...] = ()

    @staticmethod
    def of(codec: Codec, bins: int) -> "Binning":
        """Bins that hold alike many of the data's rows, as far as the agreed quantiles tell.

        Args:
            codec: What encodes rows; only those of tables have numbers to cut.
            bins: How many for each number; fewer than two: none. A column on a grid of up to twice
                as many values has a bin for each of them: a category may well go with just one.
        """
        if bins < 2 or not isinstance(codec, TableCodec):
            return Binning()
        gates = {block.start: block.gate for block in codec.blocks if block.kind == "value"}
        ranks = np.arange(1, bins) / bins
        numbers, edges, values = [], [], []
        for column in codec.schema.columns:
            if column.numeric and column.edges:
                numbers.append(codec.span(column.name).start)
                single = _values(column, 2 * bins)
                if len(single):
                    inner = single[:-1] + resolution(column) / 2
                else:
                    inner = np.interp(ranks, column.cumulative, column.edges)
                edges.append(_scores(inner, column))
                values.append(_scores(single, column))
        return Binning(
            tuple(numbers), tuple(gates[n] for n in numbers), tuple(edges), tuple(values)
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each number's one-hot vector: its bins, and a last one for no number."""
        pairs = zip(self.edges, self.gates, strict=True)
        return tuple(len(cuts) + 1 + (gate is not None) for cuts, gate in pairs)

    @property
    def width(self) -> int:
        """Entries that a row gets more."""
        return sum(self.sizes)

    def spans(self, first: int) -> list[tuple[int, int]]:
        """Coordinates of each one-hot vector where the first begins at `first`."""
        ends = [int(end) for end in first + np.cumsum(self.sizes)]
        return list(zip([first, *ends], ends, strict=False))

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows `(n, D)` with the one-hot bins of their numbers behind them, `(n, D + width)`."""
        ones, start = [], 0
        for number, gate, cuts, size in zip(
            self.numbers, self.gates, self.edges, self.sizes, strict=True
        ):
            place = torch.bucketize(rows[:, number].contiguous(), rows.new_tensor(cuts))
            if gate is not None:
                place = torch.where(rows[:, gate] > 0.5, place, size - 1)
            ones.append(place + start)
            start += size
        if not ones:
            return rows
        bins = rows.new_zeros(len(rows), self.width).scatter_(1, torch.stack(ones, 1), 1.0)
        return torch.cat([rows, bins], 1)


def _values(column: Column, most: int) -> Floats:
    """All values of a column on a grid; none where it has more than `most` or no grid."""
    step = resolution(column)
    # Of a wide range of fine numbers the quotient is infinite.
    steps = (column.high - column.low) / step if step else np.inf
    if steps > most - 0.5:
        return np.empty(0)
    return np.asarray(column.low + step * np.arange(round(steps) + 1), dtype=np.float64)


def _scores(numbers: Floats, column: Column) -> tuple[float, ...]:
    return tuple(to_scores(numbers, column).astype(np.float32).tolist())
