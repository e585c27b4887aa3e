"""A site's key: made at the site, whose public half the coordinator registers.

Keys are what Flower's SuperNode takes: NIST P-384, in OpenSSH's format, as
`ssh-keygen -t ecdsa -b 384` writes them.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from everymode.clients.secure.public_keys import fingerprint, parse_public_key, public_line
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes

PRIVATE, PUBLIC = "site.key", "site.key.pub"
"""Names of the two files in a site's folder."""


def make_key(folder: Path, name: str) -> Path:
    """Makes the key of a site, and returns the file with its public half.

    Args:
        folder: The site's folder.
        name: The site, a comment in the public key.

    Raises:
        StateError: There is a key already.
    """
    private, public = folder / PRIVATE, folder / PUBLIC
    if there := [str(path) for path in (private, public) if path.exists()]:
        raise StateError(
            f"{' and '.join(there)}: there already; the coordinator knows a site by its key, so "
            "remove it only if a new one is to be registered"
        )
    key = ec.generate_private_key(ec.SECP384R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_bytes(private, secret, private=True)
    line = public_line(key.public_key())
    write_bytes(public, f"{line} {name}\n".encode())
    return public


def key_shown(public: Path) -> str:
    """The fingerprint of a public key, as `ssh-keygen -l` shows it."""
    return fingerprint(parse_public_key(public.read_bytes()))


def key_problems(folder: Path) -> list[str]:
    """What is wrong with a site's key, with what to do; empty where a SuperNode can use it."""
    private, public = folder / PRIVATE, folder / PUBLIC
    if not private.exists():
        return [f"{private} is missing: run make_key.sh, then send {PUBLIC} to the coordinator"]
    problems = []
    if os.name != "nt" and (mode := stat.S_IMODE(private.stat().st_mode)) & 0o077:
        problems.append(f"others may read {private} (mode {mode:o}): chmod 600 {private}")
    try:
        key = serialization.load_ssh_private_key(private.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return [
            *problems,
            f"{private}: not a P-384 key without a password in OpenSSH's format, or not readable; "
            "make another with make_key.sh",
        ]
    if not public.exists():
        return [*problems, f"{public} is missing: ssh-keygen -y -f {private} > {public}"]
    if public.read_bytes().split()[:2] != public_line(key.public_key()).encode().split():
        problems.append(f"{public} belongs to another key: ssh-keygen -y -f {private} > {public}")
    return problems
