"""No sum that is published, nor what subtraction leaves of it, rests on a handful of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairness.suppression import FLOOR, of_text, publishable, to_text


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


def equations(counts, known, blocks, adds_up=True):
    """What anybody can add up: each a vector of suppressed cells with a known sum, and the sum."""
    levels, kinds = counts.shape
    place = {cell: i for i, cell in enumerate(zip(*np.nonzero(~known), strict=True))}
    rows = []
    if adds_up:
        rows += [[(level, k) for k in range(kinds)] for level in range(levels)]
    start = 0
    for size in blocks:
        for k in range(kinds):
            cells = [(level, k) for level in range(start, start + size)]
            rows.append([*cells, (levels - 1, k)])
        start += size
    found = []
    for n, cells in enumerate(rows):
        vector = np.zeros(len(place))
        total = n >= levels * adds_up
        for i, cell in enumerate(cells):
            if cell in place:
                vector[place[cell]] = -1 if total and i == len(cells) - 1 else 1
        found.append(vector)
    return place, np.array(found).reshape(len(rows), len(place))


def determined(matrix, cell):
    """Whether the equations fix a cell: whether its unit vector lies in their span."""
    unit = np.zeros(matrix.shape[1])
    unit[cell] = 1
    solution = np.linalg.lstsq(matrix.T, unit, rcond=None)[0]
    return bool(np.allclose(matrix.T @ solution, unit, atol=1e-8))


def check(counts, blocks, floor=FLOOR, adds_up=True):
    spans = [(0, counts.shape[1])] if adds_up else []
    known = publishable(counts, np.ones(len(counts), bool), blocks, spans, floor)
    assert not (known & (counts > 0) & (counts < floor)).any()
    place, matrix = equations(counts, known, blocks, adds_up)
    numbers = np.array([counts[cell] for cell in place])
    for vector in matrix:
        if (vector >= 0).all() and vector.any():
            left = int(vector @ numbers)
            assert left == 0 or left >= floor
    for cell, i in place.items():
        if counts[cell] < floor:
            assert not determined(matrix, i), (cell, counts.tolist())
    return known


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 3000), st.integers(1, 6), st.integers(1, 7))
def test_no_small_cell_follows_from_what_is_published(seed, rows, groups, kinds):
    check(table(seed, rows, (groups, 2, kinds)), (groups, 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_nor_with_many_labels_or_blocks_that_are_not_told(seed):
    check(table(seed, 600, (5, 4, 6)), (5, 4))
    counts = table(seed, 600, (5, 1, 6))
    check(np.delete(counts, 5, 0), (5,))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_nor_of_a_number_that_few_rows_have(seed):
    counts = table(seed, 300, (5, 3, 8))
    check(counts[:, :1], (5, 3), adds_up=False)


def test_the_control_small_cells_alone_are_given_away():
    counts = table(3, 300, (4, 2, 5))
    known = (counts == 0) | (counts >= FLOOR)
    place, matrix = equations(counts, known, (4, 2))
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
    assert not known[1].any() and not known[0, 0] | known[2, 0]
    # Nor has the other coordinate: all rows less the group would be 30 rows, which is enough, but
    # the first category's is what the second leaves.
    place, matrix = equations(counts, known, (2,))
    assert not determined(matrix, place[1, 0])


def test_two_blocks_are_never_suppressed_in_part():
    for seed in range(40):
        counts = table(seed, 500, (4, 4, 5))
        known = publishable(counts, np.ones(9, bool), (4, 4), [(0, 5)])
        later = known[4:8] | (counts[4:8] == 0)
        assert (later.all(0) | ~(known[4:8] & (counts[4:8] > 0)).any(0)).all()


def test_flags_are_written_and_read():
    known = np.array([[True, False, True], [False, False, True]])
    assert to_text(known) == ("101", "001")
    assert (of_text(("101", "001")) == known).all()
    assert of_text(()).size == 0


@pytest.mark.parametrize("rows", [("10", "1"), ("12",), ("1 ",)])
def test_flags_of_another_form_are_refused(rows):
    with pytest.raises(ValueError, match='rows of "0" and "1", all of one length'):
        of_text(rows)
