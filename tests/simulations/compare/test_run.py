"""Runs of a comparison: as `simulate` makes them, kept, resumed, failing by themselves."""

import functools
import itertools
from pathlib import Path

import pytest
import tomli_w

from everymode.server.outputs.locks import locked
from everymode.server.session import Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.exchange import InProcess
from everymode.simulations.compare import curve, pictures, run
from everymode.simulations.compare.plan import planned
from everymode.simulations.compare.run import (
    PerSiteAccounting,
    pending,
    perform,
    read_failure,
    run_all,
)
from everymode.wgan.errors import NumericalError
from everymode.wgan.files import read_json, write_json
from tests.command_line import run_command

pytestmark = pytest.mark.usefixtures("few_rows")


@pytest.fixture
def config(table: Path, kit) -> str:
    path = table.with_name("tiny.toml")
    path.write_text(
        tomli_w.dumps(
            kit.tiny(table, model=kit.training_alone).model_dump(mode="json", exclude_unset=True)
        )
    )
    return str(path)


@pytest.fixture
def plan(config: str, tmp_path: Path):
    return planned(config, "fedgan,everymode", "0", tmp_path / "out")


@pytest.fixture
def call(call, monkeypatch, tmp_path):
    """Runs `everymode compare ...` without pictures."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(pictures, "draw", lambda comparison, report: [])
    return functools.partial(call, "compare")


def never():
    return False


def stop_at(number):
    """A `stop` that says no `number` times."""
    count = itertools.count()
    return lambda: next(count) >= number


def test_a_run_is_what_simulate_makes_of_it(plan, tmp_path):
    (fedgan, _) = plan.runs
    assert perform(fedgan, "inline", never).kind == "finished"
    again = tmp_path / "again"
    settings = str(fedgan.folder.config)
    run_command("simulate", settings, "--backend", "inline", "-q", "--out", again)
    for name in ("config.toml", "generator.safetensors", "synthetic.csv", "schema.json"):
        assert (again / name).read_bytes() == (fedgan.folder.path / name).read_bytes(), name
    assert not fedgan.folder.sites.exists()


def test_an_interrupted_run_goes_on_to_the_same_end(plan, config, tmp_path):
    whole, _ = plan.runs
    assert perform(whole, "inline", never).kind == "finished"
    other, second = planned(config, "fedgan,everymode", "0", tmp_path / "other").runs
    (outcome,) = run_all([other, second], 1, "inline", stop_at(3))
    assert outcome.kind == "stopped" and not other.finished
    assert not second.folder.path.exists()
    assert [len(other.folder.read_metrics()), len(pending([other, second], False))] == [2, 2]

    def in_the_curve() -> bool:
        return other.curve.exists() and len(curve.read_curve(other)["points"]) > 1

    # Then in the middle of the curve.
    (outcome,) = run_all([other], 1, "inline", in_the_curve)
    assert outcome.kind == "stopped" and other.finished
    assert 0 < len(curve.read_curve(other)["points"]) < 4 and pending([other], False) == [other]
    (outcome,) = run_all([other], 1, "inline", never)
    assert outcome.kind == "finished" and pending([other], False) == []
    for name in ("generator.safetensors", "synthetic.csv", "curve.json"):
        one, two = (r.folder.path / name for r in (whole, other))
        assert one.read_bytes() == two.read_bytes(), name


def test_the_curve_is_drawn_from_what_is_missing_only(plan, config):
    run_, _ = plan.runs
    perform(run_, "inline", never)
    found = read_json(run_.curve)
    assert [point["round"] for point in found["points"]] == [1, 2, 3, 4]
    found["points"][0]["coverage_group_min"] = 7.0
    whole = found["points"].pop(2)
    write_json(run_.curve, found)
    assert pending([run_], False) == [run_]
    perform(run_, "inline", never)
    points = read_json(run_.curve)["points"]
    assert points[0]["coverage_group_min"] == 7.0 and points[2] == whole
    # The table of the last checkpoint is the final one: both have all 400 rows.
    summary = read_json(run_.folder.path / "summary.json")
    assert points[-1]["coverage_group_min"] == summary["coverage_group_min"]


def diverging(monkeypatch, strategy, error):
    """Lets one strategy's runs end with an error after their second round."""

    class Broken(Session):
        def __call__(self):
            if self.settings.strategy == strategy:
                self.folder.append({"round": 1})
                self.folder.append({"round": 2})
                raise error
            return super().__call__()

    monkeypatch.setattr(run, "Session", Broken)


