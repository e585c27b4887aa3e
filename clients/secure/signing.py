"""Who says so: sites sign their keys, and hold the keys of others against public keys they know.

A deployed site signs with the key that its SuperNode is registered with, and finds the public keys
of the others in a folder that its administrator filled: what a server hands out proves nothing. In
a simulation each site makes a key in its workspace, and finds the others' beside it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.secure.public_keys import (
    PublicKey,
    fingerprint,
    parse_public_key,
    public_line,
)
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.words import file_name_problem

OWN, PUBLIC = "signing.key", "signing.pub"

PEERS = "the folder that site.toml (or --node-config) names as peers"

NO_KEY = 'name it in site.toml (or --node-config): signing_key = "site.key"'


@dataclass(frozen=True)
class Claim:
    """A text that a server hands on as signed by a site."""

    name: str
    text: str
    signature: str


def sign(site: Site, text: str) -> str:
    """A site's signature of a text, in hexadecimal.

    Raises:
        RefusedError: A deployed site has no signing key.
        StateError: The key cannot be read or written.
    """
    path = site.signing_key
    if path is None and not site.simulated:
        raise RefusedError(f"this site has no signing key for secure summation; {NO_KEY}")
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


def check_claims(site: Site, claims: Iterable[Claim]) -> None:
    """Refuses texts that were not signed by whom they name; all that is wrong at once.

    Raises:
        RefusedError: A signature is another's, or a site's public key is not known here.
    """
    unknown: list[str] = []
    problems: list[str] = []
    for claim in claims:
        if file_name_problem(claim.name):
            raise RefusedError("a site of secure summation whose name is no name")
        path = _public_key(site, claim.name)
        try:
            key = parse_public_key(path.read_bytes())
        except FileNotFoundError:
            unknown.append(f"'{claim.name}'")
        except (OSError, ValueError):
            problems.append(
                f"{path.name}, in {PEERS}, is no public key in OpenSSH's format; take it anew "
                "from that site's administrator"
            )
        else:
            if not _signed(key, claim):
                problems.append(
                    f"the keys that came as those of site '{claim.name}' were not signed by it: "
                    "somebody between the sites changed them, or its public key here "
                    f"({fingerprint(key)}) is not its own. Compare the fingerprint with that "
                    "site's administrator, then: everymode deploy peers"
                )
    if unknown:
        what = "key of site" if len(unknown) == 1 else "keys of sites"
        problems.append(
            f"the public {what} {', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not "
            f"known here: a site that masks needs SITE.pub of every other in {PEERS}; everymode "
            "deploy peers puts them there"
        )
    if problems:
        raise RefusedError(problems)


def _signed(key: PublicKey, claim: Claim) -> bool:
    try:
        signature = bytes.fromhex(claim.signature)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, claim.text.encode())
        else:
            key.verify(signature, claim.text.encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _public_key(site: Site, name: str) -> Path:
    if site.peers is not None:
        return site.peers / f"{name}.pub"
    if not site.simulated:
        raise RefusedError(
            "this site knows no public keys of other sites; name the folder with SITE.pub of each "
            'in site.toml (or --node-config): peers = "peers"'
        )
    return site.workspace.parent / name / "secure" / PUBLIC


def _own_key(site: Site) -> Path:
    folder = site.workspace / "secure"
    path = folder / OWN
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        form, none = serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, form, none)
        line = public_line(key.public_key()) + "\n"
        write_bytes(folder / PUBLIC, line.encode(), durable=False, private=True)
        write_bytes(path, secret, durable=False, private=True)
    return path
