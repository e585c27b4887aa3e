"""State on disk: named tensors in safetensors, plain values in JSON, every file written whole.

A file is written under a temporary name, flushed to the disk, then renamed: a crash leaves the old
file or the new one, never half of one.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from wgan.errors import StateError
from wgan.words import json_text


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a temporary file beside `path`, then renames it to `path`.

    Raises:
        StateError: The disk refused (full, read-only); `path` is as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unique = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        # Unlike mkstemp, this leaves to the user's umask who may read the result.
        os.close(os.open(unique, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = unique
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror or error}; nothing was changed there. "
            "Free space or choose another folder with --out."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes whole."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_whole(path, write)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole; values that are not finite are refused, what is not seen is escaped."""
    write_bytes(path, (json_text(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        StateError: The file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(f"{path} is missing: is {path.parent} a run directory?") from None
    except (OSError, ValueError) as error:
        raise StateError(f"cannot read {path}: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> None:
    """Writes named tensors whole, as safetensors, with `meta` in the header.

    `meta` goes in as one JSON text: several entries would be written in no fixed order, and equal
    states would make unequal files.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"everymode": json.dumps(dict(meta), sort_keys=True)}
    write_bytes(path, save(content, metadata=header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads named tensors and the header's `meta`.

    Raises:
        StateError: The file is missing, cut short or of another format.
    """
    try:
        content = path.read_bytes()
        # `load` checks the header, so that what follows may trust it.
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
        meta = json.loads(header.get("everymode", "{}"))
        return tensors, meta
    except FileNotFoundError:
        raise StateError(f"{path} is missing: has the run written a checkpoint yet?") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise StateError(f"cannot read {path}: it is damaged or no safetensors file") from error
