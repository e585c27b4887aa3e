"""Utility: Adult in small, closed forms of the area, and labels that cannot be learnt."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from everymode import simulations
from everymode.fairness.metrics.utility import mean_area, train_and_test
from everymode.wgan.data.schema import Column, Schema

DATA = Path(simulations.__file__).parent / "data"
NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
SCHEMA = Schema(
    (
        Column("x", "float", missing=True),
        Column("c", "category", categories=("a", "b"), missing=True),
        Column("y", "category", categories=("no", "yes")),
    )
)


@pytest.fixture(autouse=True)
def _one_thread():
    # Threads that wait for one another cost more than they bring on tables this small.
    with threadpool_limits(1):
        yield


def adult(name: str, rows: int) -> pd.DataFrame:
    with gzip.open(DATA / f"adult-{name}.csv.gz", "rt") as file:
        return pd.read_csv(file, nrows=rows)


def table(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Labels that the number tells with an area of Phi(2 / sqrt(2)) = .921."""
    y = rng.random(n) < 0.4
    x = rng.normal(np.where(y, 2.0, 0.0), 1)
    return pd.DataFrame({"x": x, "c": rng.choice(["a", "b"], n), "y": np.where(y, "yes", "no")})


def test_adult_in_small():
    train, test = adult("train", 3000), adult("test", 3000)
    schema = Schema(tuple(Column(n, "integer" if n in NUMBERS else "category") for n in train))
    assert train.isna().to_numpy().any()
    found = train_and_test(train, test, schema, "income")
    assert found.metric == "auc"
    assert found.logistic == pytest.approx(0.90, abs=0.02)
    assert found.boosted_trees == pytest.approx(0.91, abs=0.02)
    labels = np.random.default_rng(0).permutation(train["income"])
    control = train_and_test(train.assign(income=labels), test, schema, "income")
    assert control.logistic == pytest.approx(0.5, abs=0.07)
    assert control.boosted_trees == pytest.approx(0.5, abs=0.07)


def test_reaches_the_known_area_and_repeats():
    rng = np.random.default_rng(0)
    train, test = table(rng, 3000), table(rng, 5000)
    found = train_and_test(train, test, SCHEMA, "y", seed=3)
    assert found.logistic == pytest.approx(0.921, abs=0.015)
    assert found.boosted_trees == pytest.approx(0.921, abs=0.025)
    assert found == train_and_test(train, test, SCHEMA, "y", seed=3)
    turned = train.assign(y=train["y"].map({"no": "yes", "yes": "no"}))
    assert train_and_test(turned, test, SCHEMA, "y").logistic == pytest.approx(0.079, abs=0.015)


def test_areas_of_two_classes_and_of_several():
    y = np.array(["a", "a", "b", "b"])
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    assert mean_area(y, scores, np.array(["a", "b"])) == 0.75
    y = np.array(["a", "b", "c", "d"])
    scores = np.eye(4)[:, :3]
    # The class nobody learnt counts as guessing.
    assert mean_area(y, scores, np.array(["a", "b", "c"])) == (1 + 1 + 1 + 0.5) / 4
    # A class that no test row has counts for nothing.
    assert mean_area(y[:3], scores[:3], np.array(["a", "b", "c"])) == 1


def test_several_classes_and_a_class_of_one_row():
    rng = np.random.default_rng(1)
    train, test = table(rng, 600), table(rng, 600)
    for frame in (train, test):
        frame["y"] = pd.cut(frame["x"], [-9, 0, 1, 9], labels=["low", "mid", "top"]).astype(str)
    found = train_and_test(train, test, SCHEMA, "y")
    assert found.boosted_trees > 0.99
    train.loc[0, "y"], test.loc[:9, "y"] = "single", "unseen"
    worse = train_and_test(train, test, SCHEMA, "y")
    assert 0.8 < worse.boosted_trees < 0.95
    assert worse.logistic < found.logistic


