"""K-means from sums: what the pooled rows would give, and nothing of few rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from everymode.fairness.groups.clusters import Centres, Tally, find


def blobs(count, width, seed=0, apart=6.0, least=40):
    """Rows around `count` points, `(n, D)`, and which point each is of."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, apart, (count, width))
    sizes = rng.integers(least, 4 * least, count)
    member = np.repeat(np.arange(count), sizes)
    rows = points[member] + rng.normal(0, 0.5, (len(member), width))
    return rows.astype(np.float32), member


def added(*parts):
    return Tally(*(sum(values) for values in zip(*(vars(p).values() for p in parts), strict=True)))


class Sites:
    """Sums over parts, as fixed-point numbers bring them; counts the questions."""

    def __init__(self, *parts):
        self.parts, self.asked = parts, []

    def __call__(self, centres):
        self.asked.append(centres)
        total = added(*(centres.sums(part) for part in self.parts))
        return Tally(total.counts, *(v.round(9) for v in (total.sums, total.squares)))


def inertia(rows, centres):
    nearest = centres.points[centres.nearest(rows)]
    return ((rows - nearest) ** 2).sum()


@given(st.lists(st.integers(0, 199), max_size=5), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_sums_over_sites_are_the_pooled_ones(cuts, count, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    centres = Centres(rng.normal(size=(count, 3)))
    pooled = centres.sums(rows)
    parts = added(*(centres.sums(part) for part in np.split(rows, sorted(cuts))))
    np.testing.assert_array_equal(parts.counts, pooled.counts)
    np.testing.assert_allclose(parts.sums, pooled.sums, atol=1e-12)
    np.testing.assert_allclose(parts.squares, pooled.squares, atol=1e-12)


def test_sums_by_hand_over_more_rows_than_a_block():
    rows = np.random.default_rng(0).normal(size=(9000, 2)).astype(np.float32)
    centres = Centres(np.array([[-1.0, 0.0], [1.0, 0.0], [40.0, 0.0]]))
    tally = centres.sums(rows)
    right = rows[:, 0] > 0
    assert tally.counts.tolist() == [(~right).sum(), right.sum(), 0]
    np.testing.assert_allclose(tally.sums[1], rows[right].sum(0, dtype=np.float64))
    np.testing.assert_array_equal(centres.nearest(rows), right)
    by_hand = ((rows[right] - rows[right].mean(0, dtype=np.float64)) ** 2).sum(0)
    np.testing.assert_allclose(tally.spread[1], by_hand, rtol=1e-6)
    assert tally.centres.points[2].tolist() == [0.0, 0.0] and tally.spread[2].tolist() == [0, 0]


def test_blobs_that_no_two_sites_share_are_found():
    rows, member = blobs(8, 5)
    ask = Sites(*(rows[np.isin(member, mine)] for mine in ([0, 1], [2, 3, 4], [5], [6, 7])))
    centres = find(ask, 5, 8, floor=5)
    found = centres.nearest(rows)
    # One cluster a blob, and one blob a cluster.
    assert len(set(zip(found.tolist(), member.tolist(), strict=True))) == 8 == len(centres.points)


@pytest.mark.parametrize("seed", range(8))
def test_as_good_as_k_means_over_pooled_rows_in_few_exchanges(seed):
    apart = (1.0, 3.0, 6.0)[seed % 3]
    count, width = 4 + seed, 3 + 2 * seed
    rows, _ = blobs(count, width, seed, apart)
    ask = Sites(rows)
    centres = find(ask, width, count, floor=5)
    best = KMeans(count, n_init=5, random_state=0).fit(rows).inertia_
    assert inertia(rows, centres) < 1.05 * best
    assert len(ask.asked) <= 2 * count + 13


def test_it_does_not_depend_on_the_split_and_nothing_is_drawn():
    rows, member = blobs(6, 4, apart=1.5)
    rng = np.random.default_rng(0)
    whole = find(Sites(rows), 4, 6, 5).points
    for owners in (member, rng.integers(0, 5, len(rows)), np.arange(len(rows)) // 20):
        parts = [rows[owners == k] for k in np.unique(owners)]
        np.testing.assert_array_equal(find(Sites(*parts), 4, 6, 5).points, whole)


def test_few_rows_apart_are_no_cluster_of_their_own():
    rows, _ = blobs(2, 2)
    far = np.full((3, 2), 60.0, np.float32)
    for floor, near in ((5, False), (3, True)):
        ask = Sites(np.concatenate([rows, far]))
        centres = find(ask, 2, 3, floor)
        distance = np.abs(centres.points - 60).sum(1).min()
        assert (distance < 1) == near
        assert (np.bincount(centres.nearest(ask.parts[0])) >= floor).all()


def test_no_site_is_told_the_mean_of_few_rows():
    # Where a step leaves a cluster too small, the next question is without it.
    rows = np.concatenate([*blobs(3, 2)[:1], np.full((4, 2), 25.0, np.float32)])
    ask = Sites(rows)
    find(ask, 2, 6, floor=5)
    for before, after in zip(ask.asked, ask.asked[1:], strict=False):
        tally = before.sums(rows)
        small = tally.centres.points[tally.counts < 5]
        told = {tuple(point) for point in after.points.tolist()}
        assert not told & {tuple(point) for point in small.tolist()}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (np.zeros((50, 3)), 1),
        (np.repeat(np.eye(2, 3), 30, axis=0), 2),
        (np.repeat(np.eye(3), [30, 30, 4], axis=0), 2),
        (np.zeros((50, 0)), 1),
    ],
)
def test_rows_that_hardly_differ_have_few_clusters(rows, expected):
    centres = find(Sites(rows.astype(np.float32)), rows.shape[1], 6, floor=5)
    assert len(centres.points) == expected


def test_rows_may_be_kept_out_of_clusters_and_ties_go_to_the_first():
    centres = Centres(np.array([[-1.0], [1.0], [5.0]]))
    rows = np.array([[0.0], [4.9], [4.9], [1e-12]], np.float32)
    allowed = np.ones((4, 3), dtype=bool)
    allowed[2, 2] = False
    assert centres.nearest(rows, allowed).tolist() == [0, 2, 1, 0]
    assert centres.nearest(rows).tolist() == [0, 2, 2, 0]


def test_the_widest_cluster_is_parted_along_its_widest_coordinate():
    rows = np.array([[0, 0], [0, 2], [0, 4], [0, 6], [9, 0], [9, 1]] * 3, np.float32)
    tally = Centres(np.array([[0.0, 0.0], [9.0, 0.0]])).sums(rows)
    np.testing.assert_allclose(tally.spread, [[0, 60], [0, 1.5]])
    deviation = np.sqrt(5)
    parted = tally.parted(floor=5)
    assert parted is not None
    expected = [[0, 3 - deviation], [9, 0.5], [0, 3 + deviation]]
    np.testing.assert_allclose(parted.points, expected, atol=1e-6)
    # Neither half could have seven rows.
    assert tally.parted(floor=7) is None
