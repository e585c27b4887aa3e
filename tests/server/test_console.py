"""What a person sees: a live display on a terminal, plain lines elsewhere."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import everymode.server.outputs.console
from everymode.server.outputs.console import GROUPS, VERDICTS, Display, figures, findings
from everymode.server.outputs.run_directory import RunFolder

NASTY = "[/bold] :smile:"


def metrics(number: int, groups: dict[str, float | None]) -> dict[str, Any]:
    return {"round": number, "estimate": 0.5, "estimate_by_group": groups}


def shown(terminal: bool, quiet: bool = False) -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=90, color_system=None)
    return Display(console, quiet), file


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everymode.server.outputs.console, "PULSE", 0.0)
    display, file = shown(terminal=False)
    with display:
        display.on_stage_begin("train", "training")
        display.on_train_begin(0, 3, ["f", NASTY])
        for number in (1, 2, 3):
            display.on_round_end(metrics(number, {"f": 0.25, NASTY: 0.75}))
    lines = file.getvalue().splitlines()
    assert lines[0] == "training"
    assert [line.split()[1] for line in lines[1:]] == ["1/3", "2/3", "3/3"]
    assert all("rounds/s" in line and "left" in line for line in lines[1:])
    assert all(line.endswith(f"worst group {NASTY} 0.7500") for line in lines[1:])
    assert "\x1b" not in file.getvalue()


def test_plain_lines_are_rare_but_the_last_round_is_told() -> None:
    display, file = shown(terminal=False)
    with display:
        display.on_train_begin(0, 50, ["f"])
        for number in range(1, 51):
            display.on_round_end(metrics(number, {"f": 0.1}))
    lines = file.getvalue().splitlines()
    assert len(lines) < 10
    assert lines[-1].startswith("round 50/50")


def test_steps_of_a_long_part_are_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    display, file = shown(terminal=False)
    with display:
        display.on_stage_begin("train", "projection")
        for done in range(4):
            monkeypatch.setattr(
                everymode.server.outputs.console, "PULSE", 0.0 if done == 2 else 1e9
            )
            display.on_progress(done, 150)
        display.on_stage_begin("train", "figures")
    assert file.getvalue().splitlines() == ["projection", "step 2 of at most 150", "figures"]


def test_steps_are_a_bar_on_a_terminal_which_goes_with_its_part() -> None:
    display, file = shown(terminal=True)
    with display:
        display.on_stage_begin("train", "projection")
        display.on_progress(0, 150)
        display.on_progress(60, 150)
        assert display._steps
        display.on_stage_begin("train", "figures")
        assert display._steps is None
    assert "60/150" in file.getvalue() and "left at most" in file.getvalue()
    display, file = shown(terminal=True, quiet=True)
    display.on_progress(1, 2)
    assert not file.getvalue()


def test_a_terminal_shows_round_pace_time_left_groups_and_the_worst() -> None:
    display, file = shown(terminal=True)
    with display:
        display.on_train_begin(10, 40, ["f", "m", NASTY])
        for number in (11, 12):
            display.on_round_end(metrics(number, {"f": 0.25, "m": None, NASTY: 0.75}))
    text = file.getvalue()
    for part in ("round", "12/40", "rounds/s", "left", "per group", "0.2500", "0.7500"):
        assert part in text, part
    assert f"{NASTY} (worst)" in text
    assert "f (worst)" not in text
    # The cursor is shown again.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_the_terminal_is_left_as_it_was_after_an_error() -> None:
    display, file = shown(terminal=True)
    with pytest.raises(RuntimeError), display:
        display.on_train_begin(0, 2, ["f"])
        raise RuntimeError
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_names_of_groups_command_no_terminal_and_do_not_flood_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(everymode.server.outputs.console, "PULSE", 0.0)
    display, file = shown(terminal)
    hostile = {
        "[red]a[/]\x1b]0;t\x07\x9b2J\u202e\r": 0.7,
        "b\nresults in /etc": 0.6,
        "n" * 9999: 0.5,
    }
    with display:
        display.on_train_begin(0, 1, list(hostile))
        display.on_round_end(metrics(1, dict(hostile)))
        display.on_note(next(iter(hostile)))
    text = file.getvalue()
    own = text.replace("\x1b[?25", "").replace("\x1b[2K", "").replace("\x1b[1A", "")
    for raw in ("\x1b]", "\x07", "\x9b", "\u202e", "\nresults"):
        assert raw not in own
    assert r"[red]a[/]\x1b]0;t\x07\x9b2J\u202e\r" in text
    assert len(text) < 20_000 and ("9,999 characters" in text) == terminal


def test_many_groups_are_cut_to_those_with_the_largest_estimates() -> None:
    display, file = shown(terminal=True)
    groups = {f"group {i:02d}": i / 100 for i in range(GROUPS + 5)}
    with display:
        display.on_train_begin(0, 2, list(groups))
        display.on_round_end(metrics(1, dict(groups)))
        display.on_round_end(metrics(2, dict(groups)))
    text = file.getvalue()
    assert "and 5 more" in text
    assert f"group {GROUPS + 4:02d} (worst)" in text
    assert "group 04 " not in text


def test_estimates_are_smoothed() -> None:
    display, file = shown(terminal=False)
    with display:
        display.on_train_begin(0, 2, ["f"])
        display.on_round_end(metrics(1, {"f": 1.0}))
        display.on_round_end(metrics(2, {"f": 0.0}))
    assert file.getvalue().endswith(" 0.9000\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(finished: Any, terminal: bool) -> None:
    run, summary = finished
    display, file = shown(terminal, quiet=True)
    with display:
        display.on_stage_begin("train", "training")
        display.on_train_begin(0, 1, ["f"])
        display.on_round_end(metrics(1, {"f": 1.0}))
        display.on_run_end(summary, run)
    assert file.getvalue() == ""


def test_figures_of_a_summary(finished: Any) -> None:
    _, summary = finished
    display, file = shown(terminal=False)
    with display:
        display.on_run_end(summary, RunFolder(Path("runs") / NASTY))
    text = file.getvalue()
    assert "400 / 400" in text
    assert "3, 6" in text
    assert f"results in runs/{NASTY}" in text
    assert text.count("AUC on held-out rows") == 2
    assert f"{summary['tv_mean']:.4f}" in text
    assert f"{summary['coverage_group_min']:.4f}" in text
    assert "Traceback" not in text


def test_figures_that_were_not_measured_say_so(finished: Any) -> None:
    _, summary = finished
    console = Console(file=io.StringIO(), width=90)
    console.print(figures({**summary, "coverage_group_min": None, "utility": None, "rows": 405}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "not measured" in text
    assert "AUC" not in text
    left_out = 405 - summary["rows_modelled"]
    assert any("data.floor" in x and f" {left_out} " in x for x in text.splitlines())


def test_columns_that_follow_are_named_whatever_they_are_called(finished: Any) -> None:
    _, summary = finished
    console = Console(file=io.StringIO(), width=120)
    for projection, lines in (
        (None, 0),
        ({"kept": 0.5}, 0),
        ({"columns_that_follow": {"[bold]code": "label[/]", "zip": "town"}}, 2),
    ):
        console.file = io.StringIO()
        console.print(figures({**summary, "projection": projection}))
        found = [x for x in console.file.getvalue().splitlines() if "follows from" in x]
        assert len(found) == lines
    assert "[bold]code: label[/]" in found[0] and "zip: town" in found[1]


def test_figures_tell_the_target_s_gaps_where_parity_was_asked_for(
    finished: tuple[RunFolder, dict[str, Any]],
) -> None:
    gaps = {"gaps_real": {"sex": 0.2, "[b]x": 0.3}, "gaps_made": {"sex": 0.01, "[b]x": 0.02}}
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(figures({**finished[1], "parity": gaps}))
    lines = [x for x in console.file.getvalue().splitlines() if "gap over" in x]  # type: ignore[attr-defined]
    assert "sex, real / made" in lines[0] and "0.2000 / 0.0100" in lines[0]
    assert "[b]x, real / made" in lines[1] and "0.3000 / 0.0200" in lines[1]


def told(summary: dict[str, Any], colour: bool = False) -> str:
    file = io.StringIO()
    system = "standard" if colour else None
    console = Console(file=file, width=160, force_terminal=colour, color_system=system)
    console.print(findings(summary))
    return file.getvalue()


def finding(verdict: str, what: str = "seen", advice: str = "") -> dict[str, str]:
    return {"aspect": f"aspect of {verdict}", "verdict": verdict, "what": what, "advice": advice}


def test_findings_come_with_their_verdicts_and_advice_where_there_is_any() -> None:
    summary = {
        "diagnosis": [
            finding("good", "near the target"),
            finding("watch", "rises again", "lower model.critic_rate"),
            finding("bad", "stuck [bold]high[/bold]", "raise [model.generator_rate]"),
            finding("unknown", "too few"),
        ]
    }
    text = told(summary)
    for part in summary["diagnosis"]:
        (line,) = [x for x in text.splitlines() if part["aspect"] in x]
        assert part["verdict"] in line
        assert part["what"] in line
        assert not part["advice"] or part["advice"] in text
    # A title, a head, four findings, two lines of advice, and four lines of the frame.
    assert len(text.splitlines()) == 1 + 1 + 4 + 2 + 3
    # Each verdict has a colour of its own.
    assert set(VERDICTS) == {"good", "watch", "bad", "unknown"}
    assert len(set(VERDICTS.values())) == 4
    assert "\x1b[" not in text
    assert "\x1b[1;31mbad" in told(summary, colour=True)


def test_a_run_ends_with_what_its_training_showed(finished: Any) -> None:
    run, summary = finished
    display, file = shown(terminal=False)
    with display:
        display.on_run_end(summary, run)
    text = file.getvalue()
    for part in summary["diagnosis"]:
        assert part["aspect"] in text
    assert "plateau" not in text
    early = {**summary, "stopped_at_plateau": True, "rounds": 173}
    console = Console(file=io.StringIO(), width=90)
    console.print(figures(early))
    stopped = console.file.getvalue()  # type: ignore[attr-defined]
    (line,) = [x for x in stopped.splitlines() if "stopped at a plateau" in x]
    assert "173" in line
