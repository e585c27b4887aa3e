"""The private gradient rule: against single examples, neighbouring batches, and its noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
import torch

from everymode.wgan.augmentations import InstanceNoise
from everymode.wgan.chains import NotRankOne
from everymode.wgan.clipped_noised import ClippedNoised, vmapped_sum
from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.edges import EdgePenalty
from everymode.wgan.errors import SettingsError
from everymode.wgan.generators import MLPGeneratorSpec, SkipGeneratorSpec
from everymode.wgan.ghost_norms import ghost_sum
from everymode.wgan.gradients import CriticLosses, CriticReport, GradientRule, Plain
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm
from everymode.wgan.objectives import Hinge, JensenShannon
from everymode.wgan.penalties import ConditionPenalty, CriticStep, Drawn, Drift, GradientPenalty
from everymode.wgan.penalties import slopes as plain_slopes
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Fake, Manifold, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Block, Shape
from everymode.wgan.training import Schedule, train

SHAPE = Shape((Block(0, 1, "value"), Block(1, 4, "choice")), 4, 3)
IMAGES = Shape((), 32, 3, sample=(2, 4, 4))
RECIPE = Recipe(
    generator=SkipGeneratorSpec((6,), noise=4),
    critic=MLPCriticSpec((7, 6)),
    lipschitz=Penalised((GradientPenalty(one_sided=True), Drift(0.1))),
)
PENALTIES = (
    GradientPenalty(points=Real()),
    GradientPenalty(3.0, points=Fake(), every=2),
    GradientPenalty(2.0, class_weights=(1.0, 2.0, 0.5)),
    EdgePenalty(((0, 1), (1, 3)), (1.0, 0.5)),
)
GHOST = {
    "concatenated condition": RECIPE,
    "projected condition": replace(
        RECIPE, critic=MLPCriticSpec((7, 5, 6), conditioning="projection")
    ),
    "relu": replace(RECIPE, critic=MLPCriticSpec((7, 6), activation="relu")),
    "one linear layer": replace(RECIPE, critic=MLPCriticSpec(())),
    "linear, projected": replace(RECIPE, critic=MLPCriticSpec((), conditioning="projection")),
    "committee": replace(RECIPE, critic=CommitteeSpec(MLPCriticSpec((5, 4)), members=3)),
    "committee, projected": replace(
        RECIPE, critic=CommitteeSpec(MLPCriticSpec((5,), conditioning="projection"), members=2)
    ),
    "packed": replace(RECIPE, pack=2),
    "hinge": replace(RECIPE, objective=Hinge()),
    "logits, augmented": replace(
        RECIPE, objective=JensenShannon(), augmentations=(InstanceNoise(0.3),)
    ),
    "further penalties": replace(RECIPE, lipschitz=Penalised(PENALTIES)),
    "cut weights, no penalty": replace(RECIPE, lipschitz=Clipping(0.1)),
}
OTHERS = {
    "layer norm": replace(RECIPE, critic=MLPCriticSpec((7,), norm="layer")),
    "tanh": replace(RECIPE, critic=MLPCriticSpec((7,), activation="tanh")),
    "multipliers": replace(RECIPE, critic=MultipliersSpec(MLPCriticSpec((5,)))),
    "spectral norm": replace(RECIPE, lipschitz=SpectralNorm(penalties=(Drift(),))),
    "condition penalty": replace(
        RECIPE, lipschitz=Penalised((GradientPenalty(), ConditionPenalty(3.0)))
    ),
}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@dataclass
class Kept(GradientRule):
    """The plain rule, which keeps the losses that it was given."""

    losses: list[CriticLosses] = field(default_factory=list)
    kind: Literal["kept"] = "kept"

    def __call__(
        self, losses: CriticLosses, rng: torch.Generator
    ) -> tuple[torch.Tensor, CriticReport]:
        self.losses.append(losses)
        return Plain()(losses, rng)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 8, shape: Shape = SHAPE) -> Batch:
    rng = seeded(0)
    real = torch.randn(count, shape.width, generator=rng)
    condition = torch.eye(shape.condition)[torch.arange(count) % shape.condition]
    return Batch(real, condition, torch.rand(count, generator=rng) + 0.1)


def losses_at(recipe: Recipe, shape: Shape = SHAPE, count: int = 8) -> CriticLosses:
    """The losses of one batch as a rule gets them."""
    rule = Kept()
    players = Players(replace(recipe, gradient_rule=rule), shape, seed=3)  # type: ignore[arg-type]
    players.critic_gradient(
        batch(count, shape), torch.randn(count, shape.width, generator=seeded(1)), seeded(2)
    )
    return rule.losses[0]


def one_by_one(losses: CriticLosses) -> torch.Tensor:
    """Weighted gradients of single examples `(B, P)`, by one backward pass each."""
    found = []
    for index, weight in enumerate(losses.weights):
        own = losses.examples.part(slice(index, index + 1))
        values, _ = losses.loss(losses.critic.module, plain_slopes, own)
        found.append(losses.critic.compute_gradient(weight * values.sum()).clone())
    return torch.stack(found)


def cut(gradients: torch.Tensor, clip: float) -> torch.Tensor:
    return (gradients * (clip / gradients.norm(dim=1, keepdim=True)).clamp_max(1.0)).sum(0)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11 * float(wanted.abs().max()))


@pytest.mark.parametrize("recipe", GHOST.values(), ids=GHOST)
def test_ghost_norms_vmap_and_single_examples_agree_to_rounding(recipe: Recipe) -> None:
    losses = losses_at(recipe)
    single = one_by_one(losses)
    clip = float(single.norm(dim=1).median())
    for limit in (clip, 1e9):
        ghost, report = ghost_sum(losses, limit)
        ghost = ghost.clone()
        vmapped, its = vmapped_sum(losses, limit)
        same(ghost, cut(single, limit))
        same(vmapped, cut(single, limit))
        torch.testing.assert_close(list(report), list(its), rtol=1e-12, atol=1e-12)
        assert not any(value.requires_grad for value in (*report, *its))


@pytest.mark.parametrize("recipe", OTHERS.values(), ids=OTHERS)
def test_other_critics_take_the_reference(recipe: Recipe) -> None:
    losses = losses_at(recipe)
    single = one_by_one(losses)
    clip = float(single.norm(dim=1).median())
    with pytest.raises(NotRankOne):
        ghost_sum(losses, clip)
    gradient, _ = ClippedNoised(clip, noise=0.0)(losses, seeded(0))
    same(gradient, cut(single, clip) / 8)
    with pytest.raises(SettingsError, match=r"norms = 'ghost'.*write norms = 'auto'"):
        ClippedNoised(clip, norms="ghost")(losses, seeded(0))


def test_convolutions_take_the_reference() -> None:
    recipe = replace(
        RECIPE, generator=MLPGeneratorSpec((6,), noise=4), critic=ConvCriticSpec((4, 8))
    )
    losses = losses_at(recipe, IMAGES)
    single = one_by_one(losses)
    clip = float(single.norm(dim=1).median())
    gradient, _ = ClippedNoised(clip, noise=0.0)(losses, seeded(0))
    same(gradient, cut(single, clip) / 8)


def test_single_gradients_are_held_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = losses_at(RECIPE)
    whole, _ = vmapped_sum(losses, 1.0)
    whole = whole.clone()
    monkeypatch.setattr("everymode.wgan.clipped_noised.CHUNK", 3 * len(losses.critic.vector))
    parts, report = vmapped_sum(losses, 1.0)
    same(parts, whole)
    assert len(report.estimate) == 8


def test_a_rule_that_clips_nothing_is_the_plain_one() -> None:
    players = Players(replace(RECIPE, gradient_rule=ClippedNoised(1e9, 0.0)), SHAPE, seed=3)
    plain = Players(RECIPE, SHAPE, seed=3)
    rows, fake = replace(batch(), weights=torch.ones(8)), torch.randn(8, 4, generator=seeded(1))
    same(
        players.critic_gradient(rows, fake, seeded(2))[0],
        plain.critic_gradient(rows, fake, seeded(2))[0],
    )


@pytest.mark.parametrize("total", [ghost_sum, vmapped_sum], ids=["ghost", "vmap"])
@pytest.mark.parametrize("extreme", [1.0, 1e3, 1e150, float("inf"), float("nan")])
def test_no_neighbour_changes_the_sum_by_more_than_clip(total, extreme: float) -> None:
    """Every batch of six with one example removed, and with one whose values are out of bounds."""
    losses = losses_at(RECIPE, count=6)
    real = losses.examples.real.clone()
    real[4] *= extreme
    points = losses.examples.drawn[0]["points"].clone()
    points[4] *= extreme
    examples = losses.examples._replace(real=real, drawn=({"points": points}, {}))
    losses = replace(losses, examples=examples, weights=torch.full((6,), 7.0))
    clip, moved = 0.5, []
    whole = total(losses, clip)[0].clone()
    assert whole.isfinite().all()
    for out in range(6):
        left = torch.arange(6) != out
        drawn = tuple({n: t[left] for n, t in d.items()} for d in examples.drawn)
        rest = type(examples)(
            examples.real[left], examples.fake[left], examples.condition[left], drawn
        )
        neighbour = replace(losses, examples=rest, weights=losses.weights[left])
        moved.append(float((total(neighbour, clip)[0] - whole).norm()))
    assert max(moved) <= clip * (1 + 1e-12)
    assert max(moved) > 0.999 * clip  # and the bound is reached


def test_one_row_more_moves_one_example_through_views_points_and_penalties() -> None:
    """The whole step, its draws included: replacing one real row moves the sum by 2 clip at most.

    The control: by the plain rule an outlier moves it as far as it likes.
    """
    recipe = replace(RECIPE, lipschitz=Penalised(PENALTIES), augmentations=(InstanceNoise(0.3),))
    fake, usual = torch.randn(8, 4, generator=seeded(1)), batch()
    moved = {}
    for rule in (Plain(), ClippedNoised(0.1, 0.0)):
        players = Players(replace(recipe, gradient_rule=rule), SHAPE, seed=3)
        one = players.critic_gradient(usual, fake, seeded(2))[0].clone()
        moved[rule.kind] = 0.0
        for row in range(8):
            other = usual.real.clone()
            other[row] = 1e4
            changed = players.critic_gradient(replace(usual, real=other), fake, seeded(2))[0]
            moved[rule.kind] = max(moved[rule.kind], 8 * float((changed - one).norm()))
    assert moved["clipped_noised"] <= 0.2 * (1 + 1e-12) and moved["plain"] > 100


def test_noise_has_the_stated_deviation_and_comes_from_the_generator_alone() -> None:
    recipe = replace(RECIPE, critic=MLPCriticSpec((64, 64)))
    losses = losses_at(recipe)
    still, _ = ClippedNoised(0.5, 0.0)(losses, seeded(0))
    still = still.clone()
    torch.manual_seed(1)
    first, _ = ClippedNoised(0.5, 3.0)(losses, seeded(0))
    noise = (first - still) * 8 / (0.5 * 3.0)
    size = len(noise)
    assert abs(float(noise.mean())) < 5 / size**0.5
    assert abs(float(noise.var()) - 1) < 5 * (2 / size) ** 0.5
    # Normal, not just of that variance: the fourth moment is 3, with variance 96 / n.
    assert abs(float(noise.pow(4).mean()) - 3) < 5 * (96 / size) ** 0.5
    first = first.clone()
    torch.manual_seed(2)
    assert torch.equal(ClippedNoised(0.5, 3.0)(losses, seeded(0))[0], first)
    assert not torch.equal(ClippedNoised(0.5, 3.0)(losses, seeded(1))[0], first)
    # The deviation follows the clip, and not the gradient.
    bound = ClippedNoised(1e-9, 3.0)(losses, seeded(0))[0] * 1e9
    torch.testing.assert_close(bound, noise * (3.0 / 8), rtol=0, atol=1.0)


@pytest.mark.parametrize("norms", ["ghost", "vmap"])
def test_an_empty_poisson_sample_is_noise_over_the_expected_number(norms) -> None:
    players = Players(replace(RECIPE, gradient_rule=ClippedNoised(0.5, 2.0, norms=norms)), SHAPE)
    empty = Batch(torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), expected=20.0)
    gradient, report = players.critic_gradient(empty, torch.zeros(0, 4), seeded(0))
    assert all(len(value) == 0 for value in report)
    # The interpolates' draw takes nothing from the generator for no rows.
    wanted = torch.randn(len(gradient), generator=seeded(0)) * (0.5 * 2.0 / 20)
    same(gradient, wanted)


def test_a_row_of_weight_0_adds_nothing_and_the_divisor_does_not_depend_on_weights() -> None:
    players = Players(replace(RECIPE, gradient_rule=ClippedNoised(0.5, 0.0)), SHAPE, seed=3)
    fake, rows = torch.randn(8, 4, generator=seeded(1)), batch()
    found = []
    for value in (1.0, 50.0):
        real, weights = rows.real.clone(), torch.ones(8)
        real[0], weights[0] = value, 0.0
        padded = Batch(real, rows.condition, weights, expected=7.0)
        found.append(players.critic_gradient(padded, fake, seeded(2))[0].clone())
    assert torch.equal(*found)
    assert float(found[0].norm()) <= 0.5


@dataclass(frozen=True)
class Chained(GradientPenalty):
    """A penalty that scores a point which depends on a slope: of no form that has ghost norms."""

    def value(self, step: CriticStep, drawn: Drawn) -> torch.Tensor:
        slope = step.slopes(step.critic, step.real, step.condition)
        return step.critic(step.real + slope, step.condition)


def test_a_loss_of_another_form_takes_the_reference_too() -> None:
    recipe = replace(RECIPE, lipschitz=Penalised((Chained(),)))
    losses = losses_at(recipe)
    single = one_by_one(losses)
    gradient, _ = ClippedNoised(1e9, noise=0.0)(losses, seeded(0))
    same(gradient, single.sum(0) / 8)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gradient_rule": ClippedNoised(0.0)}, r"clip = 0.0.*above 0"),
        ({"gradient_rule": ClippedNoised(1.0, -1.0)}, r"noise = -1.0.*0 or more"),
        ({"lipschitz": Penalised((GradientPenalty(points=Manifold()),))}, r"depends on other rows"),
        ({"lipschitz": Penalised((GradientPenalty(per_condition=True),))}, r"depends on other"),
        (
            {"lipschitz": Penalised((GradientPenalty(), ConditionPenalty()))},
            r"condition_penalty.*depends on other rows",
        ),
        ({"pack": 2}, r"pack = 2.*write pack = 1"),
        (
            {"critic": MLPCriticSpec((4,), norm="batch"), "lipschitz": Clipping()},
            r"each example alone",
        ),
        (
            {
                "gradient_rule": ClippedNoised(norms="ghost"),
                "critic": MLPCriticSpec((4,), norm="layer"),
            },
            r"norms = 'ghost'.*write norms = 'auto'",
        ),
    ],
)
def test_what_would_void_the_bound_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        replace(RECIPE, **{"gradient_rule": ClippedNoised(), **fields}).check(SHAPE)


def test_a_recipe_with_the_rule_survives_json_and_the_plain_one_keeps_its_text() -> None:
    recipe = replace(RECIPE, gradient_rule=ClippedNoised(0.7, 1.3, "fixed"))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "gradient_rule" not in RECIPE.to_json()


def test_training_goes_on_where_it_stopped_to_the_bit() -> None:
    rows = batch(64).real

    def source(count: int, rng: torch.Generator) -> Batch:
        taken = rows[torch.rand(64, generator=rng) < count / 64]
        condition = torch.eye(3)[torch.arange(len(taken)) % 3]
        return Batch(taken, condition, torch.ones(len(taken)), expected=float(count))

    recipe = replace(RECIPE, gradient_rule=ClippedNoised(0.5, 1.0))
    whole, rng = Players(recipe, SHAPE, seed=5), seeded(7)
    list(train(whole, source, Schedule(steps=6, n_critic=2, batch=12), rng))
    parts, rng = Players(recipe, SHAPE, seed=5), seeded(7)
    list(train(parts, source, Schedule(steps=3, n_critic=2, batch=12), rng))
    again, later = Players(recipe, SHAPE, seed=9), seeded(0)
    again.load(parts.tensors(), parts.critic_statistics.steps, parts.generator_statistics.steps)
    later.set_state(rng.get_state())
    list(train(again, source, Schedule(steps=6, n_critic=2, batch=12), later))
    assert torch.equal(again.critic.vector, whole.critic.vector)
    assert torch.equal(again.generator.vector, whole.generator.vector)
