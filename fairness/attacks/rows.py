"""Rows as attacks see them: as they are written, and as points."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.metrics.blocks import blocks

Points = NDArray[np.float32]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Attributes:
        points: The rows, embedded, `(n, d)`; see `everymode.fairness.metrics.coverage.embed`.
        frame: The same rows as they are written; None where only their points matter.
    """

    points: Points
    frame: pd.DataFrame | None = None

    def __len__(self) -> int:
        """How many rows."""
        return len(self.points)

    def take(self, places: Places) -> "Rows":
        """Some of the rows, in the order of `places`."""
        frame = None if self.frame is None else self.frame.iloc[places]
        return Rows(self.points[places], frame)


class MembershipAttack(Protocol):
    """Scores that tell rows trained on from others."""

    def score(self, rows: Rows) -> Floats:
        """A score a row, `(n,)`; higher: more likely trained on."""


def kth_distance(points: Points, others: Points, k: int) -> Floats:
    """Distance of each point `(n, d)` to its k-th nearest of `others`, `(n,)`.

    Raises:
        ValueError: Unless k is between 1 and the number of others.

    >>> line = np.arange(4, dtype=np.float32)[:, None]
    >>> kth_distance(line[:1], line, 3).tolist()
    [2.0]
    """
    if not 1 <= k <= len(others):
        raise ValueError(f"expected k from 1 to {len(others)}, got {k}")
    found = np.empty(len(points))
    for start, block in blocks(points, others):
        found[start : start + len(block.a)] = np.sqrt(block.smallest(k))
    return found
