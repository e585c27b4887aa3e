"""What constraints say of rows, and that encoded columns always give rows that fulfil them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.constrained import construction, count_broken, hidden_columns, with_hidden
from everymode.wgan.data.constraint_rules import broken, constraint_problems
from everymode.wgan.data.constraints import (
    Combination,
    Constraint,
    OneHot,
    OnlyIf,
    Order,
    Range,
    Sum,
    constraint_from_json,
    constraint_to_json,
)
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.restored import moved, restored
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.values import parse_values
from everymode.wgan.errors import DataError

CONSTRAINTS: tuple[Constraint, ...] = (
    Order("start", "end"),
    Order("end", "paid", strict=True),
    Order("low", "high", strict=True),
    Sum("gross", ("net", "tax")),
    OneHot(("red", "green", "blue")),
    Combination(("city", "country")),
    OnlyIf("weeks", "sex", ("f",)),
    Range("age", 20, 80.5),
)


def table(rows: int, seed: int) -> pd.DataFrame:
    """Rows that fulfil all of `CONSTRAINTS`."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D")
    end = start + pd.to_timedelta(rng.integers(0, 40, rows), unit="D")
    paid = end + pd.to_timedelta(rng.integers(1, 9, rows), unit="D")
    city = rng.choice(["Berlin", "Köln", "Paris", "Lyon"], rows)
    net, tax = rng.gamma(2, 30, rows).round(2), rng.gamma(2, 9, rows).round(1)
    hot, low = rng.integers(0, 3, rows), rng.normal(70, 9, rows).round(1)
    sex = rng.choice(["f", "m"], rows)
    frame = pd.DataFrame(
        {
            "start": start.strftime("%Y-%m-%d"),
            "end": end.strftime("%Y-%m-%d"),
            "paid": paid.strftime("%Y-%m-%d"),
            "low": low,
            "high": (low + rng.integers(1, 50, rows)).round(1),
            "net": net,
            "tax": tax,
            "gross": (net + tax).round(2),
            "red": hot == 0,
            "green": hot == 1,
            "blue": hot == 2,
            "city": city,
            "country": np.where(np.isin(city, ["Berlin", "Köln"]), "DE", "FR"),
            "sex": sex,
            "weeks": np.where(sex == "f", rng.integers(1, 40, rows), np.nan),
            "age": rng.integers(20, 81, rows),
        }
    )
    # Missing on one side is fine, and common.
    frame.loc[rng.random(rows) < 0.1, "paid"] = None
    frame.loc[rng.random(rows) < 0.1, "low"] = np.nan
    return frame


def constrained(frame: pd.DataFrame, constraints: Sequence[Constraint]) -> Schema:
    """A schema with hidden columns fitted on a table, as an agreement would have them."""
    plain = fit_schema(frame)
    hidden = hidden_columns(plain.columns, constraints)
    drafted = replace(plain, constraints=tuple(constraints), hidden=hidden)
    rows = with_hidden(frame, drafted, "t")
    fitted = fit_schema(rows[[c.name for c in hidden]]) if hidden else Schema(())
    kinds = {c.name: c for c in hidden}
    settled = (
        replace(c, kind=kinds[c.name].kind, decimals=kinds[c.name].decimals) for c in fitted.columns
    )
    return replace(drafted, hidden=tuple(settled))


def rebuilt(rows: Any, schema: Schema, fixed: Sequence[str] = (), frame: Any = None) -> Any:
    codec = TableCodec(construction(schema, fixed).schema)
    decoded = codec.decode(rows)
    cells = np.zeros(len(decoded), np.int64)
    return restored(decoded, schema, (), fixed, cells, np.random.default_rng(0))


def breaking(frame: pd.DataFrame, schema: Schema) -> dict[str, int]:
    """Rows that break each constraint, those of unknown combinations among them."""
    found = {}
    names = [column.name for column in schema.hidden]
    for i, constraint in enumerate(schema.constraints):
        cells = {n: parse_values(frame, schema[n], "t") for n in constraint.columns}
        name = f"data.constraints[{i}]"
        allowed = schema.hidden[names.index(name)].categories if name in names else None
        found[constraint.words] = int(broken(constraint, cells, schema, allowed).sum())
    return {words: n for words, n in found.items() if n}


