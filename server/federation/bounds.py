"""A bound on how long a site's update may be, relative to the other sites'.

An update that is far longer than most is shortened: its direction counts, its length does not.
Source: Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019 (norm
thresholding). The threshold follows the median of each round, as in Andrew, Thakkar, McMahan,
Ramaswamy, "Differentially Private Learning with Adaptive Clipping", 2021.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UpdateBound:
    """No update of a round is longer than so many times the median of all.

    Attributes:
        times: How many times.
    """

    times: float

    def factors(self, updates: npt.NDArray[np.floating[Any]], squared: bool = False) -> Floats:
        """What each update `(P,)` of `(K, P)` is multiplied with, `(K,)`, at most 1.

        The median of an even number of sites is the lower one of two, so that one of two sites
        does not bound itself.

        Args:
            updates: The sites'.
            squared: Whether they are second moments, of which the roots of lengths are compared.

        >>> UpdateBound(2.0).factors(np.array([[1.0], [-1.0], [8.0]])).tolist()
        [1.0, 1.0, 0.25]
        """
        lengths = np.array([np.linalg.norm(update.astype(np.float64)) for update in updates])
        median = float(np.sort(lengths)[(len(lengths) - 1) // 2])
        most = self.times ** (2 if squared else 1) * median
        found: Floats = np.divide(most, lengths, out=np.ones(len(lengths)), where=lengths > most)
        return found
