"""Masks: streams of 64-bit integers from a seed, added to a vector modulo 2^64.

A seed of 32 bytes is the key of AES-256 in counter mode, whose key stream is the mask. Every seed
is used for one vector, so the counter begins at zero.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Ints = npt.NDArray[np.int64]

BLOCK = 2**15
"""Entries that are masked at a time: they stay in the processor's cache."""

_ZEROS = bytes(8 * BLOCK)


def add_mask(vector: Ints, seed: bytes, sign: int) -> None:
    """Adds the mask of a seed to a vector in place, or subtracts it where `sign` is -1.

    Integers wrap around. Entries are little-endian whatever the machine.

    >>> vector = np.arange(3)
    >>> add_mask(vector, bytes(32), 1)
    >>> add_mask(vector, bytes(32), -1)
    >>> vector.tolist()
    [0, 1, 2]
    """
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    # One block of AES more: `update_into` asks for it.
    buffer = bytearray(8 * min(BLOCK, max(len(vector), 1)) + 16)
    units = vector.view(np.uint64)
    for start in range(0, len(units), BLOCK):
        part = units[start : start + BLOCK]
        stream.update_into(memoryview(_ZEROS)[: 8 * len(part)], buffer)
        mask = np.frombuffer(buffer, "<u8", len(part))
        (np.add if sign > 0 else np.subtract)(part, mask, out=part)


def derive_key(secret: bytes, *context: str) -> bytes:
    """32 bytes from a secret, other ones for every context (HKDF, RFC 5869)."""
    info = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in context)
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret)


def agree_on_key(own: bytes, theirs: bytes, *context: str) -> bytes:
    """The key that two holders of X25519 keys have in common, for a context.

    Args:
        own: One's private key, 32 bytes.
        theirs: The other's public key, 32 bytes.
        context: What the key is for.

    Raises:
        ValueError: The public key is none, or one that makes the key known to all.
    """
    return derive_key(_exchange(own, theirs), *context)


@lru_cache(maxsize=4096)
def derive_channel(own: bytes, theirs: bytes) -> bytes:
    """What two holders of a session's keys have in common; `derive_key` makes keys of it.

    Raises:
        ValueError: As `agree_on_key`.
    """
    return _exchange(own, theirs)


def _exchange(own: bytes, theirs: bytes) -> bytes:
    private = X25519PrivateKey.from_private_bytes(own)
    return private.exchange(X25519PublicKey.from_public_bytes(theirs))


def derive_pair_seed(own: bytes, theirs: bytes, scope: str, attempt: str, pair: set[str]) -> bytes:
    """The seed of the mask that two sites have in common in one attempt at one question."""
    return agree_on_key(own, theirs, "mask", scope, attempt, *sorted(pair))


def pair_sign(name: str, other: str) -> int:
    """Whether a site adds the mask that it has in common with another, or subtracts it."""
    return 1 if name < other else -1


def public_key(private: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
