"""One training's parts: networks, objective, penalties, optimizers. Its own configuration.

A recipe travels to the sites as JSON, so that every party builds the same networks and takes the
same steps.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from wgan.critics import MLPCriticSpec
from wgan.data.codec import Block
from wgan.errors import StateError
from wgan.generators import SkipGeneratorSpec
from wgan.objectives import Wasserstein
from wgan.optimizers import Adam
from wgan.penalties import GradientPenalty


@dataclass(frozen=True)
class Shape:
    """What the networks must know of the data.

    Attributes:
        blocks: How the outputs of the generator are laid out.
        width: D, length of an encoded row.
        condition: C, length of a condition.
    """

    blocks: Sequence[Block]
    width: int
    condition: int


@dataclass(frozen=True)
class Recipe:
    """The parts of one training.

    Attributes:
        generator: How the generator is built.
        critic: How the critic is built.
        objective: What the two play for.
        penalties: Terms added to the critic's loss.
        generator_adam: The generator's optimizer.
        critic_adam: The critic's optimizer.
        averaging: Decay, per generator step, of the exponential average of the generator's weights
            that is used for sampling (Yazici et al., "The Unusual Effectiveness of Averaging in GAN
            Training", 2019).
    """

    generator: SkipGeneratorSpec = field(default_factory=SkipGeneratorSpec)
    critic: MLPCriticSpec = field(default_factory=MLPCriticSpec)
    objective: Wasserstein = field(default_factory=Wasserstein)
    penalties: tuple[GradientPenalty, ...] = (GradientPenalty(),)
    generator_adam: Adam = field(default_factory=Adam)
    critic_adam: Adam = field(default_factory=Adam)
    averaging: float = 0.999

    def to_json(self) -> str:
        """As JSON text.

        >>> Recipe.from_json(Recipe(averaging=0.5).to_json()).averaging
        0.5
        """
        return _RECIPE.dump_json(self).decode()

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
        if json.loads(text) != json.loads(recipe.to_json()):
            raise StateError(
                "not a recipe of this version: its fields or values are not those that "
                f"{recipe.to_json()} has"
            )
        return recipe


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
