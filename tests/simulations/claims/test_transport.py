"""The claims about distances and where they send a generator: their maths, and short trainings."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims import (
    data_scale,
    disjoint_supports,
    point_masses,
    random_clouds,
    transport_direction,
    w1_w2_gradients,
)
from everymode.simulations.claims.fitting import SMALL, Whole, fit_critic
from everymode.simulations.toys import Cloud
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import assignment

MODULES = [
    disjoint_supports,
    point_masses,
    random_clouds,
    data_scale,
    transport_direction,
    w1_w2_gradients,
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("module", MODULES)
def test_a_claim_is_called_as_its_file(module):
    assert module.__name__.endswith(f".{module.CLAIM.name}")
    assert module.CLAIM.measure is module.measure


def test_whole_gives_every_row_equally_often():
    rows = torch.arange(5.0)[:, None]
    batch = Whole(rows)(15, generator())
    assert batch.real.unique(return_counts=True)[1].tolist() == [3] * 5
    assert sorted(Whole(rows)(5, generator()).real.squeeze(1).tolist()) == [0, 1, 2, 3, 4]
    assert len(Whole(rows)(7, generator()).real) == 7


def test_the_pull_is_the_critics_gradient_or_dies_with_the_logistic_function():
    points = torch.randn((6, 2), generator=generator())
    sources = Cloud(points), Cloud(points + 1)
    plain = fit_critic(SMALL, Shape((), 2, 0), *sources, steps=2, batch=8)
    step, at = 1e-3, torch.tensor([[0.3, -0.2]])
    for axis in range(2):
        move = torch.zeros((1, 2))
        move[0, axis] = step
        slope = (plain.score(at + move) - plain.score(at - move)) / (2 * step)
        assert plain.pull(at)[0, axis].item() == pytest.approx(slope.item(), abs=2e-3)
    # d/dy log(1 - D(y)) = -D(y) C'(y): the same critic, so the same weights.
    original = fit_critic(disjoint_supports.ORIGINAL, Shape((), 2, 0), *sources, steps=0, batch=8)
    bare = fit_critic(SMALL, Shape((), 2, 0), *sources, steps=0, batch=8)
    share = torch.sigmoid(original.score(at))[:, None]
    torch.testing.assert_close(original.pull(at), share * bare.pull(at))


def test_gaussians_of_far_and_near_means():
    far = disjoint_supports.gaussians(12.0)
    assert far == pytest.approx((math.log(2), 12.0), rel=1e-6)
    assert disjoint_supports.gaussians(0.0) == pytest.approx((0.0, 0.0), abs=1e-12)
    # Near 0, JS is d^2 / 8 times the Fisher information, 1: its slope is d / 4.
    assert disjoint_supports.gaussians(0.1)[0] == pytest.approx(0.1**2 / 8, rel=1e-2)
    assert disjoint_supports.derivative("gaussians", 0.1)[0] == pytest.approx(0.025, rel=1e-2)


def test_points_have_no_jensen_shannon_slope():
    assert disjoint_supports.points(0.5) == pytest.approx((math.log(2), 0.5))
    assert disjoint_supports.derivative("points", 0.5) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_the_best_slope_is_where_the_penalised_objective_is_highest():
    g = np.linspace(0, 4, 400_001)
    for distance, weight in ((2.0, 10.0), (0.5, 1.0)):
        best = g[np.argmax(g * distance - weight * (g - 1) ** 2)]
        assert point_masses.slope_of_best(distance, weight) == pytest.approx(best, abs=1e-5)
    distance, scale, weight = 1.5, 0.5, 2.0
    best = g[np.argmax(g * scale * distance - weight * (g - 1 / scale) ** 2)]
    assert data_scale.overshoot(distance, scale, weight) == pytest.approx(best * scale, abs=1e-5)


def test_a_short_training_tells_points_apart():
    assert point_masses.between_points(1.0, 0, steps=100) == pytest.approx(1.0, abs=0.1)
    fitted = point_masses.between_intervals(0, steps=20)
    assert len(fitted.estimates) == 20


def test_clouds_are_fixed_by_the_seed_and_apart():
    pair = random_clouds.clouds(3)
    again = random_clouds.clouds(3)
    assert torch.equal(pair.real, again.real)
    assert torch.equal(pair.fake, again.fake)
    assert pair.exact == assignment(pair.real.numpy(), pair.fake.numpy()).value > 0.2
    critic = random_clouds.fitted(pair, 0, steps=30)
    assert 0 < critic.estimate(len(pair.real)) < 1.1 * pair.exact


def test_encoded_clouds_are_s_times_as_far_apart():
    pair = data_scale.clouds(0)
    exact = assignment(*pair).value
    expected = [scale * exact for scale in data_scale.SCALES]
    assert data_scale.encoded_distances(pair) == pytest.approx(expected, rel=1e-5)


def test_a_critic_told_of_the_scale_answers_in_the_datas_units():
    pair = data_scale.clouds(0)
    exact = assignment(*pair).value
    told, _ = data_scale.trained(pair, 0.5, 25.0, True, 0, steps=100)
    untold, _ = data_scale.trained(pair, 0.5, 50.0, False, 0, steps=100)
    assert told == pytest.approx(exact, rel=0.15)
    assert untold == pytest.approx(exact / 2, rel=0.15)


def test_where_fakes_are_to_go():
    rows = torch.randn((32, 3), generator=generator())
    moved = transport_direction.shifted(rows, generator(1), 0.5)
    way = moved.target - moved.fake
    torch.testing.assert_close(way, way[:1].expand_as(way))
    assert way[0].norm().item() == pytest.approx(0.5, rel=1e-5)
    turned = transport_direction.turned(rows[:, :2], generator(1))
    assert sorted(turned.target[:, 0].tolist()) == sorted(turned.real[:, 0].tolist())
    cost = (turned.target - turned.fake).norm(dim=1).mean().item()
    straight = (turned.real - turned.fake).norm(dim=1).mean().item()
    assert cost <= straight + 1e-6


def test_a_short_training_points_along_the_shift_and_not_against_it():
    moved = transport_direction.shifted(torch.randn((64, 2), generator=generator()), generator(1))
    pull, cosines = transport_direction.agreement(moved, 0, steps=120)
    assert pull.shape == (64, 2)
    assert cosines.mean() > 0.9


def test_exact_derivatives_by_distance_and_by_point():
    points = w1_w2_gradients.cloud(0)
    assert w1_w2_gradients.by_distance(points, 2.0, 1) == pytest.approx(1.0, rel=1e-6)
    assert w1_w2_gradients.by_distance(points, 2.0, 2) == pytest.approx(4.0, rel=1e-6)
    real, fake = np.array([[0.0, 0.0], [9.0, 9.0]]), np.array([[3.0, 4.0], [9.0, 9.0]])
    np.testing.assert_allclose(w1_w2_gradients.by_point(real, fake, 0, 1), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(w1_w2_gradients.by_point(real, fake, 0, 2), [6, 8], rtol=1e-6)


def test_the_power_of_a_power_law_is_found():
    distances = np.array(w1_w2_gradients.DISTANCES)
    assert w1_w2_gradients.exponent(3 * distances**1.5) == pytest.approx(1.5)


def test_a_zero_centred_critic_follows_twice_the_distance():
    zero, points = w1_w2_gradients.ZERO_CENTRED, w1_w2_gradients.cloud(0)
    lengths = [w1_w2_gradients.trained(zero, points, t, 0, 150) for t in (0.25, 0.5)]
    assert lengths == pytest.approx([0.5, 1.0], rel=0.15)


@pytest.mark.parametrize("module", MODULES)
def test_pictures_are_drawn_with_labels(module, monkeypatch):
    trainings = {"fit_critic": lambda *a, **k: fit_critic(*a, **{**k, "steps": 1, "batch": 8})}
    for name, value in trainings.items():
        monkeypatch.setattr(module, name, value)
    figure = Figure(figsize=module.CLAIM.size, layout="constrained")
    checks = module.measure([0], figure)
    assert checks
    assert figure.axes
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    # A critic of one step cannot meet what trained ones are to meet.
    assert not all(check.holds for check in checks)
