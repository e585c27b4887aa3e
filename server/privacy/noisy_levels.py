"""Levels of moments with noise made those of some table; all of it is post-processing.

How many rows have each category is told by its own sum and by its sums with every other column; the
mean of these, by their variances, has less noise than any. Of two columns the joint counts are
drawn towards those that they would have if they did not depend on each other
(`everymode.fairness.matching.shrinkage`), for each category of the shorter column by itself, then
moved to the nearest that are not negative and add up to the level's rows. Counts within a group are
drawn towards those of all rows with the same label. What was not summed because other sums tell it
is filled in.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from everymode.fairness.matching.consistency import onto_simplex
from everymode.fairness.matching.private_moments import Coordinates
from everymode.fairness.matching.shrinkage import shrink

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoisyLevel:
    """The sums of one level of labels, or of all rows.

    Attributes:
        sums: Its products with noise, symmetric, `(W, W)`; 0 where none were asked for.
        coordinates: What they are.
        level: Which it is; C is that of all rows.
        rows: How many rows it has.
        deviation: Of the noise on each product.
    """

    sums: Floats
    coordinates: Coordinates
    level: int
    rows: float
    deviation: float

    def settled(self) -> Floats:
        """The products of some table, `(W, W)`."""
        found = self.sums.copy()
        self._shares(found)
        firsts = self._first_moments(found)
        self._tables(found)
        self._numbers(found, firsts)
        fill_gates(found, self.coordinates, firsts)
        if self._own is not None:
            fill_own(found, self.coordinates, self._own, self.rows, firsts)
        return found

    @property
    def _own(self) -> int | None:
        start = self.coordinates.width - self.coordinates.levels
        return start + self.level if self.level < self.coordinates.levels else None

    @property
    def _partitions(self) -> list[npt.NDArray[np.intp]]:
        """Those of columns, and in the level of all rows those of the condition."""
        found = [np.array(own) for own in self.coordinates.partitions]
        if self._own is None:
            start = self.coordinates.width - self.coordinates.levels
            spans = [span for span in self.coordinates.spans if span[0] >= start]
            found += [np.arange(first, last) for first, last in spans]
        return found

    def _shares(self, found: Floats) -> None:
        told = [self._told(found, own) for own in self._partitions]
        for own, counts in zip(self._partitions, told, strict=True):
            found[own, own] = onto_simplex(counts, self.rows)
        for gate, others, inside, last in self.coordinates.gated:
            found[gate, gate] = found[inside, inside].sum()
            found[last, last] = found[others, others].sum()
        for number in self.coordinates.numbers:
            found[number, number] = max(found[number, number], 0.0)

    def _told(self, found: Floats, own: npt.NDArray[np.intp]) -> Floats:
        """Rows of each category of a column, by all sums that tell of them, `(k,)`."""
        total, weight = found[own, own].copy(), 1.0
        for other in self._partitions:
            table = found[np.ix_(own, other)]
            if other[0] != own[0] and (table != 0).all():
                total += table.sum(1) / len(other)
                weight += 1.0 / len(other)
        return total / weight

    def _first_moments(self, found: Floats) -> Floats:
        """The sum of each number, `(W,)`; 0 of other coordinates."""
        firsts = np.zeros(len(found))
        columns = np.array(self.coordinates.columns)
        for number in self.coordinates.numbers:
            if self._own is not None:
                firsts[number] = found[number, self._own]
                continue
            sums = [
                found[number, own].sum()
                for own in self._partitions
                if columns[own[0]] != columns[number] and found[number, own].any()
            ]
            firsts[number] = np.mean(sums) if sums else 0.0
        return firsts

    def _tables(self, found: Floats) -> None:
        for pairing in combinations(self._partitions, 2):
            one, other = sorted(pairing, key=len)
            pair = np.ix_(one, other)
            asked = found[pair] != 0
            if not asked.any():
                continue
            shares = np.outer(found[one, one], found[other, other]) / max(self.rows, 1.0)
            counts = np.zeros(asked.shape)
            for row in np.flatnonzero(asked.any(1)):
                place = row, asked[row]
                counts[place] = shrink(found[pair][place], shares[place], self.deviation)
            if asked.all():
                counts = onto_simplex(counts.reshape(-1), self.rows).reshape(counts.shape)
            found[pair] = np.maximum(counts, 0.0)
            found[pair[1].T, pair[0].T] = found[pair].T

    def _numbers(self, found: Floats, firsts: Floats) -> None:
        for number in self.coordinates.numbers:
            for own in self._partitions:
                if (products := found[number, own]).any():
                    expected = firsts[number] * found[own, own] / max(self.rows, 1.0)
                    found[number, own] = shrink(products, expected, self.deviation)
                    found[own, number] = found[number, own]


def fill_gates(found: Floats, coordinates: Coordinates, firsts: Floats) -> None:
    """Products with the state that there is a number, and with the bin of no number."""
    columns = np.array(coordinates.columns)
    shares = np.diagonal(found).copy()
    shares[list(coordinates.numbers)] = firsts[list(coordinates.numbers)]
    # Twice, since products of two columns' states that there is a number rest on the first ones.
    for _ in range(2):
        for gate, others, _, last in coordinates.gated:
            rest = np.flatnonzero(columns != columns[gate])
            without = found[np.ix_(np.array(others), rest)].sum(0)
            having = shares[rest] - without
            numbers = np.isin(rest, coordinates.numbers)
            having = np.where(numbers, having, np.maximum(having, 0.0))
            found[gate, rest] = found[rest, gate] = having
            found[last, rest] = found[rest, last] = without


def fill_own(
    found: Floats, coordinates: Coordinates, own: int, rows: float, firsts: Floats
) -> None:
    """Products with the level's own coordinate, and of a number with its state."""
    columns, bins = np.array(coordinates.columns), np.array(coordinates.bins)
    start = coordinates.width - coordinates.levels
    numbers = list(coordinates.numbers)
    place = np.setdiff1d(np.arange(start), numbers)
    found[place, own] = found[own, place] = found[place, place]
    found[numbers, own] = found[own, numbers] = firsts[numbers]
    found[own, own] = rows
    for number in numbers:
        # The state that says that there is a number is the first of its column's states.
        states = np.flatnonzero(columns == columns[number])
        gates = [s for s in states if s != number and not bins[s]]
        if gates:
            found[number, gates[0]] = found[gates[0], number] = firsts[number]


