"""The players: gradients against plain ones, weights, packs, views, state, and what is learned."""

import ast
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import everymode.wgan.penalties
import everymode.wgan.points
from everymode.wgan.augmentations import InstanceNoise, TableAugmentation
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.gradients import weighted_mean
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm, Unconstrained
from everymode.wgan.objectives import Hinge, JensenShannon
from everymode.wgan.optimizers import SGD, Adam, UpdateBound
from everymode.wgan.penalties import GeneratorStep, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Real
from everymode.wgan.recipe import Recipe, Shape
from everymode.wgan.shape import Block
from everymode.wgan.state import read_tensors, write_tensors
from everymode.wgan.strength import Adaptive, Constant

torch.set_num_threads(1)

SHAPE = Shape((Block(0, 1, "value", gate=1), Block(1, 4, "choice"), Block(4, 5, "value")), 5, 3)
RECIPE = Recipe(
    generator=SkipGeneratorSpec((6, 5), noise=4),
    critic=MLPCriticSpec((7, 6)),
    lipschitz=Penalised((GradientPenalty(3.0), GradientPenalty(0.5, target=0.2, one_sided=True))),
    generator_optimizer=Adam(1e-2),
    critic_optimizer=Adam(2e-2, 0.3, 0.8),
    averaging=0.9,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def conditions(count, seed=0):
    return functional.one_hot(torch.randint(3, (count,), generator=seeded(seed)), 3).float()


def batch(count, seed=0, weights=None):
    rng = seeded(seed)
    real = torch.randn(count, 5, generator=rng)
    weights = torch.rand(count, generator=rng) + 0.1 if weights is None else weights
    return Batch(real, conditions(count, seed), weights)


def fakes(count, seed=0):
    return torch.randn(count, 5, generator=seeded(seed + 1000))


@pytest.fixture
def halfway(monkeypatch):
    """Interpolates in the middle, so that a row's penalty does not depend on its place."""
    monkeypatch.setattr(
        everymode.wgan.points, "interpolates", lambda real, fake, rng: (real + fake) / 2
    )


def unpacked(vector, shapes):
    """Views of a flat vector, one a shape, as separate leaves."""
    parts, start = [], 0
    for shape in shapes:
        size = torch.Size(shape).numel()
        parts.append(vector[start : start + size].clone().reshape(shape).requires_grad_(True))
        start += size
    assert start == len(vector)
    return parts


def textbook_critic(parts, sample, condition):
    hidden = torch.cat([sample, condition], 1)
    for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        hidden = functional.leaky_relu(hidden @ weight.T + bias, 0.2)
    return (hidden @ parts[-2].T + parts[-1])[:, 0]


def flat(gradients):
    return torch.cat([g.reshape(-1) for g in gradients])


def test_the_critics_gradient_equals_a_textbooks():
    players, real, fake = Players(RECIPE, SHAPE), batch(6), fakes(6)
    gradient, report = players.critic_gradient(real, fake, seeded(1))
    parts = unpacked(players.critic.vector, [(7, 8), (7,), (6, 7), (6,), (1, 6), (1,)])
    rng, weights = seeded(1), real.weights / real.weights.sum()
    on_real = textbook_critic(parts, real.real, real.condition)
    on_fake = textbook_critic(parts, fake, real.condition)
    penalties = []
    for weight, target, one_sided in ((3.0, 1.0, False), (0.5, 0.2, True)):
        mix = torch.rand((6, 1), generator=rng)
        points = ((1 - mix) * real.real + mix * fake).requires_grad_(True)
        scores = textbook_critic(parts, points, real.condition)
        (slopes,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        excess = slopes.norm(dim=1) - target
        penalties.append(weight * (excess.relu() if one_sided else excess) ** 2)
    penalty = penalties[0] + penalties[1]
    loss = (weights * (on_fake - on_real + penalty)).sum()
    expected = flat(torch.autograd.grad(loss, parts))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(report.estimate, on_real - on_fake, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(report.penalty, penalty, rtol=1e-4, atol=1e-6)
    assert not report.estimate.requires_grad and not report.penalty.requires_grad


@dataclass(frozen=True)
class Square:
    """A penalty on the generator for the tests: c_0 |y|^2 of each row."""

    weight: float
    name: str = "square"

    def __call__(self, step: GeneratorStep) -> torch.Tensor:
        return step.condition[:, 0] * step.fake.square().sum(1)


def textbook_generator(parts, condition, rng):
    hidden = torch.cat([torch.randn((len(condition), 4), generator=rng), condition], 1)
    for weight, bias, gain, offset in (parts[:4], parts[4:8]):
        raw = hidden @ weight.T + bias
        spread = (raw.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        normal = (raw - raw.mean(1, keepdim=True)) / spread
        hidden = torch.cat([(normal * gain + offset).relu(), hidden], 1)
    raw = hidden @ parts[8].T + parts[9]
    gumbel = -(-torch.rand((len(condition), 3), generator=rng).log()).log()
    choice = torch.softmax((raw[:, 1:4] + gumbel) / 0.2, 1)
    return torch.cat([raw[:, :1] * choice[:, :1], choice, raw[:, 4:]], 1)


@pytest.mark.parametrize("penalties", [(), (Square(0.7), Square(0.1))])
def test_the_generators_gradient_equals_a_textbooks(penalties):
    players, condition = Players(RECIPE, SHAPE), conditions(6)
    weights = torch.rand(6, generator=seeded(2))
    gradient, loss = players.generator_gradient(condition, weights, seeded(3), penalties)
    shapes = [(6, 7), (6,), (6,), (6,), (5, 13), (5,), (5,), (5,), (5, 18), (5,)]
    parts = unpacked(players.generator.vector, shapes)
    rows = textbook_generator(parts, condition, seeded(3))
    torch.testing.assert_close(players.fake(condition, seeded(3)), rows.detach())
    scores = players.critic.module(rows, condition)
    total = -scores + sum(p.weight for p in penalties) * condition[:, 0] * rows.square().sum(1)
    expected = flat(torch.autograd.grad((weights * total).sum() / weights.sum(), parts))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, -scores.detach())


def test_gradients_leave_both_players_as_they_were():
    players = Players(RECIPE, SHAPE)
    before = players.tensors()
    rng_before = torch.get_rng_state()
    first, _ = players.critic_gradient(batch(6), fakes(6), seeded(1))
    first = first.clone()
    generator, _ = players.generator_gradient(conditions(6), torch.ones(6), seeded(2))
    generator = generator.clone()
    # Neither player's gradient leaves anything behind in the other's.
    assert torch.equal(players.critic_gradient(batch(6), fakes(6), seeded(1))[0], first)
    again, _ = players.generator_gradient(conditions(6), torch.ones(6), seeded(2))
    assert torch.equal(again, generator)
    assert not players.fake(conditions(6), seeded(1)).requires_grad
    assert all(torch.equal(before[n], t) for n, t in players.tensors().items())
    assert torch.equal(torch.get_rng_state(), rng_before)


def test_a_failing_step_leaves_the_critic_trainable():
    players = Players(RECIPE, SHAPE)
    with pytest.raises(RuntimeError):
        players.generator_gradient(torch.ones(6, 99), torch.ones(6), seeded(1))
    gradient, _ = players.critic_gradient(batch(6), fakes(6), seeded(1))
    assert gradient.any()


def gradients(players, real, fake, rng=1):
    return players.critic_gradient(real, fake, seeded(rng))[0].clone()


def test_doubled_weights_change_nothing(halfway):
    players, real, fake = Players(RECIPE, SHAPE), batch(6), fakes(6)
    doubled = replace(real, weights=2 * real.weights)
    torch.testing.assert_close(gradients(players, doubled, fake), gradients(players, real, fake))
    one = players.generator_gradient(real.condition, real.weights, seeded(1))[0].clone()
    two = players.generator_gradient(real.condition, doubled.weights, seeded(1))[0]
    torch.testing.assert_close(two, one)


def test_weight_nought_removes_a_row_and_weight_two_doubles_it(halfway):
    players, fake = Players(RECIPE, SHAPE), fakes(6)
    real = batch(6, weights=torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0, 1.0]))
    index = torch.tensor([0, 2, 2, 3, 5])
    picked = Batch(real.real[index], real.condition[index], torch.ones(5))
    weighted = gradients(players, real, fake)
    torch.testing.assert_close(weighted, gradients(players, picked, fake[index]))
    # The weights do matter.
    flat_weights = replace(real, weights=torch.ones(6))
    assert not torch.allclose(weighted, gradients(players, flat_weights, fake), rtol=1e-2)


def test_weighted_gradients_of_sites_add_up_to_the_pooled_one(halfway):
    players, real, fake = Players(RECIPE, SHAPE), batch(9), fakes(9)
    total = torch.zeros_like(players.critic.vector)
    for part in (slice(0, 1), slice(1, 5), slice(5, 9)):
        site = Batch(real.real[part], real.condition[part], real.weights[part])
        total += gradients(players, site, fake[part]) * site.weights.sum()
    pooled = gradients(players, real, fake)
    torch.testing.assert_close(total / real.weights.sum(), pooled, rtol=1e-4, atol=1e-6)


def test_one_frozen_step_at_every_site_is_one_pooled_frozen_step(halfway):
    players, real, fake = Players(RECIPE, SHAPE), batch(8), fakes(8)
    for seed in range(10):
        players.step_critic(gradients(players, batch(8, seed), fakes(8, seed)))
    start = players.tensors()
    seen = players.critic_statistics.steps
    total = torch.zeros_like(start["critic"])
    for part in (slice(0, 3), slice(3, 8)):
        players.load(start, seen, 0)
        site = Batch(real.real[part], real.condition[part], real.weights[part])
        players.step_critic(gradients(players, site, fake[part]), 0.5, UpdateBound(0.0))
        moved = players.tensors()
        assert torch.equal(moved["critic_first"], start["critic_first"])
        assert torch.equal(moved["critic_second"], start["critic_second"])
        total += (moved["critic"] - start["critic"]) * site.weights.sum()
    players.load(start, seen, 0)
    players.step_critic(gradients(players, real, fake), 0.5, UpdateBound(0.0))
    pooled = players.tensors()["critic"] - start["critic"]
    mean = total / real.weights.sum()
    # The last offset's gradient is rounding alone, as the objective does not see it.
    torch.testing.assert_close(mean[:-1], pooled[:-1], rtol=1e-3, atol=1e-6)
    assert pooled[:-1].abs().max() > 1e-3
    assert players.critic_statistics.steps == seen


def test_weighted_mean():
    values = torch.tensor([1.0, 5.0, 9.0])
    assert weighted_mean(values, torch.tensor([3.0, 0.0, 1.0])).item() == 3.0


def test_first_weights_depend_on_the_seed_alone():
    before = torch.get_rng_state()
    first = Players(RECIPE, SHAPE, seed=4).tensors()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3, generator=None)
    again = Players(RECIPE, SHAPE, seed=4).tensors()
    assert all(torch.equal(first[n], again[n]) for n in first)
    other = Players(RECIPE, SHAPE, seed=5).tensors()
    assert not torch.equal(first["generator"], other["generator"])
    assert not torch.equal(first["critic"], other["critic"])
    assert torch.equal(first["average"], first["generator"])


