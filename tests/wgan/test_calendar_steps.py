"""Columns of months, quarters and full hours: their step is recognised from counts, and kept."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.calendar_steps import STEPS, at_least, nearest, on_steps
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.ranks import from_scores, resolution
from everymode.wgan.data.readings import read_counts
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import count_cells, describe, parse_column

PERIODS = {
    "year start": "YS",
    "year end": "YE",
    "quarter start": "QS",
    "quarter end": "QE",
    "month start": "MS",
    "month end": "ME",
}


@pytest.mark.parametrize("step", PERIODS)
def test_steps_of_the_calendar_are_those_of_pandas(step: str) -> None:
    """Oracle: pandas' offsets, before and after 1970."""
    days = pd.date_range("1895-01-01", "2105-01-01", freq=PERIODS[step])
    seconds = days.to_numpy().astype("datetime64[s]").astype(np.float64)
    assert on_steps(seconds)[:, STEPS.index(step)].all()
    assert (nearest(seconds, step) == seconds).all()
    assert not on_steps(seconds + 86400)[:, STEPS.index(step)].any()


@given(st.floats(-4e9, 8e9), st.sampled_from(list(PERIODS)))
def test_the_nearest_date_is_on_the_step_and_none_is_nearer(moment: float, step: str) -> None:
    found = nearest(np.array([moment]), step)
    assert on_steps(found)[0, STEPS.index(step)]
    later = at_least(np.array([moment]), step)
    assert later >= moment and on_steps(later)[0, STEPS.index(step)]
    assert abs(found - moment) <= abs(later - moment)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d/%m/%Y", "%d-%b-%y"])
@pytest.mark.parametrize("step", PERIODS)
def test_the_step_is_recognised_in_text_and_adds_up_over_sites(form: str, step: str) -> None:
    """A hundred periods have no coarser step. Control: one date off it, and there is none."""
    days = pd.date_range("1971-05-01", periods=100, freq=PERIODS[step])
    texts = pd.Series(days.strftime(form), dtype=object)
    parts = [count_cells(texts[:30]), count_cells(texts[30:])]
    total = CellCounts(parts[0].vector + parts[1].vector)
    assert (total.vector == count_cells(texts).vector).all()
    assert read_counts(total).step == step
    assert describe(texts[:19]).step == "", "a few may lie there by chance"
    odd = pd.Timestamp("1990-08-17").strftime(form)
    assert describe(pd.concat([texts, pd.Series([odd], dtype=object)])).step == ""


@pytest.mark.parametrize(("minutes", "step"), [(60, "hour"), (15, "quarter hour"), (10, "")])
def test_full_hours_and_quarters_are_recognised_of_any_type(minutes: int, step: str) -> None:
    moments = pd.Series(pd.date_range("2024-02-03 05:00", periods=90, freq=f"{minutes}min"))
    assert describe(moments).step == step
    texts = pd.Series(moments.dt.strftime("%Y-%m-%d %H:%M"), dtype=object)
    assert describe(texts).step == step
    clocks = pd.Series(moments.dt.strftime("%H:%M"), dtype=object)
    assert describe(clocks).step == step


def test_what_is_generated_lies_on_the_step_within_its_range() -> None:
    """Control: without the step the same scores give other days."""
    days = pd.Series(pd.date_range("2001-01-31", "2009-12-31", freq="ME").strftime("%Y-%m-%d"))
    seconds = parse_column(days, "datetime", "d", "t", "%Y-%m-%d")
    low, high = float(seconds.min()), float(seconds.max())
    edges, half = (low - 43200, high + 43200), 43200.0
    plain = Column(
        *("d", "datetime"),
        edges=edges,
        cumulative=(0.0, 1.0),
        low=low,
        high=high,
        form="%Y-%m-%d",
    )
    scores = np.random.default_rng(0).normal(size=1000) / 2
    place = STEPS.index("month end")
    assert on_steps(from_scores(scores, plain))[:, place].mean() < 0.1
    found = from_scores(scores, replace(plain, step="month end"))
    assert on_steps(found)[:, place].all()
    assert low - half <= found.min() and found.max() <= high + half
    hours = replace(plain, step="hour", form="%Y-%m-%d %H:%M")
    assert resolution(hours) == 3600


def test_the_step_is_part_of_a_schema_and_old_ones_keep_their_fingerprint() -> None:
    column = Column("d", "datetime", form="%Y-%m-%d", step="month start")
    assert Schema.from_json(Schema((column,)).to_json()).columns[0] == column
    assert "step" not in Schema((replace(column, step=""),)).to_json()["columns"][0]
