"""The state of a run for those who watch it: `watch.json`, which page and terminal show.

`everymode.server.outputs.watching` keeps it while the run goes on.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everymode.wgan.errors import StateError
from everymode.wgan.files import parse_json

FILE = "watch.json"

State = Literal["running", "finished", "stopped", "failed"]

Curve = tuple[tuple[int, float], ...]
"""Points as (round, value)."""

POINTS = 200
"""Points of a curve that are kept for the page, evenly spaced."""

RECENT = 20
"""Rounds whose median duration predicts the time left, and notes that are kept."""


class Status(BaseModel):
    """Where a run stands.

    Attributes:
        version: Of the layout of this record.
        run: Name of the run directory.
        state: Whether the run goes on, and how it ended.
        activity: What is being done, in words.
        done: Rounds finished, over all sessions.
        total: All rounds; 0: not known yet.
        updated: Seconds since 1970 of this record.
        round_seconds: Median duration of the last rounds; None: none is finished.
        bytes_up: Bytes from sites to the server in all rounds.
        bytes_down: Bytes from the server to sites in all rounds.
        last_seen: Seconds since 1970 of each site's last accepted reply in this session, by name.
        estimate: The critic's estimate by round.
        estimate_by_group: The same by group.
        notes: What went wrong or should be known, newest last.
        notes_total: How many there were.
        error: Why the run ended; empty: it did not fail.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    run: str
    state: State = "running"
    activity: str = ""
    done: int = Field(0, ge=0)
    total: int = Field(0, ge=0)
    updated: float = 0.0
    round_seconds: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    last_seen: dict[str, float] = Field(default_factory=dict)
    estimate: Curve = ()
    estimate_by_group: dict[str, Curve] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    notes_total: int = 0
    error: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Predicted seconds of the rounds to do; None: not known, or the run has ended.

        >>> Status(run="r", done=3, total=5, round_seconds=2.0).seconds_left
        4.0
        """
        if self.round_seconds is None or self.state != "running":
            return None
        return max(self.total - self.done, 0) * self.round_seconds


def read_status(path: Path) -> Status:
    """Reads `watch.json` of a run directory.

    Raises:
        StateError: There is none, or it is damaged.
    """
    try:
        return Status.model_validate(parse_json((path / FILE).read_bytes()), strict=False)
    except FileNotFoundError:
        raise StateError(
            f"{path}: holds no {FILE}; name the directory of a run that has begun, with "
            "output.watch = true"
        ) from None
    except OSError as error:
        raise StateError(f"cannot read {path / FILE}: {error.strerror}; check --out") from None
    except (ValidationError, ValueError):
        raise StateError(
            f"{path / FILE} is not what a run wrote there; it is written anew at the next round "
            "of the run"
        ) from None


class History:
    """Collects rounds; memory grows by a few numbers a round."""

    def __init__(self) -> None:
        """No round yet."""
        self.done = 0
        self.bytes_up = self.bytes_down = 0
        self._seconds: list[float] = []
        self._estimate: list[tuple[int, float]] = []
        self._groups: dict[str, list[tuple[int, float]]] = {}

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Takes the metrics of a round."""
        self.done = int(metrics["round"])
        self.bytes_up += int(metrics.get("bytes_up", 0))
        self.bytes_down += int(metrics.get("bytes_down", 0))
        self._seconds = [*self._seconds[1 - RECENT :], float(metrics.get("seconds", 0.0))]
        self._take(self._estimate, metrics.get("estimate"))
        for group, value in (metrics.get("estimate_by_group") or {}).items():
            self._take(self._groups.setdefault(group, []), value)

    def values(self) -> dict[str, Any]:
        """The fields of `Status` that rounds decide."""
        return {
            "done": self.done,
            "round_seconds": statistics.median(self._seconds) if self._seconds else None,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "estimate": thinned(self._estimate),
            "estimate_by_group": {group: thinned(c) for group, c in self._groups.items()},
        }

    def _take(self, curve: list[tuple[int, float]], value: float | None) -> None:
        if value is not None and math.isfinite(value):
            curve.append((self.done, float(value)))


def thinned(points: Iterable[tuple[int, float]], most: int = POINTS) -> Curve:
    """At most `most` of the points, evenly spaced, the last among them.

    >>> thinned([(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)], most=3)
    ((1, 0.1), (3, 0.3), (5, 0.5))
    """
    found = list(points)
    stride = max(1, math.ceil(len(found) / most))
    return tuple(found[(len(found) - 1) % stride :: stride])


def duration(seconds: float | None) -> str:
    """A duration in words.

    >>> duration(3725), duration(59.4), duration(None)
    ('1 h 02 min', '59 s', 'not known')
    """
    if seconds is None:
        return "not known"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """A number of bytes in words.

    >>> size(999), size(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
