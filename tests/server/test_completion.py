"""Partial rows completed: given cells stay, the rest follows from them."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from everymode.fairness.groups.conditions import MISSING
from everymode.server.synthesis import completion, partial_rows
from everymode.server.synthesis.completion import complete
from everymode.server.synthesis.drawing import Search
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.errors import DataError


@pytest.fixture(scope="module")
def synthesizer(finished: Any) -> Synthesizer:
    return load_generator(finished[0])


def texts(*rows: dict[str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), dtype=object)


def test_given_cells_stay_and_the_rest_is_filled_in(synthesizer: Synthesizer) -> None:
    schema = synthesizer.plan.schema
    day = pd.Timestamp(schema["joined"].low + 86400 * 40, unit="s").strftime("%Y-%m-%d")
    given = texts(
        {"age": "33", "group": "b", "member": "TRUE", "joined": day},
        {"age": None, "group": None, "member": "false", "joined": None},
        {"age": "41.0", "group": "a", "member": None, "joined": None},
        {"age": None, "group": "c", "member": None, "joined": None},
    )
    found = complete(synthesizer, given, 0)
    rows = found.rows
    assert tuple(rows.columns) == schema.names and len(rows) == 4
    assert rows["age"].tolist()[::2] == [33, 41]
    assert rows["group"][[0, 2, 3]].tolist() == ["b", "a", "c"]
    assert rows["member"].tolist()[:2] == [True, False]
    assert rows["joined"][0].strftime("%Y-%m-%d") == day
    assert rows.drop(columns=["weight kg", "joined"]).notna().all().sum() >= 4
    plain = synthesizer.draw(3, 0)
    assert rows.dtypes.equals(plain.dtypes)
    # As text they keep the user's spelling, and what was drawn has none.
    assert found.cells["member"].tolist() == ["TRUE", "false", None, None]
    assert found.cells["age"].tolist() == ["33", None, "41.0", None]
    pd.testing.assert_frame_equal(complete(synthesizer, given, 0).rows, rows)
    assert not complete(synthesizer, given, 1).rows.equals(rows)


def test_a_missing_value_can_be_given(synthesizer: Synthesizer) -> None:
    given = texts(*[{"weight kg": MISSING, "sex": "f"}] * 20)
    found = complete(synthesizer, given, 0)
    assert found.rows["weight kg"].isna().all() and set(found.rows["sex"]) == {"f"}
    assert set(found.cells["weight kg"]) == {""}
    assert (found.near, found.unlike) == (0, 0)


def test_given_categories_leave_the_conditional_distribution_of_rejection(
    synthesizer: Synthesizer,
) -> None:
    given = texts(*[{"member": "true"}] * 2000)
    made = complete(synthesizer, given, 1)
    assert (made.near, made.unlike) == (0, 0)
    brute = synthesizer.draw(6000, 2, where={"member": True})
    for column in ("group", "sex", "outcome", "age"):
        counts = pd.concat(
            [t[column].astype(str).value_counts() for t in (made.rows, brute)], axis=1
        ).fillna(0)
        kept = counts[counts.sum(axis=1) >= 10].to_numpy().T
        assert stats.chi2_contingency(kept).pvalue > 0.001, column
    # Every row is a row of its own.
    assert not made.rows.duplicated().any()


def test_given_numbers_leave_the_distribution_near_them(synthesizer: Synthesizer) -> None:
    age = int(synthesizer.draw(4000, 1)["age"].median())
    made = complete(synthesizer, texts(*[{"age": str(age)}] * 600), 0)
    assert set(made.rows["age"]) == {age} and made.near < 60
    near = synthesizer.draw(600, 2, where={"age": (age - 1, age + 1)})
    dense = [t.loc[t["gain"] > 0, "gain"] for t in (made.rows, near)]
    assert stats.ks_2samp(*dense).pvalue > 0.001


def test_rows_without_an_exact_match_are_counted(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = synthesizer.plan.schema["weight kg"]
    odd = f"{(column.low + column.high) / 2 + 0.01234:.12f}"
    made = complete(synthesizer, texts({"weight kg": odd}, {"weight kg": None}), 0)
    assert (made.near, made.unlike) == (1, 0)
    assert made.rows["weight kg"][0] == float(odd)
    assert made.sentences() == [
        "of 2 rows, 1 had no exact match in their given numbers and took one of the 16 nearest "
        "rows drawn"
    ]
    monkeypatch.setattr(completion, "POOL", 1)
    real = completion.values_in

    def never_both(column: Any, series: Any) -> Any:
        found = real(column, series)
        if column.name == "member" and not isinstance(series, np.ndarray):
            return dataclasses.replace(found, state=np.zeros_like(found.state))
        return found

    monkeypatch.setattr(completion, "values_in", never_both)
    # No row drawn is a member, so one is taken that agrees in the rest.
    given = texts({"member": "true", "gain": "0"})
    made = complete(synthesizer, given, 0)
    assert (made.near, made.unlike) == (0, 1)
    assert made.rows["member"][0] and made.rows["gain"][0] == 0
    assert "1 give categories that no row drawn has together" in made.sentences()[0]


def test_all_cells_that_cannot_stand_are_named_at_once(synthesizer: Synthesizer) -> None:
    given = texts(
        {"age": "30", "group": "z", "member": "true", "nosuch": "1"},
        {"age": "1000", "group": "a", "member": "maybe", "nosuch": None},
        {"age": "old", "group": "z", "member": None, "nosuch": None},
    )
    with pytest.raises(DataError) as caught:
        complete(synthesizer, given, 0, where="p.csv")
    problems = caught.value.problems
    assert len(problems) == 5
    for words in (
        "p.csv: column 'nosuch': the run has no such column",
        "p.csv: row 1 (and 1 more), column 'group': the run knows no value 'z'; write one of a, b",
        "p.csv: row 2, column 'age': 1000 lies outside the range of the data",
        "p.csv: row 2, column 'member': the run knows no value 'maybe'; write one of false, true",
        "p.csv: row 3, column 'age': 'old' is not of kind integer",
    ):
        assert any(problem.startswith(words) for problem in problems), words
    many = texts(*[{"age": str(1000 + k)} for k in range(50)])
    with pytest.raises(DataError, match="30 more such problems") as caught:
        complete(synthesizer, many, 0)
    assert len(caught.value.problems) == partial_rows.PROBLEMS + 1


def test_cells_that_never_come_together_are_refused(synthesizer: Synthesizer) -> None:
    conditions = synthesizer.plan.conditions
    counts = tuple(
        tuple(0 if group[0] == "c" else n for n in row)
        for group, row in zip(conditions.groups, conditions.counts, strict=True)
    )
    plan = dataclasses.replace(
        synthesizer.plan, conditions=dataclasses.replace(conditions, counts=counts)
    )
    other = dataclasses.replace(synthesizer, plan=plan)
    with pytest.raises(DataError, match=r"p.csv: row 2: .*group=c.*hold no such rows together"):
        complete(other, texts({"group": "a"}, {"group": "c"}), 0, where="p.csv")


def test_what_would_take_too_long_is_refused(synthesizer: Synthesizer) -> None:
    given = texts(*[{"group": g, "sex": s} for g in "abc" for s in "fm"])
    now = [0.0]

    def clock() -> float:
        now[0] += 30.0
        return now[0]

    with pytest.raises(DataError, match=r"6 rows would take about 3 minutes; .*--patience 270"):
        complete(synthesizer, given, 0, search=Search(20, clock=clock), where="p.csv")
    assert len(complete(synthesizer, given, 0).rows) == 6
