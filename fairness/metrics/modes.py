"""Modes of a distribution: cells of a codebook of real rows, and which of them are covered.

Rows decide what is said of a cell. With 5 real rows in it, none of as many synthetic rows may fall
there by chance; with 25, hardly. So each cell has an interval of its own, and is covered, lost, or
neither beyond chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ROWS_A_MODE = 20
"""Real rows for each cell of a codebook."""

MIN_MODE_ROWS = 5
"""Real rows that make a cell a mode."""

MIN_MODE_SHARE = 0.2
"""A mode is covered where the synthetic rows have this part of its share at least."""

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Modes:
    """How many modes there are, and what can be said of them.

    Attributes:
        real: Cells that hold enough real rows.
        covered: Of these, cells with `MIN_MODE_SHARE` of their share at least, and a row.
        sure: Cells that have that part of their share beyond chance.
        lost: Cells that do not, beyond chance. The rows do not decide on what is left.
    """

    real: int
    covered: int
    sure: int
    lost: int

    @staticmethod
    def of(held: Ints, made: Ints) -> "Modes":
        """From the rows in each cell.

        Of the rows in a cell, real and synthetic, how many are synthetic is a binomial count,
        whose probability the ratio of the cell's shares sets: its exact interval (Clopper and
        Pearson, 1934) is the ratio's.

        Args:
            held: Real rows in each cell, `(cells,)`, at least one in all.
            made: Synthetic rows, likewise.

        >>> Modes.of(np.array([50, 50, 5]), np.array([60, 0, 2]))
        Modes(real=3, covered=2, sure=1, lost=1)
        """
        modes = held >= MIN_MODE_ROWS
        scale = held.sum() / max(made.sum(), 1)
        n, m = held[modes], made[modes]
        low, high = ratios(n, m)
        return Modes(
            real=int(modes.sum()),
            covered=int(((m > 0) & (m * scale >= MIN_MODE_SHARE * n)).sum()),
            sure=int((low * scale >= MIN_MODE_SHARE).sum()),
            lost=int((high * scale < MIN_MODE_SHARE).sum()),
        )


def ratios(n: Ints, m: Ints) -> tuple[Floats, Floats]:
    """Ends of the interval of how many times as often rows of the second kind come, `(cells,)`.

    Args:
        n: Rows of the first kind, at least one in each cell.
        m: Rows of the second kind.
    """
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    low = np.where(m > 0, beta.ppf(tail, np.maximum(m, 1), n + 1), 0.0)
    high = beta.ppf(1 - tail, m + 1, n)
    return low / (1 - low), high / (1 - high)


def find_modes(
    real: NDArray[np.float32], synthetic: NDArray[np.float32], most: int, seed: int
) -> Modes | None:
    """Cells of a codebook (k-means) of the real rows, and rows of either table in them.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`, better many: they need not be as many as the real ones.
        most: Most cells.
        seed: Of the codebook.

    Returns:
        None where fewer than two cells would have `ROWS_A_MODE` rows each, or all rows are alike.
    """
    from sklearn.cluster import KMeans

    size = min(most, len(real) // ROWS_A_MODE, len(np.unique(real, axis=0)))
    if size < 2 or real.shape[1] == 0:
        return None
    book = KMeans(size, n_init=1, random_state=seed).fit(real)
    held = np.bincount(book.labels_, minlength=size)
    made = np.bincount(book.predict(synthetic), minlength=size)
    return Modes.of(held, made)
