"""What killed runs leave behind: private rows of simulated sites, and session files of Ray.

Such folders carry a mark, and their owner holds a lock while it lives. A marked folder that nobody
holds is a leftover.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from everymode.server.outputs.locks import in_use, locked
from everymode.wgan.errors import StateError
from everymode.wgan.files import remove_tree, write_bytes
from everymode.wgan.portable import folder_for_sockets, user

MARK = ".everymode-folder"
"""The file that says that a folder, with all in it, is ours to remove."""

SITES = "sites"
"""The folder in a run directory with the simulated sites' disks."""

_PREFIX = "em-"


@dataclass(frozen=True)
class Leftover:
    """A folder of a run that was killed.

    Attributes:
        path: The folder.
        holder: Where its owner's lock was: the run directory, or the folder itself.
        size: Bytes in it.
    """

    path: Path
    holder: Path
    size: int

    def __str__(self) -> str:
        """The folder and its size."""
        return f"{self.path} ({self.size / 1e6:.1f} MB)"

    def remove(self) -> None:
        """Removes the folder; links in it are not followed.

        Raises:
            InUseError: Somebody works there by now.
            StateError: Something stays.
        """
        with locked(self.holder):
            if _marked(self.path):
                remove_tree(self.path)


class Scratch:
    """A folder among the temporary ones, for this process only.

    Attributes:
        path: The folder; a short name, for Ray puts sockets there, whose names may have 107 bytes.
    """

    def __init__(self, base: str | None = None) -> None:
        """Makes the folder in `base`; None: in the system's temporary folder."""
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(locked(self.path))
        # Only now: a mark without a lock would be a leftover.
        write_mark(self.path)

    def __enter__(self) -> Path:
        """The folder, for a block: private copies of rows, which `clean` finds after a kill."""
        return self.path

    def __exit__(self, *exception: object) -> None:
        """Removes it."""
        self.close()

    def close(self) -> None:
        """Removes it; what cannot be removed is found by the next run."""
        try:
            remove_tree(self.path)
        except StateError:
            with contextlib.suppress(StateError):
                write_mark(self.path)
        self._lock.close()


def write_mark(folder: Path) -> None:
    """Marks a folder as ours."""
    write_bytes(folder / MARK, b"made by EveryMode, to be removed\n", durable=False, private=True)


def leftovers(folder: Path, depth: int = 1) -> list[Leftover]:
    """Leftovers of runs in a folder, and those in the system's temporary folder.

    Args:
        folder: A run directory, or a folder of them.
        depth: How far below it run directories are looked for.
    """
    found = [Leftover(run / SITES, run, 0) for run in _folders(folder, depth)]
    with contextlib.suppress(OSError):
        places = {tempfile.gettempdir(), folder_for_sockets()}
        scratch = sorted(path for place in places for path in Path(place).glob(f"{_PREFIX}*"))
        found += [Leftover(path, path, 0) for path in scratch]
    return [
        Leftover(left.path, left.holder, _size(left.path))
        for left in found
        if _marked(left.path) and not in_use(left.holder)
    ]


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it, without following links."""
    yield folder
    if depth:
        with contextlib.suppress(OSError):
            inner = [Path(e.path) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)]
            for path in sorted(inner):
                yield from _folders(path, depth - 1)


def _marked(folder: Path) -> bool:
    """Whether it is a folder of this user, no link, with the mark in it."""
    try:
        own, mark = folder.lstat(), (folder / MARK).lstat()
    except OSError:
        return False
    ours = own.st_uid == mark.st_uid == user()
    return ours and stat.S_ISDIR(own.st_mode) and stat.S_ISREG(mark.st_mode)


def _size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total
