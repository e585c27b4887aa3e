"""Constraints that `everymode init` proposes."""

from pathlib import Path

import numpy as np
import pandas as pd

from everymode.server.config.files import load
from everymode.simulations.proposals import MOST, propose_constraints
from everymode.simulations.starter import start_configuration
from everymode.wgan.data.constraints import Combination, OneHot, OnlyIf, Order, Sum
from everymode.wgan.data.schema import Column
from tests.wgan.test_constrained import table


def test_what_every_row_fulfils_is_proposed_and_written(tmp_path: Path) -> None:
    frame = table(600, 0)
    rng = np.random.default_rng(0)
    frame["outcome"] = rng.choice(["y", "n"], len(frame))
    frame.to_csv(tmp_path / "t.csv", index=False)
    _, notes = start_configuration(
        tmp_path / "t.csv", ("sex",), "outcome", tmp_path / "t.toml", force=False
    )
    found = load(tmp_path / "t.toml").data.constraints
    expected = {
        Sum("gross", ("net", "tax")),
        OneHot(("red", "green", "blue")),
        Combination(("city", "country")),
        OnlyIf("weeks", "sex", ("f",)),
        Order("start", "end"),
        Order("end", "paid"),
        Order("low", "high"),
    }
    assert expected == set(found)
    assert "every row fulfils these 7 constraints" in notes[0] and "start <= end" in notes[0]


def test_independent_columns_and_unlike_scales_are_left_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 800),
            "income": rng.integers(20_000, 90_000, 800),
            "city": rng.choice(list("abcd"), 800),
            "colour": rng.choice(["red", "blue"], 800),
            "flag": rng.integers(0, 2, 800),
            "other": rng.integers(0, 2, 800),
            "gaps": np.where(rng.random(800) < 0.3, np.nan, rng.normal(0, 1, 800)),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    start_configuration(tmp_path / "t.csv", (), None, tmp_path / "t.toml", force=False)
    assert load(tmp_path / "t.toml").data.constraints == ()


def test_one_row_that_breaks_a_constraint_is_enough_and_few_rows_say_nothing() -> None:
    rng = np.random.default_rng(2)
    low = rng.normal(0, 1, 400).round(2)
    frame = pd.DataFrame({"a": low, "b": (low + rng.exponential(0.5, 400)).round(2)})
    columns = [Column(name, "float", decimals=2) for name in frame]
    assert propose_constraints(frame, columns, (), 5) == (Order("a", "b"),)
    assert propose_constraints(frame, columns, ("b",), 5) == ()
    assert propose_constraints(frame[:40], columns, (), 5) == ()
    frame.loc[399, "b"] = frame.loc[399, "a"] - 1
    assert propose_constraints(frame, columns, (), 5) == ()


def test_thousands_of_columns_make_no_long_search() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(0, 1, (200, 1)).round(2)
    wide = np.cumsum(np.abs(rng.normal(0, 0.3, (200, 3000))), axis=1) / 300 + base
    frame = pd.DataFrame(wide.round(3)).rename(columns=lambda i: f"c{i}")
    columns = [Column(name, "float", decimals=3) for name in frame]
    assert len(propose_constraints(frame, columns, (), 5)) <= MOST
