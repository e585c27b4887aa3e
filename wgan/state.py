"""State on disk: named tensors as safetensors.

Every file carries a digest of all its bytes, so that damage is said and never trained on.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from everymode.wgan.errors import DamagedError, StateError
from everymode.wgan.files import parse_json, write_bytes

_BLANK = "0" * 64
"""Stands where the digest goes while it is taken."""

_HEADER = "everymode"
"""The one entry of a safetensors header that is ours."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> None:
    """Writes named tensors whole, as safetensors, with `meta` and a digest in the header.

    The digest is that of the whole file, header too, with zeros in its own place. All goes in as
    one JSON text: several entries would be written in no fixed order, and equal states would make
    unequal files.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"digest": _BLANK, "meta": dict(meta)}, sort_keys=True)
    blank = save(content, metadata={_HEADER: header})
    write_bytes(path, _with_digest(blank, _BLANK, hashlib.sha256(blank).hexdigest()))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads named tensors and the header's `meta`.

    Raises:
        StateError: The file is missing.
        DamagedError: It is cut short, of another format, or any bit of it is not as `write_tensors`
            left it.
    """
    try:
        content = path.read_bytes()
        # `load` checks the header, so that what follows may trust it.
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        text = (parse_json(content[8 : 8 + size]).get("__metadata__") or {}).get(_HEADER)
        own = None if text is None else parse_json(text.encode())
    except FileNotFoundError:
        raise StateError(f"{path} is missing: has the run written a checkpoint yet?") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise DamagedError(f"cannot read {path}: it is damaged or no safetensors file") from error
    digest = own.get("digest") if isinstance(own, dict) else None
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise DamagedError(
            f"cannot read {path}: its header lacks a digest, so it is damaged or was not written "
            "by this version of EveryMode"
        )
    blank = _with_digest(content, digest, _BLANK)
    meta = own.get("meta") if isinstance(own, dict) else None
    if hashlib.sha256(blank).hexdigest() != digest:
        raise DamagedError(
            f"cannot read {path}: it is damaged: its content does not match the digest in its "
            "header"
        )
    if not isinstance(meta, dict):
        raise DamagedError(f"cannot read {path}: it is damaged: its header is not that of a state")
    return tensors, {str(key): str(value) for key, value in meta.items()}


def _with_digest(content: bytes, old: str, new: str) -> bytes:
    # The first of two equal texts is always the header's: tensors come behind it.
    return content.replace(old.encode(), new.encode(), 1)
