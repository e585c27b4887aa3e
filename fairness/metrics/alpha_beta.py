"""Alpha-precision and beta-recall: how typical rows are, and how well typical rows are recovered.

Alaa, van Breugel, Saveliev, van der Schaar, "How Faithful is your Synthetic Data? Sample-level
Metrics for Evaluating and Auditing Generative Models", 2022: the integrated figures IP-alpha and
IR-beta. The authors' implementation, with points in place of a one-class embedding ("naive" in
their package synthcity): the alpha-support is the ball around the mean that holds a share alpha of
the points.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = np.linspace(0, 1, 30)
"""Shares alpha and beta at which the curves are taken."""

TIE = 1e-6
"""Distances that differ by less are equal."""


def alpha_precision(real: NDArray[Any], synthetic: NDArray[Any]) -> float:
    """Integrated alpha-precision, `1 - 2 int |P(alpha) - alpha|` (IP-alpha).

    P(alpha) is the share of synthetic points in the smallest ball around the mean of the real ones
    that holds a share alpha of these. 1 where the distributions of distances are equal, 0 where all
    points are at the mean or far outside.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`.

    >>> line = np.arange(10.0)[:, None]
    >>> round(alpha_precision(line, line + 100), 3)
    0.0
    """
    centre = real.mean(axis=0)
    radii = np.quantile(np.linalg.norm(real - centre, axis=1), LEVELS)
    reached = np.linalg.norm(synthetic - centre, axis=1)
    return _integrated((reached[:, None] <= radii + TIE).mean(axis=0))


def beta_recall(real: NDArray[Any], synthetic: NDArray[Any]) -> float:
    """Integrated beta-recall (IR-beta), from its curve R(beta).

    R(beta) is the share of real points whose nearest synthetic point is no farther than their
    nearest other real one, and lies in the ball around the synthetic mean that holds a share beta
    of those nearest points. With as many points of one distribution on either side it is one half,
    since either is as likely the nearer; copies of the real points reach 1. Two equal distances
    count one half.

    Args:
        real: Points `(n, d)`, at least two.
        synthetic: Points `(m, d)`, at least one.
    """
    from sklearn.neighbors import NearestNeighbors

    ours, theirs = (np.asarray(points, dtype=np.float64) for points in (real, synthetic))
    own = NearestNeighbors(n_neighbors=1).fit(ours).kneighbors()[0][:, 0]
    to_made, nearest = NearestNeighbors(n_neighbors=1).fit(theirs).kneighbors(ours)
    gap = own - to_made[:, 0]
    nearer = np.where(np.abs(gap) <= TIE, 0.5, gap > 0)
    out = np.linalg.norm(theirs[nearest[:, 0]] - theirs.mean(axis=0), axis=1)
    within = out[:, None] <= np.quantile(out, LEVELS) + TIE
    return _integrated((nearer[:, None] * within).mean(axis=0))


def _integrated(curve: Floats) -> float:
    """One less the area between a curve and the diagonal, over the area below the diagonal."""
    return float(1 - np.abs(curve - LEVELS).sum() / LEVELS.sum())
