"""What a site says to a request that it does not answer."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from everymode.wgan.errors import EveryModeError

IDENTITY = re.compile(r"[0-9a-f]{16}")
"""The name of a plan or of a run. Nothing else becomes part of a path."""


class RefusedError(EveryModeError):
    """A request that a site does not answer; asking again does not help.

    The text names what the server sent and what was expected, never what the site holds.
    """


def checked_identity(name: str, what: str) -> str:
    """The name itself; raises `RefusedError` where it is not 16 hexadecimal digits."""
    if not (isinstance(name, str) and IDENTITY.fullmatch(name)):
        raise RefusedError(f"{what} {name[:40]!r} is not 16 hexadecimal digits")
    return name


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turns what reading nonsense raises into a refusal, which says the error's type alone."""
    try:
        yield
    except EveryModeError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RefusedError(f"{what} cannot be read ({type(error).__name__})") from None


def named(problems: Iterable[str], sites: Iterable[str]) -> list[str]:
    """Problems, each with the sites that refuse for it."""
    names = list(sites)
    who = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    plural = "s" if len(names) > 1 else ""
    refuse = "refuse" if len(names) > 1 else "refuses"
    return [f"site{plural} {who}{more} {refuse}: {problem}" for problem in problems]
