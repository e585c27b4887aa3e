"""Clipping, spectral norms, penalties, nothing: what each makes of a critic."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec
from everymode.wgan.lipschitz import Clipping, LipschitzSpec, Penalised, SpectralNorm, Unconstrained
from everymode.wgan.objectives import Hinge
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape

KINDS = [
    Penalised(),
    Penalised((ConditionPenalty(), GradientPenalty(target=0.5))),
    Clipping(0.02, (Drift(),)),
    SpectralNorm(),
    SpectralNorm(2, (Drift(),)),
    Unconstrained(),
]
SHAPE = Shape((), 5, 2)
IMAGES = Shape((), 2 * 6 * 6, 2, sample=(2, 6, 6))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def players_of(lipschitz, critic=None, shape=SHAPE, rate=2e-2):
    recipe = Recipe(
        critic=MLPCriticSpec((8, 6)) if critic is None else critic,
        objective=Hinge(),
        lipschitz=lipschitz,
        critic_optimizer=Adam(rate),
    )
    return Players(recipe, shape, seed=1)


def pair(shape, rng, count=16):
    real = torch.randn(count, shape.width, generator=rng) + 1
    condition = torch.eye(2)[torch.randint(2, (count,), generator=rng)]
    return Batch(real, condition, torch.ones(count)), real - 2 + real.roll(1, 0)


def train(players, steps, seed=3):
    rng = seeded(seed)
    for _ in range(steps):
        batch, fake = pair(players.shape, rng)
        players.step_critic(players.critic_gradient(batch, fake, rng)[0])
        yield


def layers(players):
    return [m for m in players.critic.module.modules() if is_parametrized(m, "weight")]


def singular_values(players):
    """The largest of each layer, by numpy; a convolution is the matrix of the paper."""
    weights = [layer.weight.detach().flatten(1).double().numpy() for layer in layers(players)]
    return np.array([np.linalg.svd(weight, compute_uv=False)[0] for weight in weights])


def steepest(players, seed=5, count=4000):
    """The largest slope found: by gradients, and by differences of scores."""
    batch, other = pair(players.shape, seeded(seed), count)
    batch = Batch(batch.real * 3, batch.condition, batch.weights)
    slopes = players.slopes(batch, batch.real, seeded(0))
    with torch.no_grad():
        ours = players.critic.module(batch.real, batch.condition)
        theirs = players.critic.module(other, batch.condition)
    return max(slopes.max(), ((ours - theirs).abs() / (batch.real - other).norm(dim=1)).max())


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_kind_comes_back_from_json(kind):
    adapter = TypeAdapter(LipschitzSpec)
    assert adapter.validate_json(adapter.dump_json(kind)) == kind


def test_what_each_promises_and_asks_for():
    assert [kind.bound for kind in KINDS] == [None, None, None, 1.0, 1.0, None]
    assert [kind.target for kind in KINDS] == [1.0, 0.5, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", [Penalised(), Unconstrained()], ids=repr)
def test_what_constrains_no_weights_leaves_them_alone(kind):
    one, other = players_of(kind), players_of(Penalised((Drift(),)))
    assert torch.equal(one.critic.vector, other.critic.vector)
    before = one.critic.vector.clone()
    one.project_critic()
    assert torch.equal(one.critic.vector, before) and not len(one.critic.buffers)


@pytest.mark.parametrize("critic", [MLPCriticSpec((8,), norm="layer"), MLPCriticSpec((8, 6))])
def test_clipped_weights_stay_within_the_limit(critic):
    players = players_of(Clipping(0.05), critic)
    assert players.critic.vector.abs().max() <= 0.05
    at_limit = []
    for _ in train(players, 20):
        assert players.critic.vector.abs().max() <= 0.05
        at_limit.append((players.critic.vector.abs() > 0.0499).double().mean())
    # They gather there, as the papers say.
    assert at_limit[-1] > 0.5
    loose = players_of(Unconstrained(), critic)
    assert all(loose.critic.vector.abs().max() > 0.05 for _ in train(loose, 3))


SPECTRAL = [
    (MLPCriticSpec((8, 6)), SHAPE),
    (MLPCriticSpec((7,), activation="tanh", conditioning="projection"), SHAPE),
    (CommitteeSpec(MLPCriticSpec((6,)), members=2), SHAPE),
    (ConvCriticSpec((4, 3)), IMAGES),
]
every_spectral = pytest.mark.parametrize(
    ("critic", "shape"), SPECTRAL, ids=["mlp", "projection", "committee", "conv"]
)


@every_spectral
def test_every_layers_largest_singular_value_stays_near_one(critic, shape):
    players = players_of(SpectralNorm(), critic, shape, rate=2e-3)
    linear = [m for m in players.critic.module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers(players)) == len(linear) >= 2
    start = players.critic.vector.clone()
    for _ in train(players, 60):
        pass
    assert (players.critic.vector - start).abs().max() > 0.05
    # One iteration a step lags behind weights that move, most where two singular values are close;
    # it never divides by more than the largest.
    moving = singular_values(players)
    assert (moving > 1 - 1e-5).all() and (moving < 1.25).all()
    for _ in range(60):
        players.project_critic()
    np.testing.assert_allclose(singular_values(players), 1.0, rtol=0.01)
    # Without the norm the same steps lead elsewhere.
    free = players_of(Unconstrained(), critic, shape, rate=2e-3)
    for _ in train(free, 60):
        pass
    weights = [m.weight for m in free.critic.module.modules() if isinstance(m, nn.Linear)]
    assert any(abs(np.linalg.svd(w.detach().numpy())[1][0] - 1) > 0.1 for w in weights)


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_step_takes_its_power_iterations_and_no_more(iterations):
    players = players_of(SpectralNorm(iterations))
    for _ in train(players, 2):
        pass
    kept = players.critic.buffers.clone()
    batch, fake = pair(SHAPE, seeded(1))
    gradient = players.critic_gradient(batch, fake, seeded(2))[0].clone()
    players.generator_gradient(batch.condition, batch.weights, seeded(2))
    players.scores(fake, batch.condition, seeded(2))
    players.slopes(batch, fake, seeded(2))
    # However many passes there are, the vectors stay.
    assert torch.equal(players.critic.buffers, kept)
    before = [
        (layer.parametrizations.weight[0]._u.clone(), layer.parametrizations.weight[0]._v.clone())
        for layer in layers(players)
    ]
    players.step_critic(gradient)
    for layer, (u, v) in zip(layers(players), before, strict=True):
        raw = layer.parametrizations.weight.original.detach()
        for _ in range(iterations):
            u = raw @ v / (raw @ v).norm()
            v = raw.T @ u / (raw.T @ u).norm()
        torch.testing.assert_close(layer.parametrizations.weight[0]._u, u)
        torch.testing.assert_close(layer.parametrizations.weight[0]._v, v)
        torch.testing.assert_close(layer.weight.detach(), raw / (u @ raw @ v))
    assert not torch.equal(players.critic.buffers, kept)


def test_the_size_of_the_raw_weights_does_not_matter():
    players = players_of(SpectralNorm())
    batch, fake = pair(SHAPE, seeded(1))
    before = players.scores(fake, batch.condition, seeded(0))
    with torch.no_grad():
        for layer in layers(players):
            layer.parametrizations.weight.original.mul_(3)
    torch.testing.assert_close(players.scores(fake, batch.condition, seeded(0)), before)
    # So the gradient has no part along them.
    gradient = players.critic_gradient(batch, fake, seeded(0))[0]
    assert gradient.any()
    for layer in layers(players):
        raw = layer.parametrizations.weight.original
        assert abs(float((raw * raw.grad).sum().detach())) < 1e-5


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "tanh"])
def test_spectral_norms_bound_the_slope(activation):
    players = players_of(SpectralNorm(), MLPCriticSpec((8, 6), activation=activation), rate=5e-3)
    for _ in train(players, 40):
        pass
    for _ in range(40):
        players.project_critic()
    assert 0.05 < steepest(players) <= 1.01


def test_spectral_norms_bound_the_slope_of_a_committee():
    players = players_of(SpectralNorm(), SPECTRAL[2][0], rate=5e-3)
    for _ in train(players, 40):
        pass
    for _ in range(40):
        players.project_critic()
    assert 0.05 < steepest(players) <= 1.01


def test_under_a_projected_condition_the_bound_is_the_conditions_length_higher():
    """The readout is <w + V c, h>: two maps of norm 1 may point the same way."""
    players = players_of(SpectralNorm(), MLPCriticSpec((), conditioning="projection"))
    readout = players.critic.module.readout
    with torch.no_grad():
        direction = torch.tensor([0.6, 0.8, 0.0, 0.0, 0.0])
        readout.linear.parametrizations.weight.original.copy_(direction[None])
        readout.projection.parametrizations.weight.original.copy_(
            torch.stack([direction, torch.zeros(5)], 1)
        )
    for _ in range(20):
        players.project_critic()
    np.testing.assert_allclose(singular_values(players), 1.0, rtol=1e-4)
    assert steepest(players) == pytest.approx(2.0, rel=1e-3)


def test_batches_are_scored_alike_in_both_modes_once_settled():
    players = players_of(SpectralNorm())
    modules = [layer.parametrizations.weight for layer in layers(players)]
    assert not any(module.training or module[0].training for module in modules)
    players.project_critic()
    assert not any(module.training or module[0].training for module in modules)
