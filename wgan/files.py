"""Files written whole, and plain values as JSON in them.

`write_whole` is the one way to write a file: under a temporary name, flushed to the disk, then
renamed. A crash leaves the old file or the new one, never half of one.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from everymode.wgan.errors import StateError
from everymode.wgan.portable import DIRECTORY, NOFOLLOW, PRIVATE
from everymode.wgan.words import json_text

_TEMPORARY = re.compile(r"\.everymode-[0-9a-f]{16}\.part")

_TRIES = 10


def temporary_beside(path: Path) -> Path:
    """A name that nobody can foresee, in the folder of `path`.

    Of one length whatever `path` is called: a long name stays within what file systems allow.
    """
    return path.with_name(f".everymode-{secrets.token_hex(8)}.part")


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed process was writing."""
    return _TEMPORARY.fullmatch(name) is not None


def make_folder(path: Path, private: bool = False) -> list[Path]:
    """Makes a folder and those above it.

    Args:
        path: The folder.
        private: Whether only its owner may enter those that are made, whatever the umask says.

    Returns:
        The folders that were made, innermost first.
    """
    lacking = [p for p in (path, *path.parents) if not p.exists()]
    made: list[Path] = []
    for folder in reversed(lacking):
        # Another process may make the same folder at the same time.
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700 if private else 0o777)
            made.insert(0, folder)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return made


def write_whole(
    path: Path, write: Callable[[BinaryIO], object], durable: bool = True, private: bool = False
) -> None:
    """Has `write` fill a temporary file beside `path`, then renames it to `path`.

    A file that is replaced hands its permissions on; a link is replaced, not followed.

    Args:
        path: The file.
        write: Writes to an open file.
        durable: Whether to wait until the disk has it, which takes milliseconds a file; not needed
            for what is made anew after a crash.
        private: Whether only its owner may read it, and enter the folders made for it.

    Raises:
        StateError: The disk refused (full, read-only); `path` is as it was.
    """
    temporary: Path | None = None
    try:
        made = make_folder(path.parent, private)
        unique = temporary_beside(path)
        # Unlike mkstemp, this leaves to the user's umask who may read the result.
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | NOFOLLOW | PRIVATE
        descriptor = os.open(unique, flags, 0o600 if private else 0o666)
        temporary = unique
        with os.fdopen(descriptor, "wb") as file:
            kept = None if private else _mode(path)
            if kept is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, kept)
            write(file)
            file.flush()
            if durable:
                os.fsync(descriptor)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror or error}; nothing was changed there. "
            "Free space or choose another folder with --out."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    if durable:
        for folder in (path.parent, *(p.parent for p in made)):
            _flush_folder(folder)


def append(path: Path, content: bytes) -> None:
    """Adds bytes to the end of a file, not through a link; a crash may cut them short.

    Raises:
        OSError: The disk refused.
    """
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | NOFOLLOW | PRIVATE
    with os.fdopen(os.open(path, flags, 0o666), "ab") as file:
        file.write(content)


def flush(path: Path) -> None:
    """Waits until the disk has what was appended to a file.

    Raises:
        OSError: The disk refused.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_tree(path: Path) -> None:
    """Removes a folder and all in it; of a link only the link goes.

    Raises:
        StateError: Something stays.
    """
    for left in reversed(range(_TRIES)):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError as error:
            # Where others remove or write at the same time, what is left is looked at again.
            if left and error.errno in (errno.ENOENT, errno.ENOTEMPTY):
                continue
            where = error.filename or path
            raise StateError(
                f"cannot remove {where}: {error.strerror or error}; remove {path} by hand"
            ) from error


def write_bytes(path: Path, content: bytes, durable: bool = True, private: bool = False) -> None:
    """Writes bytes whole; see `write_whole`."""
    write_whole(path, lambda file: file.write(content), durable, private)


def write_json(path: Path, value: Any, durable: bool = True, private: bool = False) -> None:
    """Writes JSON whole; values that are not finite are refused, what is not seen is escaped."""
    write_bytes(path, (json_text(value, indent=2) + "\n").encode(), durable, private)


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        StateError: The file is missing or no JSON.
    """
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise StateError(f"{path} is missing: is {path.parent} a run directory?") from None
    except (OSError, ValueError) as error:
        raise StateError(f"cannot read {path}: {error}") from error


def parse_json(content: bytes) -> Any:
    """Strict JSON in UTF-8.

    Raises:
        ValueError: It is none, nests too deeply, or holds NaN or infinity.
    """
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def compute_digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of a plain value's one canonical JSON text.

    >>> compute_digest({"a": 1, "b": 2}) == compute_digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _mode(path: Path) -> int | None:
    """Permissions of a file that is there; None where there is none, or a link."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) & 0o777 if stat.S_ISREG(found.st_mode) else None


def _flush_folder(folder: Path) -> None:
    # Some file systems cannot: the file is in its place all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | DIRECTORY | PRIVATE)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number")