def test_the_average_follows_the_generator():
    players = Players(RECIPE, SHAPE)
    expected = players.generator.vector.clone()
    for step in range(1, 120):
        players.step_generator(torch.ones_like(players.generator.vector), factor=1.0)
        players.update_ema()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * players.generator.vector
        torch.testing.assert_close(players.average, expected)
    # Five equal steps at once.
    players.update_ema(5)
    for _ in range(5):
        expected = 0.9 * expected + 0.1 * players.generator.vector
    torch.testing.assert_close(players.average, expected)


def test_without_averaging_the_average_is_the_generator():
    players = Players(replace(RECIPE, averaging=0.0), SHAPE)
    players.step_generator(torch.ones_like(players.generator.vector))
    players.update_ema()
    assert torch.equal(players.average, players.generator.vector)


def train(players, rng, steps):
    data = batch(64, seed=7)
    for _ in range(steps):
        index = torch.randint(64, (8,), generator=rng)
        real = Batch(data.real[index], data.condition[index], data.weights[index])
        for _ in range(2):
            gradient, _ = players.critic_gradient(real, players.fake(real.condition, rng), rng)
            players.step_critic(gradient)
        gradient, _ = players.generator_gradient(real.condition, real.weights, rng)
        players.step_generator(gradient)
        players.update_ema()


