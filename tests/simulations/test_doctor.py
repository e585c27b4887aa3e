"""`everymode doctor`: what it looks at, and when its exit code is 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from everymode.simulations import doctor
from tests.command_line import Call


def test_a_machine_on_which_the_tests_run_is_well(call: Call) -> None:
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert "everymode simulate can run here" in out
    for what in ("Python", "flwr", "ray", "cores", "free memory", "GPU", "working directory"):
        assert what in out


def test_json_says_the_same(call: Call) -> None:
    code, out, _ = call("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 0 and found["imports"]["found"] == "the installed everymode"
    assert not any(finding["fatal"] for finding in found.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("MEMORY", 1e9), "close programs, or use --backend inline"),
        (("DISK", 1e9), "free some"),
        (("find_shadow", lambda folder: Path("/here/everymode.py")), "rename it"),
    ],
)
def test_what_is_in_the_way_is_named_with_what_to_do(
    call: Call, monkeypatch: pytest.MonkeyPatch, change: tuple[str, Any], words: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, *change)
    code, out, _ = call("doctor")
    assert code == 1
    assert words in out and "everymode simulate would fail" in out


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (first, *_) = doctor._folders()
    assert first.fatal and "Permission denied" in first.advice


def test_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "START_RAY", "raise SystemExit('no shared memory')")
    (finding,) = doctor._ray()
    assert finding.fatal and finding.found == "no shared memory"
