"""Claims on how the critic's slope is held: formulas, and a few steps of each measurement."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from everymode.simulations.claims import (
    activations,
    batch_statistics,
    penalty_weight,
    spectral_norm,
    weight_clipping,
    where_penalised,
)
from everymode.simulations.claims.fitting import Fitted
from everymode.simulations.toys import Fresh
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.lipschitz import Penalised, SpectralNorm
from everymode.wgan.players import Players
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import dual_potentials


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def by_name(checks):
    return {check.what: check for check in checks}


# Claim 4


@pytest.mark.parametrize("limit", [0.01, 0.3])
def test_a_clipped_linear_critic_estimates_2ac(limit):
    expected = 2 * weight_clipping.HALF * limit
    assert weight_clipping.linear_estimate(limit, seed=3) == pytest.approx(expected, rel=1e-6)


def test_gradients_by_layer_of_a_linear_critic_are_products_of_its_weights():
    critic = MLPCriticSpec(hidden=(1, 1), slope=1.0).build(Shape((), 1, 0))
    with torch.no_grad():
        for layer, weight in zip(
            (critic.features[0], critic.features[3], critic.readout.linear),
            (5.0, 3.0, 2.0),
            strict=True,
        ):
            layer.weight.fill_(weight)
    rows = torch.randn((8, 1), generator=seeded(0))
    first, last = weight_clipping.layer_gradients(critic, rows, rows + 1)
    # Sixteen rows, each with a gradient of 1/8 times the weights above the layer.
    assert (first, last) == pytest.approx((6 * 4 / 8, 2 * 4 / 8))
    assert weight_clipping.decades((first, last)) == pytest.approx(math.log10(3))


def test_vanished_gradients_are_finite_decades():
    assert -400 < weight_clipping.decades((0.0, 1.0)) < -300


class Exact(nn.Module):
    """The exact critic between a cloud and itself moved along the first axis, times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, sample, condition):
        return self.factor * sample[:, 0]


def fitted(module, real, fake):
    players = Players(where_penalised.SMALL, Shape((), 2, 0))
    players.critic.module = module
    return Fitted(players, real, fake, [])


@pytest.mark.parametrize("factor", [0.01, 5.0])
def test_the_share_of_w1_is_one_for_an_exact_critic_of_any_scale(factor):
    real = Fresh(lambda n, rng: torch.randn((n, 2), generator=seeded(1)) + torch.tensor([3.0, 0]))
    fake = Fresh(lambda n, rng: torch.randn((n, 2), generator=seeded(1)))
    critic = fitted(Exact(factor), real, fake)
    assert weight_clipping.share_of_w1(critic, 100) == pytest.approx(1.0, rel=1e-3)
    blind = fitted(Exact(0.0), real, fake)
    assert weight_clipping.share_of_w1(blind, 100) == 0.0
    rows = real(40, seeded(0)).real.numpy(), fake(40, seeded(0)).real.numpy()
    exact = dual_potentials(*rows)
    assert weight_clipping.agreement(critic, exact) > 0.9
    assert weight_clipping.agreement(blind, exact) == 0.0


# Claims 5 and 6


def test_slopes_where_they_are_asked_for():
    critic = fitted(Exact(2.5), where_penalised.REAL, where_penalised.FAKE)
    found = where_penalised.median_slopes(critic, seed=0, count=50)
    assert found == pytest.approx({"mixed": 2.5, "real": 2.5, "fake": 2.5})


def test_a_gradient_along_and_against_the_way():
    way = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    assert penalty_weight.along(3 * way, way) == pytest.approx((1, 3 * (2 + 2**0.5) / 2))
    assert penalty_weight.along(-way, way)[0] == pytest.approx(-1)


# Claim 8