def test_training_goes_on_from_a_file_bit_for_bit(tmp_path):
    whole, rng = Players(RECIPE, SHAPE, seed=1), seeded(5)
    train(whole, rng, 2 * 6)

    first, rng = Players(RECIPE, SHAPE, seed=1), seeded(5)
    train(first, rng, 6)
    state = {**first.tensors(), "rng": rng.get_state()}
    steps = (first.critic_statistics.steps, first.generator_statistics.steps)
    assert steps == (12, 6)
    write_tensors(tmp_path / "state", state, {})
    second, rng = Players(RECIPE, SHAPE, seed=99), torch.Generator()
    tensors, _ = read_tensors(tmp_path / "state")
    rng.set_state(tensors.pop("rng"))
    second.load(tensors, *steps)
    train(second, rng, 6)
    expected = whole.tensors()
    for name, tensor in second.tensors().items():
        assert torch.equal(tensor, expected[name]), name
    # Every part of the state is needed: without it the end is another.
    for name in tensors:
        if name == "average":
            continue
        third, rng = Players(RECIPE, SHAPE, seed=1), torch.Generator()
        rng.set_state(state["rng"])
        third.load(tensors | {name: torch.zeros_like(tensors[name])}, *steps)
        train(third, rng, 6)
        assert not torch.equal(third.tensors()["generator"], expected["generator"]), name


