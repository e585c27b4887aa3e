"""Noisy counts drawn towards what is expected without them, by as much as noise explains.

Counts x with noise of deviation s in each of k entries, expected to be m, are replaced by

    m + max(0, 1 - (k - 2) s^2 / |x - m|^2) (x - m),

whose expected squared error is never larger than that of x, for k > 2. Where the counts lie about
as far from m as noise alone would put them, m is what is left; where they lie much farther, they
stay as they are. It looks at noisy counts only, so that it costs no privacy.

Source: Efron, Morris, "Stein's Estimation Rule and Its Competitors: An Empirical Bayes Approach",
1973, equation 1.9 (the positive part of James and Stein's estimator).
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def shrink(counts: Floats, expected: Floats, deviation: float) -> Floats:
    """Counts, of any shape, drawn towards what was expected.

    Args:
        counts: With noise.
        expected: Of the same shape.
        deviation: Of the noise in each entry.

    >>> shrink(np.array([9.0, 11.0, 10.0, 30.0]), np.full(4, 10.0), 3.0).round(2).tolist()
    [9.04, 10.96, 10.0, 29.1]
    """
    gap = counts - expected
    size = float(np.square(gap).sum())
    noise = max(gap.size - 2, 1) * deviation**2
    if size <= noise:
        return expected.astype(np.float64)
    found: Floats = expected + (1.0 - noise / size) * gap
    return found
