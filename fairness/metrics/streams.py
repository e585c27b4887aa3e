"""Independent random streams: one seed, and the purpose that numbers are drawn for."""

import hashlib

import numpy as np


def stream(seed: int, *purpose: str) -> np.random.Generator:
    """A generator that depends on the seed and the purpose alone.

    Figures are then the same whichever others are measured, and in whichever order.

    Args:
        seed: Not negative.
        purpose: Words: what is drawn, and for which group.

    >>> int(stream(0, "a").integers(9**9)) == int(stream(0, "a").integers(9**9))
    True
    >>> int(stream(0, "a", "b").integers(9**9)) == int(stream(0, "ab").integers(9**9))
    False
    """
    text = "\0".join(f"{len(word)}:{word}" for word in purpose)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
