"""Progress of `everymode.fit`: on standard error, or in the cell of a notebook."""

import contextlib
import html
import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from everymode.server.outputs.console import Display
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal
from everymode.server.progress import ProgressListener, Silent, StageName
from everymode.wgan.words import line

PULSE = 0.3
"""Seconds between pictures of the progress."""


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    # Whoever runs in one has imported it.
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


@contextlib.contextmanager
def listening(shown: bool) -> Iterator[ProgressListener]:
    """A listener for the place that this process talks to."""
    if not shown:
        yield Silent()
    elif in_notebook():
        yield NotebookProgress()
    else:
        with Brief(Terminal(stderr=True)) as display:
            yield display


class Brief(Display):
    """A display without the tables at the end: whoever called has the figures."""

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        """Says nothing."""


class NotebookProgress:
    """A `ProgressListener` that keeps one output of a notebook up to date."""

    def __init__(self) -> None:
        """Shows an empty bar."""
        # Not typed, and not installed where there is no notebook.
        ipython: Any = importlib.import_module("IPython.display")
        self._html = ipython.HTML
        self._notes: list[str] = []
        self._text, self._done, self._total = "starting", 0, 0
        self._drawn = 0.0
        self._handle: Any = ipython.display(self._picture(), display_id=True)

    def _picture(self) -> Any:
        share = f' value="{self._done}" max="{self._total}"' if self._total else ""
        shown = f"<progress{share}></progress> {html.escape(self._text)}"
        if self._notes:
            notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._notes)
            told = "1 note" if len(self._notes) == 1 else f"{len(self._notes)} notes"
            shown += f"<details><summary>{told}</summary><ul>{notes}</ul></details>"
        return self._html(shown)

    def _draw(self, at_once: bool = True) -> None:
        now = time.monotonic()
        if at_once or now - self._drawn > PULSE:
            self._drawn = now
            self._handle.update(self._picture())

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """Names the stage."""
        self._text, self._done, self._total = line(text), 0, 0
        self._draw()

    def on_note(self, text: str) -> None:
        """Keeps the note."""
        self._notes.append(line(text).removeprefix("note: "))
        self._draw()

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """Opens the bar."""
        self._done, self._total = done, total
        self._draw()

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        """Moves the bar."""
        self._done = int(metrics["round"])
        self._text = f"round {self._done} of {self._total}, estimate {metrics['estimate']:.4f}"
        self._draw(self._done == self._total)

    def on_progress(self, done: int, total: int) -> None:
        """Moves the bar of the stage."""
        self._done, self._total = done, total
        self._draw(at_once=False)

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        """Says that it is done."""
        self._text, self._done, self._total = "finished", 1, 1
        self._draw()
