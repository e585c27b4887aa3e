"""The claims on medians, dynamics and graphs: their maths, and a few steps of each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims import geometric_median, graph_transport, training_dynamics
from everymode.simulations.claims.claim import Check
from everymode.simulations.claims.training_dynamics import ONE, START, Game, bisect, mismatch
from everymode.simulations.toys import Cloud
from everymode.wgan.objectives import JensenShannon
from everymode.wgan.points import Fake, Interpolates
from everymode.wgan.theory import dirac
from everymode.wgan.theory.transport import wasserstein

CLAIMS = [geometric_median.CLAIM, training_dynamics.CLAIM, graph_transport.CLAIM]


def test_numbers_and_names():
    assert [(claim.number, claim.name) for claim in CLAIMS] == [
        (17, "geometric_median"),
        (22, "training_dynamics"),
        (24, "graph_transport"),
    ]


# Dynamics: the field of the product's losses is the papers', with lambda = 2 weight.


def mirrored(field, at):
    """The papers' critic is high on fakes, the product's on real rows: psi has the other sign."""
    signs = torch.ones_like(at)
    signs[len(at) // 2 :] = -1
    return signs * field(signs * at)


@pytest.mark.parametrize("points", [Fake(), Interpolates()], ids=repr)
@pytest.mark.parametrize("penalty", [0.0, 0.5, 3.0])
def test_the_products_losses_have_the_papers_field(points, penalty):
    at = torch.tensor([0.3, -0.2], dtype=torch.float64)
    field = dirac.dirac_field(dirac.wasserstein_slope, penalty)
    torch.testing.assert_close(Game(ONE, penalty, points=points)(at), mirrored(field, at))
    matrix = training_dynamics.coupling(0)
    at = torch.linspace(-1, 1, 6, dtype=torch.float64)
    field = dirac.quadratic_field(matrix.T, penalty)
    torch.testing.assert_close(Game(matrix, penalty, points=points)(at), mirrored(field, at))


def test_the_one_centred_field_is_that_of_wgan_gp():
    at = torch.tensor([0.3, -0.2], dtype=torch.float64)
    field = dirac.dirac_one_centred_field(dirac.wasserstein_slope, 0.75)
    torch.testing.assert_close(Game(ONE, 1.5, target=1.0)(at), mirrored(field, at))


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 5.0])
def test_eigenvalues_by_automatic_differentiation(penalty):
    found = Game(ONE, penalty, objective=JensenShannon()).eigenvalues()
    # Beside a double eigenvalue an error of 1e-8 shows as its square root.
    assert mismatch(found, dirac.dirac_eigenvalues(0.5, penalty)) < 1e-3
    found = Game(2 * ONE, penalty).eigenvalues()
    assert mismatch(found, dirac.dirac_eigenvalues(2.0, penalty)) < 1e-9


def test_mismatch_sees_what_either_set_lacks():
    ones = torch.tensor([1.0, 1.0], dtype=torch.complex128)
    both = torch.tensor([1.0, 3.0], dtype=torch.complex128)
    assert mismatch(ones, ones) == 0 and mismatch(ones, both) == mismatch(both, ones) == 2


def test_overshooting_on_either_side_of_the_critical_penalty():
    assert training_dynamics.overshoots(Game(ONE, 1.5), 1.0)
    assert not training_dynamics.overshoots(Game(ONE, 2.05), 1.0)
    assert bisect(lambda value: value < 0.3, 0.0, 1.0, 30) == pytest.approx(0.3, abs=1e-8)


@pytest.mark.parametrize("penalty", [1.0, 4.0])
def test_rates_of_a_spiral_and_of_a_node(penalty):
    found, path = training_dynamics.rate(Game(ONE, penalty))
    assert found == pytest.approx(dirac.dirac_eigenvalues(1.0, penalty)[0].real.item(), rel=0.01)
    assert torch.equal(path[0], START)


# Medians.


def test_rows_are_mislabelled_by_the_shares_asked_for():
    data = geometric_median.mislabelled(0)
    kinds = data.condition.argmax(1)
    assert kinds.bincount().tolist() == [geometric_median.ROWS] * 4
    nearest = torch.cdist(data.rows, geometric_median.PLACES).argmin(1)
    for kind, share in enumerate(geometric_median.SHARES):
        wrong = nearest[kinds == kind] != kind
        assert wrong.double().mean().item() == pytest.approx(share, abs=1e-9)
        assert set(nearest[kinds == kind][wrong].tolist()) == {(kind + 1) % 4}
    assert torch.equal(data.rows, geometric_median.mislabelled(0).rows)
    assert not torch.equal(data.rows, geometric_median.mislabelled(1).rows)


def test_exact_centres_of_a_class():
    # Three of five rows in one place: the median stays there, whatever the others do.
    rows = torch.tensor([[0.0, 0.0]] * 3 + [[9.0, 1.0], [5.0, -1.0]]).repeat(4, 1)
    condition = torch.eye(4).repeat_interleave(5, 0)
    medians, means = geometric_median.centres(Cloud(rows, condition))
    assert medians.abs().max() < 1e-6
    torch.testing.assert_close(means, torch.tensor([[2.8, 0.0]]).expand(4, 2))


@pytest.mark.parametrize("recipe", [geometric_median.MEDIAN, geometric_median.MEAN])
def test_points_learn(recipe):
    data = geometric_median.mislabelled(0)
    found = geometric_median.learn(recipe, data, 0, steps=4)
    assert found.path.shape == (4, 2) and found.points.shape == (4, 2)
    # From 0 every point starts towards its own place.
    last = found.path[-1]
    assert last @ geometric_median.PLACES[-1] > 0
    at_median = replace(found, points=found.medians)
    assert at_median.off(0, found.medians) == 0
    assert at_median.off(0, found.means) == pytest.approx(1)
    assert torch.equal(geometric_median.learn(recipe, data, 0, steps=4).path, found.path)


# Graphs.


@pytest.mark.parametrize("make", graph_transport.MAKERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_graphs(make, seed):
    graph = make(seed)
    assert graph.source.sum() == pytest.approx(1) and graph.target.sum() == pytest.approx(1)
    spans = np.linalg.norm(np.diff(graph.positions[graph.edges], axis=1)[:, 0], axis=1)
    # No road is shorter than the straight line, so neither is W1.
    assert (graph.lengths >= spans - 1e-12).all()
    exact = graph.exact()
    assert exact.value > 1.2 * graph.straight()
    # The exact potential, judged as a critic is, certifies the value.
    judged = graph_transport.judged(graph, exact.potential)
    assert judged.estimate == pytest.approx(exact.value, rel=1e-6)
    assert judged.slope == pytest.approx(1, rel=1e-6)


def test_the_bridge_is_the_only_way():
    graph = graph_transport.bridge(0)
    across = (graph.positions[graph.edges][:, :, 0] > 0).sum(1) == 1
    assert across.sum() == 1
    assert np.abs(graph.exact().flow[across]).item() == pytest.approx(1)


def test_rows_of_nodes_come_by_their_masses():
    graph = graph_transport.ring(0)
    rows = torch.eye(len(graph.positions))
    drawn = graph.draw(graph.source, rows)(20_000, torch.Generator().manual_seed(0)).real
    assert np.abs(drawn.mean(0).numpy() - graph.source).max() < 5 * 0.5 / 20_000**0.5


@pytest.mark.parametrize(("one_hot", "straight"), [(True, False), (False, False), (False, True)])
def test_a_critic_of_nodes_learns(one_hot, straight):
    graph = graph_transport.ring(0)
    found = graph_transport.learn(graph, 0, one_hot=one_hot, straight=straight, steps=40)
    assert found.values.shape == (24,) and found.estimate > 0
    # Divided by its steepest edge, any critic is below W1.
    assert found.estimate / found.slope <= graph.exact().value * (1 + 1e-6)


def test_in_the_plane_w1_is_the_plain_one():
    graph = graph_transport.geometric(3)
    direct = wasserstein(graph.positions, graph.positions, 1, graph.source, graph.target)
    assert graph.straight() == direct < graph.exact().value


def test_the_pictures_of_the_dynamics():
    figure = Figure(layout="constrained")
    figure.subplots(1, 3)
    checks = training_dynamics.one_centred(figure, steps=60)
    assert len(checks) == 2 and all(isinstance(check, Check) for check in checks)
    assert figure.axes[2].lines
