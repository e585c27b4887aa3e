"""The public keys of the other sites, by which a site knows with whom it masks (`clients/secure`).

The coordinator gathers them in one file, as sites are registered, and sends it to every site. That
file proves nothing: whoever hands out keys can hand out their own, and then reads what the masks
hide. So the administrators of two sites compare fingerprints with one another, by telephone, and
not with the coordinator.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from everymode.clients.secure.public_keys import fingerprint, parse_public_key, public_line
from everymode.server.deployment import keys
from everymode.server.deployment.address import check_sites
from everymode.server.deployment.kit import PEERS, Role
from everymode.wgan.errors import DataError, SettingsError, StateError
from everymode.wgan.files import make_folder, write_bytes
from everymode.wgan.words import brief

FILE: Final = "peers.txt"
"""The coordinator's file, a line `SITE TYPE KEY` for each site."""

LONGEST: Final = 1 << 20
"""Most bytes of such a file."""


def gather_keys(role: Role) -> tuple[Path, list[str]]:
    """Writes the keys of registered sites into one file, at the coordinator.

    Returns:
        The file, and the sites whose keys are missing.

    Raises:
        DataError: What lies in `keys` is no public key; all of them.
        StateError: No key is there.
    """
    found, missing, problems = {}, [], []
    for site in role.sites:
        path = role.folder / "keys" / f"{site}.pub"
        try:
            found[site] = public_line(parse_public_key(path.read_bytes()))
        except FileNotFoundError:
            missing.append(site)
        except (OSError, ValueError):
            problems.append(f"{path}: no public key in OpenSSH's format; ask the site again")
    if problems:
        raise DataError(problems)
    if not found:
        raise StateError(f"{role.folder / 'keys'}: holds no site's key yet; see register.sh")
    path = role.folder / FILE
    write_bytes(path, _text(found))
    return path, missing


def take_keys(role: Role, source: Path, replace: bool = False) -> dict[str, str]:
    """Puts the keys of the coordinator's file into a site's folder `peers`.

    Args:
        role: The site's folder.
        source: The coordinator's file.
        replace: Whether a key that is there may give way to another.

    Returns:
        The fingerprint of each other site, for its administrator to confirm.

    Raises:
        DataError: The file cannot be used, or has another key of this site.
        StateError: A key that is there is another; it is named, and nothing is changed.
    """
    given = read_keys(source)
    own, mine = role.folder / keys.PUBLIC, given.pop(str(role.site), None)
    if mine is not None and own.exists() and key_line(own) != mine:
        raise DataError(
            f"{source}: has another key of '{role.site}' than {own}; have the coordinator register "
            "that one, and ask how the other came there"
        )
    problems = []
    for site, line in given.items():
        path = role.folder / PEERS / f"{site}.pub"
        if path.exists() and key_line(path) != line and not replace:
            problems.append(
                f"{path}: is another key than {source} has ({shown(line)}). Ask that site, not "
                "the coordinator, whether it made a new key; then --replace"
            )
    if problems:
        raise StateError(problems)
    make_folder(role.folder / PEERS)
    for site, line in given.items():
        write_bytes(role.folder / PEERS / f"{site}.pub", f"{line} {site}\n".encode())
    return {site: shown(line) for site, line in given.items()}


def read_keys(path: Path) -> dict[str, str]:
    """The keys of a coordinator's file, by site.

    Raises:
        DataError: What is wrong with it, all at once.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or "it is no text"
        raise DataError(f"{path}: cannot be read ({reason})") from None
    if len(content) > LONGEST:
        raise DataError(f"{path}: more than {LONGEST:,} bytes, so it is no file of keys")
    found: dict[str, str] = {}
    problems = []
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.startswith("#"):
            continue
        site, _, key = row.partition(" ")
        try:
            check_sites([site])
            line = public_line(parse_public_key(key.encode()))
        except SettingsError:
            problems.append(f"{path}: line {number}: '{brief(site)}' cannot name a site")
            continue
        except ValueError:
            problems.append(f"{path}: line {number}: expected SITE and its key in OpenSSH's format")
            continue
        if found.setdefault(site, line) != line:
            problems.append(f"{path}: line {number}: a second key of '{site}'")
    if not found and not problems:
        problems.append(f"{path}: holds no key")
    if problems:
        raise DataError(problems)
    return found


def _text(found: Mapping[str, str]) -> bytes:
    head = (
        "# Public keys of the sites, for everymode deploy peers at each of them. Compare "
        "fingerprints with the\n# sites themselves: this file proves nothing.\n"
    )
    return (head + "".join(f"{site} {line}\n" for site, line in found.items())).encode()


def key_line(path: Path) -> str:
    """The key in a file as a line; "" where it is none."""
    try:
        return public_line(parse_public_key(path.read_bytes()))
    except (OSError, ValueError):
        return ""


def shown(line: str) -> str:
    """The fingerprint of a key."""
    return fingerprint(parse_public_key(line.encode()))
