"""Terms of the critic's loss: gradient penalties, the condition's, and drift."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import kstest
from torch import nn

import everymode.wgan.points
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.objectives import Wasserstein
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Fake, Real, interpolates
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.state import read_tensors, write_tensors
from tests.wgan.steps import Seeded, evaluate

WIDTH, CONDITION = 4, 3
PENALTIES = [
    GradientPenalty(),
    GradientPenalty(weight=0.1, target=0.25),
    GradientPenalty(one_sided=True),
]
STILL = [
    GradientPenalty(points=Real()),
    GradientPenalty(target=0.0, points=Fake()),
    GradientPenalty(points=Real(), per_condition=True),
    GradientPenalty(points=Real(), class_weights=(1.0, 2.0, 0.5)),
    Drift(),
]
CRITICS = [MLPCriticSpec(()), MLPCriticSpec((8,)), MLPCriticSpec((8, 5), slope=0.0)]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
every_critic = pytest.mark.parametrize("spec", CRITICS, ids=repr)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def built(spec, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(Shape((), WIDTH, CONDITION)).double()


def step(critic, count=6, seed=1):
    rng = seeded(seed)
    real, fake = torch.randn(2, count, WIDTH, generator=rng, dtype=torch.float64).unbind()
    kinds = torch.randint(CONDITION, (count,), generator=rng)
    condition = nn.functional.one_hot(kinds, CONDITION).double()
    return Seeded(critic, real, fake, condition, rng=rng)


def shuffled(of, order, rng):
    return Seeded(of.critic, of.real[order], of.fake[order], of.condition[order], rng=rng)


def linear(weights, bias=0.0):
    """C(x, c) = w x + 5 c_0 + bias."""
    return lambda sample, condition: sample @ weights + 5 * condition[:, 0] + bias


@pytest.mark.parametrize("penalty", PENALTIES + STILL, ids=repr)
@every_critic
@pytest.mark.parametrize("objective", [Wasserstein()], ids=repr)
def test_contract(objective, penalty, spec, monkeypatch):
    critic = built(spec)
    before = torch.get_rng_state()
    of = step(critic)
    state = of.rng.get_state()
    values = evaluate(penalty, of)
    assert values.shape == (6,) and values.isfinite().all() and (values >= 0).all()
    assert values.requires_grad or not values.any()
    assert torch.equal(torch.get_rng_state(), before)
    # What is drawn comes from `rng` alone.
    of.rng.set_state(state)
    assert torch.equal(evaluate(penalty, of), values)
    loss = objective.critic(critic(of.real, of.condition), critic(of.fake, of.condition))
    total = (loss + penalty.weight * values).mean()
    assert all(g.isfinite().all() for g in torch.autograd.grad(total, list(critic.parameters())))
    # With the mixing weights out of play, a pair's value goes where the pair goes.
    monkeypatch.setattr(
        everymode.wgan.points, "interpolates", lambda real, fake, rng: (real + fake) / 2
    )
    order = torch.randperm(6, generator=seeded(3))
    torch.testing.assert_close(
        evaluate(penalty, shuffled(of, order, seeded(9))),
        evaluate(penalty, of)[order],
        rtol=1e-12,
        atol=1e-12,
    )


@every_penalty
def test_randomness_survives_a_round_trip_through_a_file(penalty, tmp_path):
    of = step(built(CRITICS[1]))
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"rng": of.rng.get_state()}, {})
    first = evaluate(penalty, of)
    second = evaluate(penalty, of)
    assert not torch.equal(first, second) or not first.any()
    fresh = torch.Generator()
    fresh.set_state(read_tensors(path)[0]["rng"])
    again = Seeded(of.critic, of.real, of.fake, of.condition, rng=fresh)
    assert torch.equal(evaluate(penalty, again), first) and torch.equal(
        evaluate(penalty, again), second
    )


@every_critic
def test_a_value_depends_on_its_own_pair_alone(spec):
    critic = built(spec)
    of = step(critic, seed=4)
    values = evaluate(
        GradientPenalty(), Seeded(critic, of.real, of.fake, of.condition, rng=seeded(5))
    )
    real, fake = of.real.clone(), of.fake.clone()
    real[1:], fake[1:] = 100.0, -100.0
    other = evaluate(GradientPenalty(), Seeded(critic, real, fake, of.condition, rng=seeded(5)))
    assert other[0].item() == pytest.approx(values[0].item(), rel=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("length", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("one_sided", [False, True])
def test_a_linear_critic_costs_the_square_of_what_its_slope_is_off(target, length, one_sided):
    direction = torch.randn(WIDTH, generator=seeded(6), dtype=torch.float64)
    weights = (length * direction / direction.norm()).requires_grad_(True)
    # The slope along the condition, 5, must not count.
    values = evaluate(GradientPenalty(target=target, one_sided=one_sided), step(linear(weights)))
    off = max(length - target, 0.0) if one_sided else length - target
    torch.testing.assert_close(values, torch.full((6,), off**2, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(values.mean(), weights)
    torch.testing.assert_close(gradient, 2 * off * weights.detach() / length)


@pytest.mark.parametrize("target", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("points", [Real(), Fake()], ids=repr)
def test_the_target_is_a_slope_in_the_datas_own_units(target, scale, points):
    """Data in units s times as long: a critic of slope w there has slope s w in the old ones."""
    weights = torch.tensor([1.2, -0.5, 0.0, 0.3], dtype=torch.float64)
    of = replace(step(linear(weights)), scale=scale)
    values = evaluate(GradientPenalty(target=target, points=points), of)
    expected = float((weights.norm() - target / scale) ** 2)
    torch.testing.assert_close(values, torch.full((6,), expected, dtype=torch.float64))


def test_a_slope_in_the_datas_units_costs_the_same_however_the_data_are_scaled():
    of, weights = step(None), torch.tensor([1.2, -0.5, 0.0, 0.3], dtype=torch.float64)
    costs = []
    for s in (1.0, 4.0):
        scaled = replace(of, real=of.real * s, fake=of.fake * s, scale=s)
        values = evaluate(GradientPenalty(), replace(scaled, critic=linear(weights / s)))
        # In the data's units, the cost is s^2 times what it is here.
        costs.append(values * s**2)
    torch.testing.assert_close(*costs)


def test_on_real_points_with_target_nought_it_is_r1():
    of = step(lambda sample, condition: sample.square().sum(1) / 2)
    values = evaluate(GradientPenalty(target=0.0, points=Real()), of)
    torch.testing.assert_close(values, of.real.square().sum(1))
    values = evaluate(GradientPenalty(target=0.0, points=Fake()), of)
    torch.testing.assert_close(values, of.fake.square().sum(1))


STEEPNESS = (1.0, 3.0, 0.5)


def uneven(counts=(6, 2, 1)):
    """A critic of another slope under each condition; conditions as often as `counts` say."""

    def critic(sample, condition):
        return sample[:, 0] * (condition @ condition.new_tensor(STEEPNESS))

    kinds = torch.repeat_interleave(torch.arange(CONDITION), torch.tensor(counts))
    kinds = kinds[torch.randperm(len(kinds), generator=seeded(2))]
    rows = torch.randn(2, len(kinds), WIDTH, generator=seeded(3), dtype=torch.float64).unbind()
    condition = nn.functional.one_hot(kinds, CONDITION).double()
    return Seeded(critic, *rows, condition, rng=seeded(4)), kinds


def test_per_condition_every_condition_counts_the_same():
    of, _ = uneven()
    each = [(steepness - 1) ** 2 for steepness in STEEPNESS]
    rows = evaluate(GradientPenalty(), of).mean().item()
    assert rows == pytest.approx((6 * each[0] + 2 * each[1] + each[2]) / 9)
    conditions = evaluate(GradientPenalty(per_condition=True), of).mean().item()
    assert conditions == pytest.approx(sum(each) / 3)
    # Where conditions come equally often, nothing changes; nor where there is none.
    even, _ = uneven((3, 3, 3))
    torch.testing.assert_close(
        evaluate(GradientPenalty(per_condition=True), even), evaluate(GradientPenalty(), even)
    )
    bare = replace(of, critic=lambda x, c: 3 * x[:, 0], condition=of.condition[:, :0])
    values = evaluate(GradientPenalty(per_condition=True), bare)
    torch.testing.assert_close(values, torch.full_like(values, 4.0))


def test_class_weights_multiply_what_their_condition_costs():
    of, kinds = uneven()
    values = evaluate(GradientPenalty(class_weights=(1.0, 2.0, 8.0)), of)
    expected = (torch.tensor(STEEPNESS) - 1).square() * torch.tensor([1.0, 2.0, 8.0])
    torch.testing.assert_close(values, expected.double()[kinds])
    # A condition that selects several entries gets their sum.
    both = of.condition.clone()
    both[:, 2] = 1.0
    critic = linear(torch.tensor([3.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    values = evaluate(
        GradientPenalty(class_weights=(1.0, 2.0, 8.0)), replace(of, critic=critic, condition=both)
    )
    factors = torch.tensor([9.0, 10.0, 8.0], dtype=torch.float64)[kinds]
    torch.testing.assert_close(values, 4 * factors)


@pytest.mark.parametrize("target", [0.0, 1.0, 3.0])
def test_a_critic_linear_in_the_condition_costs_what_its_slope_there_exceeds(target):
    weights = torch.tensor([0.0, 1.5, -2.0], dtype=torch.float64, requires_grad=True)
    # The slope along the sample must not count.
    of = step(lambda sample, condition: 7 * sample.sum(1) + condition @ weights)
    values = evaluate(ConditionPenalty(target=target), of)
    expected = max(2.5 - target, 0.0) ** 2
    torch.testing.assert_close(values, torch.full((6,), expected, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(values.mean(), weights)
    torch.testing.assert_close(gradient, 2 * max(2.5 - target, 0.0) * weights.detach() / 2.5)


def test_the_slope_is_taken_between_conditions_that_occur():
    seen = []

    def critic(sample, condition):
        seen.append(condition.detach())
        return condition.square().sum(1)

    of = step(critic, count=200)
    evaluate(ConditionPenalty(), of)
    (mixed,) = seen
    # Still shares of the whole, most of them of two conditions, never of three.
    torch.testing.assert_close(mixed.sum(1), torch.ones(200, dtype=torch.float64))
    assert ((mixed > 1e-9).sum(1) <= 2).all() and ((mixed > 1e-9).sum(1) == 2).sum() > 60


def test_drift_is_the_square_of_real_scores():
    weights = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    of = step(linear(weights, bias=0.25))
    expected = (of.real @ weights + 5 * of.condition[:, 0] + 0.25).square()
    torch.testing.assert_close(evaluate(Drift(), of), expected)


@pytest.mark.parametrize("every", [1, 3, 4])
def test_a_lazy_penalty_weighs_as_much_as_a_full_one(every):
    shape = Shape((), WIDTH, CONDITION)
    rows = torch.randn(2, 8, WIDTH, generator=seeded(1)).unbind()
    batch = Batch(rows[0], torch.eye(CONDITION)[[0, 1, 2, 0, 1, 2, 0, 1]], torch.ones(8))

    def pull(penalty, number):
        recipe = Recipe(critic=MLPCriticSpec((5,)), lipschitz=Penalised((penalty,)))
        players = Players(recipe, shape, seed=3)
        gradient, report = players.critic_gradient(batch, rows[1], seeded(2), number)
        return gradient.clone(), report.penalty

    full = pull(GradientPenalty(points=Real()), 0)
    lazy = [pull(GradientPenalty(points=Real(), every=every), n) for n in range(2 * every)]
    for one, many in zip(full, zip(*lazy, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(many).mean(0), one)
    taken = [bool(penalty.any()) for _, penalty in lazy]
    assert taken == [n % every == 0 for n in range(2 * every)]


def test_a_lazy_penalty_counts_the_steps_that_the_statistics_have_seen():
    recipe = Recipe(
        critic=MLPCriticSpec((5,)),
        lipschitz=Penalised((GradientPenalty(every=3),)),
        critic_optimizer=Adam(1e-3),
    )
    players = Players(recipe, Shape((), WIDTH, 0))
    rows = torch.randn(2, 8, WIDTH, generator=seeded(1)).unbind()
    batch, taken = Batch(rows[0], torch.zeros(8, 0), torch.ones(8)), []
    for _ in range(7):
        gradient, report = players.critic_gradient(batch, rows[1], seeded(2))
        players.step_critic(gradient)
        taken.append(bool(report.penalty.any()))
    assert taken == [True, False, False, True, False, False, True]


def test_the_slope_is_taken_at_the_interpolates():
    of = step(lambda sample, condition: sample.square().sum(1) / 2)
    state = of.rng.get_state()
    values = evaluate(GradientPenalty(target=0.0), of)
    of.rng.set_state(state)
    points = interpolates(of.real, of.fake, of.rng)
    torch.testing.assert_close(values, points.square().sum(1))


def test_its_gradient_equals_finite_differences():
    def critic(sample, condition):
        return (torch.cat([sample, condition], 1) @ weights).tanh() @ last

    weights = torch.randn(WIDTH + CONDITION, 5, generator=seeded(7), dtype=torch.float64)
    last = torch.randn(5, generator=seeded(8), dtype=torch.float64)

    def cost(value):
        nonlocal weights
        weights = value
        return evaluate(GradientPenalty(), step(critic))

    assert torch.autograd.gradcheck(cost, weights.clone().requires_grad_(True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12])
@pytest.mark.parametrize("one_sided", [False, True])
def test_a_flat_critic_has_a_finite_gradient(dtype, size, one_sided):
    weights = torch.full((2,), size, dtype=dtype, requires_grad=True)
    sample = torch.ones(3, 2, dtype=dtype)
    of = Seeded(lambda x, c: (x * weights).sum(1), sample, -sample, sample, rng=seeded(0))
    values = evaluate(GradientPenalty(one_sided=one_sided), of)
    expected = torch.zeros(3, dtype=dtype) if one_sided else torch.ones(3, dtype=dtype)
    torch.testing.assert_close(values, expected)
    (gradient,) = torch.autograd.grad(values.mean(), weights)
    assert gradient.isfinite().all() and gradient.abs().max() <= 2
    if size == 0.0:
        assert not gradient.any()


def test_it_works_where_gradients_are_off():
    of = step(linear(torch.tensor([3.0, 4.0, 0.0, 0.0], dtype=torch.float64)))
    with torch.no_grad():
        values = evaluate(GradientPenalty(), of)
    torch.testing.assert_close(values, torch.full((6,), 16.0, dtype=torch.float64))


def test_inputs_are_left_as_they_were():
    of = step(built(CRITICS[1]))
    real, fake = of.real.clone(), of.fake.clone()
    evaluate(GradientPenalty(), of).mean().backward()
    assert torch.equal(of.real, real) and torch.equal(of.fake, fake)
    assert of.real.grad is None and not of.real.requires_grad and not of.fake.requires_grad


def mixing(real, fake, points):
    return ((points - real) / (fake - real)).flatten(1)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
def test_interpolates_lie_on_the_segments(shape):
    real = torch.randn(50, *shape, generator=seeded(1), dtype=torch.float64)
    fake = real + 1 + torch.rand(50, *shape, generator=seeded(2), dtype=torch.float64)
    mix = mixing(real, fake, interpolates(real, fake, seeded(3)))
    # One weight a pair, the same in every coordinate, and each pair its own.
    torch.testing.assert_close(mix, mix[:, :1].expand_as(mix))
    assert ((mix >= 0) & (mix <= 1)).all() and len(mix[:, 0].unique()) == 50


def test_mixing_weights_are_uniform():
    real, fake = torch.zeros(4000, 1), torch.ones(4000, 1)
    mix = interpolates(real, fake, seeded(11))[:, 0].numpy()
    assert kstest(mix, "uniform").pvalue > 0.01
    # The usual slip, a normal draw, would be seen.
    assert kstest(torch.randn(4000, generator=seeded(11)).numpy(), "uniform").pvalue < 1e-9


def test_equal_partners_have_one_interpolate():
    real = torch.randn(20, 3, generator=seeded(12))
    assert torch.equal(interpolates(real, real, seeded(13)), real)
