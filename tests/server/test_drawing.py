"""Rows drawn under conditions: their distribution, and searches that take too long."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.synthesis import drawing
from everymode.server.synthesis.drawing import Search, piece_rows, time_span
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.identifiers import Identifier
from everymode.wgan.errors import DataError


@pytest.fixture(scope="module")
def synthesizer(finished: Any) -> Synthesizer:
    return load_generator(finished[0])


def ticking(seconds: float) -> Callable[[], float]:
    """A clock on which this much passes between any two looks at it."""
    now = [0.0]

    def clock() -> float:
        now[0] += seconds
        return now[0]

    return clock


def differs(one: "pd.Series[Any]", other: "pd.Series[Any]") -> float:
    """The p-value of a chi-square test that two samples are of one distribution."""
    counts = pd.concat([one.value_counts(), other.value_counts()], axis=1).fillna(0)
    return float(stats.chi2_contingency(counts[counts.sum(axis=1) >= 10].to_numpy().T).pvalue)


WHERE = {"age": (30, 60), "member": [True]}


@pytest.mark.parametrize(
    "mixture", ["data", pytest.param("uniform", marks=pytest.mark.nightly), "parity"]
)
def test_rows_are_distributed_as_by_brute_force_rejection(
    synthesizer: Synthesizer, mixture: str
) -> None:
    made = synthesizer
    if mixture == "parity":
        made = dataclasses.replace(synthesizer, parity=ParityMixture(0.0))
    groups: Any = "uniform" if mixture == "uniform" else "data"
    pool = made.draw(40_000, 8, groups)
    brute = pool[pool["age"].between(30, 60) & pool["member"]]
    drawn = made.draw(3000, 3, groups, WHERE)
    cell, other = (t["group"] + t["sex"].fillna("-") + t["outcome"] for t in (drawn, brute))
    assert differs(cell, other) > 0.001
    assert differs(drawn["age"], brute["age"]) > 0.001
    assert differs(drawn["joined"].isna(), brute["joined"].isna()) > 0.001
    # The control: the test sees that conditions change the distribution of what is not named.
    assert differs(drawn["age"] // 5, pool["age"] // 5) < 1e-6


def test_cells_without_fitting_rows_are_left_out_and_nothing_else_changes(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = synthesizer.plan
    shape = plan.conditions.table.reshape(-1)
    barren = np.flatnonzero(shape > 0)[::2]
    real = drawing.decoded
    asked: list[Any] = []
    own = Synthesizer.encoded

    def encoded(self: Synthesizer, cells: Any, seed: int) -> Any:
        rows = own(self, cells, seed)
        asked.append(cells)
        return rows

    def decoded(plan: Any, names: Any, rows: Any, cells: Any, draws: Any) -> Any:
        series = real(plan, names, rows, cells, draws)[names[0]].copy()
        series[np.isin(asked[-1][: len(series)], barren)] = 0
        return {names[0]: series}

    monkeypatch.setattr(Synthesizer, "encoded", encoded)
    monkeypatch.setattr(drawing, "decoded", decoded)
    high = plan.schema["age"].high
    synthesizer.draw(20_000, 0, where={"age": (1, high)})
    share = [np.isin(cells, barren).mean() for cells in asked]
    assert share[0] > 0.2 and share[-1] == 0
    # Few fitting rows decide nothing.
    hits = np.array([drawing.MIN_HITS - 1, 0])
    assert drawing._live(np.array([0.5, 0.5]), hits).tolist() == [0.5, 0.5]
    assert drawing._live(np.array([0.5, 0.5]), hits + np.array([1, 0])).tolist() == [1, 0]
    # Many cells that have given one row each say that others have some, too.
    rare = np.array([drawing.MIN_HITS] + [1] * 9 + [0])
    assert (drawing._live(np.full(11, 1 / 11), rare) > 0).all()


def test_the_seed_decides_and_time_does_not(synthesizer: Synthesizer) -> None:
    one = synthesizer.draw(60, 4, where=WHERE)
    slow = synthesizer.draw(60, 4, where=WHERE, search=Search(1e9, clock=ticking(1e4)))
    pd.testing.assert_frame_equal(one, slow)
    assert not one.equals(synthesizer.draw(60, 5, where=WHERE))
    assert (one["age"].between(30, 60) & one["member"]).all()
    assert list(one.index) == list(range(60))


def test_a_search_that_would_take_too_long_is_refused_with_an_estimate(
    synthesizer: Synthesizer,
) -> None:
    age = {"age": synthesizer.plan.schema["age"].high}
    told: list[Any] = []
    search = Search(60, lambda *figures: told.append(figures), ticking(1.0))
    with pytest.raises(DataError) as caught:
        synthesizer.draw(1_000_000, 0, where=age, search=search)
    assert len(told) == drawing.PILOT
    found, wanted, left = told[-1]
    text = str(caught.value)
    expected = drawing.PILOT * 1_000_000 / found
    drawn = sum(piece_rows(piece, 1) for piece in range(drawing.PILOT))
    assert wanted == 1_000_000 and left == pytest.approx(expected - drawing.PILOT)
    one_in = float(f"{drawn / found:.2g}")
    assert f"about 1 in {one_in:,.0f} rows fits" in text
    assert f"1,000,000 rows would take about {time_span(expected)}" in text
    patience = float(text.rpartition("--patience ")[2])
    assert 1.4 * expected < patience < 1.6 * expected + 2
    # With patience, the same rows come.
    few = synthesizer.draw(5, 0, where=age, search=Search(patience, clock=ticking(1.0)))
    assert (few["age"] == age["age"]).all()


def test_a_condition_that_no_row_meets_is_refused(synthesizer: Synthesizer) -> None:
    schema = synthesizer.plan.schema
    # Between two neighbouring values that the generator makes.
    low = schema["weight kg"].low
    never = {"weight kg": (low + 1e-9, low + 2e-9)}
    search = Search(10, clock=ticking(1.0))
    with pytest.raises(DataError, match=r"none of [\d,]+ rows drawn fits, .* more than .* minutes"):
        synthesizer.draw(1000, 0, where=never, search=search)


def test_pieces_grow_and_are_bounded() -> None:
    assert [piece_rows(k, 50) for k in range(6)] == [4096, 8192, 16384, 32768, 32768, 32768]
    assert piece_rows(0, 100_000) == piece_rows(9, 100_000) == 1024


@pytest.mark.parametrize("where", [{}, {"age": (30, 60)}])
def test_pieces_are_the_rows_of_one_table_and_do_not_repeat_each_other(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    whole = synthesizer.draw(900, 4, where=where)
    monkeypatch.setattr(drawing, "ROWS", 400)
    told: list[int] = []
    search = Search(progress=lambda found, wanted, left: told.append(found))
    pieces = list(synthesizer.draw_pieces(900, 4, "data", where, search))
    assert [len(piece) for piece in pieces] == [400, 400, 100]
    assert told[-1] == 900 and told == sorted(told)
    joined = pd.concat(pieces, ignore_index=True)
    pd.testing.assert_frame_equal(joined, synthesizer.draw(900, 4, where=where))
    assert list(joined.dtypes) == list(whole.dtypes)
    assert not pieces[0].equals(pieces[1])
    # A table of one piece is what it was before there were pieces.
    monkeypatch.setattr(drawing, "ROWS", 900)
    pd.testing.assert_frame_equal(synthesizer.draw(900, 4, where=where), whole)
    assert differs(joined["age"] // 5, whole["age"] // 5) > 0.001


def test_codes_of_different_pieces_differ(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Identifier("id", 1, ("P-999999",), (1.0,), 4218)
    schema = dataclasses.replace(synthesizer.plan.schema, identifiers=(code,))
    made = dataclasses.replace(
        synthesizer, plan=dataclasses.replace(synthesizer.plan, schema=schema)
    )
    monkeypatch.setattr(drawing, "ROWS", 100)
    rows = made.draw(250, 0)
    assert rows["id"].is_unique and list(rows.columns).index("id") == 1
    assert rows["id"].iloc[[0, 249]].tolist() == ["P-004218", "P-004467"]
