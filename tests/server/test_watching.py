"""Files and displays for those who watch a run."""

import io
import re
from pathlib import Path
from typing import Any

import pytest

from everymode.server.outputs import watching
from everymode.server.outputs.prometheus import prometheus_text
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.status import Status, read_status
from everymode.server.outputs.terminal import Terminal
from everymode.server.outputs.watch_page import watch_page
from everymode.server.outputs.watching import Watching, watched
from everymode.server.progress import Interrupted, Silent
from everymode.simulations import watch
from everymode.wgan.errors import StateError

EVIL = 'a"b\\c\n<script>alert(1)</script>'


def metrics(number: int, **more: Any) -> dict[str, Any]:
    groups = {"f": 0.5 / number, "m": None, EVIL: 1.0}
    found = {"round": number, "seconds": 2.0, "estimate": 1.0 / number, "bytes_up": 10}
    return found | {"bytes_down": 20, "estimate_by_group": groups} | more


def test_the_files_follow_a_run_to_its_end(tmp_path: Path) -> None:
    """The page refreshes only while the run goes on, and totals are of all rounds."""
    with watched(True, RunFolder(tmp_path), Silent(), {EVIL: 1.0}) as listener:
        listener.on_stage_begin("train", "trains")
        assert 'http-equiv="refresh"' in (tmp_path / "watch.html").read_text()
        listener.on_train_begin(0, 4, ["f", "m"])
        for number in (1, 2, 3):
            listener.on_round_end(metrics(number))
        listener.on_note("site 'north' is away")
    status = read_status(tmp_path)
    assert (status.state, status.done, status.total) == ("finished", 3, 4)
    assert (status.bytes_up, status.bytes_down, status.notes_total) == (30, 60, 1)
    page = (tmp_path / "watch.html").read_text()
    assert "refresh" not in page
    assert "<script" not in page
    assert "is away" in page
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "metrics.prom",
        "watch.html",
        "watch.json",
    ]


@pytest.mark.parametrize(
    ("error", "state"), [(Interrupted("stopped"), "stopped"), (StateError("disk"), "failed")]
)
def test_a_run_that_does_not_finish_says_so(tmp_path: Path, error: Exception, state: str) -> None:
    with pytest.raises(type(error)), watched(True, RunFolder(tmp_path), Silent(), {}):
        raise error
    assert (read_status(tmp_path).state, read_status(tmp_path).error) == (state, str(error))


def test_files_are_written_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []
    monkeypatch.setattr(watching, "write_bytes", lambda path, *_, **__: written.append(path.name))
    listener = Watching(RunFolder(tmp_path), Silent(), {}, clock=lambda: now[0])
    for number in range(1, 31):
        now[0] += 0.1
        listener.on_round_end(metrics(number))
    assert 3 <= written.count("watch.html") <= 4


def test_a_full_disk_is_told_once_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StateError("cannot write: no space left")

    class Notes(Silent):
        told: list[str]

        def on_note(self, text: str) -> None:
            self.told.append(text)

    notes = Notes()
    notes.told = []
    monkeypatch.setattr(watching, "write_bytes", full)
    with watched(True, RunFolder(tmp_path), notes, {}) as listener:
        listener.on_round_end(metrics(1))
        listener.on_round_end(metrics(2))
    assert len(notes.told) == 1
    assert "output.watch" in notes.told[0]


def test_the_key_turns_all_files_off(tmp_path: Path) -> None:
    with watched(False, RunFolder(tmp_path), Silent(), {}) as listener:
        listener.on_round_end(metrics(1))
    assert not list(tmp_path.iterdir())


def test_prometheus_text_keeps_to_the_format() -> None:
    """Every sample has a type before it, and a name cannot end its label or its line."""
    text = prometheus_text(
        Status(run=EVIL, done=1, last_seen={EVIL: 5.0}, estimate_by_group={EVIL: ((1, 0.5),)})
    )
    sample = re.compile(r'(\w+)\{(\w+="(?:[^"\\\n]|\\["\\n])*",?)+\} [-+.e\d]+')
    typed: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            found = sample.fullmatch(line)
            assert found, line
            assert found[1] in typed


def test_the_page_of_a_run_without_rounds_is_whole() -> None:
    assert "not begun" in watch_page(Status(run="r"))


def test_plain_lines_follow_a_run_and_a_killed_one_ends(tmp_path: Path) -> None:
    """Nobody holds the directory, so the run that is said to go on was killed."""
    (tmp_path / "watch.json").write_text(Status(run="r", done=1, total=2).model_dump_json())
    out = io.StringIO()
    watch.show_progress(tmp_path, console=Terminal(file=out, width=200))
    assert out.getvalue().count("\n") == 1
    assert "it was killed" in out.getvalue()


def test_a_state_that_is_damaged_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"holds no watch\.json"):
        watch.show_progress(tmp_path, once=True)
    (tmp_path / "watch.json").write_text("{}")
    with pytest.raises(StateError, match="not what a run wrote"):
        watch.show_progress(tmp_path, once=True)
