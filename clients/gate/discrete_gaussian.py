"""Samples of the discrete Gaussian on the integers, exact, from a stream of a cryptographic cipher.

The discrete Gaussian of parameter s^2 gives the integer y the probability
exp(-y^2 / (2 s^2)) / Z. Its variance is at most s^2. No floating-point number decides what is
drawn: noise that is rounded from a continuous distribution has gaps and ties which tell the sum
under it (Mironov, "On Significance of the Least Significant Bits for Differential Privacy", 2012).

A candidate has a uniform sign, remainder and number of whole steps: y = +-(u + t v), where t is the
power of two at or above s, u is uniform below t and v is geometric with ratio 1/2. It is kept with
probability exp(-y^2 / (2 s^2) + v log 2 - 1/4), which is below 1 for every y. Whether a uniform
number lies below that probability is decided in floating point where the two are far apart by more
than rounding can be, and in arithmetic of any precision, with as many more random bits as it takes,
where they are not.

Sources: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020,
algorithm 3 (rejection from a discrete Laplace); the dyadic candidate and the lazy comparison: ours.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Draw = Callable[[int], Words]
"""Returns so many words of 64 random bits."""

MARGIN = 1e-12
"""How far floating point may be wrong about a probability: it is below 1e-14 (see `_chances`)."""

LARGEST_PARAMETER = 2**100
"""Largest s^2: candidates must fit into 64 bits."""

PIECE = 1 << 18
"""Candidates that are drawn at once, at most."""


class Stream:
    """Random words from AES-256 in counter mode, the same for the same key."""

    def __init__(self, key: bytes) -> None:
        """Takes a key of 32 bytes that is used for nothing else."""
        if len(key) != 32:
            raise ValueError(f"a key of {len(key)} bytes; expected 32")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def __call__(self, count: int) -> Words:
        """So many words of 64 random bits."""
        return np.frombuffer(self._cipher.update(bytes(8 * count)), dtype="<u8").astype(np.uint64)


def sample(parameter: int, count: int, draw: Draw) -> Ints:
    """Independent samples of the discrete Gaussian, `(count,)`.

    Args:
        parameter: s^2, a whole number of at least 1.
        count: How many.
        draw: Source of random words.

    Raises:
        ValueError: s^2 is below 1 or above `LARGEST_PARAMETER`.

    Examples:
        >>> drawn = sample(100, 10_000, Stream(bytes(32)))
        >>> drawn.dtype.name, bool(abs(drawn.std() - 10) < 0.5)
        ('int64', True)
    """
    if not 1 <= parameter <= LARGEST_PARAMETER:
        raise ValueError(f"parameter {parameter}; expected 1 to {LARGEST_PARAMETER}")
    # The power of two at or above s.
    step = 1
    while step * step < parameter:
        step *= 2
    parts: list[Ints] = []
    lacking = count
    while lacking > 0:
        tried = min(4 * lacking + 64, PIECE)
        found = _candidates(parameter, step, tried, draw)[:lacking]
        parts.append(found)
        lacking -= len(found)
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _candidates(parameter: int, step: int, tried: int, draw: Draw) -> Ints:
    words, tests = draw(2 * tried).reshape(2, tried), draw(tried)
    # Ones before the first zero are geometric with ratio 1/2. Of 64 ones, one word in 2^64, the
    # probability to be kept is below e^-1900: it makes no difference that there may be more.
    whole = _leading_ones(words[0])
    negative = (words[1] >> np.uint64(63)).astype(np.bool_)
    rest = (words[1] & np.uint64(step - 1)).astype(np.int64)
    # A candidate of more than 50 steps is kept with probability below e^-1200: never, in effect,
    # and so it is not made, for it may not fit into 64 bits.
    near = whole <= 50
    size = rest + step * np.where(near, whole, 0)
    kept = near & _below(tests, size, whole, parameter, draw)
    # Of the two signs of 0 one is none.
    kept &= ~(negative & (size == 0))
    found: Ints = np.where(negative, -size, size)[kept]
    return found


def _leading_ones(words: Words) -> Ints:
    """Ones before the highest zero of each word, `(n,)`.

    >>> _leading_ones(np.array([0, 2**63, 2**64 - 1, 2**64 - 2], dtype=np.uint64)).tolist()
    [0, 1, 64, 63]
    """
    count = np.zeros(len(words), dtype=np.int64)
    rest = ~words
    empty = rest == 0
    for shift in (32, 16, 8, 4, 2, 1):
        high = rest >> np.uint64(64 - shift) == 0
        count += np.where(high, shift, 0)
        rest = np.where(high, rest << np.uint64(shift), rest)
    return np.where(empty, 64, count)


def _chances(size: Ints, whole: Ints, parameter: int) -> npt.NDArray[np.float64]:
    """exp(-y^2 / (2 s^2) + v log 2 - 1/4), `(n,)`.

    Three roundings of the square and its quotient, and one each of the sum and the exponential: the
    error is below p times (8 g + 4) 2^-53 with p = exp(-g), hence below 1e-14.
    """
    square = np.square(size.astype(np.float64)) / (2.0 * parameter)
    chances: npt.NDArray[np.float64] = np.exp(whole * np.log(2.0) - square - 0.25)
    return chances


def _below(
    tests: Words, size: Ints, whole: Ints, parameter: int, draw: Draw
) -> npt.NDArray[np.bool_]:
    """Whether uniform numbers, whose first 64 bits are `tests`, lie below the chances."""
    uniform, chance = tests * 2.0**-64, _chances(size, whole, parameter)
    below: npt.NDArray[np.bool_] = uniform < chance
    for place in np.flatnonzero(np.abs(uniform - chance) < MARGIN).tolist():
        word = int(tests[place])
        below[place] = _decided(word, int(size[place]), int(whole[place]), parameter, draw)
    return below


def _decided(word: int, size: int, whole: int, parameter: int, draw: Draw) -> bool:
    """The same of one number, in as much precision as it takes."""
    bits = 64
    while True:
        # Correctly rounded to more digits than 2^bits has, by a margin of 30.
        with localcontext() as context:
            context.prec = bits // 3 + 60
            power = Decimal(whole) * Decimal(2).ln() - Decimal(size) ** 2 / (2 * parameter)
            chance = (power - Decimal("0.25")).exp() * Decimal(2) ** bits
            # The number lies in [word, word + 1) 2^-bits.
            if word + 1 < chance:
                return True
            if word > chance:
                return False
        word, bits = (word << 64) | int(draw(1)[0]), bits + 64
