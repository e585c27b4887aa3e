"""Words of others: what a person reads holds nothing that is not seen."""

import json
import tomllib
import unicodedata

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.errors import DataError
from everymode.wgan.words import (
    LINE,
    NAME,
    WORD,
    brief,
    file_name_problem,
    json_text,
    line,
    toml_text,
    visible,
)

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"
ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


def unseen(text: str, but: str = "") -> list[str]:
    return [c for c in text if unicodedata.category(c) in UNSEEN and c not in but]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;t\x07", r"\x1b[2J\x1b]0;t\x07"),
        ("a\rb\bc\td\ne\x00\x7f", r"a\rb\x08c\td\ne\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202eevil\u202c\u2066x\u2069\u061c", r"\u202eevil\u202c\u2066x\u2069\u061c"),
        ("a\u200bb\u200dc\ufeff\xad", r"a\u200bb\u200dc\ufeff\xad"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud83d\udc80", r"\ud83d\udc80"),
        ("\U000e0041\uffff", r"\U000e0041\uffff"),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Zürich",
        "東京\u3000駅",
        "a\xa0b",
        "\u0645\u06cc\u200c\u062e",  # Persian
        "👩\u200d🔬",
        "क्\u200dष",
        "\\x1b",
        "[red]$x_{$",
    ],
)
def test_what_is_seen_stays_as_it_is_in_every_script(text: str) -> None:
    assert visible(text) == text


@given(ANY)
def test_nothing_unseen_is_left_and_a_second_time_changes_nothing(text: str) -> None:
    shown = visible(text)
    assert not unseen(shown, JOINERS)
    assert visible(shown) == shown
    shown.encode()


def test_long_words_are_cut_and_their_length_is_said() -> None:
    assert brief("é" * NAME) == "é" * NAME
    assert brief("\x1b" * 300_000) == r"\x1b" * NAME + "… (300,000 characters)"
    path = "/" + "a" * (WORD - 1)
    assert line(f"error: {path} is gone") == f"error: {path} is gone"
    assert (
        line(f"error: {'b' * 5000} is gone") == f"error: {'b' * NAME}… (5,000 characters) is gone"
    )
    many = line("ab " * LINE)
    assert len(many) < LINE + 50 and many.endswith("… (30,000 characters)")


@given(st.recursive(ANY | st.integers(), lambda inner: st.dictionaries(ANY, inner, max_size=3)))
def test_json_is_read_back_as_it_was_and_hides_nothing(value: object) -> None:
    for indent in (None, 2):
        text = json_text(value, indent)
        assert json.loads(text) == value or "\\ud" in text
        assert not unseen(text, "\n" + JOINERS)
        text.encode()


def test_json_keeps_the_letters_of_every_script_and_joins_no_halves_by_chance() -> None:
    assert json_text({"é": "東京\x7f\x9b"}) == '{"é": "東京\\u007f\\u009b"}'
    assert json.loads(json_text("\ud83d")) == "\ud83d"
    with pytest.raises(ValueError, match="JSON compliant"):
        json_text({"a": float("nan")})


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=30), max_size=3))
def test_toml_is_read_back_as_it_was_and_hides_nothing(values: dict[str, str]) -> None:
    text = toml_text(tomli_w.dumps({"a": values}))
    assert tomllib.loads(text) == {"a": values}
    assert not unseen(text, "\n" + JOINERS)


def test_an_error_is_harmless_from_the_start_wherever_it_goes() -> None:
    error = DataError(["column '\x1b[2J'", "site 'a\nerror: all is well'", "x" * 9999])
    assert error.problems[0] == r"column '\x1b[2J'"
    assert error.problems[1] == r"site 'a\nerror: all is well'"
    assert error.problems[2].endswith("… (9,999 characters)")
    assert not unseen(str(error), "\n")
    # Problems of one error become those of another: nothing is escaped twice.
    assert DataError(error.problems).problems == error.problems


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a/b", "holds '/'"),
        ("../x", "holds '/'"),
        ("/etc/passwd", "holds '/'"),
        ("a\0b", r"holds '\x00'"),
        ("", "is empty"),
        (" ", "is empty"),
        ("x" * 300, "has 300 bytes, more than 255"),
        ("é" * 128, "has 256 bytes, more than 255"),
        ("\udcff", "is not in UTF-8"),
        ("north", None),
        ("Zürich 2", None),
    ],
)
def test_a_name_that_is_more_than_a_name_is_no_file_s(name: str, problem: str | None) -> None:
    assert file_name_problem(name) == problem
