"""`everymode doctor`: what it looks at, and when its exit code is 1."""

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from packaging.specifiers import SpecifierSet

from everymode.simulations import doctor
from tests.command_line import Call


@pytest.fixture(autouse=True)
def _imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower and Ray take seconds to import; what is told of them has tests of its own."""
    monkeypatch.setattr(doctor, "IMPORTS", "pass")


def test_a_machine_on_which_the_tests_run_is_well(call: Call) -> None:
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert "everymode simulate can run here" in out
    for what in (
        "Python",
        "flwr",
        "ray",
        "Flower and Ray",
        "cores",
        "free memory",
        "GPU",
        "working directory",
    ):
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


@pytest.mark.parametrize(
    ("package", "fatal"),
    [("flwr", True), ("numpy", False)],  # Flower's pins are exact; a newer NumPy may well do.
)
def test_a_version_out_of_range_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, fatal: bool
) -> None:
    monkeypatch.setattr(doctor, "_ranges", lambda: {package: SpecifierSet(">=999")})
    (found,) = (finding for finding in doctor._packages() if finding.advice)
    assert (found.what, found.fatal) == (package, fatal)
    assert f'pip install "{package}>=999"' in found.advice


def test_the_ranges_are_those_that_the_package_declares() -> None:
    ranges = doctor._ranges()
    assert not ranges["flwr"].contains("1.0") and "pytest" not in ranges


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise SystemExit('no shared memory')", "no shared memory"),
        ("import sys; sys.exit(3)", "no message"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
    ],
)
def test_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch, code: str, found: str) -> None:
    monkeypatch.setattr(doctor, "START_RAY", code)
    (finding,) = doctor._ray()
    assert finding.fatal and finding.found.startswith(found)
    assert "--backend inline" in finding.advice


def test_what_never_answers_is_ended_with_all_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); child.wait()"
    )
    monkeypatch.setattr(doctor, "START_RAY", code)
    monkeypatch.setattr(doctor, "PATIENCE", 2.0)
    (finding,) = doctor._ray()
    assert finding.fatal and "did not answer" in finding.found
    child, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 5
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
