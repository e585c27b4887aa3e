"""How the server makes one update of the sites' updates Delta_k, `(K, P)`, that count p_k each.

The mean needs sums alone. The other rules withstand f sites that send whatever they like, and see
each site's update apart, which secure summation would hide:

- coordinate-wise median and trimmed mean: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust
  Distributed Learning: Towards Optimal Statistical Rates", 2018, definitions 1 and 2;
- Krum and multi-Krum: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries:
  Byzantine Tolerant Gradient Descent", 2017, section 4;
- geometric median: Pillutla, Kakade, Harchaoui, "Robust Aggregation for Federated Learning", 2022.

The papers count sites alike. Here a site counts p_k, the group weights of its rows, as in the mean,
but no more than `capped` lets it: whoever claims all rows would be the median. Each array of a
round (parameters, first and second moments) is aggregated by itself, for their scales differ.

Rows of `updates` are in the order of the sites' names, so the result does not depend on whose reply
came first.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from everymode.wgan.errors import NumericalError
from everymode.wgan.theory.median import geometric_median

Floats = npt.NDArray[np.float64]
Updates = npt.NDArray[np.floating[Any]]

SHARE = 1 / 3
"""Most of the weight that f sites may have together: a weighted median breaks down at a half."""

FAR = 1e4
"""Times the median length from which on an update is as good as infinitely far away."""

COLUMNS = 2**16
"""Coordinates that are sorted at a time, which bounds the memory."""


@dataclass(frozen=True)
class Mean:
    """The mean weighted with p_k: one site alone can move it anywhere."""

    name: ClassVar[str] = "mean"
    per_site_updates: ClassVar[bool] = False
    hostile: ClassVar[int] = 0

    @property
    def fewest(self) -> int:
        """Sites that must take part."""
        return 1

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """The update `(P,)` of updates `(K, P)` that count `weights`, `(K,)`, all above 0.

        >>> Mean().combine(np.array([[0.0], [4.0]]), np.array([1.0, 3.0]))
        array([3.])
        """
        return _mean(updates, weights)


@dataclass(frozen=True)
class Robust:
    """Base: a rule that withstands f hostile sites.

    Attributes:
        hostile: f.
    """

    hostile: int = 1

    name: ClassVar[str] = ""
    per_site_updates: ClassVar[bool] = True

    @property
    def fewest(self) -> int:
        """2 f + 1: a majority is honest."""
        return 2 * self.hostile + 1

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """See `Mean.combine`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Median(Robust):
    """In each coordinate the median by weight."""

    name: ClassVar[str] = "median"

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """The middle of both medians where the weight is halved exactly.

        >>> Median(1).combine(np.array([[0.0], [1.0], [1e9]]), np.ones(3))
        array([1.])
        """
        counted = capped(weights, self.hostile)
        half = counted.sum() / 2
        rounding = 1e-12 * half
        found = []
        for values, order in _sorted(updates):
            reached = np.cumsum(counted[order], axis=0)
            low = np.argmax(reached >= half - rounding, axis=0)
            halved = np.take_along_axis(reached, low[None], 0)[0] <= half + rounding
            high = np.where(halved, np.minimum(low + 1, len(values) - 1), low)
            both = np.take_along_axis(values, np.stack([low, high]), 0).astype(np.float64)
            found.append(both.mean(0))
        return np.concatenate(found)


@dataclass(frozen=True)
class TrimmedMean(Robust):
    """In each coordinate the mean of the sites without the f smallest and the f largest."""

    name: ClassVar[str] = "trimmed_mean"

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """See `Mean.combine`.

        >>> TrimmedMean(1).combine(np.array([[-9.0], [1.0], [2.0], [1e9]]), np.ones(4))
        array([1.5])
        """
        counted, kept = capped(weights, self.hostile), slice(self.hostile, -self.hostile or None)
        found = []
        for values, order in _sorted(updates):
            own = counted[order[kept]]
            found.append((own * values[kept]).sum(0) / own.sum(0))
        return np.concatenate(found)


