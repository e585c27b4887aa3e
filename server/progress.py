"""The progress of a run: its stages, who listens to them, and the error that a stop raises."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from everymode.wgan.errors import INTERRUPTED, EveryModeError

if TYPE_CHECKING:
    from everymode.server.outputs.run_directory import RunFolder

StageName = Literal[
    "start", "agree", "encode", "train", "postprocess", "sample", "evaluate", "write"
]
"""Parts of a run, in their order. `start` is whatever a backend does before the run."""

AFTER_TRAINING: tuple[StageName, ...] = ("postprocess", "sample", "evaluate", "write")
"""Stages in which a stop is looked for at each step; the training looks after each round."""


class Interrupted(EveryModeError):
    """The user asked to stop; a checkpoint was written."""

    exit_code = INTERRUPTED


class ProgressListener(Protocol):
    """Receives the progress of a run, to show or to record it."""

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """A stage begins, or a part of one.

        Args:
            stage: The stage.
            text: What it does, in a few words for people.
        """
        ...

    def on_note(self, text: str) -> None:
        """Something happened that the user should know and that does not end the run."""
        ...

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """The rounds begin.

        Args:
            done: Rounds that an earlier session of the run has finished.
            total: All rounds.
            groups: Names of the groups.
        """
        ...

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        """A round is finished; `metrics` is its line in `metrics.jsonl`."""
        ...

    def on_progress(self, done: int, total: int) -> None:
        """`done` of at most `total` steps of the current stage are finished."""
        ...

    def on_run_end(self, summary: dict[str, Any], folder: "RunFolder") -> None:
        """The run is finished; `summary` is the content of `summary.json`."""
        ...


class Silent:
    """A `ProgressListener` that does nothing."""

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """Does nothing."""

    def on_note(self, text: str) -> None:
        """Does nothing."""

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """Does nothing."""

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        """Does nothing."""

    def on_progress(self, done: int, total: int) -> None:
        """Does nothing."""

    def on_run_end(self, summary: dict[str, Any], folder: "RunFolder") -> None:
        """Does nothing."""
