"""The Python interface: what comes back, what is refused, and that models go on from disk."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import everymode
from everymode.server.outputs.run_directory import RunFolder
from everymode.simulations.api.frames import ColumnType, check_frame, common_types, restore
from everymode.wgan.data.schema import Schema

BRIEF = {
    "train.rounds": 2,
    "model.projection": False,
    "model.generator_hidden": [16],
    "model.critic_hidden": [16],
}


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A column of every type that pandas users have."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2021-10-01 08:00")
    hours = pd.to_timedelta(rng.integers(0, 10_000, rows), unit="h")
    frame = pd.DataFrame(
        {
            "sex": pd.Categorical(rng.choice(["F", "M"], rows), categories=["M", "F", "X"]),
            "age": rng.integers(18, 90, rows).astype("int8"),
            "weight": rng.normal(70, 9, rows).astype("float32"),
            "seen": start + hours,
            "local": (start.tz_localize("UTC") + hours).tz_convert("Europe/Berlin"),
            "born": [d.date() for d in start + hours],
            "paid": [Decimal(int(n)).scaleb(-2) for n in rng.integers(0, 9999, rows)],
            "ill": rng.random(rows) < 0.3,
            "code": rng.choice(["007", "012"], rows),
            "visits": pd.array(rng.integers(0, 5, rows), dtype="Int16"),
            "label": rng.choice([0, 1], rows),
            "stay": pd.to_timedelta(rng.integers(0, 5000, rows), unit="m"),
            "fee": [f"{int(n) / 100:.2f} €".replace(".", ",") for n in rng.integers(1, 9999, rows)],
            "day": [d.strftime("%d.%m.%Y") for d in start + hours],
            "ward": pd.Categorical(rng.choice(["a", "b"], rows), categories=["a", "b", "c"]),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "visits"] = pd.NA
    # Wards of one row each.
    rare = [f"w{i}" for i in range(20)]
    frame["ward"] = frame["ward"].cat.add_categories(rare)
    frame.loc[frame.index[:20], "ward"] = rare
    return frame


@pytest.fixture(scope="module")
def model() -> everymode.Model:
    return everymode.fit(
        people(),
        sensitive_features=["sex"],
        target="label",
        sites=3,
        overrides=BRIEF,
        progress=False,
    )


def test_rows_have_the_types_of_the_table(model: everymode.Model) -> None:
    real, table = people(), model.sample(200)
    kinds, wanted = table.dtypes.to_dict(), real.dtypes.to_dict()
    # Rare wards have a category of their own, and are not lost.
    assert list(kinds.pop("ward").categories) == [*wanted.pop("ward").categories, "(other)"]
    assert table["ward"].notna().all() and (table["ward"] == "(other)").any()
    assert kinds == wanted
    # Text is written as it was, whatever it stands for.
    assert table["fee"].str.fullmatch(r"\d+,\d\d €").all()
    assert table["day"].str.fullmatch(r"\d\d\.\d\d\.202\d").all()
    assert list(table["sex"].cat.categories) == ["M", "F", "X"]
    for name in ("born", "paid"):
        assert {type(v) for v in table[name]} == {type(real[name][0])}
    assert all(value.as_tuple().exponent == -2 for value in table["paid"])
    assert set(table["code"]) <= {"007", "012"}
    assert table["visits"].isna().any()


def test_a_condition_is_met_and_the_seed_decides(model: everymode.Model) -> None:
    women = model.sample(50, where={"sex": "F", "label": 1})
    assert set(women["sex"]) == {"F"} and set(women["label"]) == {1}
    again = model.sample(50, where={"sex": "F", "label": 1})
    pd.testing.assert_frame_equal(women, again)
    other = model.sample(50, where={"sex": "F", "label": 1}, random_state=1)
    assert not women.equals(other)
    assert len(model.sample()) == len(people())


def test_partial_rows_are_completed(model: everymode.Model) -> None:
    given = pd.DataFrame(
        {
            "age": pd.array([33, None, 41, None], "Int8"),
            "sex": ["F", "M", None, None],
            "code": ["007", None, None, "012"],
        },
        index=[7, 3, 5, 1],
    )
    rows = model.complete(given)
    real = people()
    assert list(rows.columns) == list(real.columns) and list(rows.index) == [7, 3, 5, 1]
    kinds = rows.dtypes.drop("ward")
    assert kinds.equals(real.dtypes.drop("ward"))
    for name in given.columns:
        there = given[name].notna()
        assert rows.loc[there, name].astype(str).tolist() == (
            given.loc[there, name].astype(str).tolist()
        )
    assert rows.drop(columns="visits").notna().all(axis=None)
    pd.testing.assert_frame_equal(model.complete(given), rows)
    assert not model.complete(given, random_state=1).equals(rows)
    with pytest.raises(everymode.DataError) as caught:
        model.complete(pd.DataFrame({"sex": ["f"], "agee": [1]}))
    problems = caught.value.problems
    assert len(problems) == 2 and "did you mean 'age'?" in problems[0]
    assert "the partial rows: row 1, column 'sex': the run knows no value 'f'" in problems[1]


def test_it_is_the_table_that_the_command_line_makes(
    model: everymode.Model, tmp_path: Path, call: Any
) -> None:
    people().to_parquet(tmp_path / "people.parquet")
    sets = [word for k, v in BRIEF.items() for word in ("--set", f"{k}={json.dumps(v)}")]
    (tmp_path / "c.toml").write_text(
        '[data]\npath = "people.parquet"\nsensitive = ["sex"]\ntarget = "label"\n'
        "[split]\nsites = 3\n"
    )
    words = ("simulate", tmp_path / "c.toml", *sets, "--backend", "inline", "-q")
    code, _, err = call(*words, "--out", tmp_path / "run")
    assert code == 0, err
    run = RunFolder(tmp_path / "run")
    assert run.synthetic.read_bytes() == (model.folder / run.synthetic.name).read_bytes()


def test_a_saved_model_goes_on_and_everymode_sample_reads_it(
    model: everymode.Model, tmp_path: Path, call: Any
) -> None:
    path = model.save(tmp_path / "saved")
    again = everymode.load(path)
    pd.testing.assert_frame_equal(again.sample(30), model.sample(30))
    assert call("sample", path, "-n", "5", "-o", tmp_path / "rows.csv")[0] == 0
    with pytest.raises(OSError, match="exists; name a new folder"):
        model.save(path)
    record = path / "model.json"
    record.write_text(record.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(everymode.StateError, match="is of version 9, and this EveryMode reads 1"):
        everymode.load(path)
    with pytest.raises(OSError, match="no such folder"):
        everymode.load(tmp_path / "nothing")


def test_private_rows_do_not_outlive_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options: Any = {"sensitive_features": ["sex"], "sites": 2, "progress": False}
    found = everymode.fit(people(200)[["sex", "age"]], overrides=BRIEF, **options)
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o700
    files = {p.name for p in kept.rglob("*") if p.is_file()}
    assert "generator.safetensors" in files
    assert not any(name.endswith((".parquet", ".npy")) for name in files)
    del found
    import gc

    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_sites_are_tables_or_a_column() -> None:
    whole = people(300)[["sex", "age", "label"]]
    frames = {"north": whole[:100], "south": whole[100:300].reset_index(drop=True)}
    options: Any = {"sensitive_features": ["sex"], "target": "label", "progress": False}
    parts = everymode.fit(sites=frames, overrides=BRIEF, **options)
    named = whole.assign(hospital=np.where(np.arange(300) < 100, "north", "south"))
    column = everymode.fit(named, site_column="hospital", overrides=BRIEF, **options)
    assert parts.summary["sites"] == column.summary["sites"] == 2
    assert list(column.sample(5).columns) == ["sex", "age", "label"]
    assert parts.sample(5)["age"].dtype == "int8"


def test_parameters_are_those_of_scikit_learn() -> None:
    model = everymode.Model(sites=4, random_state=7)
    assert model.get_params()["random_state"] == 7
    assert model.set_params(sites=2) is model and model.get_params()["sites"] == 2
    assert repr(model) == "Model(sites=2, random_state=7)"
    with pytest.raises(ValueError, match="nosuch: no parameter of a model; there are sites"):
        model.set_params(nosuch=1)
    for call in (model.sample, lambda: model.save("x"), lambda: model.summary):
        with pytest.raises(ValueError, match="this model is not fitted; call fit first"):
            call()
    assert "not fitted" in model._repr_html_()


def test_a_model_shows_itself_in_a_notebook(model: everymode.Model) -> None:
    shown = model._repr_html_()
    assert "<table>" in shown and "worst group" in shown


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ([1, 2], "expected a pandas DataFrame, got list"),
        (FRAME[:0], "has 0 rows and 2 columns"),
        (FRAME.rename(columns={"a": 0}), "columns 0 are not named by text"),
        (FRAME.set_axis(["a", "a"], axis=1), "columns a occur twice"),
        (FRAME.set_axis([0, 0, 1], axis=0), r"reset_index\(drop=True\)"),
        (pd.DataFrame({"a": [[1], [2]]}), "column 'a' holds a list in a cell"),
        (pd.DataFrame({"a": [1, "x"]}), r"several types \(int, str\)"),
        (pd.DataFrame({"a": pd.period_range("2021", periods=2, freq="Y")}), "period"),
        (pd.DataFrame({"a": [1j, 2j]}), "complex"),
        (pd.DataFrame({"a": [b"x", b"y"]}), "type bytes"),
        (FRAME.set_axis(pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), axis=1), "2 levels"),
    ],
)
def test_frames_that_cannot_be_modelled_are_refused(frame: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        everymode.fit(frame, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensitive_features": ["B"]}, "sensitive_features: the table has no column 'B'; did you"),
        ({"target": "nosuch"}, "target: the table has no column 'nosuch'; there are a, b"),
        ({"sensitive_features": "b"}, r"expected a list; write \['b'\]"),
        ({"site_column": "where"}, "site_column: the table has no column 'where'"),
        ({"config": "nosuch"}, "no such configuration file, and no preset"),
        ({"overrides": {"train.round": 3}}, "train.round"),
        ({"sites": [FRAME]}, "sites holds tables, and fit was given another"),
        ({"holdout": FRAME[["a"]], "target": "b"}, "target: holdout has no column 'b'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options: Any, words: str) -> None:
    with pytest.raises(everymode.EveryModeError, match=words) as caught:
        everymode.fit(FRAME, progress=False, **options)
    assert isinstance(caught.value, ValueError)


def test_sites_that_disagree_are_named() -> None:
    frames = {"north": FRAME, "south": FRAME.drop(columns="b"), "west": FRAME.assign(c=1)}
    with pytest.raises(ValueError) as caught:
        everymode.fit(sites=frames, progress=False)
    text = str(caught.value)
    assert "site 'south': lacks b, which 'north' has" in text
    assert "site 'west': has c, which 'north' lacks" in text


def test_names_of_sites_stay_within_their_folder() -> None:
    for name in ("../north", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="give it another one"):
            everymode.fit(sites={name: FRAME, "south": FRAME}, progress=False)


def test_a_model_is_saved_whole_or_not_at_all(
    model: everymode.Model, tmp_path: Path, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.full_disk(monkeypatch, "generator")
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_leaves_the_model_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = everymode.Model(sites=2, overrides=BRIEF, progress=False)
    model.fit(people(200)[["sex", "age"]], sensitive_features=["sex"])
    before, kept = model.sample(5), list(tmp_path.iterdir())

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("everymode.simulations.api.model.run_in_process", stopped)
    with pytest.raises(KeyboardInterrupt):
        model.fit(FRAME)
    assert list(tmp_path.iterdir()) == kept
    pd.testing.assert_frame_equal(model.sample(5), before)


def test_no_job_is_no_number_of_jobs() -> None:
    with pytest.raises(ValueError, match="n_jobs = 0: write a number of processes"):
        everymode.fit(FRAME, n_jobs=0, progress=False)


def test_an_audit_of_frames(tmp_path: Path) -> None:
    real, held = people(800), people(400, seed=1)
    report = everymode.audit(
        real, people(800, seed=2), sensitive_features=["sex"], holdout=held, progress=False
    )
    assert report.verdict in ("pass", "insufficient")
    groups = report.to_frame()
    assert groups.loc["all rows" if "all rows" in groups.index else groups.index[0], "rows_real"]
    assert {"rows_real", "state", "standardised_coverage_low"} <= set(groups.columns)
    assert "group" in repr(report) and "\x1b" not in repr(report)
    shown = report._repr_html_()
    assert shown.startswith("<iframe") and "<script" not in shown
    assert {p.name for p in report.save(tmp_path / "audit")} >= {"audit.html", "audit.json"}
    lacking = real[real["sex"] == "F"].reset_index(drop=True)
    failed = everymode.audit(real, lacking, sensitive_features=["sex"], progress=False)
    assert not failed.passed and failed.verdict == "fail"
    assert "fail" in failed.headline.lower() and failed.checks[0].verdict == "fail"
    with pytest.raises(ValueError, match="nosuch"):
        everymode.audit(
            real, real, sensitive_features=["sex"], thresholds={"nosuch": 1}, progress=False
        )
    with pytest.raises(ValueError, match="sensitive_features: the synthetic table has no column"):
        everymode.audit(real, real.drop(columns="sex"), sensitive_features=["sex"], progress=False)


def test_types_survive_a_file() -> None:
    frame = people(50)
    types = common_types([frame])
    plain = json.loads(json.dumps({name: column.to_json() for name, column in types.items()}))
    again = {name: ColumnType.from_json(value) for name, value in plain.items()}
    assert again == types
    same = restore(frame, types, Schema(()))
    pd.testing.assert_frame_equal(same, check_frame(frame))


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, everymode; everymode.DataError;"
        "print(sorted({'torch', 'pandas', 'flwr', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert everymode.__all__ == sorted(everymode.__all__)
    for name in everymode.__all__:
        assert getattr(everymode, name).__module__.startswith("everymode."), name
    with pytest.raises(AttributeError, match="nosuch"):
        _ = everymode.nosuch  # type: ignore[attr-defined]