def test_tensors_are_copies():
    players = Players(RECIPE, SHAPE)
    before = players.tensors()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    train(players, seeded(1), 1)
    assert all(torch.equal(before[n], kept[n]) for n in before)
    assert not torch.equal(players.tensors()["critic"], kept["critic"])
    players.load(kept, 0, 0)
    train(players, seeded(1), 1)
    assert all(torch.equal(before[n], kept[n]) for n in before)


def test_a_state_that_does_not_fit_is_refused_whole():
    players = Players(RECIPE, SHAPE)
    before = players.tensors()
    state = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    del state["average"]
    # A vector of length 1 would fit by broadcasting.
    state["critic_second"] = torch.ones(1)
    with pytest.raises(StateError) as caught:
        players.load(state, 3, 3)
    assert len(caught.value.problems) == 2
    assert "'average' is missing" in str(caught.value)
    assert "'critic_second' has shape (1,)" in str(caught.value)
    assert all(torch.equal(before[n], t) for n, t in players.tensors().items())
    assert players.critic_statistics.steps == 0


def test_a_trained_critic_has_slope_one_and_measures_the_distance():
    """Real N(2, 1), fake N(0, 1): their W1 distance is 2."""
    recipe = Recipe(
        generator=SkipGeneratorSpec((), noise=1),
        critic=MLPCriticSpec((16,)),
        critic_optimizer=Adam(1e-2),
    )
    players = Players(recipe, Shape((Block(0, 1, "value"),), 1, 1), seed=3)
    rng = seeded(4)

    def pair(count):
        real = Batch(
            torch.randn(count, 1, generator=rng) + 2, torch.ones(count, 1), torch.ones(count)
        )
        return real, torch.randn(count, 1, generator=rng)

    def slopes_and_estimate():
        real, fake = pair(4000)
        points = everymode.wgan.penalties.interpolates(real.real, fake, rng).requires_grad_(True)
        scores = players.critic.module(points, real.condition)
        (slopes,) = torch.autograd.grad(scores.sum(), points)
        _, report = players.critic_gradient(real, fake, rng)
        return slopes.abs().mean().item(), report.estimate.mean().item()

    untrained, _ = slopes_and_estimate()
    assert abs(untrained - 1) > 0.3
    for step in range(300):
        real, fake = pair(64)
        gradient, _ = players.critic_gradient(real, fake, rng)
        players.step_critic(gradient, 1 - step / 300)
    slope, estimate = slopes_and_estimate()
    assert slope == pytest.approx(1, abs=0.15)
    assert estimate == pytest.approx(2, abs=0.35)