def test_idle_units():
    shape = Shape((), 2, 0)
    points = torch.randn((50, 2), generator=seeded(0))

    def critic(kind, bias):
        built = MLPCriticSpec(hidden=(4, 4), activation=kind).build(shape)
        with torch.no_grad():
            built.features[3].bias[:] = torch.tensor(bias)
        return built

    assert activations.idle(critic("relu", [-99.0, 99, 99, 99]), points)[1] == 0.25
    assert activations.idle(critic("leaky_relu", [-99.0, 99, 99, 99]), points) == (0.0, 0.0)
    assert activations.idle(critic("tanh", [-99.0, 99, 99, 99]), points)[1] == 1.0
    assert activations.idle(critic("tanh", [0.0, 0, 0, 0]), points)[1] < 0.1


# Claim 9


def test_the_penalty_of_a_linear_critic_with_batch_norm_sees_no_slope():
    rows = torch.randn((16, 2), generator=seeded(2), dtype=torch.float64)
    spec = MLPCriticSpec(hidden=(8,), slope=1.0, norm="batch")
    torch.testing.assert_close(
        batch_statistics.penalties(batch_statistics.critic(spec, 0), rows),
        torch.ones(16, dtype=torch.float64),
    )


def test_rows_depend_on_each_other_through_batch_norm_alone():
    rows, others = torch.randn((2, 16, 2), generator=seeded(2), dtype=torch.float64)
    for norm, coupled in (("none", False), ("layer", False), ("batch", True)):
        critic = batch_statistics.critic(MLPCriticSpec(hidden=(8, 8), norm=norm), 0)
        found = batch_statistics.dependence(critic, rows, others[:8])
        figures = (found.cross, found.error, found.moved)
        assert all(value > 0.01 for value in figures) == coupled
        assert coupled or figures == pytest.approx((0, 0, 0), abs=1e-9)
    assert batch_statistics.refused()


# Claim 13


def test_norms_of_layers_are_of_the_weights_in_use():
    recipe = spectral_norm.with_constraint(SpectralNorm(), (8,))
    players = Players(recipe, spectral_norm.SHAPE)
    assert spectral_norm.settled_norms(players) == pytest.approx([1, 1], abs=1e-4)
    with torch.no_grad():
        players.critic.vector.mul_(3)
    # The weights' own scale falls out.
    assert spectral_norm.settled_norms(players) == pytest.approx([1, 1], abs=1e-4)


def test_secants_and_gradients_of_a_linear_function():
    critic = fitted(Exact(0.5), spectral_norm.REAL, spectral_norm.FAKE)
    assert float(spectral_norm.gradients(critic, 0, 50).max()) == pytest.approx(0.5)
    assert 0.45 < float(spectral_norm.secants(critic, 0, 500).max()) < 0.5001


def test_steps_are_timed_in_pairs():
    recipes = [spectral_norm.with_constraint(kind, (4,)) for kind in (SpectralNorm(), Penalised())]
    seconds = spectral_norm.paired_steps(recipes, 3, 8, seed=0)
    assert seconds.shape == (3, 2) and bool((seconds > 0).all())


# All of them, cheaply


@pytest.mark.parametrize(
    ("module", "budget"),
    [
        (where_penalised, {"steps": 3}),
        (penalty_weight, {"steps": 2, "count": 64}),
        (activations, {"steps": 2, "count": 64}),
        (batch_statistics, {}),
        (spectral_norm, {"steps": 2}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_measurement_gives_checks_and_a_picture(module, budget):
    figure = Figure(layout="constrained")
    before = torch.get_rng_state()
    checks = module.CLAIM.measure([0], figure, **budget)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(by_name(checks)) >= 3 and len(figure.axes) >= 2
    assert all(check.expected and check.measured for check in checks)
    figure.canvas.draw()


def test_clipping_gives_checks_and_a_picture(monkeypatch):
    monkeypatch.setattr(
        weight_clipping,
        "potential",
        lambda draw: dual_potentials(np.zeros((1, 2)), np.ones((1, 2))),
    )
    monkeypatch.setattr(weight_clipping, "share_of_w1", lambda fitted: fitted.estimate(10))
    figure = Figure(figsize=weight_clipping.CLAIM.size, layout="constrained")
    checks = weight_clipping.measure([0], figure, steps=1, critic_steps=1, count=64)
    assert len(checks) >= 10 and len(figure.axes) == 8
    figure.canvas.draw()
