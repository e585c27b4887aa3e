"""What a claim is, and what its measurement gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Check:
    """One figure beside what was expected of it.

    Attributes:
        what: What was measured.
        expected: What the theory says, in words or numbers.
        measured: What came out, with its spread where there are several seeds.
        holds: Whether the two agree; None where the claim says nothing of the figure.
    """

    what: str
    expected: str
    measured: str
    holds: bool | None


Measure = Callable[[Sequence[int], Figure], list[Check]]
"""Seeds and an empty figure to draw on -> the checks. All randomness derives from the seeds."""


@dataclass(frozen=True)
class Claim:
    """A statement that can be measured.

    Attributes:
        number: Its place in the list.
        name: What it is called on the command line.
        statement: What is claimed, one or two sentences.
        source: Where the claim is made.
        measure: How it is measured.
        seeds: How many seeds are taken unless told otherwise.
        seconds: What it takes on one core, roughly: the longest are started first.
        size: Width and height of the picture, in inches.
    """

    number: int
    name: str
    statement: str
    source: str
    measure: Measure
    seeds: int = 3
    seconds: float = 10.0
    size: tuple[float, float] = (9.0, 3.4)


@dataclass(frozen=True)
class Result:
    """What the measurement of one claim gave.

    Attributes:
        claim: The claim's name.
        checks: Its figures.
        error: Why there are none; empty if all went well.
        seeds: How many seeds were taken.
        seconds: How long it took.
    """

    claim: str
    checks: tuple[Check, ...]
    error: str
    seeds: int
    seconds: float

    @property
    def verdict(self) -> Literal["holds", "fails"]:
        """Whether every check holds."""
        judged = [check.holds for check in self.checks if check.holds is not None]
        return "holds" if judged and all(judged) else "fails"

    @property
    def expected(self) -> str:
        """All that was expected, in one line."""
        return "; ".join(f"{check.what}: {check.expected}" for check in self.checks)

    @property
    def measured(self) -> str:
        """All that was measured, in one line."""
        return self.error or "; ".join(f"{check.what}: {check.measured}" for check in self.checks)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and, in brackets, standard deviation over seeds.

    >>> spread([1.0, 2.0, 3.0], 1)
    '2.0 (1.0)'
    >>> spread([0.5])
    '0.500'
    """
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else mean


def near(what: str, values: Sequence[float], expected: float, tolerance: float) -> Check:
    """Every value within a relative `tolerance` of `expected` (absolute where that is 0)."""
    allowed = tolerance * (abs(expected) or 1.0)
    unit = f"{100 * tolerance:g}%" if expected else f"{tolerance:g}"
    return Check(
        what,
        f"{expected:.4g} within {unit}",
        spread(values),
        all(abs(value - expected) <= allowed for value in values),
    )


def noted(what: str, values: Sequence[float], beside: str = "", digits: int = 3) -> Check:
    """A figure shown beside the claim, of which the claim says nothing."""
    words = f"no claim; {beside}" if beside else "no claim"
    return Check(what, words, spread(values, digits), None)


def below(what: str, values: Sequence[float], limit: float) -> Check:
    """Every value below `limit`."""
    return Check(what, f"below {limit:g}", spread(values), all(value < limit for value in values))


def above(what: str, values: Sequence[float], limit: float) -> Check:
    """Every value above `limit`."""
    return Check(what, f"above {limit:g}", spread(values), all(value > limit for value in values))


def smaller(
    what: str, values: Sequence[float], than: Sequence[float], by: float = 1.0, digits: int = 3
) -> Check:
    """Seed by seed, `values` below `than` divided by `by`."""
    words = "smaller" if by == 1.0 else f"at least {by:g} times smaller"
    return Check(
        what,
        f"{words} than {spread(than, digits)}",
        spread(values, digits),
        all(a < b / by for a, b in zip(values, than, strict=True)),
    )
