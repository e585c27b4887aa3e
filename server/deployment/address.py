"""The address of a deployment's server, `HOST:PORT`, and the names of its sites."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from everymode.wgan.errors import SettingsError
from everymode.wgan.words import brief

COORDINATOR: Final = "coordinator"
"""The coordinator's folder; no site may be called so."""

_SITE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Address:
    """Where sites reach the server.

    Attributes:
        host: A DNS name or an IP address, without brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """`HOST:PORT`, with brackets around IPv6.

        >>> str(Address("::1", 443))
        '[::1]:443'
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Reads `HOST:PORT`.

    Raises:
        SettingsError: It has no port, is a URL, or the host is no name.

    >>> parse_address("[::1]:8443").host, parse_address("fl.example.org:443").port
    ('::1', 443)
    """
    shown = f"--server {brief(text)}"
    if "://" in text or "/" in text:
        raise SettingsError(f"{shown}: is a URL; write HOST:PORT, for instance fl.example.org:443")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not port or (":" in bare and not bracketed):
        raise SettingsError(f"{shown}: expected HOST:PORT, for instance fl.example.org:443")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise SettingsError(f"{shown}: the port must be a number from 1 to 65535")
    if not (_is_ip(bare) or _is_name(bare)):
        raise SettingsError(f"{shown}: '{brief(bare)}' is neither a DNS name nor an IP address")
    return Address(bare if _is_ip(bare) else bare.lower(), int(port))


def parse_sites(text: str) -> tuple[str, ...]:
    """Reads names of sites, separated by commas.

    Raises:
        SettingsError: What is wrong with them, all at once.
    """
    return check_sites([part.strip() for part in text.split(",")])


def check_sites(names: Sequence[str]) -> tuple[str, ...]:
    """The names, where each can be a folder, a systemd unit and a Flower SuperNode.

    Raises:
        SettingsError: What is wrong with them, all at once.
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    for name in names:
        shown = f"--sites: '{brief(name)}'"
        if not _SITE.fullmatch(name):
            problems.append(
                f"{shown} cannot name a site; use up to 48 letters (a to z), digits, '-' and '_', "
                "separated by commas: north,south"
            )
        elif name.lower() == COORDINATOR:
            problems.append(f"{shown} is the name of the coordinator's folder; name the site else")
        elif (other := seen.get(name.lower())) is not None:
            same = "twice" if other == name else f"and '{other}', which differ in case only"
            problems.append(f"{shown} is named {same}; name each site once")
        seen.setdefault(name.lower(), name)
    if problems:
        raise SettingsError(dict.fromkeys(problems))
    return tuple(names)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    labels = host.split(".")
    # A last label of digits alone is a mistyped IPv4 address.
    named = len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    return named and not labels[-1].isdigit()
