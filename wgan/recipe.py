"""One training's parts, its own configuration, and which of them do not go together.

A recipe travels to the sites as JSON, so that every party builds the same networks and takes the
same steps.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from everymode.wgan.augmentations import AugmentationSpec
from everymode.wgan.clipped_noised import ClippedNoised
from everymode.wgan.critics import CriticSpec, MLPCriticSpec
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.generators import GeneratorSpec, SkipGeneratorSpec
from everymode.wgan.gradients import Plain
from everymode.wgan.lipschitz import LipschitzSpec, Penalised
from everymode.wgan.objectives import ObjectiveSpec, Wasserstein
from everymode.wgan.optimizers import Adam, OptimizerSpec
from everymode.wgan.shape import Shape
from everymode.wgan.strength import Constant, StrengthSpec

__all__ = ["GradientRuleSpec", "Recipe", "Shape"]

GradientRuleSpec = Annotated[Plain | ClippedNoised, Field(discriminator="kind")]
"""Any gradient rule, told apart by its `kind` in JSON; a new one is added here."""


@dataclass(frozen=True)
class Recipe:
    """The parts of one training.

    Attributes:
        generator: How the generator is built.
        critic: How the critic is built.
        objective: What the two play for.
        lipschitz: How the critic's slope is held, with all terms of its loss but the objective.
        augmentations: Random changes of what the critic sees, real and fake alike, in order.
        strength: What drives the strength of all augmentations.
        pack: Samples that the critic judges together as one (PacGAN: Lin et al., "PacGAN: The power
            of two samples in generative adversarial networks", 2018).
        generator_optimizer: The generator's optimizer.
        critic_optimizer: The critic's optimizer.
        averaging: Decay, per generator step, of the exponential average of the generator's weights
            that is used for sampling (Yazici et al., "The Unusual Effectiveness of Averaging in GAN
            Training", 2019).
        gradient_rule: How the critic's gradient is made from the losses of single examples.
    """

    generator: GeneratorSpec = field(default_factory=SkipGeneratorSpec)
    critic: CriticSpec = field(default_factory=MLPCriticSpec)
    objective: ObjectiveSpec = field(default_factory=Wasserstein)
    lipschitz: LipschitzSpec = field(default_factory=Penalised)
    augmentations: tuple[AugmentationSpec, ...] = ()
    strength: StrengthSpec = field(default_factory=Constant)
    pack: int = 1
    generator_optimizer: OptimizerSpec = field(default_factory=Adam)
    critic_optimizer: OptimizerSpec = field(default_factory=Adam)
    averaging: float = 0.999
    gradient_rule: GradientRuleSpec = field(default_factory=Plain)

    def check(self, shape: Shape | None = None) -> None:
        """Refuses parts that do not go together; with `shape`, also those that need other data.

        Raises:
            SettingsError: With the reason and what to write instead, for all such pairs at once.
        """
        problems = [*_combinations(self), *_parts(self, shape)]
        if problems:
            raise SettingsError(problems)

    def warnings(self) -> tuple[str, ...]:
        """What works but is known to work badly, with what was measured."""
        penalised = any(p.slope_target is not None for p in self.lipschitz.penalties)
        used = self.critic.activations if penalised else ()
        return tuple(WARNINGS[name] for name in sorted(used) if name in WARNINGS)

    def to_json(self) -> str:
        """As JSON text.

        >>> Recipe.from_json(Recipe(averaging=0.5).to_json()).averaging
        0.5
        """
        # A rule that is left out is the plain one: recipes from before there were rules, and the
        # fingerprints made of them, stay as they are.
        plain = self.gradient_rule == Plain()
        return _RECIPE.dump_json(self, exclude={"gradient_rule"} if plain else None).decode()

    @staticmethod
    def from_json(text: str) -> "Recipe":
        """The inverse of `to_json`.

        Raises:
            StateError: It is no recipe, or one of a version with other fields.
        """
        try:
            recipe = _RECIPE.validate_json(text)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, e["loc"])) or "it" for e in error.errors())
            raise StateError(f"not a recipe of this version: cannot read {places}") from None
        # Pydantic passes over fields it does not know, and over absent ones: two parties would
        # then train by different recipes.
        given, known = json.loads(text), json.loads(recipe.to_json())
        if given != known and given != known | {"gradient_rule": asdict(Plain())}:
            raise StateError(
                "not a recipe of this version: its fields or values are not those that "
                f"{recipe.to_json()} has"
            )
        return recipe


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)

WARNINGS = {
    "tanh": "a tanh critic saturates on data that are not scaled: with 64 % of its first units "
    "saturated it found 23 % of W1, where leaky_relu found 107 % (everymode claims --only "
    "activations); write activation = 'leaky_relu'",
    "relu": "units of a deep ReLU critic die under a gradient penalty, 29 % at first and 42 % "
    "after 250 steps, where leaky_relu loses none (everymode claims --only activations); write "
    "activation = 'leaky_relu'",
}
"""Measured by claim 8, twelve layers of 64 units, three seeds."""


def _combinations(recipe: Recipe) -> Iterator[str]:
    critic, lipschitz = recipe.critic, recipe.lipschitz
    acting = [p for p in lipschitz.penalties if p.weight]
    if critic.batch_statistics and any(p.one_example for p in acting):
        yield (
            "a critic with batch statistics (norm = 'batch') under a gradient penalty: the penalty "
            "is a statement about the slope at one example, and with batch statistics every score "
            "depends on the whole batch (Gulrajani et al., 2017, section 4); write norm = 'layer' "
            "or 'group', or hold the slope by clipping"
        )
    yield from recipe.gradient_rule.check(critic, acting, recipe.pack)
    held = lipschitz.constrains or any(p.holds_slope for p in acting)
    if not held and not recipe.objective.bounded:
        yield (
            "the Wasserstein objective without a constraint: scores twice as large are twice as "
            "good, so the critic has nothing to converge to; add a gradient penalty, clipping or "
            "spectral_norm, or take the objective 'hinge' or 'jensen_shannon'"
        )
    yield from lipschitz.check(critic)
    if recipe.augmentations and recipe.strength.reads == "sign" and not recipe.objective.logits:
        yield (
            "a strength that follows the sign of scores under the Wasserstein objective: a "
            "constant added to all scores changes no loss but every sign; write "
            "statistic = 'held_out'"
        )
    if recipe.pack < 1:
        yield f"pack = {recipe.pack}: expected at least 1, the samples a critic judges together"


def _parts(recipe: Recipe, shape: Shape | None) -> Iterator[str]:
    seen = shape.packed(max(recipe.pack, 1)) if shape else None
    for penalty in recipe.lipschitz.penalties:
        yield from penalty.check(seen)
    if shape:
        for augmentation in recipe.augmentations:
            yield from augmentation.check(shape)