def settle_group(
    sums: Floats,
    coordinates: Coordinates,
    group: int,
    cells: Floats,
    expected: Floats,
    squares: Floats,
    deviation: float,
) -> Floats:
    """The products of a group's level with labels and with itself, `(W, W)`.

    Args:
        sums: With noise, symmetric, `(W, W)`; 0 where none were asked for.
        coordinates: What they are.
        group: Which group.
        cells: Rows of the group with each label, `(labels,)`; of all of it, `(1,)`, without labels.
        expected: Means of coordinates among all rows with each label, `(labels, W)`, or `(1, W)`.
        squares: The sum of each number's square to be expected in the group, `(W,)`.
        deviation: Of the noise on each product.
    """
    start = coordinates.width - coordinates.levels
    groups, labels = coordinates.blocks
    numbers = list(coordinates.numbers)
    found = np.zeros_like(sums)
    firsts, totals = np.zeros(len(sums)), np.zeros(len(sums))
    for label in range(max(labels, 1)):
        line = np.diagonal(sums).copy()
        if labels:
            line = sums[:, start + groups + label].copy()
        else:
            line[numbers] = sums[numbers, start + group]
        hoped = cells[label] * expected[label]
        for own in coordinates.partitions:
            place = np.array(own)
            line[place] = onto_simplex(shrink(line[place], hoped[place], deviation), cells[label])
        if numbers:
            line[numbers] = shrink(line[numbers], hoped[numbers], deviation)
        for gate, others, inside, last in coordinates.gated:
            line[gate], line[last] = line[list(inside)].sum(), line[list(others)].sum()
        line[start:] = 0.0
        totals += line
        if labels:
            found[:, start + groups + label] = found[start + groups + label] = line
    firsts[numbers] = totals[numbers]
    place = np.setdiff1d(np.arange(start), numbers)
    found[place, place] = totals[place]
    if numbers:
        drawn = shrink(sums[numbers, numbers], squares[numbers], deviation)
        found[numbers, numbers] = np.maximum(drawn, 0.0)
    fill_own(found, coordinates, start + group, float(cells.sum()), firsts)
    return found
