"""What is said of rows that have another number of cells than the header."""

from pathlib import Path

import pytest

from everymode.wgan.data.delimited import parse_delimited
from everymode.wgan.errors import DataError


@pytest.mark.parametrize(
    ("rows", "help"),
    [
        (["1,2,", "3,4,"], "remove the separator at the end of the line"),
        (["1", "3,4"], "write a separator for each cell, empty ones included"),
        (["1,2,3", "3,4"], "quote cells that hold the separator"),
        # Two causes have one remedy in common at most.
        (["1", "1,2,"], "quote cells that hold the separator"),
    ],
)
def test_the_remedy_is_that_of_the_cause(rows: list[str], help: str) -> None:
    content = "\n".join(["a,b", *rows]).encode()
    with pytest.raises(DataError, match="expected 2 cells as in the header") as error:
        parse_delimited(content, Path("t.csv"), frozenset())
    assert str(error.value).endswith(help)


def test_a_trailing_separator_in_the_header_is_named() -> None:
    with pytest.raises(
        DataError, match=r"no header for column 3.*every line ends with a separator"
    ):
        parse_delimited(b"a,b,\n1,2,\n", Path("t.csv"), frozenset())
