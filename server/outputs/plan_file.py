"""`schema.json`: what server and sites agreed on, and the settings that it was agreed under."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from everymode.clients.protocol.messages import EncodeData
from everymode.server.config.settings import Settings, decisive, differing
from everymode.wgan.errors import StateError
from everymode.wgan.files import compute_digest, read_json, write_json
from everymode.wgan.recipe import Recipe

VERSION = 2

_CODEC = TypeAdapter(EncodeData)

_FIELDS = tuple(field.name for field in fields(EncodeData) if field.name != "order")

_ADDED = ("form", "noised")
"""Those that run directories of earlier states do not have."""

_MEND = "put it back as it was, or start a new run"


def save_plan(
    path: Path,
    order: EncodeData,
    rows: int,
    settings: Settings,
    changed: Sequence[str] = (),
) -> None:
    """Writes the order, all of whose content was read from sums, and the settings.

    The recipe is written as an object, for people.

    Args:
        path: The file.
        order: Everything a site must know for training.
        rows: Rows of all sites.
        settings: The configuration.
        changed: What was read as something else, in sentences.
    """
    plain = _CODEC.dump_python(order, mode="json")
    value = {
        "version": VERSION,
        "rows": rows,
        **{name: plain[name] for name in _FIELDS if name != "noised" or plain[name]},
        "recipe": json.loads(order.recipe),
        "settings": decisive(settings),
        "changed": list(changed),
    }
    write_json(path, value | {"digest": compute_digest(value)})


def load_plan(path: Path) -> tuple[EncodeData, int, Mapping[str, Any]]:
    """Reads the order, the number of real rows, and the settings that decide a result.

    Raises:
        StateError: It is missing, of another version, or not as `save_plan` left it.
    """
    value = read_json(path)
    if not isinstance(value, dict) or "version" not in value:
        raise StateError(f"{path}: is no plan: it has no 'version'; {_MEND}")
    if value["version"] != VERSION:
        raise StateError(
            f"{path}: has version {value['version']}, and this EveryMode reads version {VERSION}; "
            "go on with the EveryMode that wrote it, or start a new run"
        )
    try:
        plain = {name: value[name] for name in _FIELDS if name in value or name not in _ADDED}
        # In the spelling that the plan's fingerprint was taken of.
        plain["recipe"] = Recipe.from_json(json.dumps(plain["recipe"])).to_json()
        order = _CODEC.validate_python(plain)
        rows, settings, digest = int(value["rows"]), dict(value["settings"]), value.pop("digest")
    except StateError as error:
        raise StateError(f"{path}: {error}; {_MEND}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = " ".join(str(error).split())
        raise StateError(f"{path}: not a plan of this version ({what}); {_MEND}") from None
    if compute_digest(value) != digest:
        raise StateError(f"{path}: was changed since the run wrote it; {_MEND}")
    return order, rows, settings


def load_changed(path: Path) -> tuple[str, ...]:
    """What was read as something else when server and sites agreed; nothing where none is said."""
    value = read_json(path)
    return tuple(value.get("changed", ())) if isinstance(value, dict) else ()


def check_settings(path: Path, config: Path, settings: Settings) -> None:
    """Refuses to go on with a plan under settings that would give another result.

    Args:
        path: The plan's file.
        config: Where the settings are from, for messages.
        settings: The configuration as it is now.

    Raises:
        StateError: Keys differ; all of them, with both values.
    """
    _, _, before = load_plan(path)
    if changed := differing(before, decisive(settings)):
        raise StateError(
            f"{config}: was changed since the run began, and would change its result: "
            f"{'; '.join(changed)} ('there' is {path.name}). Put it back as it was, or start a "
            "new run"
        )
