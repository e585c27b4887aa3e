"""Public keys in OpenSSH's format, by which sites know one another."""

import base64
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


def parse_public_key(content: bytes) -> PublicKey:
    """The key of a line as `ssh-keygen` writes it.

    Raises:
        ValueError: It is none, or of another kind than Ed25519 and elliptic curves.
    """
    try:
        key = serialization.load_ssh_public_key(content)
    except UnsupportedAlgorithm as error:
        raise ValueError("no key of a kind that is known") from error
    if not isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise ValueError("neither an Ed25519 nor an elliptic-curve key")
    return key


def public_line(key: PublicKey) -> str:
    """The key as a line, without a comment."""
    form = serialization.PublicFormat.OpenSSH
    return key.public_bytes(serialization.Encoding.OpenSSH, form).decode("ascii")


def fingerprint(key: PublicKey) -> str:
    """What `ssh-keygen -l` shows of it, for two people to compare."""
    blob = base64.b64decode(public_line(key).split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