def test_a_generator_moves_to_where_the_data_are():
    recipe = Recipe(
        generator=SkipGeneratorSpec((8,), noise=1),
        critic=MLPCriticSpec((16,)),
        # On a line, a slope can turn round only through 0, which a two-sided penalty forbids.
        lipschitz=Penalised((GradientPenalty(one_sided=True),)),
        generator_optimizer=Adam(5e-3),
        critic_optimizer=Adam(1e-2),
    )
    players = Players(recipe, Shape((Block(0, 1, "value"),), 1, 2), seed=3)
    rng = seeded(6)
    condition = torch.eye(2).repeat(32, 1)
    centres = condition @ torch.tensor([[2.0], [-1.0]])

    def off():
        return (players.fake(condition, seeded(0)) - centres).reshape(-1, 2).mean(0).abs()

    before = off().max()
    for step in range(200):
        real = Batch(centres + 0.3 * torch.randn(64, 1, generator=rng), condition, torch.ones(64))
        for _ in range(5):
            gradient, _ = players.critic_gradient(real, players.fake(condition, rng), rng)
            players.step_critic(gradient, 1 - step / 200)
        gradient, _ = players.generator_gradient(condition, real.weights, rng)
        players.step_generator(gradient, 1 - step / 200)
    # Both conditions, each to its own centre.
    assert before > 0.8 and off().max() < 0.35


def test_parts_that_do_not_go_together_are_refused_before_anything_is_built():
    with pytest.raises(SettingsError, match="pack = 0"):
        Players(replace(RECIPE, pack=0), SHAPE)


PACKED = replace(
    RECIPE, pack=2, lipschitz=Penalised((GradientPenalty(3.0, points=Real()),)), objective=Hinge()
)


def test_a_packs_score_is_its_members_and_its_gradient_a_textbooks():
    players, real, fake = Players(PACKED, SHAPE), batch(6), fakes(6)
    gradient, report = players.critic_gradient(real, fake, seeded(1))
    parts = unpacked(players.critic.vector, [(7, 16), (7,), (6, 7), (6,), (1, 6), (1,)])
    # Neighbours in the batch lie side by side; a pack's weight is their mean.
    packs = torch.cat([real.real[0::2], real.real[1::2]], 1).requires_grad_(True)
    condition = torch.cat([real.condition[0::2], real.condition[1::2]], 1)
    weights = (real.weights[0::2] + real.weights[1::2]) / 2
    on_real = textbook_critic(parts, packs, condition)
    on_fake = textbook_critic(parts, torch.cat([fake[0::2], fake[1::2]], 1), condition)
    (slopes,) = torch.autograd.grad(on_real.sum(), packs, create_graph=True)
    penalty = 3.0 * (slopes.norm(dim=1) - 1) ** 2
    loss = (1 - on_real).relu() + (1 + on_fake).relu() + penalty
    total = (weights * loss).sum() / weights.sum()
    expected = flat(torch.autograd.grad(total, parts))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    for shown, value in ((report.real, on_real), (report.fake, on_fake), (report.penalty, penalty)):
        torch.testing.assert_close(shown[0::2], value.detach(), rtol=1e-4, atol=1e-6)
        assert torch.equal(shown[0::2], shown[1::2])
    scores = players.scores(real.real, real.condition, seeded(0))
    torch.testing.assert_close(scores, report.real)
    at_real = players.slopes(replace(real), real.real, seeded(0))
    torch.testing.assert_close(at_real[0::2], slopes.detach().norm(dim=1), rtol=1e-4, atol=1e-6)


