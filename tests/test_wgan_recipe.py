"""The recipe that says how networks are built and trained."""

import json

import pytest

from wgan.critics import MLPCriticSpec
from wgan.errors import StateError
from wgan.generators import SkipGeneratorSpec
from wgan.optimizers import Adam
from wgan.penalties import GradientPenalty
from wgan.recipe import Recipe

CHANGED = Recipe(
    generator=SkipGeneratorSpec((3,), noise=2, temperature=0.7),
    critic=MLPCriticSpec((), slope=0.1),
    penalties=(GradientPenalty(1.5, 0.5, True, "first"), GradientPenalty(weight=2)),
    generator_adam=Adam(1e-3, 0.0, 0.99, 1e-6),
    critic_adam=Adam(2e-3),
    averaging=0.25,
)


@pytest.mark.parametrize("recipe", [Recipe(), CHANGED, Recipe(penalties=())])
def test_a_recipe_comes_back_from_json(recipe):
    back = Recipe.from_json(recipe.to_json())
    assert back == recipe and hash(back) == hash(recipe)
    # JSON with other white space, as run directories hold it, is the same recipe.
    assert Recipe.from_json(json.dumps(json.loads(recipe.to_json()), indent=2)) == recipe


def test_a_recipe_with_other_fields_is_refused():
    good = json.loads(CHANGED.to_json())
    without = {k: v for k, v in good.items() if k != "averaging"}
    bad = [
        good | {"averagin": 0.1},
        without,
        good | {"critic": good["critic"] | {"norm": "spectral"}},
        good | {"critic": {"hidden": ["wide"], "slope": 0.1}},
        good | {"averaging": None},
        [],
    ]
    for value in bad:
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(json.dumps(value))
    for text in ("", "{", "\x00"):
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(text)
    with pytest.raises(StateError, match=r"critic\.hidden\.0"):
        Recipe.from_json(json.dumps(bad[3]))
