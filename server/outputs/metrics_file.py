"""`metrics.jsonl`: a JSON object a line and round, appended as rounds end; read back with care."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everymode.server.outputs.records import METRICS_VERSION
from everymode.server.training.rounds import Metrics
from everymode.wgan.diagnostics import Observation
from everymode.wgan.errors import StateError
from everymode.wgan.files import parse_json
from everymode.wgan.words import json_text

NUMBERS = (
    "seconds",
    "sites",
    "estimate",
    "penalty",
    "generator_loss",
    "critic_rows",
    "rate",
    "bytes_up",
    "bytes_down",
)
TABLES = (
    "estimate_by_group",
    "penalty_by_group",
    "slope_by_group",
    "mass_by_group",
    "site_weights",
    "shortened_updates",
)
"""Entries that hold a number a group or site."""


def parse_metrics(content: bytes, path: Path, upto: int | None = None) -> list[Metrics]:
    """The rounds in the lines of a file, from the first on.

    A last line without its line break was cut short by a crash, or is being written: where it is
    no JSON it is left out.

    Args:
        content: The file's bytes.
        path: The file, for messages.
        upto: The last round that is wanted, lines beyond it are not looked at; None: all.

    Raises:
        StateError: A line is no round's metrics, or of another round than its place says.
    """
    # Bytes: a cut may go through a character, and a name may hold what text counts as a line.
    *lines, last = content.split(b"\n")
    rows: list[Metrics] = []
    for line in lines:
        if upto is not None and len(rows) >= upto:
            return rows
        rows.append(_row(line, len(rows) + 1, path))
    if last and (upto is None or len(rows) < upto):
        try:
            parse_json(last)
        except ValueError:
            return rows
        rows.append(_row(last, len(rows) + 1, path))
    return rows


def metrics_line(metrics: Metrics) -> str:
    r"""The line of a round, with its version and line break.

    >>> metrics_line({"round": 1})
    '{"version": 1, "round": 1}\n'
    """
    return json_text({"version": METRICS_VERSION, **metrics}) + "\n"


def _row(line: bytes, number: int, path: Path) -> Metrics:
    """The metrics in line `number`, which are those of round `number`."""
    try:
        row = parse_json(line)
        _check(row, number)
        # A run of an earlier release wrote none.
        version = row.pop("version", METRICS_VERSION)
        if version != METRICS_VERSION:
            raise ValueError(f"'version' is {version!r}, expected {METRICS_VERSION}")
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else error
        raise StateError(
            f"{path}: line {number} is not what a run wrote there: {what}; put the file back as it "
            "was, or start a new run"
        ) from None
    found: Metrics = row
    return found


def _check(row: Any, number: int) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with a round's metrics, got {type(row).__name__}")
    if not _is_number(row["round"]) or row["round"] != number:
        raise ValueError(f"'round' is {row['round']!r}, expected {number}: lines go by round")
    for key in NUMBERS:
        if not _is_number(row.get(key, 0)):
            raise ValueError(f"'{key}' is {row[key]!r}, expected a number")
    for key in TABLES:
        values = row.get(key) or {}
        if not isinstance(values, Mapping) or not all(
            value is None or _is_number(value) for value in values.values()
        ):
            raise ValueError(f"'{key}' is no object of names and numbers")
    if not isinstance(row.get("worst_group", ""), str):
        raise ValueError(f"'worst_group' is {row['worst_group']!r}, expected a name")
    if row.get("evaluation"):
        Observation.from_dict(row["evaluation"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
