"""Optimal transport against closed forms, other solvers and its own certificates."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import norm, wasserstein_distance

from everymode.wgan.theory.transport import (
    assignment,
    dual_potentials,
    extend,
    gaussian_w2,
    gaussian_w2_map,
    geometric_median,
    jensen_shannon,
    linear_programme,
    sliced_wasserstein,
    wasserstein,
    wasserstein_1d,
)

ORDERS = [1, 1.5, 2, 4]
every_order = pytest.mark.parametrize("p", ORDERS)
values = st.floats(-100, 100, allow_nan=False).map(lambda v: round(v, 4))
plane = st.integers(1, 6).flatmap(lambda n: arrays(float, (n, 2), elements=values))
lines = st.integers(1, 9).flatmap(lambda n: arrays(float, n, elements=values))


def rng(seed=0):
    return np.random.default_rng(seed)


def masses(source, n):
    drawn = source.random(n)
    return drawn / drawn.sum()


def programme(x, y, p, a=None, b=None):
    a = np.full(len(x), 1 / len(x)) if a is None else a
    b = np.full(len(y), 1 / len(y)) if b is None else b
    return linear_programme(cdist(x, y) ** p, a, b).value ** (1 / p)


def random_covariance(source, d):
    factor = source.standard_normal((d, d))
    return factor @ factor.T + 0.1 * np.eye(d)


@every_order
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 7), (8, 5), (1, 6)])
@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles_equal_the_linear_programme(p, n, m, weighted):
    source = rng(n + m)
    x, y = source.standard_normal(n), 2 + 3 * source.standard_normal(m)
    a, b = (masses(source, n), masses(source, m)) if weighted else (None, None)
    expected = programme(x[:, None], y[:, None], p, a, b)
    assert wasserstein_1d(x, y, p, a, b) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(lines, lines, st.integers(0, 99))
def test_quantiles_equal_scipy(x, y, seed):
    a, b = masses(rng(seed), len(x)), masses(rng(seed + 1), len(y))
    expected = wasserstein_distance(x, y, a, b)
    assert wasserstein_1d(x, y, 1, a, b) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@every_order
def test_a_mass_is_a_number_of_copies(p):
    source = rng(3)
    x, y = source.standard_normal(5), source.standard_normal(4)
    copies_x, copies_y = np.array([1, 0, 3, 2, 4]), np.array([5, 2, 1, 2])
    expected = wasserstein_1d(np.repeat(x, copies_x), np.repeat(y, copies_y), p)
    assert wasserstein_1d(x, y, p, copies_x, copies_y) == pytest.approx(
        expected * 10 ** (1 / p), rel=1e-12
    )


def test_a_point_without_mass_does_not_count():
    assert wasserstein_1d([0, 1e300], [1], x_weights=[1, 0]) == 1
    assert wasserstein_1d([-1e300, 0, 1e300], [3, 3], 2, [0, 0.1 + 0.2 + 0.7, 0]) == 3


@every_order
@pytest.mark.parametrize("d", [1, 2, 5])
def test_assignment_equals_the_linear_programme(p, d):
    source = rng(d)
    x, y = source.standard_normal((12, d)), 1 + source.standard_normal((12, d))
    found = assignment(x, y, p)
    assert found.value == pytest.approx(programme(x, y, p), rel=1e-9)
    assert sorted(found.plan) == list(range(12))
    moved = (np.linalg.norm(x - y[found.plan], axis=1) ** p).mean() ** (1 / p)
    assert found.value == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize("size", [1e-8, 1, 1e8])
@pytest.mark.parametrize("total", [1, 1000])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (9, 9), (12, 7)])
def test_potentials_certify_the_plan(n, m, total, size):
    source = rng(n * m)
    cost = size * source.standard_normal((n, m))
    a, b = total * masses(source, n), total * masses(source, m)
    found = linear_programme(cost, a, b)
    assert (found.plan >= 0).all()
    np.testing.assert_allclose(found.plan.sum(axis=1), a, rtol=1e-9)
    np.testing.assert_allclose(found.plan.sum(axis=0), b, rtol=1e-9)
    gaps = cost - found.f[:, None] - found.g
    assert gaps.min() >= -1e-12 * size
    assert a @ found.f + b @ found.g == pytest.approx(found.value, rel=1e-7)
    # Complementary slackness: mass moves along tight pairs only.
    assert (gaps * found.plan).sum() <= 1e-7 * size * total


def test_a_point_without_mass_has_a_potential_all_the_same():
    found = linear_programme([[1.0, 2.0], [0.0, 7.0]], [0, 1], [0, 1])
    assert found.value == 7
    assert (np.array([[1.0, 2.0], [0.0, 7.0]]) - found.f[:, None] - found.g).min() >= -1e-12


@settings(max_examples=40, deadline=None)
@given(plane, plane, plane, st.sampled_from(ORDERS))
def test_it_is_a_distance(x, y, z, p):
    def w(first, second):
        return wasserstein(first, second, p)

    # The root of order p turns a solver's error of 1e-10 of the largest cost into this.
    slack = 1e-9 + 300 * 1e-10 ** (1 / p)
    assert w(x, x) == 0
    assert w(x, y) == pytest.approx(w(y, x), abs=slack)
    assert w(x, z) <= w(x, y) + w(y, z) + slack


@every_order
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_translation_and_scale(p, d, weighted):
    source = rng(5)
    x, shift = source.standard_normal((15, d)), source.standard_normal(d)
    a = masses(source, 15) if weighted else None
    assert wasserstein(x, x + shift, p, a, a) == pytest.approx(np.linalg.norm(shift), rel=1e-8)
    y = source.standard_normal((15, d))
    once = wasserstein(x, y, p, a)
    assert wasserstein(-3 * x, -3 * y, p, a) == pytest.approx(3 * once, rel=1e-8)
    assert wasserstein(1e100 * x, 1e100 * y, p, a) == pytest.approx(1e100 * once, rel=1e-8)


@every_order
def test_every_way_gives_the_same(p):
    source = rng(6)
    x, y = source.standard_normal((6, 1)), source.standard_normal((6, 1))
    line = wasserstein(x, y, p)
    # In the plane the same points go to the assignment, and with masses to the programme.
    flat_x, flat_y = np.pad(x, ((0, 0), (0, 1))), np.pad(y, ((0, 0), (0, 1)))
    assert wasserstein(flat_x, flat_y, p) == pytest.approx(line, rel=1e-9)
    even = np.full(6, 1 / 6)
    assert wasserstein(flat_x, flat_y, p, even, even) == pytest.approx(line, rel=1e-9)


def test_two_gaussians_on_the_line():
    assert gaussian_w2([1], [[4]], [4], [[64]]) == pytest.approx(math.hypot(3, 6), rel=1e-12)
    # The quantile functions themselves, on a grid of levels.
    levels = (np.arange(200_000) + 0.5) / 200_000
    x, y = norm.ppf(levels, 1, 2), norm.ppf(levels, 4, 8)
    assert wasserstein_1d(x, y, 2) == pytest.approx(math.hypot(3, 6), rel=1e-3)


def test_gaussians_against_a_large_assignment():
    cov_a, cov_b = np.array([[4.0, 1.5], [1.5, 1.0]]), np.array([[1.0, -1.0], [-1.0, 9.0]])
    source = rng(7)
    x = source.multivariate_normal([0, 0], cov_a, 800)
    y = source.multivariate_normal([3, 1], cov_b, 800)
    value = assignment(x, y, 2).value
    assert value == pytest.approx(gaussian_w2([0, 0], cov_a, [3, 1], cov_b), rel=0.05)
    # Gelbrich 1990: whatever the laws, their moments bound W2 from below.
    moments = gaussian_w2(x.mean(axis=0), np.cov(x.T, ddof=0), y.mean(axis=0), np.cov(y.T, ddof=0))
    assert moments <= value <= 1.01 * moments
    # Negative control: without the correlations the closed form would be off.
    plain = gaussian_w2([0, 0], np.diag(np.diag(cov_a)), [3, 1], np.diag(np.diag(cov_b)))
    assert abs(plain / moments - 1) > 0.05


def test_commuting_gaussians_differ_by_their_deviations():
    turn = np.linalg.qr(rng(8).standard_normal((3, 3)))[0]
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 0.25, 0.0])
    value = gaussian_w2(np.zeros(3), (turn * a) @ turn.T, np.zeros(3), (turn * b) @ turn.T)
    assert value == pytest.approx(np.linalg.norm(np.sqrt(a) - np.sqrt(b)), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 6])
def test_the_map_of_gaussians_is_optimal(d):
    source = rng(d)
    a, b = random_covariance(source, d), random_covariance(source, d)
    matrix = gaussian_w2_map(a, b)
    # It moves one law to the other and is the gradient of a convex function: Brenier.
    np.testing.assert_allclose(matrix @ a @ matrix, b, rtol=1e-8, atol=1e-8)
    assert np.array_equal(matrix, matrix.T) and np.linalg.eigvalsh(matrix).min() > 0
    moved = np.eye(d) - matrix
    cost = math.sqrt(np.trace(moved @ a @ moved))
    assert gaussian_w2(np.zeros(d), a, np.zeros(d), b) == pytest.approx(cost, rel=1e-9)


def test_equal_gaussians_are_at_distance_zero():
    cov = random_covariance(rng(9), 8)
    assert gaussian_w2(np.ones(8), cov, np.ones(8), cov) < 1e-13
    np.testing.assert_allclose(gaussian_w2_map(cov, cov), np.eye(8), atol=1e-10)
    # Where the textbook's trace would lose the difference altogether.
    near = gaussian_w2([0], [[1]], [0], [[(1 + 1e-10) ** 2]])
    assert near == pytest.approx(1e-10, rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 3])
def test_the_potential_is_an_optimal_critic(d, weighted):
    source = rng(d)
    x, y = source.standard_normal((14, d)), 1 + source.standard_normal((9, d))
    a, b = (masses(source, 14), masses(source, 9)) if weighted else (None, None)
    critic = dual_potentials(x, y, a, b)
    on_x, on_y = critic.values[:14], critic.values[14:]
    attained = np.average(on_x, weights=a) - np.average(on_y, weights=b)
    assert attained == pytest.approx(wasserstein(x, y, 1, a, b), rel=1e-8)
    assert critic.value == pytest.approx(attained, rel=1e-8)
    # 1-Lipschitz at the points and anywhere else, and the same function there.
    at = np.concatenate([critic.points, 3 * source.standard_normal((40, d))])
    heights = critic(at)
    np.testing.assert_allclose(heights[:23], critic.values, atol=1e-12)
    assert (np.abs(heights[:, None] - heights) <= cdist(at, at) + 1e-12).all()


def test_the_optimal_critic_has_slope_one_where_mass_moves():
    x = rng(10).standard_normal((10, 2))
    y = x + np.array([5.0, 0.0])
    critic = dual_potentials(x, y)
    plan = assignment(x, y).plan
    gaps = critic.values[:10] - critic.values[10:][plan]
    np.testing.assert_allclose(gaps, np.linalg.norm(x - y[plan], axis=1), atol=1e-8)


@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0])
def test_extension_is_the_largest_of_its_slope(slope):
    source = rng(11)
    points, at = source.standard_normal((8, 3)), source.standard_normal((30, 3))

    def law(where):
        return slope * np.linalg.norm(where - [1.0, 0.0, 2.0], axis=1)

    upper = extend(points, law(points), at, slope)
    np.testing.assert_allclose(extend(points, law(points), points, slope), law(points))
    assert (upper >= law(at) - 1e-12).all() and (upper > law(at) + 1e-3).any()
    assert (np.abs(upper[:, None] - upper) <= slope * cdist(at, at) + 1e-12).all()
    # Values too steep for the slope are cut from above.
    assert (extend(points, 10 * law(points), points, slope) <= 10 * law(points)).all()


@every_order
def test_slices_bound_from_below(p):
    source = rng(12)
    x, y = source.standard_normal((40, 3)), 1 + source.standard_normal((40, 3))
    assert sliced_wasserstein(x, y, 200, rng(1), p) <= wasserstein(x, y, p)
    assert sliced_wasserstein(x, x, 10, rng(1), p) == 0
    assert sliced_wasserstein(x, y, 10, rng(1), p) == sliced_wasserstein(x, y, 10, rng(1), p)


def test_sliced_distance_of_a_shift():
    # E <shift, u>^2 = |shift|^2 / d for u uniform on the sphere.
    x = rng(13).standard_normal((5, 4))
    found = sliced_wasserstein(x, x + np.array([2.0, 0, 0, 0]), 20_000, rng(2), 2)
    assert found == pytest.approx(1.0, rel=0.02)


def fermat(points):
    """Fermat's point: the corner with an angle of 120 degrees or more, else by trilinears."""
    a, b, c = points
    sides = np.array([np.linalg.norm(b - c), np.linalg.norm(c - a), np.linalg.norm(a - b)])
    cosines = [
        (sides[1] ** 2 + sides[2] ** 2 - sides[0] ** 2) / (2 * sides[1] * sides[2]),
        (sides[2] ** 2 + sides[0] ** 2 - sides[1] ** 2) / (2 * sides[2] * sides[0]),
        (sides[0] ** 2 + sides[1] ** 2 - sides[2] ** 2) / (2 * sides[0] * sides[1]),
    ]
    if min(cosines) <= -0.5:
        return points[int(np.argmin(cosines))]
    shares = sides / np.sin(np.arccos(cosines) + np.pi / 3)
    return shares @ points / shares.sum()


