"""What trackers record of a run, read back with the packages that show it."""

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from everymode.server.in_process import simulate
from everymode.server.outputs import trackers
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.trackers import TensorBoardTracker, numbers
from everymode.server.session import Interrupted
from everymode.wgan.errors import SettingsError
from tests.command_line import Call

pytestmark = pytest.mark.usefixtures("few_rows")

BOTH = {"trackers": ["tensorboard", "mlflow"]}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, in which nothing is left."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    assert list(work.iterdir()) == []


def rounds(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def board(run: Path) -> dict[str, dict[int, list[float]]]:
    """Values by step of every scalar, as TensorBoard reads them."""
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    found: dict[str, dict[int, list[float]]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found.setdefault(tag, {}).setdefault(event.step, []).append(event.value)
    return found


def stored(run: Path) -> tuple[Any, dict[str, dict[int, list[float]]]]:
    """The one run in MLflow's store, and values by step of every metric."""
    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("everymode")
    (only,) = client.search_runs([experiment.experiment_id])
    found: dict[str, dict[int, list[float]]] = {}
    for name in only.data.metrics:
        for point in client.get_metric_history(only.info.run_id, name):
            found.setdefault(name, {}).setdefault(point.step, []).append(point.value)
    client._tracking_client.store.engine.dispose()
    return only, found


def same(found: dict[int, list[float]], wanted: list[float]) -> None:
    """One value a round, each as it is in `metrics.jsonl`."""
    assert sorted(found) == list(range(1, len(wanted) + 1))
    assert all(len(values) == 1 for values in found.values())
    for step, value in enumerate(wanted, 1):
        assert math.isclose(found[step][0], value, rel_tol=1e-6, abs_tol=1e-9)


def check(run: Path) -> None:
    """Both trackers hold every round of `metrics.jsonl` once, and the final figures once."""
    lines, summary = rounds(run), json.loads((run / "summary.json").read_text())
    only, points = stored(run)
    for found in (board(run), points):
        for key in ("estimate", "penalty", "generator_loss", "rate", "bytes_up", "bytes_down"):
            same(found[key], [line[key] for line in lines])
        for group in ("a", "b", "c"):
            wanted = [line["estimate_by_group"][group] for line in lines]
            if None not in wanted:
                same(found[f"estimate_by_group/{group}"], wanted)
        ((value,),) = found["final/tv_mean"].values()
        assert math.isclose(value, summary["tv_mean"], rel_tol=1e-6)
    assert only.info.status == "FINISHED"


def test_both_trackers_hold_parameters_rounds_and_figures(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    kit.run(kit.tiny(table, model=kit.training_alone, output=BOTH), run)
    check(run)
    only, _ = stored(run)
    assert only.info.run_name == "my run"
    assert only.data.params["train.rounds"] == "4"
    assert only.data.params["data.target"] == "outcome"
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    (text,) = events.Tensors("settings/text_summary")
    assert b"train.rounds = 4\n" in text.tensor_proto.string_val[0]


def test_the_result_is_the_same_with_trackers_and_without(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    for name, output in (("with", BOTH), ("without", {})):
        kit.run(kit.tiny(table, model=kit.training_alone, output=output), tmp_path / name)
    one, other = (tmp_path / name / "synthetic.csv" for name in ("with", "without"))
    assert one.read_bytes() == other.read_bytes()
    assert not (tmp_path / "without" / "mlruns").exists()
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_a_run_that_goes_on_is_tracked_once(kit: Any, table: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", kit.tiny(table, model=kit.training_alone, output=BOTH)
    with pytest.raises(Interrupted):
        kit.run(settings, run, stop=kit.stop_after(3))
    assert stored(run)[0].info.status == "KILLED"
    # As if the process had been killed after round 3, before the checkpoint of it.
    for path in (run / "checkpoints").glob("round-000003.*"):
        path.unlink()
    kit.run(settings, run, resume=True)
    check(run)
    # A run that had ended writes its figures anew, and is tracked no further.
    kit.run(settings, run, resume=True)
    check(run)


def test_trackers_that_join_later_get_the_rounds_before(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        kit.run(kit.tiny(table, model=kit.training_alone), run, stop=kit.stop_after(2))
    kit.run(kit.tiny(table, model=kit.training_alone, output=BOTH), run, resume=True)
    check(run)


@pytest.mark.parametrize("method", ["open", "log_round", "log_final", "close"])
def test_a_tracker_that_fails_is_told_of_once_and_costs_no_round(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    real = TensorBoardTracker.close
    monkeypatch.setattr(TensorBoardTracker, method, full)
    if method == "close":
        # What the failure leaves open would be told of by Python.
        monkeypatch.setattr(TensorBoardTracker, "close", lambda s, o: (real(s, o), full()))
    listener = kit.Recorder()
    settings = kit.tiny(table, model=kit.training_alone, output={"trackers": "tensorboard"})
    summary = kit.run(settings, tmp_path / "run", reporter=listener)
    assert summary["rounds"] == 4 and len(listener.metrics) == 4
    notes = [text for text in listener.told if "output.trackers" in text]
    assert len(notes) == 1
    assert "'tensorboard' failed" in notes[0] and "No space left on device" in notes[0]


def test_of_a_long_error_the_beginning_is_told(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("disk I/O error" + ", value" * 1000)

    monkeypatch.setattr(TensorBoardTracker, "log_round", fail)
    listener = kit.Recorder()
    settings = kit.tiny(
        table, model=kit.training_alone, output={"trackers": "tensorboard"}, train={"rounds": 1}
    )
    kit.run(settings, tmp_path / "run", reporter=listener)
    (note,) = (text for text in listener.told if "output.trackers" in text)
    assert "disk I/O error" in note and len(note) < 400


def test_what_lies_in_the_way_of_a_tracker_costs_no_round(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings, folder = (
        kit.tiny(table, model=kit.training_alone, output=BOTH),
        RunFolder(tmp_path / "run"),
    )
    with pytest.raises(Interrupted):
        kit.run(kit.tiny(table, model=kit.training_alone), folder.path, stop=kit.stop_after(2))
    (folder.path / "mlruns").write_text("precious")
    (folder.path / "tensorboard").write_text("precious")
    listener = kit.Recorder()
    kit.run(settings, folder.path, resume=True, reporter=listener)
    assert folder.summary.exists()
    assert len([text for text in listener.told if "output.trackers" in text]) == 2
    assert (folder.path / "mlruns").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "product"), [("mlflow", "MLflow"), ("tensorboard", "TensorBoard")]
)
def test_a_package_that_is_missing_is_told_of_before_any_work(
    kit: Any,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
    name: str,
    product: str,
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        trackers.importlib.util, "find_spec", lambda n: None if n == name else real(n)
    )
    expected = f"output.trackers: '{name}' needs {product}; pip install 'everymode[{name}]'"
    with pytest.raises(SettingsError) as raised:
        simulate(kit.tiny(table, model=kit.training_alone, output=BOTH), tmp_path / "run")
    assert raised.value.problems == (expected,)
    arguments = ("--backend=inline", f"--set=output.trackers={name}", "--out", tmp_path / "run")
    assert call("simulate", "quick", *arguments) == (2, "", f"error: {expected}\n")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_a_packages_name_is_no_package(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the one that a run makes, where it is the working directory."""
    spec = importlib.util.spec_from_loader("tensorboard", None)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(SettingsError, match="needs TensorBoard"):
        trackers.require_trackers(
            kit.tiny(table, model=kit.training_alone, output={"trackers": "tensorboard"})
        )


def test_names_that_mlflow_refuses_are_changed_and_stay_apart() -> None:
    values = numbers({"by": {"sex=f, (x)": 1, "sex=f, [x]": 2, "..": 3, "é": 4, "": 5}})
    assert trackers._mlflow_names(values) == {
        "by/sex_f_ _x_": 1,
        "by/sex_f_ _x__2": 2,
        "by/_": 3,
        "by/é": 4,
        "by/__2": 5,
    }


def test_mlflow_is_told_to_call_nobody(kit: Any, table: Path, tmp_path: Path) -> None:
    from mlflow.telemetry.utils import is_telemetry_disabled

    kit.run(
        kit.tiny(table, model=kit.training_alone, output={"trackers": "mlflow"}), tmp_path / "run"
    )
    assert is_telemetry_disabled()
