"""A checkpoint: the whole state of a training after a round, and what it was trained under."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from everymode.server.training.state import TrainingState
from everymode.wgan.errors import DamagedError, StateError
from everymode.wgan.files import parse_json, write_json
from everymode.wgan.state import read_tensors, write_tensors

_FORMAT = json.dumps({"name": "everymode-checkpoint", "version": 2})


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], progress: TrainingState, plan: str, settings: str
) -> None:
    """Writes a checkpoint and, for people, a JSON file of the same name.

    Args:
        path: The file.
        tensors: The state.
        progress: Where the training stands.
        plan: The plan's fingerprint.
        settings: The digest of the settings that decide a result.

    Raises:
        StateError: The disk refused.
    """
    # The header carries the progress, so that state and progress can never be of different rounds.
    meta = {
        "format": _FORMAT,
        "plan": plan,
        "settings": settings,
        "progress": json.dumps(asdict(progress)),
    }
    write_tensors(path, tensors, meta)
    write_json(path.with_suffix(".json"), {"plan": plan, **asdict(progress)})


def load_checkpoint(
    path: Path, plan: str, settings: str
) -> tuple[dict[str, Tensor], TrainingState]:
    """Reads a checkpoint made under a plan and settings.

    Raises:
        DamagedError: It is not as `save_checkpoint` left it.
        StateError: It was made under another plan or other settings.
    """
    tensors, meta = read_tensors(path)
    try:
        if meta["format"] != _FORMAT:
            raise DamagedError(f"cannot read {path}: it is no checkpoint of this version")
        progress = TrainingState(**parse_json(meta["progress"].encode()))
        there = {"plan": meta["plan"], "settings": meta["settings"]}
    except (KeyError, TypeError, ValueError):
        raise DamagedError(
            f"cannot read {path}: its header lacks the progress of the run"
        ) from None
    for what, here in (("plan", plan), ("settings", settings)):
        if there[what] != here:
            raise StateError(
                f"{path}: was made under {what} {there[what]}, but schema and configuration here "
                f"give {here}; resume with the run directory as it was left, or start anew with "
                "--out"
            )
    return tensors, progress
