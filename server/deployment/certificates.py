"""The certificate authority of a deployment, and its server's certificate: X.509 on NIST curves.

Sites trust this authority for one connection only, the one to the SuperLink; it is not entered into
their systems. Its key is needed again when the server's certificate is renewed.

Source: RFC 5280 (profile), CA/Browser Forum Baseline Requirements 7.1 (extensions).
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS: Final = 3650

SERVER_DAYS: Final = 397

_LOCAL: Final = ("localhost", "127.0.0.1")
"""Names under which the coordinator's own machine reaches the SuperLink."""

_SKEW: Final = timedelta(minutes=10)
"""How far the clocks of sites may be behind when a certificate is new."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key.

    Attributes:
        certificate: PEM.
        key: PEM (PKCS #8), not encrypted: for files of mode 600.
    """

    certificate: bytes
    key: bytes


def make_authority(name: str, days: int = AUTHORITY_DAYS) -> Issued:
    """A new certificate authority that may sign servers' certificates and no authorities.

    Args:
        name: What certificates call it.
        days: How long it is valid.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _issued(builder.sign(key, hashes.SHA384()), key)


def make_server(authority: Issued, host: str, days: int = SERVER_DAYS) -> Issued:
    """A new key and certificate for the server, also valid on its own machine.

    Args:
        authority: Who signs it.
        host: The DNS name or IP address that sites connect to.
        days: How long it is valid, at most as long as the authority.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = _load_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_general_name(name) for name in dict.fromkeys((host, *_LOCAL))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    signs = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    left = (issuer.not_valid_after_utc - datetime.now(UTC)).days
    builder = (
        _builder(subject, issuer.subject, key.public_key(), min(days, left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _issued(builder.sign(signer, hashes.SHA384()), key)


def certificate_problems(
    certificate: bytes, authority: bytes, host: str, key: bytes | None = None
) -> list[str]:
    """What is wrong with a server's certificate, dates apart; empty where it serves.

    Args:
        certificate: PEM.
        authority: The authority's certificate, PEM.
        host: The name or address that it must be valid for.
        key: The server's private key, PEM; None: not looked at.
    """
    found, problems = x509.load_pem_x509_certificate(certificate), []
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        problems.append("it was signed by another certificate authority")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if _general_name(host) not in list(names):
        problems.append(f"it is not valid for {host}")
    if key is not None and _load_key(key).public_key() != found.public_key():
        problems.append("it does not belong to the key")
    return problems


def days_left(certificate: bytes) -> int:
    """Whole days until a certificate (PEM) ends; negative: it has ended."""
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    return (end - datetime.now(UTC)).days


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
