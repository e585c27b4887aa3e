"""A site that joins a deployment: a folder for it, and its name at the coordinator."""

import os
from pathlib import Path

from everymode.server.deployment.address import COORDINATOR, check_sites
from everymode.server.deployment.kit import ROLE, Kit, fill_site, read_role, write_members
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.files import remove_tree, temporary_beside


def add_site(folder: Path, site: str) -> Path:
    """Writes the folder of a site that joins, beside the coordinator's.

    Of the coordinator's folder `register.sh` and `kit.json` learn its name; certificates, keys,
    `config.toml` and all else stay as they are. Neither `ca.key` nor the other sites are needed.

    Args:
        folder: The kit, or the coordinator's folder on its machine.
        site: The site's name.

    Returns:
        The site's folder, without a secret.

    Raises:
        SettingsError: The name is none, or that of a site that is there.
        StateError: It is no kit, the site's folder exists, or the disk refused.
    """
    folder = Path(folder).absolute()
    coordinator = folder / COORDINATOR if (folder / COORDINATOR / ROLE).is_file() else folder
    role = read_role(coordinator)
    if role.site is not None:
        raise StateError(f"{folder}: is a site's; name the kit or the coordinator's folder")
    if site in role.sites:
        raise SettingsError(f"--site: '{site}' is in this kit already; name the new site otherwise")
    try:
        names = check_sites([*role.sites, site])
    except SettingsError as error:
        raise SettingsError([p.replace("--sites:", "--site:", 1) for p in error.problems]) from None
    kit = Kit(role.server, names, place=role.place, link_port=role.inner)
    own = coordinator.parent / site
    if own.exists() or own.is_symlink():
        raise StateError(f"{own}: exists; move it away, or name the site otherwise")
    unfinished = temporary_beside(own)
    try:
        authority = (coordinator / "ca.crt").read_bytes()
        fill_site(unfinished, kit, site, authority)
        write_members(coordinator, kit, authority)
        os.rename(unfinished, own)
    except (OSError, ValueError) as error:
        if unfinished.exists():
            remove_tree(unfinished)
        if isinstance(error, StateError):
            raise
        raise StateError(f"cannot add '{site}' to {coordinator}: {error}") from error
    return own
