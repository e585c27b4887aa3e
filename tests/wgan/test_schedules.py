"""Factors of the learning rates."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from everymode.wgan.schedules import Constant, Cosine, Linear, ScheduleSpec

SCHEDULES = [Constant(), Linear(), Linear(end=0.1), Cosine(), Cosine(end=0.5)]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


@pytest.mark.parametrize("rounds", [1, 2, 7, 300, 977])
def test_linear_is_the_rule_of_the_rounds_to_the_last_bit(rounds):
    found = [Linear().factor(number - 1, rounds) for number in range(1, rounds + 1)]
    assert found == [1.0 - (number - 1) / rounds for number in range(1, rounds + 1)]


def test_cosine_closed_form():
    found = [Cosine(end=0.2).factor(done, 6) for done in (0, 2, 3, 4, 6)]
    assert found == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


@every_schedule
@given(total=st.integers(1, 400), warmup=st.floats(0, 1))
def test_contract(schedule, total, warmup):
    warm = type(schedule)(**{**vars(schedule), "warmup": warmup})
    factors = [warm.factor(done, total) for done in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert max(factors) == 1
    assert warm.factor(total, total) == pytest.approx(getattr(schedule, "end", 1.0), abs=1e-12)


@every_schedule
def test_the_ramp_is_linear_and_what_follows_is_the_schedule_itself(schedule):
    warm = type(schedule)(**{**vars(schedule), "warmup": 0.1})
    factors = [warm.factor(done, 50) for done in range(50)]
    assert factors[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert factors[5:] == [schedule.factor(done, 45) for done in range(45)]


@every_schedule
@pytest.mark.parametrize(("done", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_steps_outside_the_training_are_refused(schedule, done, total):
    with pytest.raises(ValueError, match="expected"):
        schedule.factor(done, total)


@every_schedule
def test_the_tag_tells_them_apart(schedule):
    adapter = TypeAdapter(ScheduleSpec)
    assert adapter.validate_python(adapter.dump_python(schedule)) == schedule


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "steps"}, {"kind": "linear", "end": 1.5}, {"kind": "cosine", "end": math.nan}],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(ScheduleSpec).validate_python(wrong)
