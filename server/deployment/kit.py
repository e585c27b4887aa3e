"""The folders of a deployment: one for the coordinator, one for each site.

The files are written from `templates`: a template `coordinator/x.sh.j2` becomes the file `x.sh` of
the coordinator's folder, `site/...` that of every site's. A kit is made under a temporary name and
renamed: it is there whole or not at all.
"""

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from jinja2 import Environment, StrictUndefined

from everymode.clients.gate.policy import Policy
from everymode.server.deployment import keys
from everymode.server.deployment.address import COORDINATOR, Address, check_sites
from everymode.server.deployment.certificates import (
    AUTHORITY_DAYS,
    SERVER_DAYS,
    Issued,
    make_authority,
    make_server,
)
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.files import (
    make_folder,
    read_json,
    remove_tree,
    temporary_beside,
    write_bytes,
    write_json,
)
from everymode.wgan.versions import package_versions
from everymode.wgan.words import brief

ROLE: Final = "kit.json"
"""The file by which a folder is known as one of a kit's."""

TEMPLATES: Final = Path(__file__).parent / "templates"

PEERS: Final = "peers"
"""The folder of a site with the public keys of the others."""

PLACE: Final = "/opt/everymode"
"""Where units and containers expect the folder of a machine."""

INNER: Final = 8000
"""The port at which the SuperLink listens behind the proxy: Flower's own."""

_PLACE: Final = re.compile(r"/(?!.*/\.\.?(/|$))[A-Za-z0-9._/-]{0,200}")


_EXAMPLES: Final = {
    "questions": (
        *("look", "values", "ranks", "prepare", "moments"),
        *("train", "leaves", "audit", "recall"),
    ),
    "columns": ("age", "sex", "income"),
    "sensitive": ("sex",),
    "epsilon": 10.0,
}
"""Values of keys of a policy whose default, all or no limit, TOML cannot express."""


@dataclass(frozen=True)
class Kit:
    """What a deployment is made from.

    Attributes:
        server: Where sites reach it.
        sites: Their names.
        days: How long the server's certificate is valid.
        place: The folder in which a machine's folder will lie, for units, containers and nginx.
        link_port: The SuperLink's own port on the coordinator's machine, another than the proxy's;
            0: Flower's, or the one after it.
    """

    server: Address
    sites: tuple[str, ...]
    days: int = SERVER_DAYS
    place: str = PLACE
    link_port: int = 0

    def __post_init__(self) -> None:
        """Checks what the files are written from.

        Raises:
            SettingsError: What is wrong, all at once.
        """
        problems: list[str] = []
        try:
            check_sites(self.sites)
        except SettingsError as error:
            problems += error.problems
        if not _PLACE.fullmatch(self.place):
            problems.append(
                f"--place {brief(self.place)}: expected the absolute path of a folder, of letters, "
                "digits and . _ - only"
            )
        if not 1 <= self.days <= AUTHORITY_DAYS:
            problems.append(f"--days {self.days}: expected 1 to {AUTHORITY_DAYS}")
        if self.link_port == self.server.port or not 0 <= self.link_port <= 65535:
            problems.append(
                f"--link-port {self.link_port}: expected a port that is not the proxy's, "
                f"{self.server.port}"
            )
        if problems:
            raise SettingsError(problems)

    @property
    def inner(self) -> int:
        """The SuperLink's own port."""
        return self.link_port or (INNER if self.server.port != INNER else INNER + 1)


@dataclass(frozen=True)
class Role:
    """What a folder of a kit is for.

    Attributes:
        folder: The folder.
        site: The site whose it is; None: the coordinator's.
        server: Where sites reach the server.
        inner: The SuperLink's own port.
        sites: All sites, in the coordinator's folder; there alone.
        versions: Versions of packages where the kit was made.
        place: Where the folder of a machine is expected.
    """

    folder: Path
    site: str | None
    server: Address
    inner: int
    sites: tuple[str, ...]
    versions: Mapping[str, str]
    place: str = PLACE


def write_kit(folder: Path, kit: Kit, force: bool = False) -> Path | None:
    """Writes a kit.

    Args:
        folder: A new folder.
        kit: What to write.
        force: Whether a kit that is there makes room; it is renamed, not removed.

    Returns:
        The new name of a kit that was there.

    Raises:
        StateError: The folder is there (without `force`, or it holds no kit), or the disk refused.
    """
    folder = Path(folder)
    there = folder.exists() or folder.is_symlink()
    if there and not force:
        raise StateError(f"{folder}: exists; name a new folder, or make room with --force")
    if there and not (folder / COORDINATOR / ROLE).is_file():
        raise StateError(f"{folder}: exists and holds no kit of a deployment; name a new folder")
    unfinished = temporary_beside(folder.absolute())
    try:
        _fill(unfinished, kit)
        kept = None
        if there:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            kept = folder.with_name(f"{folder.name}.before-{stamp}")
            os.rename(folder, kept)
        os.rename(unfinished, folder)
    except OSError as error:
        if unfinished.exists():
            remove_tree(unfinished)
        if isinstance(error, StateError):
            raise
        raise StateError(f"cannot write {folder}: {error.strerror or error}") from error
    return kept


