"""Wilson's interval of a share. Light: it imports nothing but `math`."""

import math


def wilson(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share seen in n rows (Wilson, 1927).

    >>> [round(end, 3) for end in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
