"""Every value of every key under [model], [views] and [gradients] becomes the part it names."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from everymode.server.config.gradients import GradientSettings
from everymode.server.config.recipe import build_recipe
from everymode.server.config.sections import ModelSettings, ViewSettings
from everymode.server.config.settings import Settings
from everymode.wgan.augmentations import Diffusion, InstanceNoise, TableAugmentation
from everymode.wgan.clipped_noised import ClippedNoised
from everymode.wgan.critics import CommitteeSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm, Unconstrained
from everymode.wgan.objectives import Hinge, JensenShannon, Wasserstein
from everymode.wgan.optimizers import Adam, RMSprop
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Fake, Manifold, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.strength import Adaptive, Constant, Decay

GENERATOR = SkipGeneratorSpec((256, 256), 128, 0.2)
CRITIC = MLPCriticSpec((256, 256), activation="leaky_relu", norm="none", conditioning="concat")
PENALTY = GradientPenalty(10.0)
DEFAULT = Recipe(
    GENERATOR,
    CRITIC,
    Wasserstein(),
    Penalised((PENALTY,)),
    augmentations=(),
    strength=Decay(1.0, 0.8),
    pack=1,
    generator_optimizer=Adam(2e-3, 0.5, 0.9),
    critic_optimizer=Adam(1e-3, 0.5, 0.9),
    averaging=0.99,
)
HELD_OUT = {"data": {"path": "x.csv", "held_out": 0.1}}


def settings(**sections):
    return Settings.model_validate({"data": {"path": "x.csv"}} | sections)


def critic(**fields):
    return {"critic": replace(CRITIC, **fields)}


def penalty(*further, **fields):
    return {"lipschitz": Penalised((replace(PENALTY, **fields), *further))}


MODEL = [
    ({"generator_hidden": [8, 9]}, {"generator": replace(GENERATOR, hidden=(8, 9))}),
    ({"noise": 3}, {"generator": replace(GENERATOR, noise=3)}),
    ({"temperature": 0.7}, {"generator": replace(GENERATOR, temperature=0.7)}),
    ({"critic_hidden": [5]}, critic(hidden=(5,))),
    ({"activation": "relu"}, critic(activation="relu")),
    ({"activation": "tanh"}, critic(activation="tanh")),
    ({"norm": "layer"}, critic(norm="layer")),
    ({"norm": "group"}, critic(norm="group")),
    ({"norm": "batch", "lipschitz": "clipping"}, critic(norm="batch") | {"lipschitz": Clipping()}),
    ({"conditioning": "projection"}, critic(conditioning="projection")),
    ({"committee": 3}, {"critic": CommitteeSpec(CRITIC, 3)}),
    ({"multipliers": True}, {"critic": MultipliersSpec(CRITIC)}),
    (
        {"multipliers": True, "committee": 2},
        {"critic": MultipliersSpec(CommitteeSpec(CRITIC, 2))},
    ),
    ({"objective": "hinge"}, {"objective": Hinge()}),
    ({"objective": "jensen_shannon"}, {"objective": JensenShannon(saturating=False)}),
    ({"objective": "jensen_shannon_saturating"}, {"objective": JensenShannon(saturating=True)}),
    ({"gradient_penalty": 2.5}, penalty(weight=2.5)),
    ({"penalty_points": "real"}, penalty(points=Real())),
    ({"penalty_points": "fake"}, penalty(points=Fake())),
    ({"penalty_points": "manifold"}, penalty(points=Manifold())),
    ({"penalty_one_sided": True}, penalty(one_sided=True)),
    ({"penalty_by_class": True}, penalty(per_condition=True)),
    ({"penalty_every": 4}, penalty(every=4)),
    ({"condition_penalty": 0.5}, penalty(ConditionPenalty(0.5))),
    ({"drift": 1e-3}, penalty(Drift(1e-3))),
    (
        {"drift": 1e-3, "condition_penalty": 2.0},
        penalty(ConditionPenalty(2.0), Drift(1e-3)),
    ),
    ({"lipschitz": "clipping"}, {"lipschitz": Clipping(0.01)}),
    (
        {"lipschitz": "clipping", "clip": 0.1, "drift": 0.2},
        {"lipschitz": Clipping(0.1, (Drift(0.2),))},
    ),
    ({"lipschitz": "spectral_norm"}, {"lipschitz": SpectralNorm()}),
    (
        {"lipschitz": "spectral_norm", "drift": 0.2},
        {"lipschitz": SpectralNorm(penalties=(Drift(0.2),))},
    ),
    (
        {"lipschitz": "none", "objective": "hinge"},
        {"lipschitz": Unconstrained(), "objective": Hinge()},
    ),
    ({"pack": 3}, {"pack": 3}),
    (
        {"optimizer": "rmsprop"},
        {"generator_optimizer": RMSprop(2e-3), "critic_optimizer": RMSprop(1e-3)},
    ),
    ({"generator_rate": 0.1}, {"generator_optimizer": Adam(0.1, 0.5, 0.9)}),
    ({"critic_rate": 0.1}, {"critic_optimizer": Adam(0.1, 0.5, 0.9)}),
    (
        {"beta1": 0.1, "beta2": 0.2},
        {"generator_optimizer": Adam(2e-3, 0.1, 0.2), "critic_optimizer": Adam(1e-3, 0.1, 0.2)},
    ),
    ({"averaging": 0.5}, {"averaging": 0.5}),
]

VIEWS = [
    ({"use": "noise"}, {"augmentations": (InstanceNoise(0.5),)}),
    ({"use": ["noise"], "deviation": 0.2}, {"augmentations": (InstanceNoise(0.2),)}),
    ({"use": ["diffusion"], "deviation": 0.2}, {"augmentations": (Diffusion(deviation=0.2),)}),
    (
        {"use": ["table", "noise"]},
        {"augmentations": (TableAugmentation(), InstanceNoise(0.5))},
    ),
    ({"rule": "constant", "strength": 0.4}, {"strength": Constant(0.4)}),
    ({"strength": 0.4, "until": 0.5}, {"strength": Decay(0.4, 0.5)}),
    (
        {"rule": "adaptive", "target": 0.3, "speed": 0.5},
        {"strength": Adaptive(0.3, 0.5, "held_out")},
    ),
    (
        {"rule": "adaptive", "use": ["table"]},
        {"strength": Adaptive(0.6, 0.02), "augmentations": (TableAugmentation(),)},
    ),
]

GRADIENTS = [
    ({"clip": 0.5}, {"gradient_rule": ClippedNoised(0.5)}),
    ({"clip": 1, "noise": 0}, {"gradient_rule": ClippedNoised(1.0, 0.0)}),
    ({"clip": 1, "sampling": "fixed"}, {"gradient_rule": ClippedNoised(1.0, 1.0, "fixed")}),
]

# What is no part of the recipe.
ELSEWHERE = {"matching", "matching_by", "marginals", "projection", "bins"} | {
    "trees",
    "critic_trees",
    "tree_leaf",
    "forbidden",
    "allowed",
}


def test_defaults_are_the_recipe_there_always_was():
    assert build_recipe(settings()) == DEFAULT


@pytest.mark.parametrize(("change", "parts"), MODEL, ids=lambda v: str(v)[:40])
def test_every_key_of_the_model_is_its_part(change, parts):
    made = build_recipe(settings(model=change))
    assert made == replace(DEFAULT, **parts)
    assert made != DEFAULT
    made.check()


@pytest.mark.parametrize(("change", "parts"), VIEWS, ids=lambda v: str(v)[:40])
def test_every_key_of_the_views_is_its_part(change, parts):
    made = build_recipe(settings(views=change, **HELD_OUT))
    assert made == replace(DEFAULT, **parts)
    assert made != DEFAULT
    made.check()


@pytest.mark.parametrize(("change", "parts"), GRADIENTS, ids=lambda v: str(v)[:40])
def test_every_key_of_the_gradients_is_its_part(change, parts):
    made = build_recipe(settings(gradients=change))
    assert made == replace(DEFAULT, **parts)
    made.check()


def test_the_sign_goes_with_scores_that_are_logits():
    views = {"use": ["noise"], "rule": "adaptive", "statistic": "sign"}
    made = build_recipe(settings(model={"objective": "hinge"}, views=views))
    assert made.strength == Adaptive(0.6, 0.02, "sign")
    made.check()


def test_no_key_and_no_value_is_forgotten():
    """Of the tables above, which would otherwise pass over a key that comes later."""
    told = [change for change, _ in MODEL + VIEWS + GRADIENTS] + [{"statistic": "sign"}]
    for section in (ModelSettings, ViewSettings, GradientSettings):
        for name, field in section.model_fields.items():
            if name in ELSEWHERE:
                continue
            given = [change[name] for change in told if name in change]
            assert given, name
            values = [a for a in get_args(field.annotation) if isinstance(a, str)]
            assert set(values) <= {*map(str, given), field.default}, name
    views = {kind for change, _ in VIEWS for kind in change.get("use", ())}
    assert {"noise", "diffusion", "table"} <= views


@pytest.mark.parametrize(
    "sections",
    [{"model": change} for change, _ in MODEL]
    + [{"views": change} for change, _ in VIEWS]
    + [{"gradients": change} for change, _ in GRADIENTS],
    ids=lambda v: str(v)[:40],
)
def test_every_recipe_travels_and_trains(sections):
    small = {"generator_hidden": [4], "critic_hidden": [8], "noise": 2}
    made = build_recipe(settings(**HELD_OUT, **{"model": small} | sections))
    if "model" in sections:
        made = build_recipe(settings(model=small | sections["model"]))
    assert Recipe.from_json(made.to_json()) == made
    players = Players(made, Shape((), 4, 2), seed=1)
    rng = torch.Generator().manual_seed(0)
    rows, condition = torch.randn(12, 4, generator=rng), torch.eye(2).repeat(6, 1)
    batch = Batch(rows, condition, torch.ones(12))
    start = players.tensors()
    gradient, report = players.critic_gradient(batch, players.fake(condition, rng), rng)
    players.step_critic(gradient)
    gradient, loss = players.generator_gradient(condition, batch.weights, rng)
    players.step_generator(gradient)
    for value in (report.estimate, report.penalty, loss):
        assert value.shape == (12,)
        assert torch.isfinite(value).all()
    after = players.tensors()
    for name in ("critic", "generator"):
        assert torch.isfinite(after[name]).all()
        assert not torch.equal(after[name], start[name])
