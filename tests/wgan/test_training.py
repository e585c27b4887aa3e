"""The loop: who steps when, at which rate, going on after a stop, and what a generator learns."""

from dataclasses import dataclass, field, replace
from itertools import islice

import pytest
import torch

from everymode.wgan.augmentations import InstanceNoise
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import NumericalError
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.lipschitz import Penalised, SpectralNorm
from everymode.wgan.objectives import Hinge
from everymode.wgan.optimizers import SGD, Adam
from everymode.wgan.penalties import Drift, GeneratorStep, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.schedules import Linear
from everymode.wgan.shape import Shape
from everymode.wgan.state import read_tensors, write_tensors
from everymode.wgan.strength import Adaptive, Constant, Decay
from everymode.wgan.training import LOOKS, Schedule, observe, train

SHAPE = Shape((), 1, 0)
RECIPE = Recipe(
    generator=SkipGeneratorSpec((6,), noise=2),
    critic=MLPCriticSpec((8,)),
    # On a line, a slope can turn round only through 0, which a two-sided penalty forbids.
    lipschitz=Penalised((GradientPenalty(one_sided=True),)),
    generator_optimizer=Adam(5e-3),
    critic_optimizer=Adam(1e-2),
    averaging=0.9,
)
VIEWED = replace(RECIPE, augmentations=(InstanceNoise(0.3),))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@dataclass
class Normal:
    """Rows from N(mean, 0.5^2), and how often they were asked for."""

    mean: float = 2.0
    asked: list[int] = field(default_factory=list)

    def __call__(self, count, rng):
        self.asked.append(count)
        real = 0.5 * torch.randn(count, 1, generator=rng) + self.mean
        return Batch(real, torch.zeros(count, 0), torch.ones(count))


