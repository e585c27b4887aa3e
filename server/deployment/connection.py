"""What can be seen of a deployment's server from outside, without sending anything but a request.

One TLS handshake, then `HEAD /`, whose answer has the server's time, and `POST` without a body on
the path of Flower's control interface, which the proxy has to turn away.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from everymode.server.deployment.address import Address
from everymode.server.deployment.certificates import days_left
from everymode.server.outputs.findings import Finding

PATIENCE: Final = 10.0
"""Seconds until a server counts as away."""

CLOCKS: Final = 300
"""Seconds that Flower lets clocks differ (`flwr.common.constant.TIMESTAMP_TOLERANCE`)."""

WARN_SECONDS, WARN_DAYS = 60, 30
"""Difference of clocks, and days of validity, from which a person should act."""

CONTROL: Final = "/v1/control/list-runs"
"""A path of Flower's control interface."""


@dataclass(frozen=True)
class Seen:
    """What a server answered.

    Attributes:
        certificate: Its certificate, PEM.
        offset: Seconds that its clock is ahead of this one; None: it did not say.
        control: The status of a request for the control interface; None: no answer.
    """

    certificate: bytes
    offset: float | None
    control: int | None


def look_at(address: Address, authority: Path, patience: float = PATIENCE) -> Seen:
    """Connects to the server as a site does.

    Raises:
        OSError: It cannot be reached, or its certificate is not accepted (`ssl.SSLError`).
    """
    context = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection(
        address.host, address.port, timeout=patience, context=context
    )
    try:
        connection.connect()
        secure = connection.sock
        assert isinstance(secure, ssl.SSLSocket)
        encoded = secure.getpeercert(binary_form=True) or b""
        certificate = ssl.DER_cert_to_PEM_cert(encoded).encode()
        date, _ = _asked(connection, "HEAD", "/")
        here = datetime.now(UTC)
        _, control = _asked(connection, "POST", CONTROL)
    finally:
        connection.close()
    offset = (date - here).total_seconds() if date else None
    return Seen(certificate, offset, control)


def connection_findings(address: Address, authority: Path) -> Iterator[Finding]:
    """The findings on address, certificate, clock and proxy."""
    where = f"address {address}"
    try:
        seen = look_at(address, authority)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        yield Finding(where, f"certificate refused: {reason}", _certificate_advice(error))
        return
    except ssl.SSLError:
        yield Finding(where, "speaks no TLS", "let nginx serve it, as nginx.conf says")
        return
    except socket.gaierror:
        yield Finding(where, "its name is not known", "correct the name, or enter it into the DNS")
        return
    except OSError as error:
        advice = "start the SuperLink and nginx there, and let the firewall through"
        yield Finding(where, f"not reachable ({error.strerror or 'no answer'})", advice)
        return
    yield Finding(where, "reachable by TLS; the certificate is of this deployment")
    yield date_finding("server's certificate", seen.certificate, "everymode deploy renew there")
    yield clock_finding(seen.offset)
    if seen.control == 403:
        yield Finding("control interface", "not reachable from outside")
    elif seen.control is not None:
        advice = "let sites reach /v1/fleet/ only, by nginx.conf: whoever reaches it starts runs"
        yield Finding("control interface", f"reachable (status {seen.control})", advice)


def date_finding(what: str, certificate: bytes, how: str) -> Finding:
    """The finding on a certificate's last day; `how`: what renews it."""
    left = days_left(certificate)
    if left < 0:
        return Finding(what, f"ended {-left} days ago", how)
    return Finding(what, f"{left} days left", how if left < WARN_DAYS else "")


def clock_finding(offset: float | None) -> Finding:
    """The finding on the difference of clocks, `offset` seconds."""
    if offset is None:
        return Finding("clock", "the server does not say its time")
    found = f"{abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the server"
    if abs(offset) < WARN_SECONDS:
        return Finding("clock", found)
    refused = "Flower refuses" if abs(offset) >= CLOCKS else "Flower permits less than"
    return Finding("clock", found, f"{refused} {CLOCKS} s: set the clock by NTP")


def _asked(
    connection: http.client.HTTPSConnection, method: str, path: str
) -> tuple[datetime | None, int | None]:
    """The time that an answer gives, and its status."""
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        date = answer.getheader("Date")
        return (parsedate_to_datetime(date) if date else None), answer.status
    except (OSError, http.client.HTTPException, ValueError):
        return None, None


def _certificate_advice(error: ssl.SSLCertVerificationError) -> str:
    # OpenSSL's codes: X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID.
    if error.verify_code == 10:
        return "everymode deploy renew at the coordinator"
    if error.verify_code == 9:
        return "set the clock: the certificate is not valid yet"
    if error.verify_code in (62, 64):
        return "it is for another name: connect by the name that everymode deploy init was given"
    return "it is of another authority: take ca.crt of this deployment, or look who answers there"