def test_a_packed_generators_gradient_weighs_members_alone():
    players, condition = Players(PACKED, SHAPE), conditions(6)
    weights = torch.rand(6, generator=seeded(2))
    gradient, loss = players.generator_gradient(condition, weights, seeded(3), (Square(0.7),))
    gradient = gradient.clone()
    rows = players.generator.module(condition, seeded(3))
    pairs = torch.cat([rows[0::2], rows[1::2]], 1)
    both = torch.cat([condition[0::2], condition[1::2]], 1)
    scores = players.critic.module(pairs, both).repeat_interleave(2)
    total = -scores + 0.7 * condition[:, 0] * rows.square().sum(1)
    mean = (weights * total).sum() / weights.sum()
    expected = flat(torch.autograd.grad(mean, list(players.generator.module.parameters())))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, -scores.detach())


def test_slopes_are_in_units_of_the_data():
    plain = Players(RECIPE, SHAPE).slopes(batch(6), fakes(6), seeded(1))
    scaled = Players(RECIPE, replace(SHAPE, scale=4.0)).slopes(batch(6), fakes(6), seeded(1))
    torch.testing.assert_close(scaled, 4 * plain)
    # So is the penalty's target.
    recipe = replace(RECIPE, lipschitz=Penalised((GradientPenalty(1.0, target=2.0),)))
    players = Players(recipe, replace(SHAPE, scale=4.0))
    _, report = players.critic_gradient(batch(6), fakes(6), seeded(1))
    again = players.slopes(batch(6), fakes(6), seeded(1))
    torch.testing.assert_close(report.penalty, (again / 4 - 0.5).square(), rtol=1e-4, atol=1e-6)


VIEWED = replace(
    RECIPE,
    augmentations=(TableAugmentation(mask=0.5, scale=0.3), InstanceNoise(0.7)),
    strength=Constant(0.8),
)


def test_real_and_fake_go_through_the_same_map():
    players, real = Players(VIEWED, SHAPE), batch(6)
    for seed in range(3):
        _, report = players.critic_gradient(real, real.real, seeded(seed))
        # Equal samples look equal, though neither looks as it did.
        torch.testing.assert_close(report.real, report.fake)
        bare = players.critic.module(real.real, real.condition)
        assert not torch.allclose(report.real, bare, atol=1e-3)
    players.strength = 0.0
    _, report = players.critic_gradient(real, real.real, seeded(0))
    torch.testing.assert_close(
        report.real, players.critic.module(real.real, real.condition).detach()
    )


def test_the_generator_is_judged_through_the_views_with_a_gradient():
    players, condition = (
        Players(replace(VIEWED, augmentations=(InstanceNoise(0.7),)), SHAPE),
        conditions(6),
    )
    gradient, loss = players.generator_gradient(condition, torch.ones(6), seeded(3))
    gradient, rng = gradient.clone(), seeded(3)
    rows = players.generator.module(condition, rng)
    noise = torch.randn((6, 5), generator=rng)
    scores = players.critic.module(rows + 0.8 * 0.7 * noise, condition)
    torch.testing.assert_close(loss, -scores.detach())
    parameters = list(players.generator.module.parameters())
    expected = flat(torch.autograd.grad(-scores.mean(), parameters))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_strength_of_views_is_state(tmp_path):
    players = Players(replace(VIEWED, strength=Adaptive(start=0.25)), SHAPE)
    assert players.strength == 0.25
    # Not a number that float32 holds.
    players.strength = 0.1 + 0.2
    write_tensors(tmp_path / "state", players.tensors(), {})
    fresh = Players(players.recipe, SHAPE)
    fresh.load(read_tensors(tmp_path / "state")[0], 0, 0)
    assert fresh.strength == 0.1 + 0.2
    assert "strength" not in Players(RECIPE, SHAPE).tensors()
    without = {k: v for k, v in players.tensors().items() if k != "strength"}
    with pytest.raises(StateError, match="'strength' is missing"):
        fresh.load(without, 0, 0)