def read_role(folder: Path) -> Role:
    """What a folder of a kit is for.

    Raises:
        StateError: It is none.
    """
    path = Path(folder) / ROLE
    if not path.is_file():
        inside = (folder / COORDINATOR).exists()
        advice = f"name {folder / COORDINATOR} or a site's" if inside else "everymode deploy init"
        made = "" if inside else "make one with "
        raise StateError(f"{folder}: no folder of a deployment ({ROLE} is missing); {made}{advice}")
    try:
        value = read_json(path)
        return Role(
            Path(folder),
            None if value["site"] is None else str(value["site"]),
            Address(str(value["host"]), int(value["port"])),
            int(value["inner"]),
            tuple(map(str, value["sites"])),
            {str(k): str(v) for k, v in value["versions"].items()},
            str(value.get("place", PLACE)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{path}: damaged; take the folder from the kit again") from error


def renew_certificate(folder: Path, days: int = SERVER_DAYS) -> None:
    """Makes a new key and certificate for the server, signed by the kit's authority.

    Raises:
        StateError: The folder is not the coordinator's, or the authority's key is not there.
    """
    role = read_role(folder)
    if role.site is not None:
        raise StateError(f"{folder}: is a site's; the server's certificate lies at the coordinator")
    try:
        authority = Issued((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
        server = make_server(authority, role.server.host, days)
    except (OSError, ValueError) as error:
        raise StateError(
            f"{folder / 'ca.key'}: the authority's key or certificate cannot be read; put them "
            "back for the time of this command"
        ) from error
    write_bytes(folder / "server.key", server.key, private=True)
    write_bytes(folder / "server.crt", server.certificate)


def _fill(folder: Path, kit: Kit) -> None:
    """Writes all folders of a kit under `folder`."""
    authority = make_authority(f"EveryMode deployment at {kit.server.host}")
    server = make_server(authority, kit.server.host, kit.days)
    values = _values(kit, authority.certificate)
    coordinator = folder / COORDINATOR
    for place, content in _rendered("coordinator", values):
        _write(coordinator / place, content)
    write_bytes(coordinator / "ca.key", authority.key, private=True)
    write_bytes(coordinator / "server.key", server.key, private=True)
    write_bytes(coordinator / "server.crt", server.certificate)
    for name in ("keys", "runs", "state"):
        # State holds what sites answered.
        make_folder(coordinator / name, private=name != "keys")
    write_bytes(coordinator / "ca.crt", authority.certificate)
    write_json(coordinator / ROLE, _role(kit, None, values))
    for site in kit.sites:
        fill_site(folder / site, kit, site, authority.certificate)


def fill_site(folder: Path, kit: Kit, site: str, authority: bytes) -> None:
    """Writes the folder of a site; `authority`: the certificate that it trusts, PEM."""
    values = _values(kit, authority)
    make_folder(folder / PEERS)
    write_bytes(folder / "ca.crt", authority)
    write_json(folder / ROLE, _role(kit, site, values))
    for place, content in _rendered("site", {**values, "site": site}):
        _write(folder / place, content)


def write_members(folder: Path, kit: Kit, authority: bytes) -> None:
    """Writes what of a coordinator's folder says which sites there are, and nothing else."""
    values = _values(kit, authority)
    for place, content in _rendered("coordinator", values):
        if place.name == "register.sh":
            _write(folder / place, content)
    write_json(folder / ROLE, _role(kit, None, values))


def _values(kit: Kit, authority: bytes) -> dict[str, Any]:
    certificate = x509.load_pem_x509_certificate(authority)
    versions = package_versions(["everymode", "flwr"])
    host = kit.server.host
    return {
        "server": str(kit.server),
        "name": f"[{host}]" if ":" in host else host,
        "port": kit.server.port,
        "ipv6": ":" in host,
        "inner": kit.inner,
        "sites": kit.sites,
        "place": kit.place.rstrip("/"),
        "private": keys.PRIVATE,
        "peers": PEERS,
        "public": keys.PUBLIC,
        "policy": _policy_lines(),
        "version": versions["everymode"],
        "flower": versions["flwr"],
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        "ends": (datetime.now(UTC) + timedelta(days=kit.days)).date().isoformat(),
    }


def _policy_lines() -> list[tuple[str, str]]:
    """A comment and a line of TOML for each key of a policy, with its default."""
    shown = []
    for key, field in Policy.model_fields.items():
        comment = textwrap.wrap(
            f"{field.description}.", 100, initial_indent="# ", subsequent_indent="# "
        )
        # TOML has no value that stands for "all": such a key is shown with an example.
        default = _EXAMPLES.get(key, field.default)
        line = tomli_w.dumps({key: list(default) if isinstance(default, tuple) else default})
        shown.append(("\n".join(comment), " ".join(line.split())))
    return shown


def _role(kit: Kit, site: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "site": site,
        "host": kit.server.host,
        "port": kit.server.port,
        "inner": kit.inner,
        "place": kit.place,
        # A site learns from no file of its own who the others are.
        "sites": [site] if site is not None else list(kit.sites),
        "versions": {"everymode": values["version"], "flwr": values["flower"]},
    }


def _rendered(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Relative paths and contents of the files of one kind of folder."""
    # Values are names that were checked, and numbers: none means anything to a shell or to TOML.
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for path in sorted((TEMPLATES / kind).rglob("*.j2")):
        text = environment.from_string(path.read_text(encoding="utf-8")).render(values)
        yield path.relative_to(TEMPLATES / kind).with_suffix(""), text


def _write(path: Path, text: str) -> None:
    write_bytes(path, text.encode())
    if path.suffix == ".sh" and path.name != "environment.sh":
        path.chmod(0o755)
