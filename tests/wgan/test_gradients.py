"""Gradient rules: the plain one, and one defined here that clips every example's gradient."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest
import torch
from torch.func import grad, vmap

from everymode.wgan.augmentations import InstanceNoise
from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.edges import EdgePenalty
from everymode.wgan.errors import SettingsError
from everymode.wgan.generators import MLPGeneratorSpec, SkipGeneratorSpec
from everymode.wgan.gradients import CriticLosses, CriticReport, GradientRule
from everymode.wgan.lipschitz import Penalised, SpectralNorm
from everymode.wgan.objectives import Hinge, JensenShannon, Wasserstein
from everymode.wgan.optimizers import SGD, Adam
from everymode.wgan.penalties import (
    ConditionPenalty,
    CriticStep,
    Drift,
    GradientPenalty,
    functional_slopes,
)
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Fake, Manifold, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Block, Shape
from everymode.wgan.training import Schedule, train

SHAPE = Shape((Block(0, 1, "value"), Block(1, 4, "choice")), 4, 3)
IMAGES = Shape((), 32, 3, sample=(2, 4, 4))


@dataclass(frozen=True)
class Clipped(GradientRule):
    """Clips every example's gradient to `norm`, adds noise, and averages by the weights.

    The whole of an added rule: Abadi et al., 2016, algorithm 1, without its accounting.
    """

    norm: float = 1.0
    noise: float = 0.0
    kind: Literal["clipped"] = "clipped"

    per_example: ClassVar[bool] = True

    def __call__(
        self, losses: CriticLosses, rng: torch.Generator
    ) -> tuple[torch.Tensor, CriticReport]:
        vector = losses.critic.vector
        each = vmap(grad(losses.of_one, has_aux=True), in_dims=(None, 0))
        gradients, report = each(vector, losses.examples)
        lengths = gradients.norm(dim=1, keepdim=True)
        clipped = gradients * (self.norm / lengths).clamp_max(1.0)
        shares = losses.weights / losses.weights.sum()
        gradient = shares @ clipped
        if self.noise:
            drawn = torch.randn(vector.shape, generator=rng)
            gradient += drawn * self.noise * self.norm * shares.max()
        return gradient, report


LOOSE = Clipped(norm=1e9)
ALL = (
    GradientPenalty(one_sided=True),
    GradientPenalty(2.0, points=Manifold(2, 3), every=2),
    GradientPenalty(0.5, points=Real(), per_condition=True),
    ConditionPenalty(3.0),
    Drift(0.1),
)
RECIPE = Recipe(
    generator=SkipGeneratorSpec((6,), noise=4),
    critic=MLPCriticSpec((7, 6)),
    lipschitz=Penalised(ALL),
    critic_optimizer=Adam(1e-2),
    generator_optimizer=Adam(1e-2),
)
RECIPES = {
    "all penalties": RECIPE,
    "packed": replace(RECIPE, pack=2),
    "class weights": replace(
        RECIPE, lipschitz=Penalised((GradientPenalty(class_weights=(1.0, 2.0, 0.5)),))
    ),
    "projected condition": replace(
        RECIPE, critic=MLPCriticSpec((7,), norm="layer", conditioning="projection")
    ),
    "spectral norm": replace(RECIPE, lipschitz=SpectralNorm(penalties=ALL)),
    "committee": replace(RECIPE, critic=CommitteeSpec(MLPCriticSpec((5,)), members=2)),
    "multipliers": replace(
        RECIPE, critic=MultipliersSpec(MLPCriticSpec((5,)), start=(1.0, 2.0, 0.5))
    ),
    "edges": replace(
        RECIPE, lipschitz=Penalised((EdgePenalty(((0, 1), (1, 3)), (1.0, 0.5)), Drift()))
    ),
    "hinge, fake points": replace(
        RECIPE, objective=Hinge(), lipschitz=Penalised((GradientPenalty(points=Fake()),))
    ),
    "logits, augmented": replace(
        RECIPE, objective=JensenShannon(), augmentations=(InstanceNoise(0.3),)
    ),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int, shape: Shape = SHAPE, seed: int = 0) -> Batch:
    rng = seeded(seed)
    real = torch.randn(count, shape.width, generator=rng)
    condition = torch.eye(shape.condition)[torch.arange(count) % shape.condition]
    return Batch(real, condition, torch.rand(count, generator=rng) + 0.1)


def gradients(recipe: Recipe, shape: Shape, *rules: GradientRule) -> list[torch.Tensor]:
    """The critic's gradient of one batch by each rule, with the report's values behind it."""
    found = []
    for rule in rules:
        players = Players(replace(recipe, gradient_rule=rule), shape, seed=3)  # type: ignore[arg-type]
        fake = torch.randn(8, shape.width, generator=seeded(1))
        gradient, report = players.critic_gradient(batch(8, shape), fake, seeded(2))
        found.append(torch.cat([gradient, *report]).detach().clone())
    return found


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_rule_per_example_that_clips_nothing_is_the_plain_one(recipe: Recipe) -> None:
    """The functional way sees the same draws, points, slopes and networks as the plain one."""
    plain, loose = gradients(recipe, SHAPE, Recipe().gradient_rule, LOOSE)
    torch.testing.assert_close(loose, plain, rtol=1e-4, atol=1e-5)


def test_the_same_holds_for_images_and_convolutions() -> None:
    recipe = replace(
        RECIPE,
        generator=MLPGeneratorSpec((6,), noise=4),
        critic=ConvCriticSpec((4, 8), norm="layer"),
        lipschitz=Penalised((GradientPenalty(), ConditionPenalty())),
    )
    plain, loose = gradients(recipe, IMAGES, Recipe().gradient_rule, LOOSE)
    torch.testing.assert_close(loose, plain, rtol=1e-4, atol=1e-5)


def test_what_one_example_adds_is_bounded() -> None:
    """The control: by the plain rule an outlier moves the gradient as far as it likes."""
    recipe = replace(RECIPE, lipschitz=Penalised((GradientPenalty(points=Real()), Drift())))
    moved = {}
    for name, rule in {"plain": Recipe().gradient_rule, "clipped": Clipped(0.1)}.items():
        players = Players(replace(recipe, gradient_rule=rule), SHAPE)  # type: ignore[arg-type]
        fake, usual = torch.zeros(8, 4), batch(8)
        outlier = usual.real.clone()
        outlier[0] = 1e4
        one, _ = players.critic_gradient(usual, fake, seeded(2))
        one = one.clone()
        other, _ = players.critic_gradient(replace(usual, real=outlier), fake, seeded(2))
        share = usual.weights[0] / usual.weights.sum()
        moved[name] = float((other - one).norm() / (2 * 0.1 * share))
    assert moved["clipped"] <= 1.0001 and moved["plain"] > 100


@pytest.mark.parametrize("pack", [1, 2])
def test_two_steps_are_trained_by_an_added_rule(pack: int) -> None:
    def source(count: int, rng: torch.Generator) -> Batch:
        rows = torch.randn(count, 4, generator=rng)
        return Batch(rows, torch.eye(3)[torch.arange(count) % 3], torch.ones(count))

    recipe = replace(RECIPE, pack=pack, critic_optimizer=SGD(0.1), objective=Wasserstein())
    schedule = Schedule(steps=2, n_critic=2, batch=12)
    ends = []
    for rule in (Recipe().gradient_rule, LOOSE, Clipped(0.1, noise=1.0)):
        players = Players(replace(recipe, gradient_rule=rule), SHAPE, seed=5)  # type: ignore[arg-type]
        start = players.critic.vector.clone()
        reports = list(train(players, source, schedule, seeded(7)))
        assert len(reports) == 2 and all(len(value) == 12 for value in reports[0])
        assert players.generator.vector.isfinite().all()
        assert not torch.equal(players.critic.vector, start)
        ends.append(players.critic.vector.clone())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(ends[2], ends[0], rtol=1e-3, atol=1e-4)


def test_a_rule_per_example_is_refused_where_scores_depend_on_the_batch() -> None:
    critic = MLPCriticSpec((4,), norm="batch")
    recipe = Recipe(critic=critic, objective=Hinge(), lipschitz=Penalised(()))
    recipe.check()
    with pytest.raises(SettingsError, match=r"rule 'clipped'.*each example alone.*'layer'"):
        replace(recipe, gradient_rule=LOOSE).check()  # type: ignore[arg-type]


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_a_draw_leaves_the_critic_alone_and_a_value_leaves_the_generator_alone(
    penalty: GradientPenalty,
) -> None:
    """Whatever is random is in the draw; the value is the same by both ways of taking slopes."""

    def forbidden(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the draw called the critic")

    def critic(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (x.square().sum(1) + 1).sqrt() * (1 + c[:, 0]) + c[:, 1].square()

    rows, rng = batch(6), seeded(3)
    step = CriticStep(forbidden, rows.real, rows.real.flip(0), rows.condition)
    drawn = penalty.draw(step, rng)
    assert all(len(t) == 6 and not t.requires_grad for t in drawn.values())
    before, ambient = rng.get_state(), torch.get_rng_state()
    step = replace(step, critic=critic)
    values = penalty.value(step, drawn)
    assert torch.equal(penalty.value(step, drawn), values)
    torch.testing.assert_close(
        penalty.value(replace(step, slopes=functional_slopes), drawn), values
    )
    assert torch.equal(rng.get_state(), before) and torch.equal(torch.get_rng_state(), ambient)