def test_a_run_that_diverges_leaves_the_others_alone(config, tmp_path, monkeypatch, call):
    words = (config, "--strategies", "fedgan,everymode", "--seeds", "0", "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        diverging(patch, "fedgan", NumericalError("the weights are not finite"))
        code, out, err = call(*words)
    assert code == 1 and "FedGAN, seed 0: diverged at round 3" in out
    assert "--retry-failed" in out and "EveryMode, seed 0: finished" in err
    fedgan, everymode = planned(config, "fedgan,everymode", "0", tmp_path / "out").runs
    assert everymode.finished and read_failure(everymode) is None
    assert read_failure(fedgan) == {
        "kind": "diverged",
        "round": 3,
        "error": "the weights are not finite",
    }
    # Not tried again unless asked to.
    code, out, err = call(*words)
    assert code == 1 and "finished" not in err
    code, out, err = call(*words, "--retry-failed")
    assert code == 0 and "FedGAN, seed 0: finished" in err and read_failure(fedgan) is None


def test_a_strategy_that_breaks_is_reported_with_its_log(plan, monkeypatch):
    diverging(monkeypatch, "fedgan", RuntimeError("no such thing"))
    first, second = run_all(plan.runs, 1, "inline", never)
    assert first.kind == "failed" and second.kind == "finished"
    assert "RuntimeError: no such thing" in first.problems[0]
    assert "Traceback" in first.run.folder.log.read_text()


def test_bad_tables_end_all_and_leave_nothing(config, table, tmp_path, call):
    frame = table.read_text().splitlines()
    table.write_text("\n".join([frame[0].replace("group", "grup"), *frame[1:]]) + "\n")
    code, _, err = call(config, "--strategies", "fedgan,everymode", "--out", tmp_path / "out")
    assert code == 2 and "error: fedgan, seed 0:" in err and "group" in err
    assert err.count("error:") == 1
    assert not [*(tmp_path / "out").glob("*/seed-*")]


def test_an_interrupt_says_how_to_go_on(config, tmp_path, call, monkeypatch):
    monkeypatch.setattr("everymode.simulations.streams.Stop.__call__", lambda self: True)
    out = tmp_path / "o u t"
    words = ("--strategies", "fedgan,pooled", "--seeds", "0,1", "--out", out, "--set", "seed=3")
    code, _, err = call(config, *words[:-2], "--set", "model.noise=4")
    assert code == 130
    assert "stopped with 0 of 4 runs done" in err and f"--out '{out}' --set model.noise=4" in err


def test_bytes_are_counted_as_if_each_site_were_a_machine(config, tmp_path):
    ratios = {}
    for name in ("pooled", "fedgan", "term"):
        (only,) = planned(config, name, "0", tmp_path / "out").runs
        only.folder.create(only.settings)
        stage = create_simulated_sites(only.settings, tmp_path / name)
        exchange = PerSiteAccounting(InProcess(stage.sites))
        Session(
            settings=only.settings,
            folder=only.folder,
            exchange=exchange,
            columns=stage.columns,
        )()
        one, many = exchange.inner.traffic, exchange.traffic
        ratios[name] = (many.up / one.up, many.down / one.down)
    # Three sites get and send the same: three times one machine's. One site is one machine.
    assert ratios["pooled"] == (1, 1) and ratios["fedgan"] == (3, 3)
    # Letters, which are single sites' own, are counted once wherever they go.
    assert 1 < ratios["term"][0] < 3


def test_a_run_that_another_process_holds_is_left_alone(plan, config, call, tmp_path):
    (first, _) = plan.runs
    first.folder.create(first.settings)
    with first.folder.locked():
        outcome = perform(first, "inline", never)
        assert outcome.kind == "refused" and "is in use by process" in outcome.problems[0]
        assert [*first.folder.path.iterdir()] and first.folder.config.exists()
    # The folder of a whole comparison is held too.
    with locked(tmp_path / "out"):
        code, _, err = call(config, "--strategies", "fedgan", "--seeds", "0", "--out", plan.out)
    assert code == 2 and err.count("error:") == 1 and "is in use by process" in err
