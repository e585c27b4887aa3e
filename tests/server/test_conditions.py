"""Conditions on rows to draw: the text of --where, and values of Python."""

import dataclasses
import datetime
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.fairness.groups.spellings import equal_spellings
from everymode.server.synthesis.conditions import Condition, parse_conditions, read_conditions
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.errors import DataError, SettingsError

SCHEMA = Schema(
    (
        Column("age", "integer", edges=(18.0, 90.0), cumulative=(0.0, 1.0), low=18, high=90),
        Column(
            "pay", "float", edges=(0.0, 9.0), cumulative=(0.0, 1.0), low=0, high=9, missing=True
        ),
        Column("seen", "datetime", low=0.0, high=2e9, form="%Y-%m-%d %H:%M:%S"),
        Column("born", "datetime", low=-2e9, high=2e9, form="%d.%m.%Y"),
        Column("to", "category", ("a..b", "a|b", "c", "d\\e"), missing=True),
        Column("code", "category", ("007", "7", "8.0")),
        Column("years", "category", ("1", "10", "9")),
        Column("ok", "boolean", ("False", "True")),
        Column("a=b", "category", ("x", "y")),
        Column("sex", "category", ("F", "M")),
    )
)


SPACE = ConditionSpace(("sex",), None, (("F",), ("M",)), ("all",), (), ((5,), (6,)))


@dataclasses.dataclass(frozen=True)
class Known:
    """What `parse_conditions` reads of a plan."""

    schema: Schema = SCHEMA
    conditions: ConditionSpace = SPACE


def parsed(where: Any) -> dict[str, Condition]:
    found = parse_conditions(Known(), where)  # type: ignore[arg-type]
    return {condition.column.name: condition for condition in found}


def from_text(*items: str) -> dict[str, Condition]:
    return parsed(read_conditions(SCHEMA, items))


def seconds(text: str) -> float:
    return pd.Timestamp(text).timestamp()


@pytest.mark.parametrize(
    ("items", "texts", "intervals", "missing"),
    [
        (["age=60..90"], (), ((60, 90),), False),
        (["age=..30", "age=60.."], (), ((-np.inf, 30), (60, np.inf)), False),
        (["age=20|30..40"], (), ((20, 20), (30, 40)), False),
        (["age=85..200"], (), ((85, 200),), False),
        (["pay=(missing)|1"], (), ((1, 1),), True),
        (["pay=1.5..2.5"], (), ((1.5, 2.5),), False),
        (["born=1950-01-01..01.02.1950"], (),
         ((seconds("1950-01-01"), seconds("1950-02-01")),), False),
        (["seen=2001-01-01 10:00:00"], (), ((seconds("2001-01-01 10:00"),) * 2,), False),
        (["sex=F", "sex=M"], ("F", "M"), (), False),
        (["sex=F|M"], ("F", "M"), (), False),
        (["to=a|b"], ("a|b",), (), False),
        (["to=a..b|c"], ("a..b", "c"), (), False),
        (["to=c|a|b|(missing)"], ("c", "a|b"), (), True),
        ([r"to=a\|b"], ("a|b",), (), False),
        ([r"to=a\..b"], ("a..b",), (), False),
        ([r"to=d\e"], ("d\\e",), (), False),
        ([r"to=d\\e|c"], ("d\\e", "c"), (), False),
        (["a=b=x"], ("x",), (), False),
        (["code=007"], ("007",), (), False),
        (["code=7"], ("7",), (), False),
        (["code=8"], ("8.0",), (), False),
        (["ok=TRUE"], ("True",), (), False),
        (["ok=1"], ("True",), (), False),
        (["years=9.."], ("10", "9"), (), False),
    ],
)  # fmt: skip
def test_what_the_text_of_a_condition_means(
    items: list[str], texts: Any, intervals: Any, missing: bool
) -> None:
    (found,) = from_text(*items).values()
    assert (found.texts, found.intervals, found.missing) == (texts, intervals, missing)


def test_a_date_without_a_time_of_day_is_the_whole_day() -> None:
    moments = pd.Series(
        pd.to_datetime(["2001-01-01 00:00:00", "2001-01-01 23:59:59", "2001-01-02 00:00:00"])
    )
    for items in (["seen=2001-01-01"], ["seen=2000-12-31..2001-01-01"]):
        assert from_text(*items)["seen"].fits(moments).tolist() == [True, True, False]
    until = parsed({"seen": (None, datetime.date(2001, 1, 1))})["seen"]
    assert until.fits(moments).tolist() == [True, True, False]
    # The control: an instant is itself.
    exact = parsed({"seen": (None, pd.Timestamp("2001-01-01"))})["seen"]
    assert exact.fits(moments).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((60, 80), "age=60..80"),
        ([20, (30, 40.0)], "age=20|30..40"),
        (slice(None, np.int8(30)), "age=..30"),
        (range(20, 23), "age=20|21|22"),
        (np.array([20, 21]), "age=20|21"),
        (decimal.Decimal(20), "age=20"),
        (20.0, "age=20"),
    ],
)
def test_python_and_text_say_the_same(value: Any, text: str) -> None:
    assert parsed({"age": value})["age"].intervals == from_text(text)["age"].intervals


