"""`schema.json`: what server and sites agreed on, and the settings that it was agreed under."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clients.protocol.messages import EncodeData
from server.config.settings import Settings, decisive, differing
from wgan.errors import StateError
from wgan.recipe import Recipe
from wgan.state import digest_of, read_json, write_json

VERSION = 2

_MEND = "put it back as it was, or start a new run"


def save_plan(path: Path, order: EncodeData, rows: int, settings: Settings) -> None:
    """Writes schema, conditions, masses and recipe, all read from sums, and the settings.

    Args:
        path: The file.
        order: What sites are told before training.
        rows: Rows of all sites.
        settings: The configuration.
    """
    value = {
        "version": VERSION,
        "rows": rows,
        "schema": order.schema,
        "conditions": order.conditions,
        "mass": list(order.mass),
        "recipe": json.loads(order.recipe),
        "seed": order.seed,
        "matching": order.matching,
        "marginals": order.marginals,
        "missing": list(order.missing),
        "held_out": order.held_out,
        "bins": order.bins,
        "settings": decisive(settings),
    }
    write_json(path, value | {"digest": digest_of(value)})


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
        order = EncodeData(
            schema=value["schema"],
            conditions=value["conditions"],
            mass=tuple(value["mass"]),
            # In the spelling that the plan's fingerprint was taken of.
            recipe=Recipe.from_json(json.dumps(value["recipe"])).to_json(),
            seed=value["seed"],
            matching=value["matching"],
            marginals=value["marginals"],
            missing=tuple(value["missing"]),
            held_out=value["held_out"],
            bins=value["bins"],
        )
        rows, settings, digest = int(value["rows"]), dict(value["settings"]), value.pop("digest")
    except StateError as error:
        raise StateError(f"{path}: {error}; {_MEND}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{path}: not a plan of this version ({error}); {_MEND}") from None
    if digest_of(value) != digest:
        raise StateError(f"{path}: was changed since the run wrote it; {_MEND}")
    return order, rows, settings


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
