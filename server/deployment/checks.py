"""What `everymode deploy check` looks at, in a coordinator's folder and in a site's."""

import json
import os
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from everymode.clients.gate.policy import DEFAULT, Policy, load_policy
from everymode.server.deployment import keys
from everymode.server.deployment.certificates import certificate_problems, days_left
from everymode.server.deployment.connection import connection_findings, date_finding
from everymode.server.deployment.kit import Role, read_role
from everymode.server.deployment.peer_check import gathered_findings, peer_findings
from everymode.server.deployment.table_check import table_findings
from everymode.server.outputs.findings import Finding
from everymode.wgan.errors import DataError, EveryModeError, SettingsError
from everymode.wgan.versions import package_versions

GIGABYTE: Final = 1024**3

DISK: Final = 1.0
"""Gigabytes that a machine of a deployment should have free."""

FLWR_PATIENCE: Final = 60
"""Seconds that Flower's command gets to list the SuperNodes."""


def check_folder(folder: Path, data: str = "", config: str = "") -> list[Finding]:
    """Looks at everything, whatever is found.

    Args:
        folder: The coordinator's folder, or a site's.
        data: A site's table, in place of the one in its `site.toml`; empty: that one.
        config: A run's configuration, which the site's table has to fit; empty: none.

    Raises:
        StateError: The folder is none of a deployment.
        SettingsError: Options that do not go together.
    """
    role = read_role(folder)
    if role.site is None:
        if data:
            raise SettingsError("--data: the coordinator has no table; leave it out")
        return [*_machine(role), *_coordinator(role, config)]
    return [*_machine(role), *_site(role, data, config)]


def _coordinator(role: Role, config: str) -> Iterator[Finding]:
    folder = role.folder
    yield _private(folder / "server.key", "everymode deploy renew")
    yield from _server_certificate(role)
    if (folder / "ca.key").exists():
        yield _private(folder / "ca.key", "")
    yield from connection_findings(role.server, folder / "ca.crt")
    yield from _registered(role)
    named = Path(config) if config else folder / "config.toml"
    yield _configuration(named)
    masked, _ = _masked_sites(str(named))
    yield from gathered_findings(role, masked)
    yield _disk("disk", folder)


def _site(role: Role, data: str, config: str) -> Iterator[Finding]:
    folder = role.folder
    problems = keys.key_problems(folder)
    found = "" if problems else f"here, mode 600, P-384, {keys.key_shown(folder / keys.PUBLIC)}"
    yield Finding("key", found, "; ".join(problems))
    yield from connection_findings(role.server, folder / "ca.crt")
    try:
        values = _read_toml(folder / "site.toml")
    except DataError as error:
        yield Finding("site.toml", "cannot be used", "; ".join(error.problems))
        return
    named = str(values.get("site", ""))
    if named != role.site:
        advice = f'write site = "{role.site}", the coordinator\'s name for it'
        yield Finding("site.toml", f"site = '{named}'", advice)
    yield from table_findings(role, values, data, config)
    policy, finding = _policy(folder, values)
    yield finding
    masked, sites = _masked_sites(config) if config else (False, ())
    yield from peer_findings(role, values, masked or policy.masking, sites)
    yield _disk("disk", folder / str(values.get("workspace", "")))


def _machine(role: Role) -> Iterator[Finding]:
    """Versions and device."""
    import platform
    import sys

    old = sys.version_info < (3, 11)
    yield Finding("Python", platform.python_version(), "needs 3.11 or newer" if old else "")
    here = package_versions(["everymode", "flwr", "torch"])
    for name, version in here.items():
        wanted = role.versions.get(name, version)
        advice = "" if version == wanted else f'the deployment has {wanted}: pip install "{name}=='
        yield Finding(name, version, f'{advice}{wanted}"' if advice else "")
    free = psutil.virtual_memory().available / GIGABYTE
    yield Finding("device", f"{_device()}; {os.cpu_count()} cores, {free:.1f} GB free memory")


def _device() -> str:
    try:
        import torch
    except ImportError:
        return "no PyTorch"
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "processor; no GPU is needed"