def test_the_vectors_of_power_iterations_are_state():
    recipe = replace(RECIPE, lipschitz=SpectralNorm(), objective=JensenShannon())
    players, rng = Players(recipe, SHAPE, seed=1), seeded(2)
    train(players, rng, 2)
    state, drawn = players.tensors(), rng.get_state()
    assert len(state["critic_buffers"]) == 8 + 7 + 7 + 6 + 6 + 1
    train(players, rng, 2)

    def end(tensors):
        fresh, again = Players(recipe, SHAPE, seed=9), torch.Generator()
        again.set_state(drawn)
        fresh.load(tensors, 4, 2)
        train(fresh, again, 2)
        return fresh.tensors()["critic"]

    assert torch.equal(end(state), players.tensors()["critic"])
    other = torch.nn.functional.normalize(torch.ones(35), dim=0)
    assert not torch.equal(end({**state, "critic_buffers": other}), players.tensors()["critic"])


def test_a_step_settles_the_critic_under_its_constraint_frozen_or_not():
    players = Players(replace(RECIPE, lipschitz=Clipping(0.03)), SHAPE)
    for frozen in (False, True):
        players.step_critic(
            gradients(players, batch(8), fakes(8)), guard=UpdateBound(0.0) if frozen else None
        )
        assert players.critic.vector.abs().max() <= 0.03
    # Nothing is clipped of the generator.
    assert players.generator.vector.abs().max() > 0.03


def test_each_player_has_its_own_optimizer():
    recipe = replace(RECIPE, generator_optimizer=SGD(0.5), critic_optimizer=SGD(0.25))
    players = Players(recipe, SHAPE)
    critic, generator = players.critic.vector.clone(), players.generator.vector.clone()
    players.step_critic(torch.ones_like(critic))
    players.step_generator(torch.ones_like(generator), factor=0.5)
    torch.testing.assert_close(players.critic.vector, critic - 0.25)
    torch.testing.assert_close(players.generator.vector, generator - 0.25)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_same_steps():
    before = torch.cuda.get_rng_state()
    found = []
    for device in ("cpu", "cuda"):
        players = Players(RECIPE, SHAPE, device)
        real = batch(6)
        moved = Batch(*(t.to(device) for t in (real.real, real.condition, real.weights)))
        rng = torch.Generator(device).manual_seed(1)
        players = Players(
            replace(RECIPE, objective=Hinge(), lipschitz=Unconstrained()), SHAPE, device
        )
        gradient, _ = players.critic_gradient(moved, fakes(6).to(device), rng)
        found.append(gradient.cpu().clone())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert torch.equal(torch.cuda.get_rng_state(), before)


UPPER = {"fairness", "clients", "server", "simulations", "tests", "flwr", "ray"}


def imported(source):
    """Top-level names that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = {"wgan" if node.level else str(node.module)}
        else:
            continue
        names |= {name.removeprefix("everymode.").split(".")[0] for name in found}
    return names


def test_wgan_imports_nothing_of_the_layers_above():
    files = sorted(Path(everymode.wgan.__file__).parent.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        assert not imported(file.read_text(encoding="utf-8")) & UPPER, file
    assert imported(
        "def f():\n    from everymode.fairness.groups.conditions import x\n    import ray.data as r"
    ) == {
        "fairness",
        "ray",
    }
