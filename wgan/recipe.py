"""One training's parts, its own configuration, and which of them do not go together.

A recipe travels to the sites as JSON, so that every party builds the same networks and takes the
same steps.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from wgan.critics import CriticSpec, MLPCriticSpec, MultipliersSpec
from wgan.edges import EdgePenalty
from wgan.errors import SettingsError, StateError
from wgan.generators import GeneratorSpec, SkipGeneratorSpec
from wgan.lipschitz import Clipping, LipschitzSpec, Penalised, SpectralNorm, Unconstrained
from wgan.objectives import ObjectiveSpec, Wasserstein
from wgan.optimizers import Adam, OptimizerSpec
from wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from wgan.points import Manifold
from wgan.shape import Shape
from wgan.strength import Constant, StrengthSpec
from wgan.views import ImageAugmentation, ViewSpec

__all__ = ["Recipe", "Shape"]


@dataclass(frozen=True)
class Recipe:
    """The parts of one training.

    Attributes:
        generator: How the generator is built.
        critic: How the critic is built.
        objective: What the two play for.
        lipschitz: How the critic's slope is held, with all terms of its loss but the objective.
        views: What real and fake samples alike go through before the critic sees them, in order.
        strength: What drives the strength of all views.
        pack: Samples that the critic judges together as one (PacGAN: Lin et al., "PacGAN: The power
            of two samples in generative adversarial networks", 2018).
        generator_optimizer: The generator's optimizer.
        critic_optimizer: The critic's optimizer.
        averaging: Decay, per generator step, of the exponential average of the generator's weights
            that is used for sampling (Yazici et al., "The Unusual Effectiveness of Averaging in GAN
            Training", 2019).
    """

    generator: GeneratorSpec = field(default_factory=SkipGeneratorSpec)
    critic: CriticSpec = field(default_factory=MLPCriticSpec)
    objective: ObjectiveSpec = field(default_factory=Wasserstein)
    lipschitz: LipschitzSpec = field(default_factory=Penalised)
    views: tuple[ViewSpec, ...] = ()
    strength: StrengthSpec = field(default_factory=Constant)
    pack: int = 1
    generator_optimizer: OptimizerSpec = field(default_factory=Adam)
    critic_optimizer: OptimizerSpec = field(default_factory=Adam)
    averaging: float = 0.999

    def check(self, shape: Shape | None = None) -> None:
        """Refuses parts that do not go together; with `shape`, also those that need other data.

        Raises:
            SettingsError: With the reason and what to write instead, for all such pairs at once.
        """
        problems = [*_combinations(self), *(_misfits(self, shape) if shape else ())]
        if problems:
            raise SettingsError(problems)

    def warnings(self) -> tuple[str, ...]:
        """What works but is known to work badly, with what was measured."""
        penalised = any(isinstance(p, GradientPenalty) for p in self.lipschitz.penalties)
        used = self.critic.activations if penalised else ()
        return tuple(WARNINGS[name] for name in sorted(used) if name in WARNINGS)

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
    sloped = [p for p in acting if not isinstance(p, Drift)]
    if critic.batch_statistics and sloped:
        yield (
            "a critic with batch statistics (norm = 'batch') under a gradient penalty: the penalty "
            "is a statement about the slope at one example, and with batch statistics every score "
            "depends on the whole batch (Gulrajani et al., 2017, section 4); write norm = 'layer' "
            "or 'group', or hold the slope by clipping"
        )
    # Neither bounds the slope with respect to the sample.
    held = any(not isinstance(p, ConditionPenalty | Drift) for p in acting)
    loose = isinstance(lipschitz, Unconstrained | Penalised) and not held
    if loose and not recipe.objective.bounded:
        yield (
            "the Wasserstein objective without a constraint: scores twice as large are twice as "
            "good, so the critic has nothing to converge to; add a gradient penalty, clipping or "
            "spectral_norm, or take the objective 'hinge' or 'jensen_shannon'"
        )
    if isinstance(lipschitz, SpectralNorm) and critic.normalised:
        yield (
            "spectral_norm with a normalised critic: layer, group, instance and batch norms divide "
            "by a deviation that may be as small as they like, so no bound on the slope follows; "
            "write norm = 'none'"
        )
    if isinstance(lipschitz, SpectralNorm) and lipschitz.iterations < 1:
        yield (
            f"spectral_norm: iterations = {lipschitz.iterations}; expected power iterations at "
            "each step, write 1 or more"
        )
    if isinstance(lipschitz, SpectralNorm) and isinstance(critic, MultipliersSpec):
        yield (
            "spectral_norm with class multipliers: the multipliers scale the slope that the norms "
            "bound; take the critic without them, or a gradient penalty"
        )
    if isinstance(lipschitz, Clipping) and isinstance(critic, MultipliersSpec):
        yield (
            "clipping with class multipliers: their logarithms would be clipped too, so that all "
            "are about 1; take the critic without them, or a gradient penalty"
        )
    if recipe.views and recipe.strength.reads == "sign" and not recipe.objective.logits:
        yield (
            "a strength that follows the sign of scores under the Wasserstein objective: a "
            "constant added to all scores changes no loss but every sign; write "
            "statistic = 'held_out'"
        )
    if isinstance(lipschitz, Clipping) and lipschitz.limit <= 0:
        yield f"clipping at {lipschitz.limit} leaves no weights; expected a limit above 0, say 0.01"
    if recipe.pack < 1:
        yield f"pack = {recipe.pack}: expected at least 1, the samples a critic judges together"
    for penalty in lipschitz.penalties:
        if penalty.every < 1:
            yield f"{penalty.name}: every = {penalty.every}; expected at least 1, each step"
        if penalty.weight < 0:
            yield f"{penalty.name}: weight = {penalty.weight} would be a reward; expected 0 or more"
        points = penalty.points if isinstance(penalty, GradientPenalty) else None
        if isinstance(points, Manifold) and not 1 <= points.dimension <= points.neighbours:
            yield (
                f"{penalty.name}: {points.dimension} directions from {points.neighbours} "
                "neighbours; expected at least 1, and as many neighbours as directions or more"
            )


def _misfits(recipe: Recipe, shape: Shape) -> Iterator[str]:
    for penalty in recipe.lipschitz.penalties:
        if isinstance(penalty, ConditionPenalty) and not shape.condition:
            yield f"{penalty.name}: there is no condition to differentiate by; leave it out"
        if isinstance(penalty, EdgePenalty):
            wide = shape.width * recipe.pack
            nodes = 1 + max(node for edge in penalty.edges for node in edge)
            if penalty.rows and len(penalty.rows[0]) != wide:
                yield (
                    f"{penalty.name}: rows of length {len(penalty.rows[0])} for nodes, and samples "
                    f"of length {wide}; expected the same codec for both"
                )
            elif not penalty.rows and nodes > wide:
                yield (
                    f"{penalty.name}: {nodes} nodes, and samples of length {wide}; write what the "
                    "critic sees of each node in rows, or make samples one-hot"
                )
        if isinstance(penalty, GradientPenalty) and penalty.class_weights:
            length, wanted = len(penalty.class_weights), shape.condition * recipe.pack
            if length != wanted:
                yield (
                    f"{penalty.name}: {length} class weights for a condition of length {wanted}; "
                    "expected one for each of its entries"
                )
    for view in recipe.views:
        if isinstance(view, ImageAugmentation):
            try:
                view.check(shape)
            except SettingsError as error:
                yield from error.problems
