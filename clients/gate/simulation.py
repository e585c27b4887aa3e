"""Which folders of this machine a simulated node may serve: those that a simulation marked.

In a simulation the message says where sites lie. A node on a real site's machine must not follow
that, so a simulation leaves a file with a random token in its own folder, and says folder and token
in each message. What is served is named in that file, never in the message. Only who may write and
read files of the node's own user can make or know one.
"""

import hmac
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.site import Site, sites_in
from everymode.wgan.files import write_json
from everymode.wgan.portable import NOFOLLOW, NONBLOCK, user

MARKER = "simulation.json"

LARGEST = 65_536
"""Bytes of a marker at most: it is read before it is trusted."""


def mark(folder: Path, tables: Path, workspace: Path, floor: int) -> SimulationPaths:
    """Marks tables as sites of a simulation; only the user who runs it can read the marker.

    Args:
        folder: The simulation's own folder. It is made where it does not exist.
        tables: The folder with one table a site; it may be the user's own.
        workspace: Under it, each site's own folder.
        floor: Of each site; see `everymode.clients.gate.floor`.
    """
    token = secrets.token_hex(32)
    content = {
        "token": token,
        "tables": str(tables.resolve()),
        "workspace": str(workspace.resolve()),
        "floor": floor,
    }
    write_json(folder / MARKER, content, durable=False, private=True)
    return SimulationPaths(str(folder.resolve()), token)


def simulated(simulation_paths: SimulationPaths) -> dict[str, Site]:
    """The sites of a marked simulation, by name.

    Raises:
        RefusedError: There is no marker of this user's, or it holds another token.
        DataError: The folder of tables is gone.
    """
    content = _read(Path(simulation_paths.folder) / MARKER)
    if not (
        isinstance(content, dict)
        and isinstance(content.get("token"), str)
        and hmac.compare_digest(content["token"].encode(), simulation_paths.token.encode())
    ):
        raise RefusedError(
            "the request names a folder that no simulation of this user marked as its own"
        )
    tables, workspace = Path(content["tables"]), Path(content["workspace"])
    sites = sites_in(tables, workspace, int(content["floor"]), simulated=True)
    return {site.name: site for site in sites}


def _read(path: Path) -> Any:
    """A marker's content; None where there is none that this user alone could have written."""
    try:
        handle = os.open(path, os.O_RDONLY | NOFOLLOW | NONBLOCK)
    except (OSError, ValueError):
        return None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        own = found.st_uid == user() and not stat.S_IMODE(found.st_mode) & 0o077
        if not (stat.S_ISREG(found.st_mode) and own):
            return None
        try:
            return json.loads(file.read(LARGEST))
        except ValueError:
            return None
