"""Options that name columns, checked for names that were joined by commas."""

import shlex
from collections.abc import Iterable, Mapping

REPEATED = ("--sensitive", "--secret", "--drop", "--column")
"""Options that may be repeated; others name one column."""


def joined_names(
    options: Mapping[str, Iterable[str]], known: Iterable[object]
) -> dict[tuple[str, str], str]:
    """Values of options that are several columns' names, with what to write instead.

    Args:
        options: The values by option.
        known: The columns there are. A column whose own name holds a comma is one name.

    >>> joined_names({"--sensitive": ["sex, race"]}, ["sex", "race"])[("--sensitive", "sex, race")]
    '--sensitive sex, race: names several columns; write --sensitive sex --sensitive race'
    """
    columns = set(map(str, known))
    found = {}
    for option, values in options.items():
        for value in values:
            parts = [part.strip() for part in value.split(",")]
            if value in columns or len(parts) < 2 or not set(parts) <= columns:
                continue
            written = [f"{option} {shlex.quote(part)}" for part in parts]
            if option in REPEATED:
                advice = f"names several columns; write {' '.join(written)}"
            else:
                advice = f"names several columns, and one is expected; write {' or '.join(written)}"
            found[option, value] = f"{option} {value}: {advice}"
    return found
