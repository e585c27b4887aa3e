"""Where the critic's slope is taken, and along which directions."""

import pytest
import torch
from pydantic import TypeAdapter
from scipy.stats import kstest

from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.points import Fake, Interpolates, Manifold, PointsSpec, Real, interpolates
from tests.wgan.steps import Seeded, evaluate

KINDS = [Interpolates(), Real(), Fake(), Manifold(), Manifold(dimension=3, neighbours=4, noise=0.0)]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=repr)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pairs(count=12, width=5, seed=0):
    return torch.randn(2, count, width, generator=seeded(seed), dtype=torch.float64).unbind()


def direction(seed=3, width=5):
    drawn = torch.randn(width, generator=seeded(seed), dtype=torch.float64)
    return drawn / drawn.norm()


def line(count=40, seed=1):
    """Real and fake samples on one straight line through 5 dimensions."""
    along = torch.rand(2, count, 1, generator=seeded(seed), dtype=torch.float64)
    real, fake = (along * direction() + torch.arange(5.0, dtype=torch.float64)).unbind()
    return real, fake


@every_kind
@pytest.mark.parametrize("count", [1, 2, 12])
def test_contract(kind, count):
    real, fake = pairs(count)
    copies, before = (real.clone(), fake.clone()), torch.get_rng_state()
    probe = kind(real, fake, seeded(1))
    assert probe.points.shape == real.shape and probe.points.isfinite().all()
    again = kind(real, fake, seeded(1))
    assert torch.equal(probe.points, again.points)
    if probe.tangents is not None:
        assert len(probe.tangents) == count and probe.tangents.shape[2] == 5
        products = probe.tangents @ probe.tangents.transpose(1, 2)
        one = torch.eye(products.shape[1], dtype=torch.float64)
        torch.testing.assert_close(products, one.expand_as(products))
        assert torch.equal(probe.tangents, again.tangents)
    assert torch.equal(real, copies[0]) and torch.equal(fake, copies[1])
    assert torch.equal(torch.get_rng_state(), before)


@every_kind
def test_a_kind_comes_back_from_json(kind):
    adapter = TypeAdapter(PointsSpec)
    assert adapter.validate_json(adapter.dump_json(kind)) == kind


def test_mixed_points_are_interpolates():
    real, fake = pairs()
    probe = Interpolates()(real, fake, seeded(2))
    assert torch.equal(probe.points, interpolates(real, fake, seeded(2)))
    assert probe.tangents is None


def test_real_and_fake_points_are_the_samples():
    real, fake = pairs()
    assert torch.equal(Real()(real, fake, seeded(0)).points, real)
    assert torch.equal(Fake()(real, fake, seeded(0)).points, fake)


def test_on_a_straight_line_the_tangents_are_its_direction():
    probe = Manifold(noise=0.0)(*line(), seeded(4))
    cosines = (probe.tangents @ direction()).abs()
    torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=0, atol=1e-9)


def distance_to_line(points):
    off = points - torch.arange(5.0, dtype=torch.float64)
    return (off - (off @ direction())[:, None] * direction()).norm(dim=1)


def test_only_noise_leaves_the_line():
    real, fake = line()
    assert distance_to_line(Manifold(noise=0.0)(real, fake, seeded(5)).points).max() < 1e-9
    shaken = distance_to_line(Manifold(noise=0.5)(real, fake, seeded(5)).points)
    # It is measured in distances to the nearest neighbour, so it stays small beside the line.
    assert shaken.min() > 0 and shaken.max() < 0.5


def test_noise_is_as_long_as_it_says():
    # A regular grid: everyone's nearest neighbour is 1 away, so the noise's length is noise^2.
    at = torch.arange(400.0, dtype=torch.float64)[:, None]
    real = torch.cat([at, torch.zeros(400, 3, dtype=torch.float64)], 1)
    points = Manifold(neighbours=2, noise=0.3)(real, real, seeded(6)).points
    # Of 4 coordinates 3 lie across the line.
    across = points[:, 1:].square().sum(1).mean().item()
    assert across == pytest.approx(0.3**2 * 3 / 4, rel=0.15)


def test_a_linear_critics_tangential_slope_is_its_projection():
    weights = 3 * direction(seed=8)
    real, fake = line()
    step = Seeded(lambda x, c: x @ weights, real, fake, real[:, :0], rng=seeded(7))
    along = abs(float(weights @ direction()))
    values = evaluate(GradientPenalty(target=0.0, points=Manifold(noise=0.2)), step)
    torch.testing.assert_close(values, torch.full_like(values, along**2))
    # All directions together would see the whole slope.
    whole = evaluate(GradientPenalty(target=0.0), step)
    torch.testing.assert_close(whole, torch.full_like(whole, 9.0))
    assert along < 2.9


def test_as_many_directions_as_dimensions_are_all_directions():
    real, fake = pairs(30)
    weights = 2 * direction(seed=9)
    step = Seeded(lambda x, c: x @ weights, real, fake, real[:, :0], rng=seeded(10))
    values = evaluate(GradientPenalty(target=0.0, points=Manifold(5, 8)), step)
    torch.testing.assert_close(values, torch.full_like(values, 4.0))


def test_half_the_points_lie_beside_real_samples():
    real, fake = pairs(2000, width=2)
    points = Manifold()(real, fake + 100, seeded(11)).points
    share = (points[:, 0] < 50).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.04)
    # A point keeps the place of its pair: which sample it lies beside is not by index.
    assert (points[:1000, 0] < 50).any() and (points[1000:, 0] < 50).any()


def test_points_move_evenly_towards_any_of_their_neighbours():
    # Two samples: the one neighbour is the other.
    at = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    kind, rng = Manifold(noise=0.0), seeded(12)
    points = torch.cat([kind(at, at, rng).points for _ in range(800)]).squeeze(1)
    assert kstest(points.numpy(), "uniform").pvalue > 0.01


def test_a_single_pair_has_no_neighbours_and_gets_an_interpolate():
    real, fake = pairs(1)
    probe = Manifold()(real, fake, seeded(13))
    assert probe.tangents is None
    assert torch.equal(probe.points, interpolates(real, fake, seeded(13)))


def test_equal_samples_give_finite_points_and_slopes():
    same = torch.ones(6, 5, dtype=torch.float64)
    weights = direction().requires_grad_(True)
    step = Seeded(lambda x, c: x @ weights, same, same, same[:, :0], rng=seeded(14))
    values = evaluate(GradientPenalty(points=Manifold(2)), step)
    (gradient,) = torch.autograd.grad(values.sum(), weights)
    assert values.isfinite().all() and gradient.isfinite().all()
