"""The critic's slopes as a histogram on fixed edges, which adds up over batches and sites."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SLOPE_EDGES: tuple[float, ...] = tuple(10 ** (k / 20) for k in range(-60, 61))
"""Edges of the histogram of slopes, in units of the target slope: 20 bins a decade, each 12 % wide;
beyond both ends lies one more bin."""


def slope_histogram(norms: Tensor, target: float = 1.0) -> Tensor:
    """Counts of slopes `(B,)` by bin, `(len(SLOPE_EDGES) + 1,)`; additive over batches and sites.

    The first bin holds what lies below the edges, the last what lies above or is not finite.
    """
    ratios = (norms.detach().double().cpu() / target).nan_to_num(nan=math.inf, posinf=math.inf)
    edges = torch.tensor(SLOPE_EDGES, dtype=torch.float64)
    bins = torch.bucketize(ratios, edges, right=True)
    return torch.bincount(bins, minlength=len(edges) + 1)


def slope_quantiles(
    counts: Sequence[float] | npt.NDArray[Any] | Tensor,
    q: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
) -> tuple[float, ...]:
    """Quantiles of the slopes behind a histogram, to within its bin width of 12 %.

    >>> slope_quantiles(slope_histogram(torch.full((10,), 1.05)), q=(0.5,))[0]  # doctest: +ELLIPSIS
    1.05...

    What lies beyond the edges is given as the edge.

    Raises:
        ValueError: The counts are of another length, or all 0.
    """
    heights = np.asarray(counts, dtype=np.float64)
    if heights.shape != (len(SLOPE_EDGES) + 1,) or not heights.sum() > 0:
        raise ValueError(f"expected {len(SLOPE_EDGES) + 1} counts, one above 0 at least")
    cumulative = heights.cumsum()
    found = []
    for share in q:
        rank = share * cumulative[-1]
        # The first bin that reaches the rank and is not empty.
        index = int(np.searchsorted(cumulative, max(rank, np.nextafter(0, 1))))
        inside = 1 - (cumulative[index] - rank) / heights[index]
        low = SLOPE_EDGES[max(index - 1, 0)]
        high = SLOPE_EDGES[min(index, len(SLOPE_EDGES) - 1)]
        found.append(float(low * (high / low) ** inside))
    return tuple(found)
