"""Constraints that `everymode init` proposes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def found_orders(frame: pd.DataFrame, columns: list[Column]) -> set[tuple[str, str]]:
    found = propose_constraints(frame, columns, (), 5)
    return {(c.low, c.high) for c in found if isinstance(c, Order)}


def in_order(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    low = rng.uniform(1, 9, rows).round(2)
    return low, (low + rng.exponential(0.5, rows)).round(2)


def test_a_chain_is_proposed_by_its_links_alone() -> None:
    low, high = in_order()
    frame = pd.DataFrame({"c": (high + 0.5).round(2), "a": low, "b": high})
    columns = [Column(name, "float", decimals=2) for name in frame]
    assert found_orders(frame, columns) == {("a", "b"), ("b", "c")}


def test_equal_columns_and_orders_by_their_ranges_alone_are_no_orders() -> None:
    low, _ = in_order()
    rng = np.random.default_rng(5)
    above = rng.uniform(10, 20, len(low)).round(2)
    # Every value of one is below every value of the other, whatever the rows.
    frame = pd.DataFrame({"a": low, "same": low, "above": above})
    columns = [Column(name, "float", decimals=2) for name in frame]
    assert found_orders(frame, columns) == set()


def test_gaps_break_no_order_and_few_pairs_make_none() -> None:
    low, high = in_order()
    gaps = np.random.default_rng(6).random((len(low), 2)) < 0.3
    frame = pd.DataFrame({"a": low, "b": high}).mask(gaps)
    columns = [Column(name, "float", decimals=2, missing=True) for name in frame]
    assert found_orders(frame, columns) == {("a", "b")}
    frame.loc[frame["a"].dropna().index[45:], "b"] = np.nan
    assert found_orders(frame, columns) == set()


def test_an_order_is_looked_for_in_few_rows_and_checked_in_all() -> None:
    rng = np.random.default_rng(7)
    low = rng.normal(0, 1, 40_000).round(3)
    frame = pd.DataFrame({"a": low, "b": (low + rng.exponential(0.5, 40_000)).round(3)})
    columns = [Column(name, "float", decimals=3) for name in frame]
    assert found_orders(frame, columns) == {("a", "b")}
    frame.loc[10_001, "b"] = frame.loc[10_001, "a"] - 1
    assert found_orders(frame, columns) == set()


@pytest.mark.parametrize(
    ("names", "forms", "proposed"),
    [
        (("net", "gross"), ("", ""), True),
        (("net_kg", "gross_kg"), ("", ""), True),
        (("net", "gross (kg)"), ("", ""), True),
        (("net", "gross"), ("$0.00", "$0.00"), True),
        (("bill_length_mm", "mass_g"), ("", ""), False),
        (("length (cm)", "duration (h)"), ("", ""), False),
        (("fee", "rate"), ("$0.00", "0.00%"), False),
        (("fee", "hours"), ("$0.00", ""), False),
    ],
)
def test_amounts_of_unlike_units_are_not_compared(names, forms, proposed) -> None:
    cells = []
    for values, form in zip(in_order(), forms, strict=True):
        prefix, suffix = form[:1] if form[:1] == "$" else "", "%" if form[-1:] == "%" else ""
        cells.append([f"{prefix}{value:.2f}{suffix}" for value in values])
    frame = pd.DataFrame(dict(zip(names, cells, strict=True)))
    columns = [
        Column(name, "float", decimals=2, form=form)
        for name, form in zip(names, forms, strict=True)
    ]
    assert found_orders(frame, columns) == ({names} if proposed else set())


def test_no_number_is_added_to_one_of_another_unit() -> None:
    low, high = in_order()
    columns = [Column(name, "float", decimals=2) for name in ("a", "b", "total")]
    frame = pd.DataFrame({"a": low, "b": high, "total": (low + high).round(2)})
    assert Sum("total", ("a", "b")) in propose_constraints(frame, columns, (), 5)
    units = {"a": "a_mm", "b": "b_g", "total": "total_mm"}
    unlike = [Column(units[column.name], "float", decimals=2) for column in columns]
    found = propose_constraints(frame.rename(columns=units), unlike, (), 5)
    assert not any(isinstance(c, Sum) for c in found)


def test_a_date_is_compared_with_no_number_and_no_time_of_day() -> None:
    rng = np.random.default_rng(8)
    seconds = np.sort(rng.integers(0, 86_400, 400))
    moments = pd.Series(pd.to_datetime(seconds, unit="s"))
    frame = pd.DataFrame(
        {
            # As seconds since 1970 each is at most the next.
            "clock": moments.dt.strftime("%H:%M:%S"),
            "day": (moments + pd.to_timedelta(rng.integers(0, 600, 400), unit="s")).astype(str),
            "number": (seconds + 1_000).astype(str),
        }
    )
    columns = [
        Column("clock", "datetime", form="%H:%M:%S"),
        Column("day", "datetime", form="%Y-%m-%d %H:%M:%S"),
        Column("number", "integer"),
    ]
    assert found_orders(frame, columns) == set()
    alike = [replace(column, form="%Y-%m-%d %H:%M:%S") for column in columns[:2]]
    frame["clock"] = moments.astype(str)
    assert found_orders(frame, [*alike, columns[2]]) == {("clock", "day")}


def test_thousands_of_columns_make_no_long_search() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(0, 1, (200, 1)).round(2)
    wide = np.cumsum(np.abs(rng.normal(0, 0.3, (200, 3000))), axis=1) / 300 + base
    frame = pd.DataFrame(wide.round(3)).rename(columns=lambda i: f"c{i}")
    columns = [Column(name, "float", decimals=3) for name in frame]
    assert len(propose_constraints(frame, columns, (), 5)) <= MOST
