"""Has `watch.json`, `watch.html` and `metrics.prom` follow a run; `output.watch` turns them off.

Each file is replaced whole, at most once a second, and what a run computes does not depend on them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from everymode.server.outputs import prometheus, status, watch_page
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.status import History, State, Status
from everymode.server.progress import Interrupted, ProgressListener, StageName
from everymode.wgan.files import write_bytes
from everymode.wgan.words import brief, json_text

PAUSE = 1.0
"""Seconds between two writings, but for those at the beginning and the end."""


@contextlib.contextmanager
def watched(
    enabled: bool, folder: RunFolder, listener: ProgressListener, last_seen: Mapping[str, float]
) -> Iterator[ProgressListener]:
    """A listener that passes on all it hears and keeps the files of those who watch.

    Args:
        enabled: Whether files are written.
        folder: The run directory.
        listener: Who listens to the run.
        last_seen: Time of each site's last accepted reply; read at each writing.
    """
    if not enabled:
        yield listener
        return
    watching = Watching(folder, listener, last_seen)
    try:
        yield watching
    except (Interrupted, KeyboardInterrupt) as error:
        watching.end("stopped", str(error) or "stopped by the user")
        raise
    except BaseException as error:
        watching.end("failed", str(error) or type(error).__name__)
        raise
    watching.end("finished")


class Watching:
    """A `ProgressListener` in front of another one.

    Files that cannot be written are told of once and left out from then on: they cost no round.
    """

    def __init__(
        self,
        folder: RunFolder,
        listener: ProgressListener,
        last_seen: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writes nothing yet.

        Args:
            folder: The run directory.
            listener: Who listens to the run.
            last_seen: Time of each site's last accepted reply.
            clock: Seconds that only grow.
        """
        self._folder = folder
        self._listener = listener
        self._last_seen = last_seen
        self._clock = clock
        self._history = History()
        self._stage, self._total = "starts", 0
        self._notes: list[str] = []
        self._noted = 0
        self._written: float | None = None
        self._able = True

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """Shows the stage."""
        self._stage = text
        self._write()
        self._listener.on_stage_begin(stage, text)

    def on_note(self, text: str) -> None:
        """Shows the note."""
        self._notes = [*self._notes[1 - status.RECENT :], brief(text, 1000)]
        self._noted += 1
        self._write()
        self._listener.on_note(text)

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """Takes up the rounds of earlier sessions."""
        self._history, self._total = History(), total
        for metrics in self._folder.read_metrics(done):
            self._history.add(metrics)
        self._write()
        self._listener.on_train_begin(done, total, groups)

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        """Shows the round."""
        self._history.add(metrics)
        self._write()
        self._listener.on_round_end(metrics)

    def on_progress(self, done: int, total: int) -> None:
        """Passes it on."""
        self._listener.on_progress(done, total)

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        """Passes it on."""
        self._listener.on_run_end(summary, folder)

    def end(self, state: State, error: str = "") -> None:
        """Writes the last state: the page asks for no further loading."""
        self._stage = {"finished": "done"}.get(state, self._stage)
        self._write(state, error, now=True)

    def _write(self, state: State = "running", error: str = "", now: bool = False) -> None:
        due = self._written is None or self._clock() - self._written >= PAUSE
        if not self._able or not (due or now) or not self._folder.path.is_dir():
            return
        found = Status(
            run=self._folder.path.resolve().name,
            state=state,
            activity=self._stage,
            total=self._total,
            updated=time.time(),
            last_seen=dict(self._last_seen),
            notes=tuple(self._notes),
            notes_total=self._noted,
            error=error,
            **self._history.values(),
        )
        contents = {
            status.FILE: json_text(found.model_dump(mode="json")) + "\n",
            watch_page.FILE: watch_page.watch_page(found),
            prometheus.FILE: prometheus.prometheus_text(found),
        }
        try:
            for name, content in contents.items():
                # After a crash of the machine they are made anew, so no flush to the disk.
                write_bytes(self._folder.path / name, content.encode(), durable=False)
        except Exception as problem:
            self._able = False
            self._listener.on_note(
                f"output.watch: {brief(str(problem), 200)}; the run goes on without these files"
            )
        self._written = self._clock()
