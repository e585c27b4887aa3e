"""CART synthesis, and the baselines of a comparison that are made of it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

from everymode.simulations.compare import pictures
from everymode.simulations.compare.cart import cart_rows
from everymode.simulations.compare.entries import WITHOUT_TRAINING
from everymode.simulations.compare.plan import planned
from everymode.simulations.compare.results import collected
from everymode.simulations.compare.run import perform
from everymode.simulations.compare.tables import notes, page
from everymode.simulations.compare.without_training import site_tables
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.schema import Schema
from tests.server.test_arrays import digits
from tests.server.test_arrays import settings as array_settings


def dependent(rows: int, seed: int) -> pd.DataFrame:
    """Sex, and columns that depend on those before: job on sex, pay on job, a note on pay."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows, p=[0.3, 0.7])
    usual = np.where(sex == "f", "nurse", "smith")
    job = np.where(rng.random(rows) < 0.9, usual, rng.choice(["nurse", "smith", "clerk"], rows))
    pay = np.where(job == "smith", 30, 10) + rng.integers(0, 10, rows)
    cells = np.where(rng.random(rows) < 0.1, None, pay.astype(str))
    note = np.where(pay > 25, "high", np.where(rng.random(rows) < 0.2, None, "low"))
    return pd.DataFrame({"sex": sex, "job": job, "pay": cells, "note": note})


REAL = dependent(2000, 0)
SCHEMA = fit_schema(REAL)


def made(rows: int = 4000, seed: int = 1, **options: Any) -> pd.DataFrame:
    return cart_rows(REAL, SCHEMA, ("sex",), rows, np.random.default_rng(seed), **options)


def joint(frame: pd.DataFrame, *names: str) -> "pd.Series[float]":
    return frame[list(names)].fillna("-").value_counts(normalize=True)


def distance(one: pd.DataFrame, two: pd.DataFrame, *names: str) -> float:
    """Total variation of joint values."""
    return float(joint(one, *names).sub(joint(two, *names), fill_value=0).abs().sum() / 2)


def test_joint_distributions_of_dependent_columns_are_kept() -> None:
    """The control: the same columns shuffled apart are ten times as far from the real rows."""
    rows, rng = made(), np.random.default_rng(2)
    apart = REAL.apply(lambda column: rng.permutation(column.to_numpy()))
    for pair in (("sex", "job"), ("job", "note"), ("sex", "note")):
        assert distance(rows, REAL, *pair) < 0.03 < 0.2 < distance(apart, REAL, *pair), pair
    smiths, others = (
        pd.to_numeric(rows["pay"][(rows["job"] == "smith") == is_smith]).dropna()
        for is_smith in (True, False)
    )
    assert smiths.min() >= 30 and others.max() < 20
    assert rows["pay"].isna().mean() == pytest.approx(0.1, abs=0.02)


def test_cells_are_those_of_real_rows_and_the_first_columns_are_drawn_together() -> None:
    rows = cart_rows(REAL, SCHEMA, ("sex", "note"), 4000, np.random.default_rng(0))
    assert list(rows.columns) == list(SCHEMA.names) and len(rows) == 4000
    for name in rows:
        assert set(rows[name].dropna()) <= set(REAL[name].dropna())
    assert distance(rows, REAL, "sex", "note") < 0.03


def test_a_seed_makes_the_same_rows() -> None:
    pd.testing.assert_frame_equal(made(300), made(300))
    assert not made(300).equals(made(300, seed=2))


def test_leaves_hold_as_many_rows_as_asked_for() -> None:
    """In leaves of all rows nothing depends on anything: the margins are left."""
    rows = made(leaf=len(REAL))
    assert distance(rows, REAL, "job") < 0.03
    assert distance(rows, REAL, "sex", "job") > 0.2