@given(st.integers(0, 2**32 - 1))
def test_any_output_of_a_network_gives_rows_that_fulfil_all_constraints(seed: int) -> None:
    schema = constrained(table(300, seed), CONSTRAINTS)
    built = construction(schema, ())
    assert all(built.built)
    assert not {"end", "paid", "gross", "red", "city"} & set(built.schema.names)
    rows = np.random.default_rng(seed).normal(0, 2, (500, TableCodec(built.schema).width))
    found = rebuilt(rows, schema)
    assert breaking(found.rows, schema) == {}
    assert list(found.rows) == list(schema.names)
    assert found.replaced == 0
    # The control: columns made each for itself break every constraint between columns.
    alone = TableCodec(replace(schema, constraints=(), hidden=()))
    free = alone.decode(np.random.default_rng(seed).normal(0, 2, (500, alone.width)))
    assert len(breaking(free, schema)) >= 6


@given(st.integers(0, 2**32 - 1))
def test_rows_that_fulfil_the_constraints_come_back_as_they_went_in(seed: int) -> None:
    frame = table(200, seed)
    schema = constrained(frame, CONSTRAINTS)
    rows = with_hidden(frame, schema, "t", mended=True)
    codec = TableCodec(construction(schema, ()).schema)
    found = rebuilt(codec.encode(rows, np.random.default_rng(0)), schema)
    assert found.moved == found.replaced == 0
    for name in ("start", "end", "paid", "low", "high", "red", "blue", "city", "country", "weeks"):
        one, other = (parse_values(f, schema[name], "t") for f in (frame, found.rows))
        if schema[name].numeric:
            np.testing.assert_allclose(other, one, atol=0.051 if name in ("low", "high") else 0)
        else:
            assert one.tolist() == other.tolist()
    np.testing.assert_allclose(found.rows["gross"], frame["gross"], rtol=0.01, atol=0.02)


@given(st.integers(0, 2**32 - 1), st.sets(st.sampled_from(sorted(table(9, 0))), max_size=4))
def test_columns_that_rows_are_asked_for_by_stay_and_the_others_move(
    seed: int, fixed: set[str]
) -> None:
    schema = constrained(table(300, seed), CONSTRAINTS)
    built = construction(schema, tuple(fixed)).schema
    assert fixed <= set(built.names)
    rows = np.random.default_rng(seed).normal(0, 2, (400, TableCodec(built).width))
    try:
        found = rebuilt(rows, schema, tuple(fixed))
    except DataError as error:
        assert "no row that was made fulfils them all" in str(error)
        return
    assert breaking(found.rows, schema) == {}


def test_rows_of_the_table_that_break_a_constraint_are_counted() -> None:
    frame = table(100, 1)
    schema = constrained(frame, CONSTRAINTS)
    assert count_broken(frame, schema, "t").tolist() == [0] * 8
    frame.loc[0, "end"] = "2019-01-01"
    frame.loc[[1, 2], "gross"] += 1
    frame.loc[3, ["red", "green", "blue"]] = [True, True, False]
    frame.loc[4, ["red", "green", "blue"]] = [False, False, False]
    frame.loc[:, "weeks"] = 3.0
    frame.loc[5, "age"] = 81
    men = int((frame["sex"] == "m").sum())
    assert count_broken(frame, schema, "t").tolist() == [1, 0, 0, 2, 2, 0, men, 1]
    # Equal values break a strict order alone.
    equal = frame.assign(low=5.0, high=5.0)
    assert count_broken(equal, schema, "t")[2] == len(frame)


def test_broken_rows_are_encoded_with_the_nearest_values_that_are_not() -> None:
    frame = table(200, 2)
    schema = constrained(frame, CONSTRAINTS)
    frame["weeks"], frame["age"] = 3.0, 95
    rows = with_hidden(frame, schema, "t", mended=True)
    assert rows["weeks"].isna().tolist() == (frame["sex"] == "m").tolist()
    assert (rows["age"] == 80).all() and (frame["age"] == 95).all()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("decimals", [(0, 0), (1, 3), (3, 1)])