@dataclass(frozen=True)
class GeometricMedian(Robust):
    """The point of the least weighted sum of Euclidean distances to the updates."""

    name: ClassVar[str] = "geometric_median"

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """See `Mean.combine`.

        >>> GeometricMedian(1).combine(np.array([[0.0, 1.0], [0.0, 1.0], [9.0, 9.0]]), np.ones(3))
        array([0., 1.])
        """
        lengths = np.linalg.norm(updates.astype(np.float64), axis=1)
        middle = float(np.median(lengths[lengths > 0])) if lengths.any() else 1.0
        # Of what is far away the direction alone counts, and the rest must keep its digits.
        near = np.minimum(1.0, FAR * middle / np.maximum(lengths, middle))
        scaled = updates.astype(np.float64) * (near / middle)[:, None]
        # The median lies in the span of the updates: K dimensions are enough to look for it.
        axes, places = np.linalg.qr(scaled.T)
        # Equal updates become equal points.
        places = np.rint(places.T * 2.0**20) * 2.0**-20
        found: Floats = axes @ _median(places, capped(weights, self.hostile))
        return found * middle


@dataclass(frozen=True)
class Krum(Robust):
    """The update whose n - f - 2 nearest others are nearest, by squared Euclidean distance."""

    name: ClassVar[str] = "krum"

    @property
    def fewest(self) -> int:
        """2 f + 3."""
        return 2 * self.hostile + 3

    def combine(self, updates: Updates, weights: Floats) -> Floats:
        """See `Mean.combine`; of equal scores, the site whose name comes first.

        >>> Krum(1).combine(np.array([[0.0], [1.0], [3.0], [1e9], [1.5]]), np.ones(5))
        array([1.])
        """
        exact = np.asarray(updates, np.float64)
        squares = np.square(exact).sum(1)
        distances = (squares[:, None] + squares - 2 * exact @ exact.T).clip(0)
        np.fill_diagonal(distances, np.inf)
        near = len(exact) - self.hostile - 2
        ranking = np.argsort(np.sort(distances, axis=1)[:, :near].sum(1), kind="stable")
        best = np.sort(ranking[: self.kept(len(exact))])
        return _mean(exact[best], capped(weights, self.hostile)[best])

    def kept(self, sites: int) -> int:
        """How many of so many sites the update is the mean of."""
        return 1


@dataclass(frozen=True)
class MultiKrum(Krum):
    """The mean of the n - f updates that Krum finds best."""

    name: ClassVar[str] = "multi_krum"

    def kept(self, sites: int) -> int:
        """N - f."""
        return sites - self.hostile


Aggregation = Mean | Median | TrimmedMean | GeometricMedian | Krum | MultiKrum


def capped(weights: Floats, hostile: int) -> Floats:
    """Weights `(K,)` of which no `hostile` sites together have more than a third.

    Every weight is cut at one number, the largest that does it; a site that claims more rows than
    all others gains nothing by it. Where sites are so few that equal weights have more than a third
    already, all count alike.

    >>> capped(np.array([10.0, 1.0, 1.0, 1.0, 1.0]), 1)
    array([2., 1., 1., 1., 1.])
    """
    ranking = np.sort(weights)[::-1]
    share = max(SHARE, hostile / len(weights))
    if not hostile or ranking[:hostile].sum() <= share * weights.sum():
        return weights
    # With the m largest at the cut c, the f largest have share (m c + the rest) together.
    for m in range(1, len(weights)):
        slope = min(m, hostile) - share * m
        least = share * ranking[m:].sum() - ranking[m:hostile].sum()
        cut = float(least / slope) if slope > 0 else math.inf
        if ranking[m] <= cut <= ranking[m - 1]:
            break
    else:
        cut = float(ranking[-1])
    found: Floats = np.minimum(weights, cut)
    return found


def _median(places: Floats, weights: Floats) -> Floats:
    """The geometric median; a coarse one where some points almost coincide, as if on purpose."""
    try:
        return geometric_median(places, weights, 1e-6)
    except NumericalError:
        return geometric_median(places, weights, 1e-2)


def _mean(updates: Updates, weights: Floats) -> Floats:
    total, whole = np.zeros(updates.shape[1]), sum(weights.tolist())
    # In the order of names: sums of floating-point numbers depend on it.
    for weight, update in zip(weights.tolist(), updates, strict=True):
        total = total + weight / whole * update.astype(np.float64)
    return total


def _sorted(updates: Updates) -> Iterator[tuple[Updates, npt.NDArray[np.intp]]]:
    """Values of each coordinate in order, `(K, ...)`, and whose each is; some columns at a time."""
    for start in range(0, updates.shape[1], COLUMNS):
        part = updates[:, start : start + COLUMNS]
        order = np.argsort(part, axis=0, kind="stable")
        yield np.take_along_axis(part, order, 0), order
