"""Coverage of real rows that never leave their sites, from counts that add up.

Balls around synthetic rows and a codebook of them are made from synthetic rows alone, so anybody
may have them. A site counts its rows within the balls of their group (recall), in each cell of the
codebook, and beyond its reach. The counts of all sites add up to those of the pooled rows, exactly.
Coverage proper, density and precision need distances between rows of different sites, and cannot be
had so: they are not estimated here.

Source: recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
Models", 2019, equation 2; what it is divided by, and the codebook: ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from everymode.fairness.metrics.intervals import wilson
from everymode.wgan.shape import Block

Floats = NDArray[np.float32]
Counts = Mapping[str, NDArray[np.int64]]

BLOCK = 1024

NEIGHBOURS = 5
"""Which neighbour a ball reaches to."""

SAME = 1e-4
"""Rows no further apart than this are the same row: the generator makes the same again and again,
or somebody crowds balls around one point."""

REACH = 0.99
"""Share of the synthetic rows of a group that its codebook reaches."""


@dataclass(frozen=True)
class Codebook:
    """Balls and cells of every group, made of synthetic rows.

    A group with too few synthetic rows has no ball and no cell.

    Attributes:
        balls: Centres of all groups' balls, `(S, D)`, group by group.
        radii: Squared radii, `(S,)`.
        sizes: Balls of each group, `(G,)`.
        book: Centres of cells, `(G, K, D)`.
        reach: Squared distance from the nearest centre within which a row belongs, `(G,)`.
    """

    balls: Floats
    radii: Floats
    sizes: tuple[int, ...]
    book: Floats
    reach: Floats

    @staticmethod
    def of(
        points: Sequence[Floats], cells: int = 16, k: int = NEIGHBOURS, seed: int = 0
    ) -> "Codebook":
        """Balls to the k-th neighbour, and k-means cells.

        Args:
            points: Synthetic rows of each group, `(m_g, D)` each.
            cells: K, most cells of a group.
            k: Which neighbour a ball reaches to.
            seed: Of k-means.
        """
        from sklearn.cluster import KMeans  # Sites, which only count, do without.

        width = points[0].shape[1]
        book = np.zeros((len(points), cells, width), dtype=np.float32)
        reach = np.zeros(len(points), dtype=np.float32)
        balls, radii, sizes = [np.zeros((0, width), np.float32)], [np.zeros(0, np.float32)], []
        for g, rows in enumerate(points):
            wanted = min(cells, len(np.unique(rows, axis=0))) if width else min(1, len(rows))
            if len(rows) <= k or not wanted:
                sizes.append(0)
                continue
            balls.append(rows)
            radii.append(ball_radii(rows, k))
            sizes.append(len(rows))
            # Rows without numbers of their own are all alike.
            found = np.zeros((1, 0), np.float32)
            if width:
                found = KMeans(wanted, n_init=1, random_state=seed).fit(rows).cluster_centers_
            # Its last step may leave a cell empty; sites refuse cells that no ball lies in.
            found = found[np.unique(cdist(rows, found, "sqeuclidean").argmin(axis=1))]
            # Cells that are not needed repeat the first: the nearest centre is the first of ties.
            book[g] = np.resize(found[:1], (cells, width))
            book[g, : len(found)] = found
            reach[g] = codebook_reach(rows, book[g])
        return Codebook(np.concatenate(balls), np.concatenate(radii), tuple(sizes), book, reach)

    def count(self, rows: Floats, groups: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Counts of rows; the counts of the parts of a table add up to the table's.

        Args:
            rows: Encoded rows, `(n, D)`.
            groups: Their groups, `(n,)`.

        Returns:
            `rows`, `recalled` (within a ball of their group), `outside` (beyond its codebook), each
            `(G,)`, and `cells`, `(G, K)`.
        """
        count, cells = self.book.shape[:2]
        found = {
            "rows": np.bincount(groups, minlength=count).astype(np.int64),
            "recalled": np.zeros(count, dtype=np.int64),
            "outside": np.zeros(count, dtype=np.int64),
            "cells": np.zeros((count, cells), dtype=np.int64),
        }
        starts = np.cumsum([0, *self.sizes])
        for g in range(count):
            own = rows[groups == g]
            if not len(own):
                continue
            if not self.sizes[g]:
                found["outside"][g] = len(own)
                continue
            balls = self.balls[starts[g] : starts[g + 1]]
            radii = self.radii[starts[g] : starts[g + 1]]
            for start in range(0, len(own), BLOCK):
                part = own[start : start + BLOCK]
                inside = (cdist(part, balls, "sqeuclidean") <= radii).any(axis=1)
                near = cdist(part, self.book[g], "sqeuclidean")
                found["recalled"][g] += int(inside.sum())
                found["outside"][g] += int((near.min(axis=1) > self.reach[g]).sum())
                found["cells"][g] += np.bincount(near.argmin(axis=1), minlength=cells)
        return found

    def tensors(self) -> dict[str, Floats]:
        """What a site needs besides `sizes`."""
        return {
            "balls": self.balls,
            "radii": self.radii,
            "book": self.book,
            "reach": self.reach,
        }

    @staticmethod
    def of_tensors(tensors: Mapping[str, Any], sizes: Sequence[int]) -> "Codebook":
        """The inverse of `tensors`."""
        named = (np.asarray(tensors[name]) for name in ("balls", "radii", "book", "reach"))
        balls, radii, book, reach = named
        return Codebook(balls, radii, tuple(sizes), book, reach)