class Watched(Players):
    """Players that write down who stepped, and with which factor."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = []

    def step_critic(self, gradient, factor=1.0, guard=None):
        self.log.append(("critic", factor))
        super().step_critic(gradient, factor, guard)

    def step_generator(self, gradient, factor=1.0, guard=None):
        self.log.append(("generator", factor))
        super().step_generator(gradient, factor, guard)


def test_critic_steps_come_before_each_generator_step_and_more_before_the_first():
    players, source = Watched(RECIPE, SHAPE), Normal()
    schedule = Schedule(steps=3, n_critic=2, first=4, batch=6)
    reports = list(train(players, source, schedule, seeded(0)))
    who = "".join(name[0] for name, _ in players.log)
    assert who == "cccccc" + "g" + "ccg" + "ccg"
    assert len(reports) == 3 and all(report.estimate.shape == (6,) for report in reports)
    # Each step draws rows of its own.
    assert source.asked == [6] * len(who)
    assert players.critic_statistics.steps == 10 and players.generator_statistics.steps == 3


def test_both_rates_follow_the_schedule_by_generator_steps():
    players = Watched(RECIPE, SHAPE)
    schedule = Schedule(steps=4, n_critic=1, batch=4, rates=Linear())
    list(train(players, Normal(), schedule, seeded(0)))
    expected = [factor for factor in (1.0, 0.75, 0.5, 0.25) for _ in range(2)]
    assert [factor for _, factor in players.log] == expected


def test_a_training_that_is_done_takes_no_step():
    players = Players(RECIPE, SHAPE)
    schedule = Schedule(steps=2, n_critic=1, batch=4)
    assert len(list(train(players, Normal(), schedule, seeded(0)))) == 2
    before = players.tensors()
    assert not list(train(players, Normal(), schedule, seeded(0)))
    assert all(torch.equal(before[n], t) for n, t in players.tensors().items())


def test_each_step_yields_what_its_last_critic_step_showed():
    players, other = Players(RECIPE, SHAPE), Players(RECIPE, SHAPE)
    (report,) = train(players, Normal(), Schedule(1, n_critic=2, batch=8), seeded(3))
    rng, source = seeded(3), Normal()
    for _ in range(2):
        batch = source(8, rng)
        gradient, expected = other.critic_gradient(batch, other.fake(batch.condition, rng), rng)
        other.step_critic(gradient)
    for name in ("estimate", "penalty", "real", "fake"):
        assert torch.equal(getattr(report, name), getattr(expected, name))
    # The average follows each generator step.
    batch = source(8, rng)
    other.step_generator(other.generator_gradient(batch.condition, batch.weights, rng)[0])
    other.update_ema()
    assert torch.equal(players.average, other.average)


RESUMED = [
    RECIPE,
    replace(VIEWED, strength=Adaptive(speed=0.1, start=0.3), averaging=0.99),
    replace(VIEWED, strength=Decay(), pack=2, generator_optimizer=SGD(1e-3, 0.9)),
    replace(RECIPE, objective=Hinge(), lipschitz=SpectralNorm(penalties=(Drift(every=3),))),
]


@pytest.mark.parametrize("recipe", RESUMED, ids=["plain", "adaptive", "packs", "spectral"])
def test_training_goes_on_from_a_file_bit_for_bit(recipe, tmp_path):
    steps = 2 * (LOOKS + 1)
    schedule = Schedule(steps, n_critic=2, first=3, batch=8, rates=Linear(warmup=0.2))
    whole, rng = Players(recipe, SHAPE, seed=1), seeded(5)
    reports = list(train(whole, Normal(), schedule, rng, held_out=Normal(1.5)))
    assert len(reports) == steps

    first, rng = Players(recipe, SHAPE, seed=1), seeded(5)
    for _ in islice(train(first, Normal(), schedule, rng, held_out=Normal(1.5)), steps // 2):
        pass
    path = tmp_path / "state"
    write_tensors(path, {**first.tensors(), "rng": rng.get_state()}, {})
    counts = (first.critic_statistics.steps, first.generator_statistics.steps)
    assert counts == (steps + 3, steps // 2)

    second, rng = Players(recipe, SHAPE, seed=99), torch.Generator()
    tensors, _ = read_tensors(path)
    rng.set_state(tensors.pop("rng"))
    second.load(tensors, *counts)
    rest = list(train(second, Normal(), schedule, rng, held_out=Normal(1.5)))
    assert len(rest) == steps // 2
    assert torch.equal(rest[-1].estimate, reports[-1].estimate)
    expected = whole.tensors()
    for name, tensor in second.tensors().items():
        assert torch.equal(tensor, expected[name]), name


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    list(train(Players(VIEWED, SHAPE), Normal(), Schedule(2, 1, batch=4), seeded(0)))
    assert torch.equal(torch.get_rng_state(), before)


def strengths(recipe, steps, held_out=None, first=0):
    players = Players(recipe, SHAPE, seed=2)
    loop = train(players, Normal(), Schedule(steps, 2, first, 32), seeded(1), held_out=held_out)
    return [players.strength for _ in loop]


def test_an_adaptive_strength_moves_at_every_look():
    rule = Adaptive(target=0.5, speed=0.1, start=0.4)
    recipe = replace(VIEWED, strength=rule, objective=Hinge())
    # Held-out rows that a critic with some steps behind it takes for fake: it overfits.
    source = Normal(-4.0)
    up = strengths(recipe, 2 * LOOKS + 1, source, 40)
    assert up[-1] == pytest.approx(0.7)
    assert source.asked == [32] * 3
    # Between looks it stays where it is.
    assert len(set(up[:LOOKS])) == 1 and up[LOOKS] != up[LOOKS - 1]
    # Held-out rows like those trained on: none.
    down = strengths(recipe, 2 * LOOKS + 1, Normal(), 40)
    assert down[-1] == pytest.approx(0.1)


def test_a_strength_may_follow_the_sign_of_real_scores():
    rule = Adaptive(target=0.9, speed=0.1, start=0.4, statistic="sign")
    recipe = replace(VIEWED, strength=rule, objective=Hinge(), critic=MLPCriticSpec(()))
    players = Players(recipe, SHAPE)
    with torch.no_grad():
        # C(x) = x: all real rows, around 2, are above 0.
        players.critic.module.readout.linear.weight.fill_(1.0)
        players.critic.module.readout.linear.bias.zero_()
    next(iter(train(players, Normal(), Schedule(9, 1, batch=16), seeded(1))))
    assert players.strength == pytest.approx(0.5)


def test_strengths_by_progress_and_none_without_views():
    assert strengths(replace(VIEWED, strength=Decay(until=1.0)), 4) == [0.75, 0.5, 0.25, 0.0]
    assert strengths(replace(VIEWED, strength=Constant(0.5)), 3) == [0.5] * 3
    # Without views nothing is measured, so nothing is asked for.
    assert strengths(replace(RECIPE, strength=Adaptive(start=0.2)), 3) == [0.2] * 3


@pytest.mark.parametrize(
    ("recipe", "schedule", "words"),
    [
        (replace(VIEWED, strength=Adaptive()), Schedule(batch=4), "pass `held_out`"),
        (replace(RECIPE, pack=2), Schedule(batch=5), "5 rows cannot be packed by 2"),
        (RECIPE, Schedule(batch=0), "0 rows cannot be packed"),
        (RECIPE, Schedule(n_critic=0), "n_critic = 0: expected at least 1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_the_first_step(recipe, schedule, words):
    players = Players(recipe, SHAPE)
    before = players.tensors()
    with pytest.raises(ValueError, match=words):
        next(train(players, Normal(), schedule, seeded(0)))
    assert all(torch.equal(before[n], t) for n, t in players.tensors().items())


def test_a_training_that_diverges_is_stopped_and_says_where():
    # Without a bound worth the name, steps this long feed on themselves.
    recipe = replace(
        RECIPE,
        lipschitz=Penalised((GradientPenalty(weight=1e3),)),
        critic_optimizer=SGD(1e3),
        generator_optimizer=SGD(1e3),
    )
    with pytest.raises(NumericalError, match=r"step \d+: .*not finite.*lower the rates"):
        list(train(Players(recipe, SHAPE), Normal(), Schedule(50, 2, batch=8), seeded(0)))


@dataclass(frozen=True)
class Pull:
    """A penalty on the generator: (y - 1)^2."""

    name: str = "pull"
    weight: float = 1e4

    def __call__(self, step: GeneratorStep) -> torch.Tensor:
        return (step.fake[:, 0] - 1).square()


def test_penalties_on_the_generator_are_terms_of_its_loss():
    players = Players(replace(RECIPE, generator_optimizer=Adam(3e-2)), SHAPE, seed=3)
    source, rng = Normal(-3.0), seeded(1)
    list(train(players, source, Schedule(80, 1, batch=32), rng, penalties=(Pull(),)))
    assert players.fake(torch.zeros(400, 0), rng).mean().item() == pytest.approx(1, abs=0.2)


def test_the_generators_mean_moves_to_the_datas():
    players, rng = Players(replace(RECIPE, averaging=0.0), SHAPE, seed=3), seeded(6)

    def mean():
        return players.fake(torch.zeros(2000, 0), seeded(0)).mean().item()

    before = mean()
    reports = list(train(players, Normal(), Schedule(120, 3, batch=48, rates=Linear()), rng))
    assert abs(before - 2) > 1 and mean() == pytest.approx(2, abs=0.3)
    # The estimate of the distance falls as they meet.
    early = torch.stack([report.estimate.mean() for report in reports[10:20]]).mean()
    late = torch.stack([report.estimate.mean() for report in reports[-20:]]).mean()
    assert late.abs() < 0.3 < early


@pytest.mark.parametrize("recipe", [RECIPE, VIEWED, replace(RECIPE, lipschitz=SpectralNorm())])
def test_a_look_sees_what_there_is_and_moves_nothing(recipe):
    players, source = Players(recipe, SHAPE, seed=1), Normal()
    list(train(players, source, Schedule(3, 2, batch=16), seeded(2)))
    before = players.tensors()
    seen = observe(players, source, 500, seeded(3), held_out=Normal(-5.0), quality=0.25)
    after = players.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert seen == observe(players, source, 500, seeded(3), held_out=Normal(-5.0), quality=0.25)
    assert (seen.step, seen.quality, seen.finite) == (3, 0.25, True)
    assert seen.estimate == pytest.approx(seen.train_score - seen.fake_score, abs=1e-5)
    # Rows held out at the other end of the line score unlike those trained on.
    assert seen.held_score != pytest.approx(seen.train_score, abs=0.1)
    assert list(seen.slopes) == sorted(seen.slopes)
    assert observe(players, source, 16, seeded(3)).held_score is None


def test_the_slopes_of_a_look_are_those_of_a_linear_critic():
    recipe = replace(RECIPE, critic=MLPCriticSpec(()))
    players = Players(recipe, SHAPE, seed=1)
    players.critic.load(torch.tensor([-2.0, 0.5]))
    seen = observe(players, Normal(), 64, seeded(0))
    # A bin of the histogram is 12 % wide.
    assert seen.slopes == pytest.approx([2.0] * 5, rel=0.12)
