"""The penalty along a graph's edges."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.wgan.edges import EdgePenalty
from everymode.wgan.errors import SettingsError
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.theory.graph import graph_wasserstein, shortest_paths
from tests.wgan.steps import Seeded, evaluate

EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2))
LENGTHS = (1.0, 0.5, 2.0, 0.25, 3.0)
SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def step(critic, count=400, width=4, seed=0, condition=0):
    rows = torch.zeros(count, width, dtype=torch.float64)
    return Seeded(critic, rows, rows, rows.new_zeros(count, condition), rng=seeded(seed))


def table(values):
    """The critic of one-hot rows that takes these values at the nodes."""
    return lambda rows, condition: rows @ torch.as_tensor(values, dtype=torch.float64)


def test_contract():
    values = torch.randn(4, generator=seeded(1), dtype=torch.float64).mul(5).requires_grad_(True)
    penalty = EdgePenalty(EDGES, LENGTHS)
    before = torch.get_rng_state()
    cost = evaluate(penalty, step(lambda rows, _: rows @ values, 7))
    assert cost.shape == (7,) and (cost >= 0).all() and cost.isfinite().all()
    assert torch.equal(torch.get_rng_state(), before)
    # What is drawn comes from `rng` alone.
    assert torch.equal(evaluate(penalty, step(lambda rows, _: rows @ values, 7)), cost)
    assert not torch.equal(evaluate(penalty, step(lambda rows, _: rows @ values, 7, seed=1)), cost)
    (gradient,) = torch.autograd.grad(cost.mean(), values)
    assert gradient.isfinite().all() and gradient.any()


def test_an_edge_costs_the_square_of_what_its_slope_exceeds_one_by():
    cost = evaluate(EdgePenalty(((0, 1),), (0.5,)), step(table([2.0, 0.0, 9.0, 9.0])))
    torch.testing.assert_close(cost, torch.full_like(cost, 9.0))
    # The slope of an edge that is followed backwards is the same.
    torch.testing.assert_close(
        evaluate(EdgePenalty(((1, 0),), (0.5,)), step(table([2.0, 0.0, 9.0, 9.0]))), cost
    )


def test_all_edges_are_drawn_alike():
    # A slope of 1 + 2^k on edge k alone says which edge was drawn.
    edges = tuple((2 * k, 2 * k + 1) for k in range(4))
    values = torch.zeros(8, dtype=torch.float64)
    values[::2] = 1 + 2.0 ** torch.arange(4)
    cost = evaluate(EdgePenalty(edges, (1.0,) * 4), step(table(values), 40_000, 8))
    drawn, counts = cost.sqrt().round().unique(return_counts=True)
    assert drawn.tolist() == [1.0, 2.0, 4.0, 8.0]
    # Five deviations of a binomial share.
    assert (counts / 40_000 - 0.25).abs().max() < 5 * (0.25 * 0.75 / 40_000) ** 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-9, 9), min_size=4, max_size=4), st.integers(0, 99))
def test_free_exactly_for_the_lipschitz_functions_of_the_shortest_path_distance(values, seed):
    distance = torch.as_tensor(shortest_paths(EDGES, LENGTHS, 4))
    given_values = torch.tensor(values, dtype=torch.float64)
    gaps = (given_values[:, None] - given_values).abs()
    lipschitz = bool((gaps <= distance).all())
    cost = evaluate(EdgePenalty(EDGES, LENGTHS), step(table(given_values), seed=seed))
    assert (not cost.any()) == lipschitz
    # The largest Lipschitz function below any values is one: McShane's extension.
    closed = (given_values + distance).min(1).values
    assert evaluate(EdgePenalty(EDGES, LENGTHS), step(table(closed), seed=seed)).max() < 1e-20


def test_the_exact_potential_costs_nothing_and_a_steeper_one_something():
    found = graph_wasserstein(EDGES, LENGTHS, [0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75])
    penalty = EdgePenalty(EDGES, LENGTHS)
    assert evaluate(penalty, step(table(found.potential))).max() < 1e-12
    assert evaluate(penalty, step(table(1.1 * found.potential))).max() == pytest.approx(
        0.01, rel=1e-6
    )


def test_rows_are_what_the_critic_sees():
    seen = []

    def critic(rows, condition):
        seen.append((rows, condition))
        return 3 * rows[:, 0]

    cost = evaluate(
        EdgePenalty(((0, 1), (3, 0)), (1.0, 1.0), SQUARE), step(critic, 50, 2, condition=3)
    )
    # From node 0 to node 1 the score changes by 3, from 3 to 0 not at all.
    assert set(cost.tolist()) == {0.0, 4.0}
    ((rows, condition),) = seen
    assert rows.shape == (100, 2) and condition.shape == (100, 3)
    assert {tuple(row) for row in rows.tolist()} == {SQUARE[0], SQUARE[1], SQUARE[3]}


@pytest.mark.parametrize(
    ("edges", "lengths", "rows"),
    [
        ((), (), ()),
        (EDGES, (1.0,), ()),
        (((0, 1),), (0.0,), ()),
        (((0, 4),), (1.0,), SQUARE),
        (((-1, 0),), (1.0,), ()),
    ],
)
def test_what_is_no_graph_is_refused(edges, lengths, rows):
    with pytest.raises(ValueError, match="expected"):
        EdgePenalty(edges, lengths, rows)


def test_a_recipe_holds_it_through_json_and_refuses_nodes_that_are_no_samples():
    square = EdgePenalty(EDGES, LENGTHS, SQUARE)
    recipe = Recipe(lipschitz=Penalised((square,)))
    assert Recipe.from_json(recipe.to_json()) == recipe
    recipe.check(Shape((), 2, 0))
    with pytest.raises(SettingsError, match="rows of length 2 for nodes, and samples of length 5"):
        recipe.check(Shape((), 5, 0))
    bare = Recipe(lipschitz=Penalised((EdgePenalty(EDGES, LENGTHS),)))
    bare.check(Shape((), 4, 0))
    with pytest.raises(SettingsError, match="4 nodes, and samples of length 3; write what"):
        bare.check(Shape((), 3, 0))
