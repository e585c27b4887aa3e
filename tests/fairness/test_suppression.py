"""No sum that is published, nor what subtraction leaves of it, rests on a handful of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.fairness.matching.suppression import FLOOR, of_text, publishable, to_text


def counted(groups, labels, category, shape):
    """Rows of every level that have each category, `(G + L + 1, K)`, from rows' own."""
    many, classes, kinds = shape
    counts = np.zeros((many + classes + 1, kinds), dtype=np.int64)
    for level in (groups, many + labels, np.full(len(groups), many + classes)):
        np.add.at(counts, (level, category), 1)
    return counts


def table(seed, rows=400, shape=(4, 2, 5)):
    """Skewed counts: some groups and some categories are rare."""
    rng = np.random.default_rng(seed)
    laws = [rng.dirichlet(np.full(size, 0.5)) for size in shape]
    drawn = [rng.choice(size, rows, p=law) for size, law in zip(shape, laws, strict=True)]
    return counted(*drawn, shape)


def equations(counts, known, blocks, active):
    """What anybody can add up: each a vector of suppressed cells whose sum is known.

    The coordinates of an active level add up to it, and so do those of all levels of a block that
    publish nothing, for they are what the others leave.
    """
    levels, kinds = counts.shape
    hidden = ~known & (counts > 0)
    place = {cell: i for i, cell in enumerate(zip(*np.nonzero(hidden), strict=True))}
    sums = [{(level, k): 1 for k in range(kinds)} for level in np.flatnonzero(active)]
    start = 0
    for size in blocks:
        block = range(start, start + size)
        start += size
        sums.append({(level, k): 1 for level in block if not active[level] for k in range(kinds)})
        for k in range(kinds):
            sums.append({(level, k): 1 for level in block} | {(levels - 1, k): -1})
    found = np.zeros((len(sums), len(place)))
    for vector, cells in zip(found, sums, strict=True):
        for cell in cells.keys() & place.keys():
            vector[place[cell]] = cells[cell]
    return place, found


def determined(matrix, cell):
    """Whether the equations fix a cell: whether its unit vector lies in their span."""
    unit = np.zeros(matrix.shape[1])
    unit[cell] = 1
    solution = np.linalg.lstsq(matrix.T, unit, rcond=None)[0]
    return bool(np.allclose(matrix.T @ solution, unit, atol=1e-8))


def check(counts, blocks, floor=FLOOR):
    """Holds one column, beside a coordinate that all rows have, to what is promised."""
    rows = counts.sum(1, keepdims=True)
    both, kinds = np.concatenate([counts, rows], 1), counts.shape[1]
    known = publishable(both, np.ones(len(counts), bool), blocks, [(0, kinds)], floor)
    active, known = known[:, kinds], known[:, :kinds]
    assert not (known & (counts > 0) & (counts < floor)).any()
    assert not known[~active].any()
    place, matrix = equations(counts, known, blocks, active)
    numbers = np.array([counts[cell] for cell in place])
    for vector in matrix:
        if (vector >= 0).all() and vector.any():
            left = int(vector @ numbers)
            assert left == 0 or left >= floor
    start = 0
    for size in blocks:
        block = np.arange(start, start + size)
        start += size
        left = rows[block[~active[block]]].sum()
        assert left == 0 or left >= floor or not active[-1]
    for cell, i in place.items():
        # A level without moments is never seen alone.
        if counts[cell] < floor and (active[cell[0]] or cell[0] == len(counts) - 1):
            assert not determined(matrix, i), (cell, counts.tolist())
    return known


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 3000), st.integers(1, 6), st.integers(2, 7))
def test_no_small_cell_follows_from_what_is_published(seed, rows, groups, kinds):
    check(table(seed, rows, (groups, 2, kinds)), (groups, 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_nor_with_many_labels_or_blocks_that_are_not_told(seed):
    check(table(seed, 600, (5, 4, 6)), (5, 4))
    counts = table(seed, 600, (5, 1, 6))
    check(np.delete(counts, 5, 0), (5,))


def alone(counts, blocks):
    known = publishable(counts, np.ones(len(counts), bool), blocks, [])
    assert not (known & (counts > 0) & (counts < FLOOR)).any()
    start = 0
    for size in blocks:
        left = counts[start : start + size][~known[start : start + size]].sum()
        assert left == 0 or left >= FLOOR or not known[-1, 0]
        start += size


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_nor_of_a_number_that_few_rows_have(seed):
    counts = table(seed, 300, (5, 3, 8))
    alone(counts[:, :1], (5, 3))


def test_the_control_small_cells_alone_are_given_away():
    counts = table(3, 300, (4, 2, 5))
    known = (counts == 0) | (counts >= FLOOR)
    place, matrix = equations(counts, known, (4, 2), np.ones(7, bool))
    small = [i for cell, i in place.items() if counts[cell] < FLOOR]
    assert small and any(determined(matrix, i) for i in small)


def test_what_many_rows_have_everywhere_is_published():
    counts = np.full((7, 5), 100)
    counts[4:6], counts[-1] = 200, 400
    assert publishable(counts, np.ones(7, bool), (4, 2), [(0, 5)]).all()


def test_what_nobody_has_is_known_to_be_nothing():
    counts = np.array([[50, 0], [0, 60], [50, 60]])
    assert publishable(counts, np.ones(3, bool), (2,), [(0, 2)]).all()


def test_a_level_that_takes_no_part_is_not_left_over_by_subtraction():
    # The second group has no moments, and one of its rows has the first category.
    counts = np.array([[40, 60], [1, 30], [41, 90]])
    known = publishable(counts, np.array([True, False, True]), (2,), [(0, 2)])
    # What the first group leaves of all rows is the second's 31, and of the first category one row:
    # so it says nothing of that, nor, as its categories add up, of the other.
    assert not known[:2].any() and known[2].all()


def test_two_blocks_are_never_suppressed_in_part():
    for seed in range(40):
        counts = table(seed, 2000, (4, 4, 5))
        rows = counts.sum(1, keepdims=True)
        both = np.concatenate([counts, rows], 1)
        known = publishable(both, np.ones(9, bool), (4, 4), [(0, 5)])
        labels = np.arange(4, 8)[known[4:8, 5]]
        whole = (known[labels, :5] | (counts[labels] == 0)).all(0)
        nothing = ~(known[labels, :5] & (counts[labels] > 0)).any(0)
        assert (whole | nothing).all()


def test_any_counts_come_to_an_end():
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = tuple(rng.integers(1, 8, 3))
        counts = table(int(rng.integers(10**6)), int(rng.integers(1, 200)), shape)
        active = rng.random(len(counts)) < 0.8
        publishable(counts, active, shape[:2], [(0, shape[2])])
    assert not publishable(np.zeros((4, 3), int), np.ones(4, bool), (2, 1), [(0, 3)]).any()


def test_flags_are_written_and_read():
    known = np.array([[True, False, True], [False, False, True]])
    assert to_text(known) == ("101", "001")
    assert (of_text(("101", "001")) == known).all()
    assert of_text(()).size == 0


@pytest.mark.parametrize("rows", [("10", "1"), ("12",), ("1 ",)])
def test_flags_of_another_form_are_refused(rows):
    with pytest.raises(ValueError, match='rows of "0" and "1", all of one length'):
        of_text(rows)
