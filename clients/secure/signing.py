"""Who says so: sites sign their keys, and hold the keys of others against public keys they know.

A deployed site signs with the key that its SuperNode is registered with, and finds the public keys
of the others in a folder that its administrator filled: what a server hands out proves nothing. In
a simulation each site makes a key in its workspace, and finds the others' beside it.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.words import file_name_problem

OWN, PUBLIC = "signing.key", "signing.pub"

ADVICE = (
    'name it in --node-config: signing_key="/path/site.key" peers="/path/peers", a folder with '
    "SITE.pub of every site"
)


def sign(site: Site, text: str) -> str:
    """A site's signature of a text, in hexadecimal.

    Raises:
        RefusedError: A deployed site has no signing key.
        StateError: The key cannot be read or written.
    """
    path = site.signing_key
    if path is None and not site.simulated:
        raise RefusedError(f"site '{site.name}' has no signing key for secure summation; {ADVICE}")
    if path is None:
        path = _own_key(site)
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StateError(
            f"{path}: no private key without a password in OpenSSH's format, or not readable "
            f"({type(error).__name__})"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(text.encode()).hex()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(text.encode(), ec.ECDSA(SHA256())).hex()
    raise StateError(f"{path}: neither an Ed25519 nor an elliptic-curve key")


def check_signature(site: Site, name: str, text: str, signature: str) -> None:
    """Refuses a text that site `name` did not sign.

    Raises:
        RefusedError: The signature is another's, or the site's public key is not known.
    """
    if file_name_problem(name):
        raise RefusedError("a site of secure summation whose name is no name")
    path = _public_key(site, name)
    try:
        key = serialization.load_ssh_public_key(path.read_bytes())
    except FileNotFoundError:
        raise RefusedError(
            f"the public key of site '{name}' is not known here ({path.name}); {ADVICE}"
        ) from None
    except (OSError, ValueError, UnsupportedAlgorithm):
        raise RefusedError(f"{path.name} is no public key in OpenSSH's format") from None
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(bytes.fromhex(signature), text.encode())
            return
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(bytes.fromhex(signature), text.encode(), ec.ECDSA(SHA256()))
            return
    except InvalidSignature:
        pass
    raise RefusedError(
        f"the keys that came as those of site '{name}' were not signed by it: somebody between the "
        "sites changed them, or its public key here is an old one"
    )


def _public_key(site: Site, name: str) -> Path:
    if site.peers is not None:
        return site.peers / f"{name}.pub"
    if not site.simulated:
        raise RefusedError(f"site '{site.name}' knows no public keys of other sites; {ADVICE}")
    return site.workspace.parent / name / "secure" / PUBLIC


def _own_key(site: Site) -> Path:
    folder = site.workspace / "secure"
    path = folder / OWN
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        form, none = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, form, none)
        line = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        write_bytes(folder / PUBLIC, line + b"\n", durable=False, private=True)
        write_bytes(path, secret, durable=False, private=True)
    return path
