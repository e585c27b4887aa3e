"""The cheapest flow on a graph against the linear programme between all pairs of nodes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.wgan.theory.graph import graph_wasserstein, shortest_paths
from everymode.wgan.theory.line import wasserstein_1d
from everymode.wgan.theory.transport import linear_programme


def random_graph(seed, nodes, extra):
    """A random tree and `extra` more edges, loops and parallel ones among them."""
    source = np.random.default_rng(seed)
    tree = [(int(source.integers(k)), k) for k in range(1, nodes)]
    more = source.integers(nodes, size=(extra, 2)).tolist()
    edges = np.array(tree + more)
    return edges[source.permutation(len(edges))], 0.1 + source.random(len(edges)), source


def laws(source, nodes, empty=0.4):
    drawn = source.random((2, nodes)) * (source.random((2, nodes)) > empty)
    drawn[:, 0] += 0.1
    return drawn / drawn.sum(axis=1, keepdims=True)


def check(found, edges, lengths, source, target):
    """Primal and dual feasibility, and equal values: together they prove the optimum."""
    first, second = np.asarray(edges).T
    nodes = len(source)
    out = np.bincount(first, found.flow, nodes) - np.bincount(second, found.flow, nodes)
    np.testing.assert_allclose(out, source - target, atol=1e-9)
    assert found.value == pytest.approx(lengths @ np.abs(found.flow), rel=1e-12)
    assert (np.abs(found.potential[first] - found.potential[second]) <= lengths + 1e-7).all()
    assert found.potential @ (source - target) == pytest.approx(found.value, rel=1e-7, abs=1e-12)


def floyd_warshall(edges, lengths, nodes):
    distances = np.full((nodes, nodes), np.inf)
    np.fill_diagonal(distances, 0)
    for (u, v), length in zip(edges, lengths, strict=True):
        distances[u, v] = distances[v, u] = min(distances[u, v], length if u != v else 0)
    for k in range(nodes):
        distances = np.minimum(distances, distances[:, k, None] + distances[k])
    return distances


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(0, 20))
def test_it_equals_the_programme_on_shortest_paths(seed, nodes, extra):
    edges, lengths, rng = random_graph(seed, nodes, extra)
    source, target = laws(rng, nodes)
    found = graph_wasserstein(edges, lengths, source, target)
    check(found, edges, lengths, source, target)
    paths = shortest_paths(edges, lengths, nodes)
    expected = linear_programme(paths, source, target).value
    assert found.value == pytest.approx(expected, rel=1e-7, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 10), st.integers(0, 20))
def test_shortest_paths_equal_floyd_and_warshall(seed, nodes, extra):
    edges, lengths, _ = random_graph(seed, nodes, extra)
    found = shortest_paths(edges, lengths, nodes)
    np.testing.assert_allclose(found, floyd_warshall(edges, lengths, nodes), rtol=1e-12)


@pytest.mark.parametrize("nodes", [3, 4, 9, 30])
def test_a_cycle_costs_the_least_shift_of_its_flow(nodes):
    # On a cycle of unit edges the flow is known but for a constant, and the median is the best.
    rng = np.random.default_rng(nodes)
    edges = np.array([(k, (k + 1) % nodes) for k in range(nodes)])
    source, target = laws(rng, nodes)
    cumulative = np.cumsum(source - target)
    expected = np.abs(cumulative - np.median(cumulative)).sum()
    found = graph_wasserstein(edges, np.ones(nodes), source, target)
    assert found.value == pytest.approx(expected, rel=1e-9)
    check(found, edges, np.ones(nodes), source, target)


def test_a_point_on_a_cycle_goes_the_short_way():
    edges = [(k, (k + 1) % 10) for k in range(10)]
    start, end = np.eye(10)[[0, 7]]
    assert graph_wasserstein(edges, np.ones(10), start, end).value == pytest.approx(3)
    # Where the ring is cut, on the line, it would have to go the long way.
    assert graph_wasserstein(edges[:9], np.ones(9), start, end).value == pytest.approx(7)


def test_a_path_is_the_line():
    rng = np.random.default_rng(1)
    at = np.sort(rng.random(20))
    edges = np.array([(k, k + 1) for k in range(19)])
    source, target = laws(rng, 20)
    found = graph_wasserstein(edges, np.diff(at), source, target)
    expected = wasserstein_1d(at, at, 1, source, target)
    assert found.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [1e-8, 1e8])
@pytest.mark.parametrize("total", [1e-6, 1e6])
def test_units_do_not_matter(size, total):
    edges, lengths, rng = random_graph(3, 12, 10)
    source, target = laws(rng, 12)
    once = graph_wasserstein(edges, lengths, source, target).value
    scaled = graph_wasserstein(edges, size * lengths, total * source, total * target)
    assert scaled.value == pytest.approx(once * size * total, rel=1e-8)


def test_nothing_moves_between_equal_laws():
    edges, lengths, rng = random_graph(4, 8, 3)
    source, _ = laws(rng, 8)
    found = graph_wasserstein(edges, lengths, source, source)
    assert found.value == 0 and not found.flow.any()


def test_parts_are_fine_as_long_as_no_mass_must_cross():
    edges, lengths = np.array([(0, 1), (2, 3)]), np.array([1.0, 2.0])
    source, target = np.array([0.5, 0, 0.5, 0]), np.array([0, 0.5, 0, 0.5])
    found = graph_wasserstein(edges, lengths, source, target)
    assert found.value == pytest.approx(1.5)
    check(found, edges, lengths, source, target)
    assert math.isinf(shortest_paths(edges, lengths, 4)[0, 2])
    with pytest.raises(ValueError, match="every connected part"):
        graph_wasserstein(edges, lengths, source, [0.25, 0.5, 0.25, 0])


@pytest.mark.parametrize(
    ("edges", "lengths", "target", "message"),
    [
        ([[0, 1]], [1, 2], [0, 1], "1 lengths above 0"),
        ([[0, 1]], [0], [0, 1], "lengths above 0"),
        ([[0, 1]], [math.nan], [0, 1], "finite values in lengths"),
        ([[0, 2]], [1], [0, 1], "nodes 0 to 1"),
        ([[-1, 0]], [1], [0, 1], "nodes 0 to 1"),
        ([[0.5, 1]], [1], [0, 1], "whole numbers"),
        ([0, 1], [1], [0, 1], r"shape \(m, 2\)"),
        ([[0, 1]], [1], [0, 2], "equal masses, got 1 and 2"),
        ([[0, 1]], [1], [-1, 2], "at least 0 in target"),
        ([[0, 1]], [1], [1], r"target of shape \(2,\)"),
    ],
)
def test_what_is_refused_says_what_was_expected(edges, lengths, target, message):
    with pytest.raises(ValueError, match=message):
        graph_wasserstein(edges, lengths, [1, 0], target)
