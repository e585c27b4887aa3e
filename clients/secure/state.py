"""What a site keeps of secure summation on its disk, for its user only.

A session is a folder `secure/SESSION` in the site's workspace, and an attempt a file in it, from
the time its secrets are drawn until they are opened. The file is gone after that, so that no mask
can be used or opened twice; a real site's files are on the disk before an answer leaves.

A session's folder goes when the server says that the run is over; when another session of the same
run begins, because the server was started anew; or after a week in which nobody asked. One that may
still be needed stays: two runs of one name can be on at a time, so a session goes by another's
beginning only after an hour of rest. With the folder go the secrets, so that what was masked with
them can neither be masked again nor be opened.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from everymode.clients.gate.ledger import open_ledger
from everymode.clients.protocol.refusal import IDENTITY, RefusedError
from everymode.clients.secure.steps import SITE_LIST, SiteList, holders
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, remove_tree, write_json
from everymode.wgan.portable import lock

FOLDER, SESSION, SURVIVORS = "secure", "session.json", "survivors.txt"

RESTED, ABANDONED = 3600.0, 7 * 24 * 3600.0
"""Seconds without a question after which a session goes: of a run that has another, of any run."""


@dataclass(frozen=True)
class Session:
    """A site's part of a session.

    Attributes:
        name: 16 hexadecimal digits.
        run: The run's name.
        channel: The private key under which shares come.
        site_list: All sites, once their signatures were checked; None: not yet.
        scope: The digest of the list of sites.
        neighbours: Of every site.
    """

    name: str
    run: str
    channel: bytes
    site_list: SiteList | None = None
    scope: str = ""
    neighbours: dict[str, tuple[str, ...]] | None = None

    def agreed(self, site: Site) -> tuple[SiteList, tuple[str, ...]]:
        """The list of sites and who holds shares of the site's secrets.

        Raises:
            RefusedError: There is no list of sites yet.
        """
        if self.site_list is None or self.neighbours is None:
            raise RefusedError(f"session {self.name} has no list of sites yet")
        return self.site_list, holders(site.name, self.neighbours)

    def with_site_list(self, site_list: SiteList) -> "Session":
        """The same with a list of sites."""
        scope = site_list.digest(self.run, self.name)
        return replace(
            self, site_list=site_list, scope=scope, neighbours=site_list.neighbourhood(scope)
        )


@dataclass(frozen=True)
class Attempt:
    """The secrets of one attempt at a question.

    Attributes:
        mask: The private key of the masks in common with neighbours.
        self_seed: The seed of the site's own mask.
        question: Digest of the question that they masked; "": none yet.
        active: The sites that were asked it.
    """

    mask: bytes
    self_seed: bytes
    question: str = ""
    active: tuple[str, ...] = ()


def keep_session(site: Site, session: Session) -> None:
    """Writes a session down."""
    site_list = None if session.site_list is None else asdict(session.site_list)
    value = {"run": session.run, "channel": session.channel.hex(), "site_list": site_list}
    write_json(_folder(site, session.name) / SESSION, value, site.durable, private=True)


def find_session(site: Site, name: str) -> Session:
    """A session that was begun at this site.

    Raises:
        RefusedError: None of this name was.
    """
    path = _folder(site, name) / SESSION
    if not path.exists():
        raise RefusedError(f"session {name} of secure summation was never begun at this site")
    value = read_json(path)
    session = Session(name, value["run"], bytes.fromhex(value["channel"]))
    if value["site_list"] is None:
        return session
    return session.with_site_list(SITE_LIST.validate_python(value["site_list"]))


def has_session(site: Site, name: str) -> bool:
    """Whether a session of this name was begun at this site."""
    return _folder(site, name).exists()


def forget_session(site: Site, name: str) -> None:
    """Removes all that is kept of a session."""
    remove_tree(_folder(site, name))


def forget_old_sessions(site: Site, run: str) -> None:
    """Removes sessions that are not needed any longer, as another one of `run` begins."""
    now = time.time()
    for folder in sorted((site.workspace / FOLDER).glob("*/")):
        try:
            # Every question writes and removes a file in it.
            rested = now - folder.stat().st_mtime
        except FileNotFoundError:
            continue
        if not IDENTITY.fullmatch(folder.name) or rested < RESTED:
            continue
        if rested >= ABANDONED or _run(folder) == run:
            remove_tree(folder)


def _run(folder: Path) -> str:
    """Whose session a folder keeps; "" where it does not say."""
    try:
        return str(read_json(folder / SESSION)["run"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def keep_attempt(site: Site, session: str, name: str, attempt: Attempt) -> None:
    """Writes an attempt down."""
    value: dict[str, Any] = {
        "mask": attempt.mask.hex(),
        "self_seed": attempt.self_seed.hex(),
        "question": attempt.question,
        "active": list(attempt.active),
    }
    write_json(_folder(site, session) / f"{name}.json", value, site.durable, private=True)


def has_attempt(site: Site, session: str, name: str) -> bool:
    """Whether an attempt's secrets have been drawn and not been opened."""
    return (_folder(site, session) / f"{name}.json").exists()


def find_attempt(site: Site, session: str, name: str) -> Attempt:
    """An attempt whose secrets are there.

    Raises:
        RefusedError: They were opened already, or never drawn.
    """
    if not has_attempt(site, session, name):
        raise RefusedError(
            f"attempt {name}: its masks were opened already, or never made; a mask is used once, "
            "so ask with a new attempt"
        )
    value = read_json(_folder(site, session) / f"{name}.json")
    return Attempt(
        bytes.fromhex(value["mask"]),
        bytes.fromhex(value["self_seed"]),
        value["question"],
        tuple(value["active"]),
    )


def forget_attempt(site: Site, session: str, name: str) -> None:
    """Removes the secrets of an attempt."""
    (_folder(site, session) / f"{name}.json").unlink(missing_ok=True)


def enter_survivors(site: Site, question: str, survivors: Iterable[str]) -> None:
    """Writes down over which sites a question's sum is opened, unless that stands there.

    Raises:
        RefusedError: It was opened over other sites before: the difference would be that of few.
        StateError: The disk does not take it.
    """
    path = site.workspace / FOLDER / SURVIVORS
    told = hashlib.sha256("\0".join(sorted(survivors)).encode()).hexdigest()
    handle = open_ledger(path)
    try:
        lock(handle)
        content = os.pread(handle, os.fstat(handle).st_size, 0).decode("ascii", "replace")
        found = content.find(f"{question} ")
        if found >= 0:
            if content[found:].split(maxsplit=2)[1] != told:
                raise RefusedError(
                    "the sum of this question has been opened over other sites, and the "
                    "difference of the two would be the sum of a few; ask the same sites"
                )
            return
        line = f"{question} {told}\n".encode()
        if os.write(handle, line) != len(line):
            raise StateError(f"{path}: the disk is full; free space at the site")
        if site.durable:
            os.fsync(handle)
    finally:
        os.close(handle)


def _folder(site: Site, session: str) -> Path:
    return site.workspace / FOLDER / session
