"""A lock on a folder: one process at a time works in it.

The kernel holds it (`flock`), so it is free again whatever the process died of; a file that a
killed process left behind locks nothing. Child processes do not inherit it.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from everymode.wgan.errors import StateError
from everymode.wgan.files import is_temporary, make_folder

LOCK = ".everymode-lock"
"""The file in a folder that is locked."""

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

_TRIES = 20
_PAUSE = 0.005
"""Seconds between tries: who looks whether a folder is in use locks it for an instant."""


class InUseError(StateError):
    """Another process works in the folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; makes it, and those above it, where they are missing.

    On leaving, folders that were made here go again if nothing was put into them.

    Raises:
        InUseError: Another process holds it; who, and since when.
        StateError: The folder cannot be made or locked.
    """
    made: list[Path] = []
    try:
        descriptor = _acquired(folder, made)
    except StateError:
        raise
    except OSError as error:
        raise StateError(
            f"{folder}: cannot be made and locked: {error.strerror or error}; name a folder that "
            "you may write to, on a file system with locks"
        ) from error
    try:
        yield
    finally:
        # Still locked, so that nobody takes the file just before it goes.
        with contextlib.suppress(OSError):
            if _is(descriptor, folder / LOCK):
                os.unlink(folder / LOCK)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def in_use(folder: Path) -> bool:
    """Whether a living process holds a folder."""
    try:
        descriptor = os.open(folder / LOCK, _FLAGS)
    except FileNotFoundError:
        return False
    except OSError:
        # Somebody else's: not ours to judge.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_own(name: str) -> bool:
    """Whether a file is a lock, or one that a killed process was writing: nothing of a user's."""
    return name == LOCK or is_temporary(name)


def _acquired(folder: Path, made: list[Path]) -> int:
    tries = 0
    while True:
        made += make_folder(folder)
        try:
            descriptor = os.open(folder / LOCK, _FLAGS | os.O_CREAT, 0o600)
        except FileNotFoundError:
            # Who held the folder has just removed it.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, folder / LOCK):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _signature())
                return descriptor
            # Who held it has just removed the file: there is another one, or none.
            os.close(descriptor)
        except BlockingIOError:
            holder, advice = _holder(descriptor)
            os.close(descriptor)
            tries += 1
            if tries == _TRIES:
                raise InUseError(
                    f"{folder}: is in use by {holder}. Nothing was changed there; {advice}. A new "
                    "run can go to another folder with --out"
                ) from None
            time.sleep(_PAUSE)
        except OSError:
            os.close(descriptor)
            raise


def _is(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _signature() -> bytes:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    return json.dumps(who).encode()


def _holder(descriptor: int) -> tuple[str, str]:
    """Who holds the lock, and what to do about it."""
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        pid, host = int(who["pid"]), str(who["host"])
        if host != socket.gethostname():
            return f"process {pid} on {host} since {who['since']}", "wait until that has ended"
        return (
            f"process {pid} since {who['since']}",
            f"wait until that has ended, or stop it with: kill {pid}",
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process, which has just begun", "wait until that has ended"