def test_missing_and_unknown_values_carry_on():
    rng = np.random.default_rng(2)
    train, test = table(rng, 800), table(rng, 800)
    # Nothing but whether a value is missing tells the label.
    for frame in (train, test):
        frame["x"] = rng.normal(size=800)
        frame.loc[frame["y"] == "yes", "x"] = np.nan
    found = train_and_test(train, test, SCHEMA, "y")
    assert (found.logistic, found.boosted_trees) == (1, 1)
    text = table(rng, 800).assign(x=np.nan)
    text.loc[text["y"] == "yes", "c"] = None
    found = train_and_test(text, text, SCHEMA, "y")
    assert (found.logistic, found.boosted_trees) == (1, 1)
    # A single value, which may well be among the rows held out.
    text.loc[3, "x"] = 1.0
    assert train_and_test(text, text, SCHEMA, "y").boosted_trees == 1
    strange = test.assign(c="never seen", x=test["x"].fillna(0))
    train["x"] = 0.0
    found = train_and_test(train, strange, SCHEMA, "y")
    assert found.logistic == pytest.approx(0.5, abs=0.05)


def test_an_unknown_category_is_taken_for_no_other():
    c = ["a"] * 40 + ["b"] * 60
    train = pd.DataFrame({"x": 0.0, "c": c, "y": ["yes"] * 40 + ["no"] * 60})
    for known, area in (("b", 1.0), ("a", 0.0)):
        test = pd.DataFrame({"x": 0.0, "c": [known, "z"] * 5, "y": ["no", "yes"] * 5})
        assert train_and_test(train, test, SCHEMA, "y").logistic == area


def test_hundreds_of_categories():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 400, 4000)
    frame = pd.DataFrame({"x": 0.0, "c": codes.astype(str), "y": np.where(codes < 50, "yes", "no")})
    found = train_and_test(frame[:3000], frame[3000:], SCHEMA, "y")
    assert found.logistic > 0.95
    assert found.boosted_trees > 0.75


def test_numbers_and_dates_are_regressed_on():
    rng = np.random.default_rng(4)
    schema = Schema((Column("x", "float"), Column("d", "datetime"), Column("z", "float")))
    frame = pd.DataFrame({"x": rng.normal(size=2000)})
    frame["d"] = pd.to_datetime(rng.integers(0, 10**9, 2000), unit="s")
    signal = frame["x"] + (frame["d"] - pd.Timestamp("1985")) / pd.Timedelta(days=3000)
    frame["z"] = signal + rng.normal(size=2000)
    variance = np.var(signal)
    found = train_and_test(frame[:1000], frame[1000:], schema, "z")
    assert found.metric == "r2"
    assert found.logistic == pytest.approx(variance / (variance + 1), abs=0.05)
    assert found.boosted_trees == pytest.approx(variance / (variance + 1), abs=0.1)
    shuffled = frame[:1000].assign(z=rng.permutation(frame["z"][:1000]))
    assert train_and_test(shuffled, frame[1000:], schema, "z").boosted_trees < 0.05


def test_a_number_of_two_atoms_is_a_class():
    rng = np.random.default_rng(5)
    train = table(rng, 500)
    expected = train_and_test(train[:300], train[300:], SCHEMA, "y")
    train["y"] = np.where(train["y"] == "yes", 1, 0)
    label = Column("y", "integer", atoms=(0.0, 1.0))
    assert train_and_test(train[:300], train[300:], Schema((*SCHEMA.columns[:2], label)), "y") == (
        expected
    )


def test_labels_of_one_kind_give_a_reason():
    frame = table(np.random.default_rng(6), 60)
    single = frame.assign(y="no")
    for train, test, word in ((single, frame, "training"), (frame, single, "test")):
        found = train_and_test(train, test, SCHEMA, "y")
        assert (found.logistic, found.boosted_trees) == (None, None)
        assert word in found.reason
    assert train_and_test(frame[:0], frame, SCHEMA, "y").reason is not None
    bare = train_and_test(frame[["y"]], frame[["y"]], SCHEMA.without(("x", "c")), "y")
    assert "no column is left" in bare.reason
    with pytest.raises(KeyError):
        train_and_test(frame, frame, SCHEMA, "z")


def test_rows_without_a_label_are_left_out():
    frame = table(np.random.default_rng(7), 400)
    holes = pd.concat([frame, frame.assign(y=None, x=-frame["x"])])
    assert train_and_test(holes, frame, SCHEMA, "y") == train_and_test(frame, frame, SCHEMA, "y")