def ball_radii(rows: Floats, k: int = NEIGHBOURS) -> Floats:
    """Squared distances `(m,)` to the k-th neighbour among rows `(m, D)`, m > k."""
    distances = cdist(rows, rows, "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    radius = np.partition(distances, k - 1, axis=1)[:, k - 1].astype(np.float32)
    # Rounded up, so that float32 loses no row at a ball's very edge.
    return np.nextafter(radius, np.float32(np.inf))


def codebook_reach(rows: Floats, book: Floats) -> np.float32:
    """Squared distance from the nearest of the cells `(K, D)` that `REACH` of the rows are in."""
    nearest = cdist(rows, book, "sqeuclidean").min(axis=1)
    reach: np.float32 = np.nextafter(np.float32(np.quantile(nearest, REACH)), np.float32(np.inf))
    return reach


def alike(rows: Floats, blocks: Sequence[Block]) -> NDArray[np.bool_]:
    """Which rows `(m, D)` repeat one before them, `(m,)`.

    Rows of categories and point masses alone may well be equal. A number is never made twice.

    Args:
        rows: Encoded rows.
        blocks: How they are laid out.
    """
    numbers = [block.start for block in blocks if block.kind == "value"]
    dense = rows[:, numbers].any(axis=1)
    distances = cdist(rows, rows, "sqeuclidean")
    near = np.tril(distances <= SAME**2, -1).any(axis=1)
    found: NDArray[np.bool_] = near & dense
    return found


def recall_by_group(real: Counts, fresh: Counts, k: int = NEIGHBOURS) -> list[dict[str, Any]]:
    """Recall of each group over what rows of the generator's own would give.

    Args:
        real: Counts of the real rows, summed over sites.
        fresh: Counts of synthetic rows that are not the codebook's own.
        k: Which neighbour the balls reach to.

    Returns:
        A record a group: `rows`, `recall`, `expected`, `value` (their ratio: 1 where real rows are
        spread as synthetic ones are), its 95 % interval `low` and `high`, `outside` (share of real
        rows beyond the codebook; 1 - `REACH` is what fresh rows would give) and `cells` (total
        variation of the cells' shares). None where either has no rows.
    """
    found = []
    for g, (n, m) in enumerate(zip(real["rows"].tolist(), fresh["rows"].tolist(), strict=True)):
        record: dict[str, Any] = dict.fromkeys(
            ("recall", "expected", "value", "low", "high", "outside", "cells")
        )
        record["rows"] = n
        if n and m and fresh["recalled"][g]:
            recall, expected = real["recalled"][g] / n, fresh["recalled"][g] / m
            # Rows of a neighbourhood are recalled together (`everymode.fairness.metrics.coverage`).
            low, high = wilson(recall, max(2 * min(n, m) / (k + 1), 1.0))
            shares = real["cells"][g] / n - fresh["cells"][g] / m
            record |= {
                "recall": float(recall),
                "expected": float(expected),
                "value": float(recall / expected),
                "low": float(low / expected),
                "high": float(high / expected),
                "outside": float(real["outside"][g] / n),
                "cells": float(np.abs(shares).sum() / 2),
            }
        found.append(record)
    return found
