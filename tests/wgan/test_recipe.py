"""The recipe that says how networks are built and trained, and what it refuses."""

import json
import re
from dataclasses import dataclass, replace

import pytest

from everymode.wgan.augmentations import Diffusion, ImageAugmentation, InstanceNoise
from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.generators import ConvGeneratorSpec, SkipGeneratorSpec
from everymode.wgan.gradients import Plain
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm, Unconstrained
from everymode.wgan.objectives import Hinge, JensenShannon, Wasserstein
from everymode.wgan.optimizers import SGD, Adam, RMSprop
from everymode.wgan.penalties import ConditionPenalty, CriticPenalty, Drift, GradientPenalty
from everymode.wgan.points import Manifold, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.strength import Adaptive, Decay

CHANGED = Recipe(
    generator=SkipGeneratorSpec((3,), noise=2, temperature=0.7),
    critic=MLPCriticSpec((), slope=0.1),
    lipschitz=Penalised((GradientPenalty(1.5, 0.5, True, "first"), GradientPenalty(weight=2))),
    generator_optimizer=Adam(1e-3, 0.0, 0.99, 1e-6),
    critic_optimizer=Adam(2e-3),
    averaging=0.25,
)
OTHERWISE = Recipe(
    generator=ConvGeneratorSpec((4,), output="linear"),
    critic=MultipliersSpec(ConvCriticSpec((4, 8), norm="group"), start=(1.0, 2.0)),
    objective=JensenShannon(saturating=True),
    lipschitz=Clipping(
        0.1,
        (
            GradientPenalty(points=Manifold(2), class_weights=(1.0, 0.5), every=4),
            ConditionPenalty(2.0),
            Drift(),
        ),
    ),
    augmentations=(InstanceNoise(0.5), Diffusion(10), ImageAugmentation(rotate=True)),
    strength=Adaptive(statistic="sign"),
    pack=2,
    generator_optimizer=RMSprop(),
    critic_optimizer=SGD(momentum=0.5),
)
RECIPES = [
    Recipe(),
    CHANGED,
    OTHERWISE,
    Recipe(lipschitz=SpectralNorm(), critic=CommitteeSpec()),
    Recipe(lipschitz=Unconstrained(), objective=Hinge(), strength=Decay()),
    Recipe(lipschitz=Penalised(())),
]
ROWS = Shape((), 6, 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_comes_back_from_json(recipe):
    back = Recipe.from_json(recipe.to_json())
    assert back == recipe and hash(back) == hash(recipe)
    # JSON with other white space, as run directories hold it, is the same recipe.
    assert Recipe.from_json(json.dumps(json.loads(recipe.to_json()), indent=2)) == recipe


def test_recipes_that_differ_have_other_json():
    assert len({recipe.to_json() for recipe in RECIPES}) == len(RECIPES)


def test_a_recipe_with_other_fields_is_refused():
    good = json.loads(CHANGED.to_json())
    without = {k: v for k, v in good.items() if k != "averaging"}
    of_before = {k: v for k, v in good["critic"].items() if k != "norm"}
    bad = [
        good | {"averagin": 0.1},
        without,
        good | {"critic": good["critic"] | {"norm": "spectral"}},
        good | {"critic": good["critic"] | {"hidden": ["wide"]}},
        good | {"averaging": None},
        # What an earlier version wrote, and what a later one might.
        good | {"critic": of_before},
        good | {"critic": good["critic"] | {"dropout": 0.1}},
        good | {"penalties": good["lipschitz"]["penalties"]},
        good | {"objective": {"kind": "least_squares"}},
        good | {"objective": {}},
        [],
    ]
    for value in bad:
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(json.dumps(value))
    for text in ("", "{", "\x00"):
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(text)
    # A part is named with its kind.
    with pytest.raises(StateError, match=r"cannot read critic\.mlp\.hidden\.0$"):
        Recipe.from_json(json.dumps(bad[3]))


BATCH = MLPCriticSpec((4,), norm="batch")
HELD = Penalised((GradientPenalty(), Drift()))
REFUSED = [
    ({"critic": BATCH}, ["batch statistics.*every score depends on the whole batch.*'layer'"]),
    ({"critic": CommitteeSpec(BATCH)}, ["batch statistics"]),
    ({"critic": BATCH, "lipschitz": Clipping(0.1, (ConditionPenalty(),))}, ["batch statistics"]),
    ({"lipschitz": Unconstrained()}, ["Wasserstein objective without a constraint.*'hinge'"]),
    ({"lipschitz": Unconstrained((Drift(),))}, ["without a constraint"]),
    # Neither says anything of the slope along the sample.
    ({"lipschitz": Unconstrained((ConditionPenalty(),))}, ["without a constraint"]),
    ({"lipschitz": Penalised((ConditionPenalty(), Drift()))}, ["without a constraint"]),
    ({"lipschitz": Penalised(())}, ["without a constraint"]),
    (
        {"lipschitz": SpectralNorm(), "critic": MLPCriticSpec((4,), norm="layer")},
        ["spectral_norm with a normalised critic.*write norm = 'none'"],
    ),
    (
        {"lipschitz": SpectralNorm(), "critic": MultipliersSpec()},
        ["spectral_norm with class multipliers.*or a gradient penalty"],
    ),
    ({"lipschitz": SpectralNorm(0)}, ["iterations = 0; expected"]),
    (
        {"lipschitz": Clipping(), "critic": MultipliersSpec()},
        ["clipping with class multipliers.*or a gradient penalty"],
    ),
    (
        {"lipschitz": Penalised((GradientPenalty(0.0),))},
        ["Wasserstein objective without a constraint"],
    ),
    (
        {"strength": Adaptive(statistic="sign"), "augmentations": (InstanceNoise(),)},
        ["sign of scores.*write statistic = 'held_out'"],
    ),
    ({"lipschitz": Clipping(0.0)}, ["clipping at 0.0 leaves no weights.*say 0.01"]),
    ({"pack": 0}, ["pack = 0: expected at least 1"]),
    ({"lipschitz": Penalised((GradientPenalty(every=0),))}, ["every = 0; expected at least 1"]),
    ({"lipschitz": Penalised((GradientPenalty(-1.0),))}, ["weight = -1.0 would be a reward"]),
    (
        {"lipschitz": Penalised((GradientPenalty(points=Manifold(0)),))},
        ["0 directions from 6 neighbours; expected at least 1"],
    ),
    (
        {"lipschitz": Penalised((GradientPenalty(points=Manifold(4, 3)),))},
        ["4 directions from 3 neighbours"],
    ),
    # All at once.
    (
        {
            "critic": MultipliersSpec(BATCH),
            "lipschitz": SpectralNorm(penalties=(GradientPenalty(-2.0, every=-1),)),
            "strength": Adaptive(statistic="sign"),
            "augmentations": (InstanceNoise(),),
            "pack": -1,
        },
        ["batch statistics", "normalised", "multipliers", "sign", "pack", "every", "weight"],
    ),
]


@pytest.mark.parametrize(("parts", "words"), REFUSED)
def test_parts_that_do_not_go_together_are_refused_all_at_once(parts, words):
    with pytest.raises(SettingsError) as caught:
        Recipe(**parts).check()
    assert len(caught.value.problems) == len(words)
    for problem, word in zip(caught.value.problems, words, strict=True):
        assert re.search(word, problem)


ALLOWED = [
    {},
    {"critic": BATCH, "lipschitz": Clipping(0.1, (Drift(),))},
    {"critic": BATCH, "lipschitz": Unconstrained((Drift(),)), "objective": Hinge()},
    # Without layers there is nothing to normalise.
    {"critic": MLPCriticSpec((), norm="batch"), "lipschitz": HELD},
    {"critic": MLPCriticSpec((), norm="layer"), "lipschitz": SpectralNorm()},
    {"lipschitz": Unconstrained(), "objective": JensenShannon()},
    {"strength": Adaptive(statistic="sign")},
    {"critic": BATCH, "lipschitz": Penalised((GradientPenalty(0.0),)), "objective": Hinge()},
    {"lipschitz": Penalised(()), "objective": Hinge()},
    {"lipschitz": Unconstrained((GradientPenalty(points=Real()),))},
    {"lipschitz": SpectralNorm(), "critic": CommitteeSpec(members=2)},
    {"strength": Adaptive(statistic="sign"), "objective": Hinge()},
    {"strength": Adaptive(statistic="held_out"), "objective": Wasserstein()},
]


@pytest.mark.parametrize("parts", ALLOWED)
def test_what_goes_together_is_not_refused(parts):
    Recipe(**parts).check()
    Recipe(**parts).check(ROWS)


@dataclass(frozen=True)
class Own(CriticPenalty):
    """A penalty from elsewhere, which says of itself whether it holds the slope."""

    holds: bool
    name: str = "own"
    weight: float = 1.0
    every: int = 1

    @property
    def holds_slope(self):
        return self.holds

    def value(self, step, drawn):
        return step.critic(step.real, step.condition)


def test_penalties_from_elsewhere_say_whether_they_hold_the_slope():
    Recipe(lipschitz=Penalised((Own(True),))).check(ROWS)
    with pytest.raises(SettingsError, match="without a constraint"):
        Recipe(lipschitz=Penalised((Own(False),))).check(ROWS)
    # What it does not say is assumed for the worse: it may speak of one example.
    with pytest.raises(SettingsError, match="batch statistics"):
        Recipe(critic=BATCH, lipschitz=Penalised((Own(True),))).check(ROWS)


def test_a_recipe_without_a_gradient_rule_is_plain():
    """Recipes from before there were rules, and the fingerprints made of them, stay valid."""
    text = Recipe().to_json()
    given = json.loads(text)
    assert "gradient_rule" not in given and Recipe.from_json(text).gradient_rule == Plain()
    named = json.dumps(given | {"gradient_rule": {"kind": "plain"}})
    assert Recipe.from_json(named) == Recipe() and Recipe.from_json(named).to_json() == text
    for rule in ({"kind": "clipped"}, {}, {"kind": "plain", "norm": 1.0}, None, "plain"):
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(json.dumps(given | {"gradient_rule": rule}))


MISFITS = [
    ({"lipschitz": Penalised((GradientPenalty(), ConditionPenalty()))}, Shape((), 6, 0), 1),
    ({"lipschitz": Penalised((GradientPenalty(class_weights=(1.0, 2.0)),))}, ROWS, 1),
    ({"lipschitz": Penalised((GradientPenalty(class_weights=(1.0,) * 3),)), "pack": 2}, ROWS, 1),
    ({"augmentations": (ImageAugmentation(),)}, ROWS, 1),
    ({"augmentations": (ImageAugmentation(rotate=True),)}, Shape((), 6, 3, sample=(1, 2, 3)), 1),
    (
        {
            "augmentations": (InstanceNoise(), ImageAugmentation()),
            "lipschitz": Penalised((ConditionPenalty(), GradientPenalty(class_weights=(1.0,)))),
        },
        Shape((), 6, 0),
        3,
    ),
]


@pytest.mark.parametrize(("parts", "shape", "count"), MISFITS)
def test_parts_that_need_other_data_are_refused_once_the_data_are_known(parts, shape, count):
    Recipe(**parts).check()
    with pytest.raises(SettingsError) as caught:
        Recipe(**parts).check(shape)
    assert len(caught.value.problems) == count


def test_misfits_say_what_was_expected():
    said = []
    for parts, shape, _ in MISFITS[:5]:
        with pytest.raises(SettingsError) as caught:
            Recipe(**parts).check(shape)
        said += caught.value.problems
    assert "condition_penalty: there is no condition" in said[0] and "leave it out" in said[0]
    assert "2 class weights for a condition of length 3; expected one for each" in said[1]
    # A pack has a condition for each of its members.
    assert "3 class weights for a condition of length 6" in said[2]
    assert 'write kind = "table_augmentation"' in said[3]
    assert "write rotate = false" in said[4]


def test_combinations_and_misfits_are_told_together():
    parts = {**MISFITS[0][0], "pack": 0}
    with pytest.raises(SettingsError) as caught:
        Recipe(**parts).check(MISFITS[0][1])
    assert len(caught.value.problems) == 2


def test_warnings_of_what_is_known_to_work_badly():
    def warned(critic, lipschitz=HELD):
        return Recipe(critic=critic, lipschitz=lipschitz).warnings()

    assert not warned(MLPCriticSpec()) and not warned(MLPCriticSpec((), activation="tanh"))
    for name, word in (("tanh", "saturates"), ("relu", "die")):
        critic = MLPCriticSpec(activation=name)
        (text,) = warned(critic)
        assert word in text and "leaky_relu" in text
        assert warned(CommitteeSpec(critic)) == warned(MultipliersSpec(critic)) == (text,)
        assert warned(ConvCriticSpec(activation=name)) == (text,)
        # Only a penalty on the slope wants more than the scores.
        for other in (Clipping(), SpectralNorm(), Penalised((Drift(),)), Unconstrained()):
            assert not warned(critic, other)
    assert warned(MLPCriticSpec(activation="relu"), SpectralNorm(penalties=(GradientPenalty(),)))


def test_a_warning_is_no_refusal():
    recipe = replace(CHANGED, critic=MLPCriticSpec(activation="tanh"))
    recipe.check(ROWS)
    assert recipe.warnings()