def _server_certificate(role: Role) -> Iterator[Finding]:
    what, renew = "server.crt", "everymode deploy renew ."
    try:
        certificate = (role.folder / "server.crt").read_bytes()
        authority = (role.folder / "ca.crt").read_bytes()
        key = (role.folder / "server.key").read_bytes()
        problems = certificate_problems(certificate, authority, role.server.host, key)
        left = days_left(authority)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or "damaged"
        yield Finding(what, f"cannot be read ({reason})", renew)
        return
    if problems:
        yield Finding(what, "; ".join(problems), renew)
    yield date_finding(what, certificate, renew)
    if left < 365:
        advice = "make a new kit: every site needs the new ca.crt"
        yield Finding("ca.crt", f"{left} days left", advice)


def _private(path: Path, remedy: str) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Finding(path.name, "is missing", remedy)
    if os.name != "nt" and mode & 0o077:
        return Finding(path.name, f"others may read it (mode {mode:o})", f"chmod 600 {path}")
    return Finding(path.name, "for its owner only")


def _registered(role: Role) -> Iterator[Finding]:
    """Which sites are registered, and connected; Flower's own command says so."""
    listed = _nodes(role)
    if isinstance(listed, str):
        yield Finding("SuperLink", listed, "start it: start_superlink.sh, or its systemd unit")
        return
    yield Finding("SuperLink", f"{len(listed)} SuperNodes registered")
    for site in role.sites:
        what, node = f"site {site}", ""
        try:
            node = str(json.loads((role.folder / "keys" / f"{site}.json").read_text())["node-id"])
        except (OSError, ValueError, KeyError, TypeError):
            yield Finding(what, "not registered", f"./register.sh {site} keys/{site}.pub")
            continue
        status = listed.get(node)
        if status is None:
            advice = f"./register.sh {site} keys/{site}.pub"
            yield Finding(what, "registered with another SuperLink", advice)
        elif status == "online":
            yield Finding(what, "registered, online")
        else:
            advice = "have the site start its SuperNode; everymode deploy check there"
            yield Finding(what, f"registered, {status}", advice)


def _nodes(role: Role) -> dict[str, str] | str:
    """The status of each registered node by its number; a sentence where there is no list."""
    script = ". ./environment.sh; exec flwr supernode list everymode --format json"
    try:
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=role.folder,
            capture_output=True,
            text=True,
            timeout=FLWR_PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        nodes: list[dict[str, Any]] = json.loads(done.stdout)["nodes"]
        return {str(node["node-id"]): str(node["status"]) for node in nodes}
    except subprocess.TimeoutExpired:
        return f"no answer in {FLWR_PATIENCE} s"
    except (OSError, ValueError, KeyError, TypeError):
        return f"not reachable at 127.0.0.1:{role.inner}"


def _configuration(path: Path) -> Finding:
    from everymode.server.config.files import load

    try:
        load(path)
    except EveryModeError as error:
        return Finding(path.name, "cannot be used", "; ".join(error.problems))
    return Finding(path.name, "can be used")


def _masked_sites(path: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a run masks its sums, and its sites; another finding says what is wrong with it."""
    from everymode.server.config.files import load

    try:
        settings = load(path)
    except EveryModeError:
        return False, ()
    masked = settings.secure.summation == "masked"
    return masked, tuple(settings.deployment.sites) if masked else ()


def _policy(folder: Path, values: dict[str, Any]) -> tuple[Policy, Finding]:
    """What the site answers, and the finding on it; the default where it cannot be read."""
    name = str(values.get("policy", ""))
    if not name:
        advice = 'write policy = "policy.toml"'
        return DEFAULT, Finding("policy", "none named in site.toml", advice)
    try:
        policy = load_policy(folder / name)
    except SettingsError as error:
        return DEFAULT, Finding("policy", "cannot be used", "; ".join(error.problems))
    chosen = ", ".join(sorted(policy.model_fields_set)) or "none, all defaults hold"
    return policy, Finding("policy", f"{name}; keys that are set: {chosen}")


def _disk(what: str, folder: Path) -> Finding:
    there: Callable[[Path], bool] = Path.exists
    place = next(path for path in (folder, *folder.absolute().parents) if there(path))
    free = shutil.disk_usage(place).free / GIGABYTE
    found = f"{free:.1f} GB free at {place}"
    if not os.access(place, os.W_OK):
        return Finding(what, found, f"{place} cannot be written to: change its rights")
    return Finding(what, found, "" if free >= DISK else f"free some: {DISK:g} GB are needed")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: is missing; take it from the kit again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{path}: not valid TOML: {error}") from None