@pytest.mark.parametrize(
    "triangle",
    [
        [[0, 0], [4, 0], [1, 3]],
        [[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]],
        [[1e6, 0], [1e6 + 4, 0], [1e6 + 1, 3]],
        [[0, 0], [10, 0], [5, 0.5]],
        [[0, 0], [1, 0], [-0.5, math.sqrt(3) / 2]],
    ],
    ids=["acute", "equilateral", "far away", "obtuse", "exactly 120 degrees"],
)
def test_the_median_of_a_triangle_is_fermats_point(triangle):
    triangle = np.array(triangle, dtype=float)
    np.testing.assert_allclose(geometric_median(triangle), fermat(triangle), rtol=0, atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_median_is_the_least_sum_of_distances(d, weighted):
    source = rng(d)
    points = source.standard_normal((25, d)) ** 3
    weights = masses(source, 25) if weighted else np.ones(25)

    def cost(at):
        return weights @ np.linalg.norm(points - at, axis=1)

    found = geometric_median(points, weights)
    search = minimize(cost, points.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9})
    assert cost(found) <= search.fun + 1e-9
    assert all(cost(found) <= cost(found + step) + 1e-12 for step in 1e-3 * np.eye(d))


@settings(max_examples=60, deadline=None)
@given(plane, st.integers(0, 9))
def test_no_data_point_beats_the_median(points, seed):
    weights = rng(seed).integers(1, 4, len(points))

    def cost(at):
        return weights @ np.linalg.norm(points - at, axis=1)

    found = cost(geometric_median(points, weights))
    assert all(found <= cost(at) * (1 + 1e-9) + 1e-9 for at in [*points, points.mean(axis=0)])


