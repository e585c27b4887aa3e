"""Where systems differ: locks, flags of `os.open`, owners of files, folders for sockets.

On Linux and macOS locks are `flock`'s. Windows has none that are shared, and a region that is
locked there cannot be read by others: so one byte is locked that lies behind any content.
"""

import os
import sys
import tempfile

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Refuses to open a link, where the system can."""

PRIVATE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_BINARY", 0)
"""Keeps the descriptor from child processes, and bytes as they are."""

NONBLOCK = getattr(os, "O_NONBLOCK", 0)

DIRECTORY = getattr(os, "O_DIRECTORY", 0)

LONGEST = 23
"""Characters of a folder in which Ray's fit: its sockets' names, 80 more, may have 103 on macOS."""

if sys.platform == "win32":
    import msvcrt

    _BEHIND = 1 << 30

    def _lock(descriptor: int, shared: bool, wait: bool) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            while True:
                os.lseek(descriptor, _BEHIND, os.SEEK_SET)
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                    return
                except OSError as error:
                    # LK_LOCK itself gives up after ten seconds.
                    if not wait:
                        raise BlockingIOError(*error.args) from None
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)

    def _user() -> int:
        return 0

else:
    import fcntl

    def _lock(descriptor: int, shared: bool, wait: bool) -> None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)

    def _user() -> int:
        return os.geteuid()


def lock(descriptor: int, shared: bool = False, wait: bool = True) -> None:
    """Locks an open file until it is closed.

    Args:
        descriptor: The file.
        shared: Whether others may hold it too, as long as they share it.
        wait: Whether to wait for those who hold it.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The file system has no locks.
    """
    _lock(descriptor, shared, wait)


def user() -> int:
    """The owner of files that this process makes, as `os.stat` numbers it."""
    return _user()


def folder_for_sockets() -> str:
    """Where folders for Ray's session files are made: the usual place, or `/tmp` if it is deep."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return usual if len(usual) <= LONGEST else "/tmp"


def read_from_start(descriptor: int, size: int) -> bytes:
    """The first bytes of an open file; where it is read from next does not change."""
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, size)
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)
