"""Kernel distances between distributions, and random features that make them sums.

A squared maximum mean discrepancy needs every pair of rows, so that rows would have to be pooled.
With features phi such that phi(x) . phi(y) is near the kernel, it needs sums of phi alone; sums
over sites add up, and no row has to leave its site.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


def bandwidth(numbers: int, choices: int, spread: float = 0.5) -> float:
    """A bandwidth for encoded rows: about the root of their mean squared distance.

    Two rows' numbers of standard deviation `spread` differ by 2 spread^2 in the mean square. Two
    one-hot blocks are at squared distance 2 if their categories differ; taken to happen every
    second time, that is 1. A rule of the thumb: it looks at no row, so that sites need not agree.

    Args:
        numbers: Encoded numbers of a row.
        choices: One-hot blocks of a row.
        spread: Standard deviation of an encoded number.

    Returns:
        The bandwidth; 1 for rows without coordinates, where any will do.

    >>> bandwidth(2, 0), bandwidth(0, 4)
    (1.0, 2.0)
    """
    return math.sqrt(2 * numbers * spread**2 + choices) or 1.0


def mmd2(x: Tensor, y: Tensor, deviation: float) -> float:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel; may be negative.

    Source: Gretton et al., "A Kernel Two-Sample Test", 2012, equation 3.

    Args:
        x: Points `(n, D)`, n > 1.
        y: Points `(m, D)`, m > 1.
        deviation: s of the kernel exp(-|x - y|^2 / (2 s^2)), in the points' unit.

    Raises:
        ValueError: Fewer than two points of either.

    >>> near, far = torch.zeros(2, 1), torch.full((2, 1), 9.0)
    >>> mmd2(near, near, 1.0), round(mmd2(near, far, 1.0), 3)
    (0.0, 2.0)
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"expected two points or more of each, got {n} and {m}")
    # A distance is a small difference of large products: float32 would show its rounding.
    x, y = x.detach().double(), y.detach().double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(torch.cdist(a, b).square() / (-2 * deviation**2))

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


@dataclass(frozen=True)
class Features:
    """Random features phi: phi(x) . phi(y) is near a Gaussian kernel, and |phi(x)| = 1.

    The mean of cos(w . (x - y)) over w from N(0, 1 / s^2) is the kernel of deviation s; a cosine
    beside a sine for each of `count` frequencies gives such a mean, with an error of the order of
    count^-1/2.

    Source: Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", 2007, section 3.

    Attributes:
        frequencies: w, `(D, count)`.
    """

    frequencies: Floats

    @staticmethod
    def of(width: int, count: int, deviation: float, seed: int) -> "Features":
        """Frequencies for rows of length `width`: the same wherever the arguments are the same.

        Args:
            width: D.
            count: How many frequencies.
            deviation: s of the kernel, as in `mmd2`.
            seed: Of a generator of their own.
        """
        rng = np.random.default_rng(seed)
        return Features(rng.standard_normal((width, count)) / deviation)

    def __call__(self, rows: npt.NDArray[np.float32] | Tensor) -> Floats:
        """Rows `(n, D)` -> features `(n, 2 * count)`.

        >>> values = Features.of(3, 8, deviation=1.0, seed=0)(np.ones((1, 3), np.float32))
        >>> values.shape, round(float((values**2).sum()), 6)
        ((1, 16), 1.0)
        """
        if isinstance(rows, Tensor):
            rows = rows.detach().cpu().numpy()
        angles = rows.astype(np.float64) @ self.frequencies
        features: Floats = np.hstack([np.cos(angles), np.sin(angles)])
        return features / math.sqrt(self.frequencies.shape[1])


def mmd2_from_sums(sum_x: Floats, n: float, sum_y: Floats, m: float) -> float:
    """The unbiased squared discrepancy of `mmd2`, from sums of features, which sites can add up.

    As |phi| = 1, the mean of phi(x) . phi(x') over pairs of different rows is
    (|sum phi|^2 - n) / (n (n - 1)).

    Args:
        sum_x: Sum of the features of n rows, `(F,)`.
        n: How many they are.
        sum_y: Sum of the features of m other rows, `(F,)`.
        m: How many they are.

    Returns:
        The discrepancy; NaN for fewer than two rows of either, which have no pair.

    >>> mmd2_from_sums(np.array([2.0, 0.0]), 2, np.array([0.0, 3.0]), 3)
    2.0
    """
    if min(n, m) < 2:
        return math.nan
    within_x = (sum_x @ sum_x - n) / (n * (n - 1))
    within_y = (sum_y @ sum_y - m) / (m * (m - 1))
    return float(within_x + within_y - 2 * (sum_x @ sum_y) / (n * m))
