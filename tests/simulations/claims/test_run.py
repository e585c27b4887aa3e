"""`everymode claims`: which are measured, what is written, how it ends."""

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from everymode.simulations.claims import catalogue, command, run
from everymode.simulations.claims.claim import (
    Check,
    Claim,
    Result,
    above,
    below,
    near,
    noted,
    smaller,
)
from everymode.simulations.cli import app
from everymode.wgan.errors import SettingsError


def holding(seeds, figure):
    figure.subplots().plot([0, 1])
    return [
        near("one", [1.0 + 0.001 * s for s in seeds], 1.0, 0.02),
        Check("a < b", "yes", "y", True),
    ]


def failing(seeds, figure):
    return [above("<b>two</b>", [2.0], 3.0), near("one", [1.0], 1.0, 0.1)]


def breaking(seeds, figure):
    figure.subplots()
    raise ValueError("no such thing")


FAKES = (
    Claim(1, "good", "It <holds>.", "A source, 2017", holding, seeds=2, seconds=1),
    Claim(2, "bad", "It fails.", "A source", failing, seconds=30),
    Claim(3, "broken", "It breaks.", "A source", breaking),
)


@pytest.fixture
def fakes(monkeypatch):
    for module in (run, command):
        monkeypatch.setattr(module, "CLAIMS", FAKES)


def call(*arguments):
    return CliRunner().invoke(app, ["claims", *map(str, arguments)])


def test_the_catalogue_is_complete_ordered_and_spelled_out():
    claims = catalogue.CLAIMS
    assert [claim.number for claim in claims] == list(range(1, 25))
    assert len({claim.name for claim in claims}) == 24
    folder = Path(run.__file__).parent
    for claim in claims:
        assert (folder / f"{claim.name}.py").is_file(), claim.name
        assert re.search(r"\d{4}", claim.source), f"{claim.name}: a source has a year"
        assert claim.statement.endswith(".") and claim.seconds > 0 and claim.seeds >= 3
    # Ten minutes on two cores.
    assert sum(claim.seconds for claim in claims) <= 1200


def test_claims_are_chosen_by_name_or_number_in_their_order(fakes):
    assert run.chosen(()) == FAKES
    assert run.chosen(("3", "good")) == (FAKES[0], FAKES[2])
    with pytest.raises(SettingsError) as caught:
        run.chosen(("god", "9", "1"))
    assert len(caught.value.problems) == 2
    assert "no claim 'god'" in caught.value.problems[0] and "1 good" in caught.value.problems[0]


def test_results_are_written_as_they_come_longest_first(fakes, tmp_path):
    seen = []
    for result in run.run(FAKES, tmp_path, jobs=1):
        listed = json.loads((tmp_path / "claims.json").read_text())
        numbers = [entry["number"] for entry in listed]
        assert numbers == sorted(numbers) and result.claim in {e["name"] for e in listed}
        seen.append(result.claim)
    assert seen == ["bad", "broken", "good"]
    good, bad, broken = json.loads((tmp_path / "claims.json").read_text())
    assert good["verdict"] == "holds" and bad["verdict"] == broken["verdict"] == "fails"
    assert good["seeds"] == 2 and good["expected"] == "one: 1 within 2%; a < b: yes"
    assert good["measured"] == "one: 1.000 (0.001); a < b: y"
    assert [check["holds"] for check in bad["checks"]] == [False, True]
    assert broken["measured"] == "ValueError: no such thing" and broken["checks"] == []
    png = (tmp_path / "good.png").read_bytes()
    assert png.startswith(b"\x89PNG") and min(struct.unpack(">II", png[16:24])) > 300
    assert not (tmp_path / "bad.png").exists()


def test_the_page_needs_nothing_but_itself_and_escapes_what_it_shows(fakes, tmp_path):
    list(run.run(FAKES, tmp_path, jobs=1))
    page = (tmp_path / "claims.html").read_text()
    assert "1 of 3 claims hold" in page
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', page)
    assert page.count("data:image/png;base64,") == 2
    assert "It &lt;holds&gt;." in page and "&lt;b&gt;two&lt;/b&gt;" in page and "<b>" not in page
    assert 'name="viewport"' in page and "no such thing" in page