def test_a_start_on_a_data_point_is_left():
    # The mean is the point 0, where Weiszfeld's own step divides by zero.
    points = np.array([[0.0, 0.0], [3.0, 0.0], [-1.0, 1.0], [-1.0, -2.0], [-1.0, 1.0]])
    assert np.array_equal(points.mean(axis=0), points[0])
    found = geometric_median(points)
    assert np.linalg.norm(found) > 1e-3
    np.testing.assert_allclose(found, geometric_median(points[::-1] + 7) - 7, atol=1e-8)


def test_the_median_of_numbers_is_their_median():
    x = rng(14).standard_normal(31)
    np.testing.assert_allclose(geometric_median(x), [np.median(x)], atol=1e-12)


@pytest.mark.parametrize("distance", [1e2, 1e6, 1e12])
def test_fewer_than_half_outliers_cannot_move_the_median_far(distance):
    source = rng(15)
    good = source.standard_normal((60, 3))
    bad = distance + source.standard_normal((40, 3))
    both = np.concatenate([good, bad])
    # Minsker 2015, lemma 2.1: at most (1 - a) / sqrt(1 - 2 a) radii away for a share a = .4.
    radius = np.linalg.norm(good, axis=1).max()
    assert np.linalg.norm(geometric_median(both)) <= 0.6 / math.sqrt(0.2) * radius
    assert np.linalg.norm(both.mean(axis=0)) > 0.3 * distance
    # Negative control: a majority takes it along.
    most = np.concatenate([good, bad, bad])
    assert np.linalg.norm(geometric_median(most)) > 0.3 * distance


