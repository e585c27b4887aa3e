"""Codes are made anew: in their pattern, no two alike, none that a site holds."""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.identifiers import (
    UUID,
    Identifier,
    find_patterns,
    pattern_problem,
    read_identifiers,
    room,
    running_numbers,
)


def identifier(codes: list[str], name: str = "id") -> Identifier:
    patterns = find_patterns(codes)
    shares = np.array(list(patterns.values())) / sum(patterns.values())
    start = int(running_numbers(codes).max(initial=0)) + 1
    return Identifier(name, 0, tuple(patterns), tuple(shares.tolist()), start)


@pytest.mark.parametrize(
    ("codes", "pattern"),
    [
        (["P-004217", "P-004218", "P-011000"], "P-999999"),
        (["7", "19", "230"], "#"),
        (["x-12", "x-305"], "x-#"),
        (["AB12CD", "XY99ZZ"], "AA99AA"),
        (["Ahmed 1", "Ahmed 20"], r"\A\hmed #"),
        (["0a1b2c3d4e5f", "ffffffffffff"], "h" * 12),
        ([str(uuid.UUID(int=i)) for i in (1, 2)], UUID),
    ],
)
def test_codes_have_a_pattern(codes: list[str], pattern: str) -> None:
    assert find_patterns(codes) == {pattern: len(codes)}
    assert pattern_problem(pattern) is None
    # What is made has it, too.
    made = identifier(codes).make(50, np.random.default_rng(0))
    assert set(find_patterns([*codes, *made])) == {pattern}


@given(st.integers(0, 10**6), st.sampled_from(["P-{:07d}", "{}", "n{}/2024", "{:05d}-A"]))
def test_new_codes_differ_from_each_other_and_from_those_that_are_continued(
    first: int, form: str
) -> None:
    codes = [form.format(first + i * i) for i in range(40)]
    made = identifier(codes)
    new = made.make(200, np.random.default_rng(1))
    assert len(set(new)) == 200
    if made.chance(40) == 0.0:
        assert not set(new) & set(codes)


def test_codes_depend_on_the_seed_alone() -> None:
    made = identifier(["AB12CD", "XY99ZZ"])
    one, two = (made.make(20, np.random.default_rng(3)) for _ in range(2))
    assert one == two != made.make(20, np.random.default_rng(4))


def test_a_pattern_without_room_is_said() -> None:
    with pytest.raises(ValueError, match="no room for 30 codes"):
        Identifier("x", 0, ("A",), (1.0,)).make(30, np.random.default_rng(0))
    assert room("A") == 26
    assert Identifier("x", 0, ("AA",), (1.0,)).chance(338) == 0.5


def test_identifiers_survive_plain_values() -> None:
    made = identifier(["P-004217", "P-004218"])
    plain = {**vars(made), "patterns": list(made.patterns), "shares": list(made.shares)}
    assert read_identifiers([plain]) == (made,)
