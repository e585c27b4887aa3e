"""Ties are broken at random: closed forms, an oracle of all orders, and no lift by repeats."""

from itertools import permutations
from math import comb

import numpy as np
import pytest

from everymode.fairness.metrics import ties
from everymode.fairness.metrics.coverage import coverage, expected_coverage
from everymode.fairness.metrics.neighbours import covered, neighbours
from everymode.fairness.metrics.ties import distinct


def by_all_orders(real, synthetic, k):
    """Coverage of each real row, over all orders of the tied points and of the rows at each."""
    found = []
    for i, row in enumerate(real):
        others = np.delete(real, i, axis=0)
        points = np.unique(np.concatenate([others, synthetic]), axis=0)
        away = ((points - row) ** 2).sum(axis=1)
        held = [(others == point).all(axis=1).sum() for point in points]
        made = [(synthetic == point).all(axis=1).sum() for point in points]
        nearest = min(away[j] for j in range(len(points)) if made[j])
        seen = sum(held[j] for j in range(len(points)) if away[j] < nearest)
        tied = [j for j in range(len(points)) if away[j] == nearest]
        chances = []
        for order in permutations(tied):
            first = next(place for place, j in enumerate(order) if made[j])
            left = k - seen - sum(held[j] for j in order[:first])
            j = order[first]
            # Missed if all of the first `left` rows of the point are real.
            missed = float(left <= 0)
            if 0 < left <= held[j]:
                missed = comb(held[j], left) / comb(held[j] + made[j], left)
            chances.append(1 - missed)
        found.append(np.mean(chances))
    return np.array(found)


@pytest.mark.parametrize(("n", "m", "k"), [(60, 40, 5), (200, 200, 5), (9, 30, 2)])
def test_equal_rows_are_covered_as_rows_of_one_law_are(n, m, k):
    same = np.zeros((max(n, m), 3))
    assert coverage(same[:n], same[:m], k) == pytest.approx(expected_coverage(n, m, k), abs=1e-12)
    assert coverage(same[:n], same[:m], k) == pytest.approx(expected_coverage(n, m, k), abs=1e-12)


def test_rows_equally_far_from_each_other_are_covered_as_rows_of_one_law_are(monkeypatch):
    monkeypatch.setattr(ties, "ORDERS", 200)
    corners = np.eye(120)
    found = coverage(corners[:60], corners[60:], 5)
    assert found == pytest.approx(expected_coverage(60, 60, 5), abs=0.006)


def test_repeats_of_one_row_cover_no_more_than_the_row_itself(monkeypatch):
    monkeypatch.setattr(ties, "ORDERS", 200)
    corners = np.eye(121)
    real, once, often = corners[:120], corners[120:], np.repeat(corners[120:], 120, axis=0)
    # It comes before the fifth of 119 others, all as far: 5 orders in 120.
    for made in (once, often):
        assert coverage(real, made, 5) == pytest.approx(5 / 120, abs=0.006)
    assert neighbours(real, often, 5).coverage == coverage(real, often, 5)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_mean_over_all_orders(seed, monkeypatch):
    monkeypatch.setattr(ties, "ORDERS", 4000)
    rng = np.random.default_rng(seed)
    k, corners = 1 + seed % 3, np.eye(7)
    real, made = corners[rng.integers(0, 5, 9)], corners[rng.integers(1, 7, 6)]
    expected = by_all_orders(real, made, k)
    assert ((expected > 0) & (expected < 1)).any()
    assert covered(real, made, k) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("values", "columns"), [(2, 4), (3, 3), (5, 2)])
def test_tables_of_categories_of_one_law_have_coverage_one(values, columns):
    rng = np.random.default_rng(values)
    draws = [
        coverage(*(rng.integers(0, values, (60, columns)).astype(float) for _ in range(2)), 3)
        for _ in range(200)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - expected_coverage(60, 60, 3)) < 4 * error


def test_a_few_kinds_of_rows_do_not_cover_a_table_of_categories():
    """Balls that held all ties covered .80 of this table by a hundred rows, repeated."""
    rng = np.random.default_rng(0)
    kinds = np.eye(6)[rng.integers(0, 6, (4000, 5))].reshape(4000, 30)
    real, few = kinds[:1000], kinds[1000:1100]
    made = few[rng.integers(0, 100, 1000)]
    assert coverage(real, kinds[1000:2000]) > 0.95
    assert coverage(real, made) < 0.45
    assert coverage(real, made) == pytest.approx(coverage(real, few), abs=0.03)


def test_the_same_table_has_the_same_coverage():
    rng = np.random.default_rng(1)
    real, made = (rng.integers(0, 3, (200, 3)).astype(float) for _ in range(2))
    assert covered(real, made).tolist() == covered(real, made).tolist()
    assert set(np.flatnonzero(covered(real, made) == 1)) >= set(
        np.flatnonzero(covered(real, made[:50]) == 1)
    )


def test_distinct_rows_of_no_numbers_are_one():
    first, index = distinct(np.zeros((4, 0)))
    assert first.tolist() == [0] and index.tolist() == [0, 0, 0, 0]
    first, index = distinct(np.zeros((0, 3)))
    assert not len(first) and not len(index)