def test_an_order_holds_between_grids_of_other_decimals(
    strict: bool, decimals: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(0, 1, 500)
    high = low + rng.exponential(0.3, 500) + 1
    frame = pd.DataFrame({"a": low.round(decimals[0]), "b": high.round(decimals[1])})
    schema = constrained(frame, [Order("a", "b", strict)])
    width = TableCodec(construction(schema, ()).schema).width
    found = rebuilt(rng.normal(0, 2, (3000, width)), schema).rows
    assert breaking(found, schema) == {}
    assert (found["b"].round(decimals[1]) == found["b"]).all()


def test_given_cells_stay_and_the_rest_of_the_row_fits_them() -> None:
    frame = table(300, 3)
    schema = constrained(frame, CONSTRAINTS)
    given_ = frame.assign(end="2021-05-05", gross=12.34, country="DE", sex="m")
    typed = given_.assign(**{n: pd.to_datetime(given_[n]) for n in ("start", "end", "paid")})
    found, wrong = moved(typed, schema, ("end", "gross", "country", "sex"))
    assert not wrong.any() and breaking(found, schema) == {}
    assert (found["gross"] == 12.34).all() and set(found["city"]) <= {"Berlin", "Köln"}
    assert (found["start"] <= pd.Timestamp("2021-05-05")).all() and found["weeks"].isna().all()
    # Contradictions among given cells are known.
    _, wrong = moved(typed.assign(net=1.0, tax=1.0), schema, ("net", "tax", "gross"))
    assert wrong.all()


def test_what_a_constraint_cannot_be_about_is_said_at_once() -> None:
    columns = fit_schema(table(50, 0)).columns
    wrong = [Order("start", "low"), Sum("gross", ("net", "city")), Range("sex", 1), Order("x", "y")]
    found = constraint_problems(columns, wrong)
    assert len(found) == 5
    assert "data.constraints[0] (start <= low): a number and a date cannot be compared" in found[0]
    assert "data.constraints[3] (x <= y): the tables have no column 'x'" in found
    assert constraint_problems(columns, CONSTRAINTS) == []
    for wrong_fields in ({"low": "a", "high": "a"},):
        with pytest.raises(ValueError, match="compared with itself"):
            Order(**wrong_fields)


def test_chains_are_computed_in_turn_and_circles_are_not() -> None:
    frame = pd.DataFrame({"a": np.arange(60), "b": np.arange(60) + 3, "c": np.arange(60) + 9})
    chain = constrained(frame, [Order("b", "c"), Order("a", "b")])
    assert construction(chain, ()).built == (True, True)
    assert construction(chain, ()).schema.names[0] == "a"
    circle = constrained(frame, [Order("a", "b"), Order("b", "a")])
    assert construction(circle, ()).built == (True, False)
    width = TableCodec(construction(circle, ()).schema).width
    found = rebuilt(np.random.default_rng(0).normal(0, 2, (200, width)), circle)
    assert (found.rows["a"] == found.rows["b"]).all() and found.moved > 100


def test_constraints_that_contradict_each_other_are_refused() -> None:
    frame = pd.DataFrame({"a": np.arange(60), "b": np.arange(60) + 3})
    schema = constrained(frame, [Range("a", 50), Range("b", None, 20), Order("a", "b")])
    width = TableCodec(construction(schema, ()).schema).width
    with pytest.raises(DataError, match="no row that was made fulfils them all"):
        rebuilt(np.zeros((5, width)), schema)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda c: c.kind)
def test_a_schema_carries_its_constraints(constraint: Constraint) -> None:
    assert constraint_from_json(constraint_to_json(constraint)) == constraint
    schema = constrained(table(100, 0), [constraint])
    assert Schema.from_json(schema.to_json()) == schema
    assert schema.fingerprint != replace(schema, constraints=(), hidden=()).fingerprint
