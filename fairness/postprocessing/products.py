"""Products of coordinates of rows, of which hardly any are not 0 in a wide table.

A row with its bins has a single 1 for every category, so k of its W coordinates are not 0. Its
quadratic form z^T A z is a sum of k^2 entries of A, and its products z z^T are k^2 entries, too. Of
60 columns with 30 categories each these are 3,600 instead of 3,240,000.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

WIDE = 512
"""Coordinates from which on it is worthwhile; below, matrices are multiplied as they are."""

SPARSE = 8
"""How many times as many coordinates as there are ones in a row."""


@dataclass(frozen=True)
class Products:
    """Rows whose products are added up, and weighed by a matrix.

    Attributes:
        rows: The rows, `(n, W)`.
        ones: Places of coordinates that are 1 among those that are 0 or 1 in all rows, ascending,
            `(n, k)`; W where a row has fewer. None: there are too many, or too few coordinates.
        numbers: All other coordinates, `(d,)`.
    """

    rows: Tensor
    ones: Tensor | None
    numbers: Tensor

    @staticmethod
    def of(rows: Tensor) -> "Products":
        """Of rows `(n, W)`."""
        width = rows.shape[1]
        none = Products(rows, None, torch.arange(width))
        if not len(rows) or width < WIDE:
            return none
        binary = ((rows == 0) | (rows == 1)).all(0)
        row, place = torch.nonzero(rows * binary, as_tuple=True)
        counts = torch.bincount(row, minlength=len(rows))
        most = int(counts.max())
        if most * SPARSE > width or int((~binary).sum()) * SPARSE > width:
            return none
        ones = torch.full((len(rows), most), width)
        ones[row, torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]] = place
        return Products(rows, ones, torch.nonzero(~binary)[:, 0])

    def squared(self) -> "Products":
        """Products of the same rows whose coordinates are squared."""
        return Products(self.rows.square(), self.ones, self.numbers)

    def form(self, matrix: Tensor) -> Tensor:
        """z^T A z of every row, `(n,)`; A is symmetric, `(W, W)`."""
        if self.ones is None:
            return ((self.rows @ matrix) * self.rows).sum(1)
        size = len(matrix) + 1
        # Twice what is off the diagonal, and zeros where a row has fewer ones.
        padded = torch.nn.functional.pad(2 * matrix, (0, 1, 0, 1))
        padded.diagonal()[:-1] -= matrix.diagonal()
        entries = padded.reshape(-1)
        found = torch.zeros(len(self.rows))
        for place in range(self.ones.shape[1]):
            start = self.ones[:, place, None] * size
            found += entries.take(start + self.ones[:, place:]).sum(1)
        own = self.rows[:, self.numbers]
        if own.shape[1]:
            against = torch.nn.functional.pad(own @ matrix[self.numbers], (0, 1))
            found += 2 * against.gather(1, self.ones).sum(1)
            found += (against[:, self.numbers] * own).sum(1)
        return found

    def total(self, weights: Tensor) -> Tensor:
        """The weighted sum of z z^T over all rows, `(W, W)`; weights `(n,)`."""
        if self.ones is None:
            return (self.rows * weights[:, None]).T @ self.rows
        size = self.rows.shape[1] + 1
        upper = torch.zeros(size, size)
        for place in range(self.ones.shape[1]):
            # One column's categories are neighbours: few lines of the matrix are touched.
            first, last = int(self.ones[:, place].min()), int(self.ones[:, place].max())
            pairs = (self.ones[:, place, None] - first) * size + self.ones[:, place:]
            each = weights[:, None].expand_as(pairs).reshape(-1)
            sums = torch.bincount(pairs.reshape(-1), each, (last - first + 1) * size)
            upper[first : last + 1] += sums.reshape(-1, size).float()
        upper = upper[:-1, :-1]
        found = upper + upper.T
        found.diagonal().sub_(upper.diagonal())
        own = (self.rows[:, self.numbers] * weights[:, None]).T @ self.rows
        found[self.numbers] = own
        found[:, self.numbers] = own.T
        return found