@settings(max_examples=50, deadline=None)
@given(lines, st.integers(0, 99))
def test_jensen_shannon_equals_scipy(p, seed):
    p = np.abs(p) + 1e-3
    q = rng(seed).random(len(p)) + 1e-3
    expected = jensenshannon(p, q) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert jensen_shannon(q, p) == jensen_shannon(p, q) <= math.log(2)


def test_jensen_shannon_says_nothing_of_how_far_apart_laws_are():
    grid = np.linspace(-20, 20, 4001)
    near = jensen_shannon(norm.pdf(grid), norm.pdf(grid, 0.1))
    # Its second-order expansion is shift^2 / 8 for a unit normal.
    assert near == pytest.approx(0.1**2 / 8, rel=0.01)
    assert jensen_shannon(norm.pdf(grid), norm.pdf(grid)) == 0
    point = np.eye(5)
    apart = [jensen_shannon(point[0], point[k]) for k in range(1, 5)]
    assert apart == pytest.approx([math.log(2)] * 4, rel=1e-12)
    assert [wasserstein_1d([0], [k]) for k in range(1, 5)] == [1, 2, 3, 4]


NAN = [[0.0, math.nan]]
TWO = [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wasserstein(NAN, TWO), "finite values in x"),
        (lambda: wasserstein(TWO, [[math.inf, 0]]), "finite values in y"),
        (lambda: wasserstein(TWO, [[1.0]]), "same dimension, got 2 and 1"),
        (lambda: wasserstein(np.empty((0, 2)), TWO), "at least one value in x"),
        (lambda: wasserstein(TWO, TWO, 0.5), "order 1 <= p"),
        (lambda: wasserstein(TWO, TWO, math.nan), "order 1 <= p"),
        (lambda: wasserstein(TWO, TWO, 1, [1, 2]), "equal masses, got 3 and 1"),
        (lambda: wasserstein(TWO, TWO, 1, [-1, 2]), "at least 0 in a"),
        (lambda: wasserstein(TWO, TWO, 1, [1.0]), r"a of shape \(2,\)"),
        (lambda: wasserstein(np.zeros((2, 2, 2)), TWO), r"x of shape \(n, d\)"),
        (lambda: wasserstein_1d(TWO, [0]), r"x of shape \(n,\)"),
        (lambda: wasserstein_1d([0], [0], 1, [0], [1]), "not all 0"),
        (lambda: assignment(TWO, TWO[:1]), "as many points in x as in y, got 2 and 1"),
        (lambda: linear_programme([1, 2], [1], [1]), r"cost of shape \(n, m\)"),
        (lambda: linear_programme([[1, 2]], [1], [1]), r"b of shape \(2,\)"),
        (lambda: dual_potentials(TWO, NAN), "finite values in y"),
        (lambda: extend(TWO, [1], TWO), r"values \(n,\)"),
        (lambda: extend(TWO, [1, 2], TWO, -1), "slope of at least 0"),
        (lambda: sliced_wasserstein(TWO, TWO, 0, rng()), "at least one direction"),
        (lambda: gaussian_w2([0], np.eye(2), [0, 0], np.eye(2)), r"mean_a of shape \(2,\)"),
        (lambda: gaussian_w2([0], [[1]], [0, 0], np.eye(2)), "means of the same dimension"),
        (lambda: gaussian_w2([0], [[-1]], [0], [[1]]), "positive semidefinite cov_a"),
        (lambda: gaussian_w2([0, 0], [[1, 2], [0, 1]], [0, 0], np.eye(2)), "symmetric cov_a"),
        (lambda: gaussian_w2_map([[1, 1], [1, 1]], np.eye(2)), "positive definite cov_a"),
        (lambda: geometric_median(NAN), "finite values in points"),
        (lambda: geometric_median(TWO, [1, -1]), "at least 0 in weights"),
        (lambda: jensen_shannon([1, 0], [1]), "of one shape"),
        (lambda: jensen_shannon([1, -1], [1, 0]), "at least 0 in p"),
    ],
)
def test_what_is_refused_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
