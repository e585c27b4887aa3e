"""What `everymode deploy check` looks at of the keys that masks rest on (`peers`)."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from everymode.clients.secure.public_keys import parse_public_key, public_line
from everymode.server.deployment import keys
from everymode.server.deployment.kit import PEERS, Role
from everymode.server.deployment.peers import FILE, key_line, read_keys, shown
from everymode.server.outputs.findings import Finding
from everymode.wgan.errors import DataError


def peer_findings(
    role: Role, values: Mapping[str, Any], needed: bool, sites: Sequence[str]
) -> Iterator[Finding]:
    """The findings on what a site needs to mask its sums.

    Args:
        role: The site's folder.
        values: What its `site.toml` says.
        needed: Whether the site's policy, or a run, wants masks.
        sites: The sites of that run; none: not known.
    """
    what = "keys of other sites"
    lacking = [key for key in ("signing_key", "peers") if not values.get(key)]
    if lacking:
        advice = f'write signing_key = "{keys.PRIVATE}" and peers = "{PEERS}" in site.toml'
        found = f"site.toml names no {' and no '.join(lacking)}: sums cannot be masked"
        yield Finding(what, found, advice if needed else "")
        return
    signing = role.folder / str(values["signing_key"])
    if not signing.is_file():
        yield Finding("signing_key", f"{signing} is missing", "make_key.sh, or correct site.toml")
    folder = role.folder / str(values["peers"])
    here = sorted(path.stem for path in folder.glob("*.pub") if path.stem != role.site)
    lines: dict[str, str] = {}
    for site in here:
        finding, line = _peer(folder / f"{site}.pub", site)
        yield finding
        if line:
            lines[site] = line
    yield from _twice(role, lines)
    if missing := [site for site in sites if site not in (*here, role.site)]:
        found = f"none of {', '.join(map(repr, missing))}, with which this site is to mask"
        yield Finding(what, found, f"ask the coordinator for {FILE}, then: everymode deploy peers")
    elif not here:
        advice = f"ask the coordinator for {FILE}, then: everymode deploy peers"
        yield Finding(what, "none: sums cannot be masked", advice if needed else "")


def gathered_findings(role: Role, needed: bool) -> Iterator[Finding]:
    """The findings on the coordinator's file of keys, where a run wants masks."""
    if not needed:
        return
    path = role.folder / FILE
    advice = "everymode deploy peers ., and send it to every site"
    try:
        there = read_keys(path)
    except DataError:
        yield Finding(FILE, "is missing, or damaged", advice)
        return
    old = []
    for site in role.sites:
        registered = role.folder / "keys" / f"{site}.pub"
        if not registered.exists() or there.get(site) != key_line(registered):
            old.append(site)
    if old:
        found = f"without the registered key of {', '.join(map(repr, old))}"
        yield Finding(FILE, found, advice)
    else:
        yield Finding(FILE, f"the keys of {len(there)} sites")


def _peer(path: Path, site: str) -> tuple[Finding, str]:
    """The finding on one site's key, and the key as a line; "" where it is none."""
    what = f"key of {site}"
    try:
        line = public_line(parse_public_key(path.read_bytes()))
    except (OSError, ValueError):
        return Finding(what, f"{path} is no public key", "everymode deploy peers"), ""
    mode = path.stat().st_mode
    if os.name != "nt" and mode & 0o022:
        found = f"others may change it (mode {stat.S_IMODE(mode):o})"
        return Finding(what, found, f"chmod 644 {path}"), line
    return Finding(what, shown(line)), line


def _twice(role: Role, lines: Mapping[str, str]) -> Iterator[Finding]:
    """Keys that two sites share: who has one poses as the other."""
    seen: dict[str, str] = {}
    own = role.folder / keys.PUBLIC
    if own.exists() and (line := key_line(own)):
        seen[line] = str(role.site)
    for site, line in lines.items():
        if (other := seen.setdefault(line, site)) != site:
            advice = "ask both sites: each has a key of its own, and whoever has both is one party"
            yield Finding(f"key of {site}", f"is that of '{other}'", advice)
