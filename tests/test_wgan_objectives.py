"""Losses on critic scores."""

import numpy as np
import pytest
import torch

from wgan.objectives import Wasserstein

OBJECTIVES = [Wasserstein()]


def scores(seed, count=7):
    return torch.randn(2, count, generator=torch.Generator().manual_seed(seed)).unbind()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_one_finite_value_per_example(objective, count):
    real, fake = scores(0, count)
    for values in (objective.critic(real, fake), objective.generator(fake)):
        assert values.shape == (count,) and values.isfinite().all()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_order_of_examples_does_not_matter(objective):
    real, fake = scores(1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    assert torch.equal(
        objective.critic(real[order], fake[order]), objective.critic(real, fake)[order]
    )
    assert torch.equal(objective.generator(fake[order]), objective.generator(fake)[order])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_players_pull_fake_scores_apart(objective):
    real, fake = (s.requires_grad_(True) for s in scores(3))
    on_real, on_fake = torch.autograd.grad(objective.critic(real, fake).sum(), (real, fake))
    (generator,) = torch.autograd.grad(objective.generator(fake).sum(), fake)
    # Minimising, the critic raises real and lowers fake scores; the generator raises fake ones.
    assert (on_real < 0).all() and (on_fake > 0).all() and (generator < 0).all()


def test_wasserstein_does_not_see_a_common_offset():
    real, fake = (s.double() for s in scores(4))
    loss = Wasserstein().critic(real, fake)
    torch.testing.assert_close(Wasserstein().critic(real + 3, fake + 3), loss)
    assert torch.equal(Wasserstein().critic(fake, real), -loss)


def test_the_best_one_lipschitz_critic_attains_the_distance_of_sorted_samples():
    rng = np.random.default_rng(5)
    fake, shift = np.sort(rng.normal(size=40)), np.abs(rng.normal(size=40)).cumsum()
    real = fake + shift
    distance = np.abs(np.sort(real) - np.sort(fake)).mean()
    # Every real value lies above its partner, so the identity is an optimal critic ...
    best = -Wasserstein().critic(torch.tensor(real), torch.tensor(fake)).mean().item()
    assert best == pytest.approx(distance, rel=1e-12)
    # ... and no other 1-Lipschitz function does better.
    for f in (np.sin, np.tanh, np.abs, lambda x: -x, lambda x: np.minimum(x, 1)):
        value = -Wasserstein().critic(torch.tensor(f(real)), torch.tensor(f(fake))).mean().item()
        assert value <= distance + 1e-12