def test_values_of_python_are_taken_literally() -> None:
    assert parsed({"to": "a|b", "sex": {"F", "M"}, "pay": None})["to"].texts == ("a|b",)
    assert parsed({"pay": float("nan")})["pay"].missing
    assert parsed({"to": [None, "c"]})["to"].missing
    assert parsed({"ok": np.True_})["ok"].texts == ("True",)
    assert parsed({"born": datetime.date(1950, 1, 2)})["born"].intervals == (
        (seconds("1950-01-02"),) * 2,
    )
    aware = pd.Timestamp("2001-01-01 02:00", tz="Europe/Berlin")
    assert parsed({"seen": aware})["seen"].intervals == ((seconds("2001-01-01 01:00"),) * 2,)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"age": (90, 60)}, "age=90..60: ends before it begins; write 60..90"),
        ({"age": (91, None)}, "age=91..: lies outside the range of the data"),
        ({"age": (60.2, 60.8)}, "holds no whole number"),
        ({"age": (None, None)}, "a range needs an end"),
        ({"age": (1, 2, 3)}, "write a list for several values"),
        ({"age": slice(1, 2, 3)}, "a range has no step"),
        ({"age": []}, "an empty list"),
        ({"age": None}, r"age=\(missing\): expected a value of kind integer"),
        ({"age": ("old", 90)}, "age=old..90: expected a value of kind integer"),
        ({"to": ("c", "d")}, r"have no order; name them, to=a\.\.b\|a\|b, say"),
        ({"years": ("a", 2)}, "expected numbers as the ends"),
        ({"years": (2, 8)}, "no value lies inside; there are 1, 10, 9"),
        ({"years": (8, 2)}, "write 2..8"),
        ({"sex": "x"}, "sex=x: the run knows no such value; write one of F, M"),
        ({"sex": ""}, "sex=: names no value; write one of F, M"),
        ({"code": "07"}, "code=07: the run knows no such value; write one of 007, 7, 8.0"),
        ({"nosuch": 1}, "nosuch: no such column; there are age, pay"),
    ],
)
def test_what_cannot_be_met_is_refused(where: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        parsed(where)
    assert len(caught.value.problems) == 1 and str(caught.value).startswith("--where ")


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        parsed({"age": ["old", (95, 99)], "sex": ["x", "F", "y"], "nosuch": 1})
    assert len(caught.value.problems) == 5
    with pytest.raises(SettingsError) as refused:
        read_conditions(SCHEMA, ["age", "sex"])
    assert len(refused.value.problems) == 2


names = st.text(st.sampled_from("ab|.\\=1 "), min_size=1, max_size=8)


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.data())
def test_a_known_value_means_itself_however_it_is_written(known: list[str], data: Any) -> None:
    schema = Schema((Column("k", "category", tuple(sorted(known))),))
    value = data.draw(st.sampled_from(known))
    assert read_conditions(schema, [f"k={value}"]) == {"k": [value]}
    # Escaped signs give any value, known or not.
    other = data.draw(names)
    written = other.replace("\\", "\\\\").replace("|", "\\|").replace(".", "\\.")
    if written not in known and other not in known:
        assert read_conditions(schema, [f"k={written}"]) == {"k": [other]}


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_reason(name: str, value: str) -> None:
    for item in (f"{name}={value}", f"age={value}", f"to={value}", f"seen={value}"):
        try:
            from_text(item)
        except (DataError, SettingsError) as error:
            assert all(problem.startswith("--where ") for problem in error.problems)


@given(st.lists(st.tuples(st.integers(18, 90), st.integers(0, 30)), min_size=1, max_size=4))
def test_ranges_of_one_column_unite(spans: list[tuple[int, int]]) -> None:
    ages = pd.Series(range(18, 91))
    items = [f"age={low}..{low + more}" for low, more in spans]
    wanted = {age for low, more in spans for age in range(low, low + more + 1)}
    assert set(ages[from_text(*items)["age"].fits(ages)]) == wanted & set(ages)


def test_missing_values_fit_where_they_are_asked_for() -> None:
    pay = pd.Series([1.0, None, 5.0])
    assert parsed({"pay": [None, (4, 6)]})["pay"].fits(pay).tolist() == [False, True, True]
    assert parsed({"pay": (0, 9)})["pay"].fits(pay).tolist() == [True, False, True]
    to = pd.Series(["c", None], dtype=object)
    assert parsed({"to": MISSING})["to"].fits(to).tolist() == [False, True]


def test_the_exact_spelling_comes_first() -> None:
    assert equal_spellings("1", ["1.0", "1", "True"]) == ("1",)
    assert equal_spellings("1.00", ["1.0", "1", "True"]) == ("1.0", "1", "True")
