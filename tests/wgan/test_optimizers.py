"""Optimizers on a flat vector, against PyTorch's, and their frozen steps."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from everymode.wgan.flat import FlatModule
from everymode.wgan.optimizers import SGD, Adam, OptimizerSpec, RMSprop, Statistics, UpdateBound

SETTINGS = [
    Adam(),
    Adam(rate=1e-2, beta1=0.9, beta2=0.999, epsilon=1e-6),
    Adam(rate=0.1, beta1=0.0, beta2=0.5, epsilon=0.1),
]
OTHERS = [
    RMSprop(),
    RMSprop(1e-2, decay=0.9, epsilon=1e-3),
    SGD(),
    SGD(0.1, momentum=0.9),
]
every_adam = pytest.mark.parametrize("adam", SETTINGS, ids=repr)
every_other = pytest.mark.parametrize("rule", OTHERS, ids=repr)
every_rule = pytest.mark.parametrize("rule", SETTINGS + OTHERS, ids=repr)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def gradients(count, seed=0, size=4):
    return torch.randn(count, size, generator=seeded(seed), dtype=torch.float64)


def warm(adam, steps=5):
    """A vector and statistics after some ordinary steps."""
    vector = torch.zeros(4, dtype=torch.float64)
    statistics = Statistics.zeros(vector)
    for gradient in gradients(steps, seed=1):
        adam.observe(statistics, gradient)
        adam.apply(vector, statistics)
    return vector, statistics


def torchs(rule, parameters):
    if isinstance(rule, RMSprop):
        return torch.optim.RMSprop(parameters, rule.rate, rule.decay, rule.epsilon)
    return torch.optim.SGD(parameters, rule.rate, rule.momentum)


@every_other
def test_twenty_steps_of_the_others_equal_those_of_pytorch(rule):
    ours, theirs = FlatModule(network()), network()
    statistics = Statistics.zeros(ours.vector)
    other = torchs(rule, theirs.parameters())
    start = ours.vector.clone()
    for number in range(20):
        inputs = torch.randn(8, 3, generator=seeded(number), dtype=torch.float64)
        target = inputs.prod(1, keepdim=True)
        gradient = ours.compute_gradient((ours.module(inputs) - target).square().mean())
        rule.observe(statistics, gradient)
        rule.apply(ours.vector, statistics)
        other.zero_grad()
        (theirs(inputs) - target).square().mean().backward()
        other.step()
    expected = torch.cat([p.detach().reshape(-1) for p in theirs.parameters()])
    torch.testing.assert_close(ours.vector, expected, rtol=1e-10, atol=1e-12)
    assert statistics.steps == 20 and not torch.equal(ours.vector, start)


@every_adam
def test_twenty_steps_equal_those_of_pytorch(adam):
    ours, theirs = FlatModule(network()), network()
    statistics = Statistics.zeros(ours.vector)
    betas = (adam.beta1, adam.beta2)
    other = torch.optim.Adam(theirs.parameters(), adam.rate, betas, adam.epsilon)
    for number in range(20):
        inputs = torch.randn(8, 3, generator=seeded(number), dtype=torch.float64)
        target = inputs.prod(1, keepdim=True)
        gradient = ours.compute_gradient((ours.module(inputs) - target).square().mean())
        adam.observe(statistics, gradient)
        adam.apply(ours.vector, statistics)
        other.zero_grad()
        (theirs(inputs) - target).square().mean().backward()
        other.step()
    expected = torch.cat([p.detach().reshape(-1) for p in theirs.parameters()])
    torch.testing.assert_close(ours.vector, expected, rtol=1e-10, atol=1e-12)
    moments = [other.state[p] for p in theirs.parameters()]
    for name, own in (("exp_avg", statistics.first), ("exp_avg_sq", statistics.second)):
        flat = torch.cat([m[name].reshape(-1) for m in moments])
        torch.testing.assert_close(own, flat, rtol=1e-10, atol=1e-14)
    assert statistics.steps == 20


@every_rule
def test_the_factor_scales_the_step(rule):
    start, statistics = warm(rule)
    whole, half = start.clone(), start.clone()
    rule.apply(whole, statistics)
    rule.apply(half, statistics, 0.5)
    torch.testing.assert_close(half - start, (whole - start) / 2)


@every_rule
def test_statistics_that_have_seen_nothing_move_nothing(rule):
    vector = torch.ones(4)
    rule.apply(vector, Statistics.zeros(vector), UpdateBound(0.0))
    assert torch.equal(vector, torch.ones(4))


def test_a_clone_shares_no_memory():
    _, statistics = warm(Adam())
    clone = statistics.clone()
    Adam().observe(clone, torch.ones(4, dtype=torch.float64))
    assert (statistics.steps, clone.steps) == (5, 6)
    assert not torch.equal(statistics.first, clone.first)
    assert not torch.equal(statistics.second, clone.second)


@every_adam
@pytest.mark.parametrize("steps", [1, 5])
def test_a_frozen_step_is_adams_with_the_old_second_moment(adam, steps):
    start, statistics = warm(adam, steps)
    gradient = gradients(1, seed=2)[0]
    before = statistics.clone()
    moved = start.clone()
    adam.apply_frozen(moved, gradient, statistics, UpdateBound(0.0), 0.7)
    assert torch.equal(statistics.first, before.first) and statistics.steps == steps
    assert torch.equal(statistics.second, before.second)
    # The first moment and its correction are those that observing the gradient would give.
    adam.observe(statistics, gradient)
    first = statistics.first / (1 - adam.beta1 ** (steps + 1))
    root = (before.second / (1 - adam.beta2**steps)).sqrt() + adam.epsilon
    torch.testing.assert_close(moved, start - 0.7 * adam.rate * first / root)


@pytest.mark.parametrize("rule", [Adam(), RMSprop()], ids=repr)
def test_a_frozen_step_needs_a_second_moment(rule):
    vector = torch.zeros(4)
    with pytest.raises(ValueError, match="must have seen a gradient"):
        rule.apply_frozen(vector, torch.ones(4), Statistics.zeros(vector), UpdateBound(0.0))
    assert not vector.any()


@every_rule
def test_one_frozen_step_at_every_site_is_one_pooled_frozen_step(rule):
    start, statistics = warm(rule)
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    local = gradients(3, seed=3)
    sites = []
    for gradient in local:
        vector = start.clone()
        rule.apply_frozen(vector, gradient, statistics, UpdateBound(0.0))
        sites.append(vector)
    pooled = start.clone()
    rule.apply_frozen(pooled, shares @ local, statistics, UpdateBound(0.0))
    torch.testing.assert_close(shares @ torch.stack(sites), pooled, rtol=1e-12, atol=1e-14)


def test_unfrozen_steps_at_sites_are_no_pooled_step():
    # The control to the test above: every site divides by a second moment of its own.
    adam = Adam(rate=0.1)
    start, statistics = warm(adam)
    local = gradients(2, seed=4)
    moved = []
    for gradient in (*local, local.mean(0)):
        vector, own = start.clone(), statistics.clone()
        adam.observe(own, gradient)
        adam.apply(vector, own)
        moved.append(vector)
    assert not torch.allclose((moved[0] + moved[1]) / 2, moved[2], rtol=1e-3)


@pytest.mark.parametrize("rule", [*SETTINGS, *OTHERS[:2]], ids=repr)
@pytest.mark.parametrize("share", [0.03, 1.0])
def test_a_guard_bounds_a_sites_part_in_the_mean_step(rule, share):
    start, statistics = warm(rule)
    statistics.first[2] = statistics.second[2] = 0.0
    gradient = gradients(1, seed=5)[0]
    gradient[2] = -1e6
    moved = start.clone()
    rule.apply_frozen(moved, gradient, statistics, UpdateBound(share), 0.5)
    part = share * (moved - start) / (0.5 * rule.rate)
    decay = rule.beta2 if isinstance(rule, Adam) else rule.decay
    assert 0 < part[2].item() <= 1.001 * (1 - decay) ** -0.5
    # A guard that never binds lets it go.
    free = start.clone()
    rule.apply_frozen(free, gradient, statistics, UpdateBound(0.0), 0.5)
    assert (free - start)[2] > 1e3 * (moved - start)[2]


@pytest.mark.parametrize("rule", [*SETTINGS, *OTHERS[:2]], ids=repr)
def test_a_guard_changes_nothing_within_what_the_shared_moment_has_seen(rule):
    start, statistics = warm(rule)
    scale = statistics.second.sqrt().min()
    guard, moved, free = UpdateBound(0.25), start.clone(), start.clone()
    for gradient in gradients(20, seed=7):
        # Four times as long as the shared moment's root, of which the site counts a quarter.
        gradient = 4 * scale * gradient / gradient.abs().max()
        rule.apply_frozen(moved, gradient, statistics, guard)
        rule.apply_frozen(free, gradient, statistics, UpdateBound(0.0))
    assert torch.equal(moved, free)


def test_a_guard_stops_local_steps_that_would_explode():
    # A quadratic whose curvature the shared moment has not seen: 25 steps from the same point.
    adam, curvature = Adam(rate=0.1), 1e3
    shared = Statistics(torch.zeros(1), torch.full((1,), 1e-2), steps=50)

    def furthest(guard):
        vector, worst = torch.ones(1), 0.0
        for _ in range(25):
            adam.apply_frozen(vector, curvature * vector, shared, guard)
            worst = max(worst, abs(float(vector)))
        return worst

    assert furthest(UpdateBound(0.0)) > 1e30
    assert furthest(UpdateBound(1.0)) < 2.0


def test_rmsprops_frozen_step_divides_by_the_old_second_moment():
    rule = RMSprop(1e-2, decay=0.9, epsilon=1e-3)
    start, statistics = warm(rule)
    gradient = gradients(1, seed=2)[0]
    moved = start.clone()
    rule.apply_frozen(moved, gradient, statistics, UpdateBound(0.0), 0.7)
    expected = start - 0.7 * 1e-2 * gradient / (statistics.second.sqrt() + 1e-3)
    torch.testing.assert_close(moved, expected)


def test_sgds_frozen_step_is_its_next_step():
    rule = SGD(0.1, momentum=0.9)
    start, statistics = warm(rule)
    gradient = gradients(1, seed=2)[0]
    frozen, ordinary, before = start.clone(), start.clone(), statistics.clone()
    rule.apply_frozen(frozen, gradient, statistics, UpdateBound(0.0), 0.7)
    assert torch.equal(statistics.first, before.first) and statistics.steps == before.steps
    rule.observe(statistics, gradient)
    rule.apply(ordinary, statistics, 0.7)
    torch.testing.assert_close(frozen, ordinary)


@every_rule
def test_frozen_steps_are_linear_in_the_gradient(rule):
    start, statistics = warm(rule)
    kept = statistics.clone()

    def step(gradient):
        moved = start.clone()
        rule.apply_frozen(moved, gradient, statistics, UpdateBound(0.0))
        return moved - start

    one, two = gradients(2, seed=6)
    # Momentum adds a constant: differences are linear.
    rest = step(torch.zeros_like(one))
    torch.testing.assert_close(
        step(2 * one - 0.5 * two) - rest, 2 * (step(one) - rest) - 0.5 * (step(two) - rest)
    )
    assert torch.equal(statistics.first, kept.first)
    assert torch.equal(statistics.second, kept.second) and statistics.steps == kept.steps


@every_rule
def test_a_rule_comes_back_from_json(rule):
    adapter = TypeAdapter(OptimizerSpec)
    assert adapter.validate_json(adapter.dump_json(rule)) == rule