def test_the_command_ends_with_a_table_and_says_if_a_claim_fails(fakes, tmp_path):
    found = call("--only", "good", "--out", tmp_path / "a", "--jobs", 1)
    assert found.exit_code == 0 and "1 of 1 claims hold" in found.stdout
    found = call("--out", tmp_path / "b", "--jobs", 1, "--seeds", 1)
    assert found.exit_code == 1 and "1 of 3 claims hold" in found.stdout
    assert "above 3" in found.stdout and "fails" in found.stdout
    assert json.loads((tmp_path / "b" / "claims.json").read_text())[0]["seeds"] == 1


def test_bad_input_names_what_is_wrong(fakes, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in str(call("--out", file).exception)
    assert "there is no claim 'x'" in str(call("--only", "x").exception)
    assert call("--seeds", 0).exit_code == 2
    assert not (tmp_path / "claims").exists()


def test_the_list_names_every_claim():
    listed = call("--list").stdout
    assert all(claim.name in listed for claim in catalogue.CLAIMS)


def test_checks_hold_only_if_every_seed_does():
    assert near("x", [1.0, 1.019], 1.0, 0.02).holds and not near("x", [1.0, 1.021], 1.0, 0.02).holds
    assert near("x", [0.01], 0.0, 0.02).holds and not near("x", [float("nan")], 1.0, 0.5).holds
    assert below("x", [0.1, 0.2], 0.3).holds and not below("x", [0.1, 0.3], 0.3).holds
    assert above("x", [0.4], 0.3).holds and not above("x", [0.4, 0.2], 0.3).holds
    assert smaller("x", [1.0, 2.0], [2.1, 4.1], 2).holds
    assert not smaller("x", [1.0, 2.0], [2.1, 3.9], 2).holds


def test_figures_of_which_nothing_is_claimed_decide_nothing():
    shown = noted("x", [7.0], "y 3")
    assert (shown.holds, shown.expected) == (None, "no claim; y 3")
    good, bad = Check("g", "1", "1", True), Check("b", "1", "2", False)
    assert Result("c", (good, shown), "", 3, 1.0).verdict == "holds"
    assert Result("c", (good, bad, shown), "", 3, 1.0).verdict == "fails"
    assert Result("c", (shown,), "", 3, 1.0).verdict == "fails"


def test_the_readme_of_claims_says_what_was_measured():
    root = Path(__file__).resolve().parents[3]
    found = json.loads((root / "tests" / "benchmarks" / "claims.json").read_text())
    readme = (root / "simulations" / "claims" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\| \**(holds|fails)\** \|$", readme, re.MULTILINE)
    assert rows == [(str(entry["number"]), entry["verdict"]) for entry in found]
    assert [entry["name"] for entry in found] == [claim.name for claim in catalogue.CLAIMS]


def test_an_interrupted_run_waits_for_nobody_and_leaves_no_process(tmp_path):
    # Read by the processes that measure, too: every claim there sleeps ten minutes.
    program = (
        "import signal, sys, time; from dataclasses import replace; from pathlib import Path\n"
        "from everymode.simulations.claims import run as module\n"
        "def sleep(seeds, figure): time.sleep(600)\n"
        "module.CLAIMS = tuple(replace(claim, measure=sleep) for claim in module.CLAIMS)\n"
        "if __name__ == '__main__':\n"
        # Whoever runs the tests in the background of a shell has them ignore it.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    told = lambda claim: print(claim.name, flush=True)\n"
        "    picked = module.chosen(['committee', 'noise_views'])\n"
        "    list(module.run(picked, Path(sys.argv[1]), jobs=2, started=told))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        named = {process.stdout.readline().strip() for _ in range(2)}
        assert named == {"committee", "noise_views"}
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=240)
        with pytest.raises(ProcessLookupError):
            for _ in range(100):
                os.killpg(process.pid, 0)
                time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