def test_columns_of_one_value_of_unique_values_and_without_values() -> None:
    n = 200
    odd = pd.DataFrame(
        {
            "one": ["a"] * n,
            "code": [f"c{i}" for i in range(n)],
            "none": pd.Series([None] * n, dtype=object),
            "large": [str(2**53 + i) for i in range(n)],
        }
    )
    schema = fit_schema(odd.drop(columns="none"))
    empty = fit_schema(odd[["none"]].fillna("x")).columns
    schema = Schema((*schema.columns, *empty))
    rows = cart_rows(odd, schema, (), 50, np.random.default_rng(0))
    assert set(rows["one"]) == {"a"} and rows["none"].isna().all()
    assert set(rows["code"]) <= set(odd["code"]) and set(rows["large"]) <= set(odd["large"])
    # A handful of rows is one leaf.
    few = cart_rows(odd[:3], schema, (), 10, np.random.default_rng(0))
    assert set(few["code"]) <= {"c0", "c1", "c2"}


def test_the_table_of_a_site_is_made_of_its_own_rows() -> None:
    """The control: the same rows pooled mix values of both sites in one row."""
    one = REAL.assign(job="a-" + REAL["job"], note="a")
    two = REAL[:500].assign(job="b-" + REAL["job"][:500], note="b")
    both = pd.concat([one, two], ignore_index=True)
    conditions = SimpleNamespace(sensitive=("sex",), target="note")
    plan: Any = SimpleNamespace(schema=fit_schema(both), conditions=conditions)
    tables = site_tables(plan, [one, two, one[:0]], 1000, 0)
    assert [len(made) for made in tables] == [800, 200]
    assert set(tables[0]["note"]) == {"a"} and set(tables[1]["note"]) == {"b"}
    assert set(tables[0]["job"]) <= set(one["job"]) and set(tables[1]["job"]) <= set(two["job"])
    (pooled,) = site_tables(plan, [both], 1000, 0)
    assert set(pooled["note"]) == {"a", "b"}
    again = site_tables(plan, [one, two, one[:0]], 1000, 0)
    assert all(a.equals(b) for a, b in zip(tables, again, strict=True))


def test_baselines_stand_in_the_tables_without_curves(
    table: Path, kit: Any, tmp_path: Path
) -> None:
    config = table.with_name("tiny.toml")
    config.write_text(tomli_w.dumps(kit.tiny(table).model_dump(mode="json", exclude_unset=True)))
    plan = planned(str(config), "cart,local_cart", "0", tmp_path / "out")
    for run in plan.runs:
        assert perform(run, "inline", lambda: False).kind == "finished"
        assert not run.folder.sites.exists() and not run.folder.checkpoints()
        assert run.folder.read_summary()["strategy"] == run.strategy
        written = run.folder.synthetic.read_bytes()
        # A finished run is left as it is; a new one has the same bytes.
        run.folder.summary.unlink()
        assert perform(run, "inline", lambda: False).kind == "finished"
        assert run.folder.synthetic.read_bytes() == written
    report = collected(plan)
    for row in report["strategies"]:
        figures = row["figures"]
        assert figures["tv_mean"]["n"] == figures["seconds"]["n"] == 1
        assert figures["megabytes"]["mean"] > 0
        assert all(figure["mark"] is None for figure in figures.values())
        assert row["budget"]["critic_rows"] is None and not row["budget"]["unequal"]
    cart, local = (row["figures"]["tv_mean"]["mean"] for row in report["strategies"])
    assert cart < 0.1 and local < 0.15
    text = page(report, pictures.draw(plan, report))
    assert "synthpop" in text and "| CART |" in text and "| CART at each site |" in text
    assert (plan.out / "final.png").exists() and not (plan.out / "curves.png").exists()
    assert not [note for note in notes(report) if "finished" in note]
    json.dumps(report)


def test_arrays_are_refused(tmp_path: Path) -> None:
    digits(tmp_path / "sites")
    (run,) = planned("quick", "local_cart", "0", tmp_path / "out").runs
    settings = array_settings(tmp_path / "sites", strategy="local")
    outcome = perform(replace(run, settings=settings), "inline", lambda: False)
    assert outcome.kind == "refused" and not run.folder.config.exists()
    assert "strategy local_cart: makes tables, and the sites hold arrays" in outcome.problems[0]


def test_the_help_names_the_baselines(call: Any) -> None:
    _, printed, _ = call("compare", "--help")
    assert all(name in printed for name in WITHOUT_TRAINING)
