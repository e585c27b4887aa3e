"""Losses on critic scores."""

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from everymode.wgan.objectives import Hinge, JensenShannon, ObjectiveSpec, Wasserstein

OBJECTIVES = [Wasserstein(), JensenShannon(), JensenShannon(saturating=True), Hinge()]


def scores(seed, count=7):
    return torch.randn(2, count, generator=torch.Generator().manual_seed(seed)).unbind()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_one_finite_value_per_example(objective, count):
    real, fake = scores(0, count)
    for values in (
        objective.critic(real, fake),
        objective.generator(fake),
        objective.estimate(real, fake),
    ):
        assert values.shape == (count,) and values.isfinite().all()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_order_of_examples_does_not_matter(objective):
    real, fake = scores(1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    assert torch.equal(
        objective.critic(real[order], fake[order]), objective.critic(real, fake)[order]
    )
    assert torch.equal(objective.generator(fake[order]), objective.generator(fake)[order])
    assert torch.equal(
        objective.estimate(real[order], fake[order]), objective.estimate(real, fake)[order]
    )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_players_pull_fake_scores_apart(objective):
    real, fake = (s.requires_grad_(True) for s in scores(3))
    on_real, on_fake = torch.autograd.grad(objective.critic(real, fake).sum(), (real, fake))
    (generator,) = torch.autograd.grad(objective.generator(fake).sum(), fake)
    # Minimising, the critic raises real and lowers fake scores; the generator raises fake ones.
    assert (on_real <= 0).all() and (on_fake >= 0).all() and (generator < 0).all()
    # Only beyond hinge's margins is there nothing to gain.
    beyond = (real > 1, fake < -1) if isinstance(objective, Hinge) else (real != real,) * 2
    assert torch.equal(on_real == 0, beyond[0]) and torch.equal(on_fake == 0, beyond[1])


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


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_bounded_says_whether_larger_scores_pay_for_ever(objective):
    real, fake = torch.full((1,), 1e3), torch.full((1,), -1e3)
    loss = objective.critic(real, fake).item()
    assert (loss >= 0) == objective.bounded
    assert math.isfinite(objective.critic(fake, real).item())


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_logits_says_whether_a_constant_added_to_all_scores_matters(objective):
    real, fake = (s.double() for s in scores(6))
    moved = objective.critic(real + 0.5, fake + 0.5) - objective.critic(real, fake)
    assert (moved.abs().max().item() > 0.01) == objective.logits


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_blind_critic_estimates_no_distance(objective):
    same = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(objective.estimate(same, same), same)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_estimate_rises_as_the_loss_falls(objective):
    real, fake = (s.double().requires_grad_(True) for s in scores(7))
    on_loss = torch.autograd.grad(objective.critic(real, fake).sum(), (real, fake))
    on_estimate = torch.autograd.grad(objective.estimate(real, fake).sum(), (real, fake))
    share = 0.5 if isinstance(objective, JensenShannon) else 1.0
    for loss, estimate in zip(on_loss, on_estimate, strict=True):
        torch.testing.assert_close(estimate, -share * loss)


def test_perfectly_separated_the_estimate_is_ln_2():
    sure = torch.tensor([60.0], dtype=torch.float64)
    estimate = JensenShannon().estimate(sure, -sure).item()
    assert estimate == pytest.approx(math.log(2), rel=1e-12)


def divergence(p, q):
    """Jensen-Shannon divergence of two distributions over a few points, in nats."""
    middle = (p + q) / 2
    return (np.sum(p * np.log(p / middle)) + np.sum(q * np.log(q / middle))) / 2


def test_the_best_logits_estimate_the_divergence_and_no_others_do_better():
    rng = np.random.default_rng(8)
    p, q = rng.dirichlet(np.ones(5), 2)
    expected = divergence(p, q)

    def estimate(logits):
        # Means under p and under q, point by point: the estimate is a sum of a part in each.
        objective, zero = JensenShannon(), torch.zeros(5, dtype=torch.float64)
        both = torch.from_numpy(logits)
        blind = objective.estimate(zero, zero).numpy()
        return float(
            np.sum(p * (objective.estimate(both, zero).numpy() - blind))
            + np.sum(q * (objective.estimate(zero, both).numpy() - blind))
        )

    best = np.log(p / q)
    assert estimate(best) == pytest.approx(expected, rel=1e-12)
    assert all(estimate(best + rng.normal(size=5)) < expected for _ in range(20))


def test_both_generators_losses_in_closed_form():
    fake = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    verdict = torch.sigmoid(fake)
    torch.testing.assert_close(JensenShannon().generator(fake), -verdict.log())
    torch.testing.assert_close(JensenShannon(saturating=True).generator(fake), (1 - verdict).log())


def test_only_the_saturating_generator_starves_under_a_sure_critic():
    def pull(objective):
        fake = torch.tensor([-40.0], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(objective.generator(fake).sum(), fake)
        return abs(gradient.item())

    assert pull(JensenShannon(saturating=True)) < 1e-16 < 0.99 < pull(JensenShannon())


def test_hinge_in_closed_form():
    real, fake = torch.tensor([3.0, 0.5, -1.0]), torch.tensor([-3.0, -0.5, 2.0])
    assert Hinge().critic(real, fake).tolist() == [0.0, 1.0, 5.0]
    assert Hinge().estimate(real, fake).tolist() == [2.0, 1.0, -3.0]
    assert Hinge().generator(fake).tolist() == [3.0, 0.5, -2.0]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_an_objective_comes_back_from_json(objective):
    adapter = TypeAdapter(ObjectiveSpec)
    assert adapter.validate_json(adapter.dump_json(objective)) == objective
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_python({"kind": "least_squares"})
