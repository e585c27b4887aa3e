"""Asks sites how often pairs of values occur, and has none made that never do.

See `everymode.fairness.postprocessing.forbidden`.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.trees import NO_COLUMN
from everymode.fairness.postprocessing.forbidden import ForbiddenPairs, by_code
from everymode.server.datasets.choice import choose_modality
from everymode.server.synthesis.calibration import ProgressCallback
from everymode.server.synthesis.steps import DropForbidden
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trees import BINS, request_counts, single_leaf
from everymode.server.transport.exchange import Exchange

MOST = 2**22
"""Counts that are asked for at most; the largest tables of two columns are left out."""

LISTED = 500
"""Forbidden pairs that a report lists at most."""


@dataclass(frozen=True)
class FitForbidden:
    """Forbids pairs of values that the data never hold though chance would expect them.

    Attributes:
        exchange: The way to the sites.
        plan_name: Fingerprint of the plan.
        number: Number of the exchange, after those of trees.
        allowed: Pairs of columns that may hold any values, `age:education` say.
    """

    exchange: Exchange
    plan_name: str
    number: int
    allowed: tuple[str, ...] = ()
    name = "forbidden"
    text = "sites count pairs of values, of which some never occur"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Reports the pairs that are forbidden.

        See `everymode.server.synthesis.fitting.Fit`.
        """
        plan = synthesizer.plan
        coding = Coding.of(plan.codec, plan.conditions, BINS)
        pairs, left_out = self._pairs(coding)
        trees = [by_code(one, coding.sizes[one], two) for one, two in pairs]
        # How many rows there are at all tells whether sites withheld some of the other counts.
        asked = [single_leaf(NO_COLUMN), *trees]
        whole, *counts = request_counts(self.exchange, self.plan_name, asked, self.number, coding)
        found = ForbiddenPairs.of(coding, pairs, counts, int(whole.sum()))
        withheld = sum(int(own.sum() != whole.sum()) for own in counts)
        listed = _listed(synthesizer, found)
        report = {
            "columns": len(pairs),
            "columns_left_out": left_out,
            "columns_withheld": withheld,
            "counts": sum(own.size for own in (whole, *counts)),
            "pairs": found.number,
            "listed": listed,
        }
        if not found.number:
            return synthesizer, report
        proposal = synthesizer.proposal and replace(synthesizer.proposal, forbidden=found)
        step = DropForbidden(found)
        return replace(synthesizer, proposal=proposal, post=(*synthesizer.post, step)), report

    def _pairs(self, coding: Coding) -> tuple[list[tuple[int, int]], int]:
        """The pairs of columns to count, smallest tables first, and how many are left out."""
        names = [column.name for column in coding.columns]
        pairs = [
            (one, two)
            for one, two in itertools.combinations(range(len(names)), 2)
            if two >= coding.given
            and f"{names[one]}:{names[two]}" not in self.allowed
            and f"{names[two]}:{names[one]}" not in self.allowed
        ]
        pairs.sort(key=lambda pair: coding.sizes[pair[0]] * coding.sizes[pair[1]])
        sizes = np.array([coding.sizes[one] * coding.sizes[two] for one, two in pairs], dtype=int)
        fitting = int((np.cumsum(sizes) <= MOST).sum())
        return pairs[:fitting], len(pairs) - fitting


def _listed(synthesizer: Synthesizer, found: ForbiddenPairs) -> list[dict[str, str]]:
    """The first forbidden pairs in words."""
    rows = [
        (pair, one, two)
        for pair, table in zip(found.columns, found.tables, strict=True)
        for one, two in np.argwhere(table).tolist()
    ][:LISTED]
    texts: dict[int, list[str]] = {}
    for pair, _, _ in rows:
        for place in pair:
            if place not in texts:
                texts[place] = _texts(synthesizer, found.coding, place)
    names = [column.name for column in found.coding.columns]
    return [
        {names[pair[0]]: texts[pair[0]][one], names[pair[1]]: texts[pair[1]][two]}
        for pair, one, two in rows
    ]


class _Ends:
    """Numbers at one end of their bins, in place of random ones."""

    def __init__(self, place: float) -> None:
        self.place = place

    def random(self, count: int) -> npt.NDArray[np.float64]:
        return np.full(count, self.place)


def _texts(synthesizer: Synthesizer, coding: Coding, place: int) -> list[str]:
    """What each code of a column stands for: a value, or the ends of a bin."""
    column, plan = coding.columns[place], synthesizer.plan
    cells = np.arange(plan.conditions.table.size)
    ends = []
    if place < coding.given:
        own = coding.given_codes(cells)[:, place]
        cells = np.array([int(np.argmax(own == code)) for code in range(column.size)])
    else:
        cells = np.zeros(column.size, dtype=np.int64)
    codes: Codes = np.zeros((column.size, len(coding.columns)), dtype=np.int16)
    codes[:, place] = np.arange(column.size)
    for end in (1e-9, 1 - 1e-9):
        encoded = coding.rows(codes, _Ends(end))  # type: ignore[arg-type]
        table = choose_modality(plan.schema).decode(plan, encoded, cells, np.random.default_rng(0))
        name = column.name
        if name not in table.rows:
            return [str(code) for code in range(column.size)]
        ends.append(["(missing)" if pd.isna(v) else str(v) for v in table.rows[name]])
    return [one if one == two else f"{one} to {two}" for one, two in zip(*ends, strict=True)]
