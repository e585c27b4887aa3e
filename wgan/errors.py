"""Errors meant for the person who runs the tool.

Each says what is wrong, where (file, column, row or key), what was expected and what to write
instead. Where several problems can be found at once, they are reported at once. Messages never
hold a cell of a private table: they may travel from a site to the server. They do hold names that
tables and sites chose, so they are made harmless when an error is made (`everymode.wgan.words`):
what prints, logs, stores or sends it need not know.

In Python they are `ValueError` and `OSError` too, which is what callers of a library catch.
"""

import difflib
from collections.abc import Iterable

from everymode.wgan.words import line

INTERRUPTED = 130
"""The exit code of a command that the user stopped, as a shell gives it after Ctrl-C."""


class EveryModeError(Exception):
    """Base of all errors a user can act on; the command line prints them and exits with 2."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        """Takes one problem or several."""
        given = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(map(line, given))
        super().__init__("\n".join(self.problems))


class DataError(EveryModeError, ValueError):
    """A table that cannot be used as it is."""


class SettingsError(EveryModeError, ValueError):
    """A configuration that cannot be used as it is."""


class StateError(EveryModeError, OSError):
    """A checkpoint or run directory that does not fit, or cannot be written."""


class DamagedError(StateError):
    """A file that is not as it was written."""


class NumericalError(EveryModeError):
    """A value that is not finite or leaves the range that sums can carry."""


def suggest(
    name: str,
    known: Iterable[str],
    otherwise: str | None = None,
    quote: str = "'",
    cutoff: float = 0.6,
) -> str:
    """The end of an error about an unknown name: the closest known one, whatever the case.

    Args:
        name: The unknown name.
        known: The names there are.
        otherwise: What to say where none is close; None: all there are.
        quote: What stands around the suggestion; "" for keys and options.
        cutoff: How close it must be, from 0 to 1 (`difflib.get_close_matches`).

    >>> suggest("Incom", ["age", "income"]), suggest("x", ["age", "income"])
    ("did you mean 'income'?", 'there are age, income')
    >>> suggest("age, income", ["age", "income"])
    "no such name as a whole; name each by itself: 'age' and 'income'"
    """
    names = {other.casefold(): other for other in known}
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and set(parts) <= set(names.values()):
        listed = " and ".join(f"{quote}{part}{quote}" for part in parts)
        return f"no such name as a whole; name each by itself: {listed}"
    close = difflib.get_close_matches(name.casefold(), names, n=1, cutoff=cutoff)
    if close:
        return f"did you mean {quote}{names[close[0]]}{quote}?"
    return f"there are {', '.join(names.values())}" if otherwise is None else otherwise


def named(problems: Iterable[str], who: str, known: Iterable[str] = ()) -> list[str]:
    """The problems, each beginning with whose it is.

    Args:
        problems: What is wrong.
        who: Whose they are.
        known: Other beginnings that say so already.

    >>> named(["a.csv is empty", "site 'a' (a.csv): lacks a column"], "site 'a'")
    ["site 'a': a.csv is empty", "site 'a' (a.csv): lacks a column"]
    """
    beginnings = (who, *known)
    return [p if p.startswith(beginnings) else f"{who}: {p}" for p in problems]
