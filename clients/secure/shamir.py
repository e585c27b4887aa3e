"""Shares of a secret of 32 bytes, of which any `threshold` give it back and fewer say nothing.

Source: Shamir, "How to share a secret", 1979. Polynomials are over the integers modulo the prime
2^521 - 1, the smallest Mersenne prime above 2^256.
"""

import secrets
from collections.abc import Mapping

PRIME = 2**521 - 1

SECRET, SHARE = 32, 66
"""Bytes of a secret, and of a share."""


def split_secret(secret: bytes, holders: int, threshold: int) -> list[bytes]:
    """AttemptShares for holders 1, 2, ..., in this order.

    Args:
        secret: 32 bytes.
        holders: How many shares there are.
        threshold: How many of them give the secret back.

    Raises:
        ValueError: The secret has another length, or the threshold is not among 1 to `holders`.

    >>> shares = split_secret(bytes(range(32)), 5, 3)
    >>> combine_shares({5: shares[4], 2: shares[1], 3: shares[2]}) == bytes(range(32))
    True
    """
    if len(secret) != SECRET:
        raise ValueError(f"a secret of {len(secret)} bytes; expected {SECRET}")
    if not 1 <= threshold <= holders:
        raise ValueError(f"a threshold of {threshold} of {holders} holders")
    terms = [int.from_bytes(secret, "big")]
    terms += [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    shares = []
    for x in range(1, holders + 1):
        value = 0
        for term in reversed(terms):
            value = (value * x + term) % PRIME
        shares.append(value.to_bytes(SHARE, "big"))
    return shares


def combine_shares(shares: Mapping[int, bytes]) -> bytes:
    """The secret, from as many shares as its threshold says, by their holders' numbers.

    Raises:
        ValueError: They are not shares of one secret, as far as that shows.
    """
    total = 0
    for x, share in shares.items():
        if len(share) != SHARE:
            raise ValueError(f"a share of {len(share)} bytes; expected {SHARE}")
        above, below = 1, 1
        for other in shares:
            if other != x:
                above, below = above * other % PRIME, below * (other - x) % PRIME
        total += int.from_bytes(share, "big") * above * pow(below, -1, PRIME)
    value = total % PRIME
    if value >= 2 ** (8 * SECRET):
        raise ValueError("the shares are not those of one secret")
    return value.to_bytes(SECRET, "big")
