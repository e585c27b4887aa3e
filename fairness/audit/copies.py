"""Memorisation: synthetic rows that equal real ones or lie too near to them.

Rows that were trained on and rows that were held out are draws of one distribution. If the
generator learnt no more than that distribution, then, given the synthetic table, the two kinds of
rows are exchangeable. So the real row nearest to a synthetic row was trained on with probability
N / (N + H), for N rows trained on and H held out, whatever the distribution and the generator.
Every synthetic row that is looked at is compared with *all* real rows: if only some of them were
drawn, the original of a copy would rarely be among them, and the larger the table, the less would
be found.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.audit.tables import Tables
from everymode.fairness.metrics.blocks import Places, blocks
from everymode.fairness.metrics.coverage import embed
from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.marginals import cells
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.ties import distinct
from everymode.wgan.data.schema import Schema

Points = NDArray[np.float32]

FEWEST = 0.01
"""How much more often held-out rows equal a real row than real rows each other, before they are
taken for rows that were trained on."""


@dataclass(frozen=True)
class Copies:
    """Which rows equal a row of another table, column by column.

    Attributes:
        synthetic: `(m,)`, of the synthetic rows: equal a real row that was trained on.
        synthetic_held: Equal a held-out row; None where there are none.
        holdout: `(h,)`, of the held-out rows: equal a row that was trained on.
        real_held: `(n,)`, of the rows trained on: equal a held-out row.
        real_again: Equal another row trained on.
        synthetic_again: `(m,)`, of the synthetic rows: equal another synthetic row.
    """

    synthetic: NDArray[np.bool_]
    synthetic_held: NDArray[np.bool_] | None
    holdout: NDArray[np.bool_] | None
    real_held: NDArray[np.bool_] | None
    real_again: NDArray[np.bool_]
    synthetic_again: NDArray[np.bool_]

    @staticmethod
    def of(tables: Tables) -> "Copies":
        """Looks all rows up by a hash of their parsed cells."""
        real, made = (_hashes(frame, tables.schema) for frame in (tables.real, tables.synthetic))
        held = None if tables.holdout is None else _hashes(tables.holdout, tables.schema)
        return Copies(
            synthetic=np.isin(made, real),
            synthetic_held=None if held is None else np.isin(made, held),
            holdout=None if held is None else np.isin(held, real),
            real_held=None if held is None else np.isin(real, held),
            real_again=_again(real),
            synthetic_again=_again(made),
        )

    @property
    def overlap(self) -> str | None:
        """Why held-out rows cannot be told from rows trained on; None where they can.

        A held-out row equals one of the rows trained on about as often as one of these equals
        another. More means that it is one of them, or that repeats were removed from these alone.
        """
        if self.holdout is None:
            return None
        found, usual = float(self.holdout.mean()), float(self.real_again.mean())
        low, high = wilson(found, len(self.holdout))[0], wilson(usual, len(self.real_again))[1]
        if low <= high + FEWEST:
            return None
        return (
            f"{found:.1%} of the held-out rows equal a row that was trained on, where {usual:.1%} "
            "of those equal another: they were trained on too, or repeats were removed from one "
            "table alone; name rows that were not trained on, as they were collected"
        )

    def of_group(self, real: Places, synthetic: Places, reference: Places) -> dict[str, Any]:
        """Fields of a group's record, from the places of its rows.

        Shares of rows that equal another are exact; `repeated` is an upper end (`repeats`).
        """
        return {
            "copied": float(self.synthetic[synthetic].mean()),
            "copied_expected": _share(self.holdout, reference),
            "copied_held_out": _share(self.synthetic_held, synthetic),
            "copied_held_out_expected": _share(self.real_held, real),
            "repeated": self.repeats(real, synthetic),
        }

    def repeats(self, real: Places, synthetic: Places) -> float:
        """Upper end of how often rows of a group equal another of their own table."""
        found = ((self.real_again[real]), self.synthetic_again[synthetic])
        return max(wilson(float(again.mean()), len(again))[1] for again in found if len(again))


@dataclass(frozen=True)
class Nearness:
    """All rows of an audit as points, to see which real ones synthetic ones lie next to.

    Attributes:
        real: Rows trained on, `(n, d)`.
        holdout: Rows held out, `(h, d)`.
        synthetic: `(m, d)`.
    """

    real: Points
    holdout: Points
    synthetic: Points

    @staticmethod
    def of(tables: Tables) -> "Nearness | None":
        """Points of all rows; None where no rows are held out."""
        if tables.holdout is None:
            return None
        frames = (tables.real, tables.holdout, tables.synthetic)
        if tables.image is not None:
            return Nearness(*map(tables.image, frames))
        # Ranks among all real rows: which of them were held out must not show in the points.
        every = pd.concat(frames[:2], ignore_index=True)
        real, held, made = (embed(frame, tables.schema, every) for frame in frames)
        return Nearness(real, held, made)

    def closer(self, real: Places, holdout: Places, synthetic: Places) -> Estimate:
        """How surely rows lie next to a row trained on, as if as many had been held out.

        See `share_closer`.

        Args:
            real: Which rows trained on to look among.
            holdout: Which held-out rows.
            synthetic: Which synthetic rows to look at.
        """
        return share_closer(self.real[real], self.holdout[holdout], self.synthetic[synthetic])

    def fresh(self, real: Places, holdout: Places, drawn: Places) -> Estimate:
        """The same of rows trained on, each looked at as if it had been made.

        What these score apart from one half is the luck of the held-out rows: which of two samples
        of one distribution lies where rows are dense. See `share_closer`.

        Args:
            real: Which rows trained on to look among.
            holdout: Which held-out rows.
            drawn: Places within `real` of the rows to look at.
        """
        own = self.real[real]
        return share_closer(own, self.holdout[holdout], own[drawn], drawn)


def share_closer(
    real: Points, holdout: Points, synthetic: Points, own: Places | None = None
) -> Estimate:
    """Share of synthetic rows next to a row trained on, as if as many rows had been held out.

    Of the real rows nearest to each synthetic one, t are trained on and u held out (more than one
    only if they tie exactly); it counts t / (t + u) for training. In expectation the mean q of
    these is N / (N + H) if the table's maker did not see which real rows are which. The figure is
    (q / N) / (q / N + (1 - q) / H): one half then, 1 where all rows are copies, 0 where all are of
    held-out rows; with N = H it is q.

    The interval is Wilson's of q, for an effective number of rows: where one real row is next to
    many synthetic ones, these are one draw. With a_i synthetic rows next to real row i, q is the
    mean of a_i over rows trained on, a draw of N rows out of n = N + H: its variance is that of
    m^2 / (sum a_i^2 - m^2 / n) independent rows (Cochran, "Sampling Techniques", 1977, chapter 2),
    but of no more than the m rows that were looked at.

    Args:
        real: Points of rows trained on, `(n, d)`.
        holdout: Points of rows held out, `(h, d)`.
        synthetic: Points of synthetic rows, `(m, d)`.
        own: Where the rows that are looked at are rows trained on, `(m,)`: their places in `real`.
            No row is next to itself. None: they are none.

    Returns:
        All None where one of the three is empty, or no row trained on is left beside a row's own.

    >>> line = np.arange(8, dtype=np.float32)[:, None]
    >>> share_closer(line[:4], line[4:], line[:4] + 0.1).value, share_closer(line, line, line).value
    (1.0, 0.5)
    """
    n, h, m = len(real), len(holdout), len(synthetic)
    left = n if own is None else n - 1
    if not (left and h and m):
        return Estimate()
    both = np.concatenate([real, holdout])
    first, index = distinct(both)
    points = both[first]
    trained = np.bincount(index[:n], minlength=len(points)).astype(np.float64)
    rows = np.bincount(index, minlength=len(points)).astype(np.float64)
    weight, next_to_trained = np.zeros(len(points)), 0.0
    at = None if own is None else index[own]
    for start, block in blocks(synthetic, points):
        nearest = block.smallest(1)
        self_at = None if at is None else at[start : start + len(block.a)]
        if self_at is not None:
            # A point that holds no other row is none to lie next to.
            nearest = np.where(rows[self_at] > 1, nearest, block.smallest(2))
        row, point = block.inside(nearest[:, None])
        held, of_trained = rows[point], trained[point]
        if self_at is not None:
            itself = point == self_at[row]
            held, of_trained = held - itself, of_trained - itself
        part = 1 / np.bincount(row, held, len(block.a))[row]
        # Of each real row at the point; all parts of a synthetic row add up to 1.
        weight += np.bincount(point, part * (held > 0), len(points))
        next_to_trained += float((part * of_trained).sum())
    # Rounding may lift a sum of parts just above the rows.
    share = min(next_to_trained / m, 1.0)
    spread = float((rows * weight**2).sum()) - m**2 / (n + h)

    def even(q: float) -> float:
        return (q / left) / (q / left + (1 - q) / h)

    low, high = wilson(share, m**2 / max(spread, m))
    return Estimate(even(share), even(low), even(high))


def _share(marked: NDArray[np.bool_] | None, rows: Places) -> float | None:
    return None if marked is None else float(marked[rows].mean())


def _hashes(frame: pd.DataFrame, schema: Schema) -> NDArray[np.uint64]:
    values = {str(i): pd.Series(cells(frame, c)) for i, c in enumerate(schema.columns)}
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(values), index=False))


def _again(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.asarray(pd.Series(hashes).duplicated(keep=False))
