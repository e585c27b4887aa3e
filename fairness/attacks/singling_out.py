"""Singling out: predicates from a synthetic table that exactly one real row fulfils.

*One column*: values that one synthetic row alone has, and ends of ranges. *Several columns*: the
values of a synthetic row in a few columns at random, numbers on the outer side of the median, kept
if they single that row out in the synthetic table. A predicate succeeds where exactly one row of
the real table fulfils it. Rows that equal another are taken once. The baseline makes predicates of
random columns, values and comparisons.

A predicate fulfilled by one row in n singles out best in a table of n rows, so both tables are cut
to the same number of rows. (anonymeter 1.1.0 corrects for the size instead, by a fit to numbers of
predicates rather than of successes.)

Source: Giomi et al., 2023, section 4.1 (anonymeter's `SinglingOutEvaluator`); Cohen, Nissim,
"Towards Formalizing the GDPR's Notion of Singling Out", 2020.
"""

import operator
from dataclasses import dataclass

import numpy as np

from everymode.fairness.attacks.gower import Coded
from everymode.fairness.attacks.rates import Guesses, Hits

COLUMNS = 3
"""Columns of a predicate of several columns."""

TRIES = 40
"""Predicates tried for each that is wanted."""

Test = tuple[int, str, float]
"""Column, comparison and value; NaN: missing."""

COMPARISONS = {
    "=": operator.eq,
    "!": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Predicate:
    """Comparisons that a row must fulfil, all of them."""

    tests: tuple[Test, ...]

    def fulfilled(self, rows: Coded) -> Hits:
        """Which rows fulfil it, `(n,)`."""
        every = np.ones(len(rows), dtype=bool)
        for column, comparison, value in self.tests:
            every &= _compared(rows.values[column], comparison, value)
        return every

    def singles_out(self, rows: Coded) -> bool:
        """Whether exactly one row fulfils it."""
        return int(self.fulfilled(rows).sum()) == 1


def single_out(
    synthetic: Coded,
    members: Coded,
    nonmembers: Coded,
    several: bool,
    count: int,
    rng: np.random.Generator,
) -> Guesses:
    """Which predicates single out a row of those trained on, and of those that were not.

    Args:
        synthetic: Rows that the attacker has.
        members: Rows trained on; as many as there are non-members are looked at, at random.
        nonmembers: Rows that were not.
        several: Whether a predicate is of several columns.
        count: Predicates to make at most.
        rng: Draws rows, columns and comparisons.
    """
    synthetic, members, nonmembers = (_distinct(rows) for rows in (synthetic, members, nonmembers))
    size = min(len(members), len(nonmembers))
    members, nonmembers = (
        rows.take(rng.choice(len(rows), size, replace=False)) for rows in (members, nonmembers)
    )
    make = predicates_of_several if several else predicates_of_one
    made = make(synthetic, count, rng)
    width = min(COLUMNS if several else 1, len(synthetic.names))
    random = _random(synthetic, len(made), width, rng)
    return Guesses(
        *(
            np.array([predicate.singles_out(rows) for predicate in predicates], dtype=bool)
            for predicates, rows in ((made, members), (made, nonmembers), (random, members))
        )
    )


def predicates_of_one(rows: Coded, count: int, rng: np.random.Generator) -> tuple[Predicate, ...]:
    """Predicates of one column that single out a row of the table, `count` of them at most."""
    found: list[Predicate] = []
    for column, values in enumerate(rows.values):
        missing = np.isnan(values)
        if missing.sum() == 1:
            found.append(Predicate(((column, "=", np.nan),)))
        known, counts = np.unique(values[~missing], return_counts=True)
        if rows.numeric[column] and len(known):
            found.append(Predicate(((column, "<=", float(known[0])),)))
            found.append(Predicate(((column, ">=", float(known[-1])),)))
        found += [Predicate(((column, "=", float(value)),)) for value in known[counts == 1]]
    order = rng.permutation(len(found))
    kept = (found[place] for place in order if found[place].singles_out(rows))
    return tuple(predicate for predicate, _ in zip(kept, range(count), strict=False))


def predicates_of_several(
    rows: Coded, count: int, rng: np.random.Generator
) -> tuple[Predicate, ...]:
    """Predicates of `COLUMNS` columns that single out a row of the table, `count` at most."""
    width = min(COLUMNS, len(rows.names))
    medians = [
        float(np.nanmedian(values)) if number and not np.isnan(values).all() else 0.0
        for values, number in zip(rows.values, rows.numeric, strict=True)
    ]
    found: dict[str, Predicate] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        row = int(rng.integers(len(rows)))
        columns = np.sort(rng.choice(len(rows.names), width, replace=False))
        tests = []
        for column in map(int, columns):
            value = float(rows.values[column, row])
            comparison = "="
            if rows.numeric[column] and not np.isnan(value):
                comparison = ">=" if value > medians[column] else "<="
            tests.append((column, comparison, value))
        predicate = Predicate(tuple(tests))
        if str(tests) not in found and predicate.singles_out(rows):
            found[str(tests)] = predicate
    return tuple(found.values())


def _random(rows: Coded, count: int, width: int, rng: np.random.Generator) -> list[Predicate]:
    """Predicates of random columns, values and comparisons."""
    values = [np.unique(own) for own in rows.values]
    found = []
    for _ in range(count):
        tests: list[Test] = []
        for column in map(int, np.sort(rng.choice(len(rows.names), width, replace=False))):
            known = tuple(COMPARISONS) if rows.numeric[column] else ("=", "!")
            value = values[column][rng.integers(len(values[column]))]
            tests.append((column, known[rng.integers(len(known))], float(value)))
        found.append(Predicate(tuple(tests)))
    return found


def _compared(values: np.ndarray, comparison: str, value: float) -> Hits:
    if np.isnan(value):
        missing = np.isnan(values)
        return np.asarray(missing if comparison == "=" else ~missing)
    return np.asarray(COMPARISONS[comparison](values, value))


def _distinct(rows: Coded) -> Coded:
    if not len(rows):
        return rows
    filled = np.nan_to_num(rows.values, nan=-np.inf)
    first = np.unique(filled, axis=1, return_index=True)[1]
    return rows.take(np.sort(first))
