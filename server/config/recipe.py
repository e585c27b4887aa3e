"""From the keys under [model], [views] and [gradients] to the parts of a training."""

from everymode.server.config.sections import ModelSettings, ViewSettings
from everymode.server.config.settings import Settings
from everymode.wgan.augmentations import (
    AugmentationSpec,
    Diffusion,
    InstanceNoise,
    TableAugmentation,
)
from everymode.wgan.critics import (
    CommitteeSpec,
    ConvCriticSpec,
    CriticSpec,
    MLPCriticSpec,
    MultipliersSpec,
)
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.generators import ConvGeneratorSpec, SkipGeneratorSpec
from everymode.wgan.lipschitz import (
    Clipping,
    CriticPenaltySpec,
    LipschitzSpec,
    Penalised,
    SpectralNorm,
    Unconstrained,
)
from everymode.wgan.objectives import Hinge, JensenShannon, ObjectiveSpec, Wasserstein
from everymode.wgan.optimizers import Adam, OptimizerSpec, RMSprop
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from everymode.wgan.points import Fake, Interpolates, Manifold, PointsSpec, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.strength import Adaptive, Constant, Decay, StrengthSpec

IMAGE = 4
"""Height and width from which on an image has the two stages of convolutions."""


def convolutional(samples: SampleLayout | None) -> bool:
    """Whether samples are images that are large enough for convolutional networks."""
    return samples is not None and len(samples.axes) == 3 and min(samples.axes[1:]) >= IMAGE


def build_recipe(settings: Settings, samples: SampleLayout | None = None) -> Recipe:
    """The recipe that a configuration describes; see `Recipe.check` for what it refuses.

    Args:
        settings: The configuration.
        samples: What the sites' samples are; None: rows of a table. Images get convolutional
            networks, everything else layers that are fully connected.
    """
    model, views = settings.model, settings.views
    images = convolutional(samples)
    return Recipe(
        generator=ConvGeneratorSpec(noise=model.noise, output="linear")
        if images
        else SkipGeneratorSpec(model.generator_hidden, model.noise, model.temperature),
        critic=_critic(model, images),
        objective=_objective(model),
        lipschitz=_lipschitz(model),
        augmentations=tuple(_augmentation(kind, views) for kind in views.use),
        strength=_strength(views),
        pack=model.pack,
        generator_optimizer=_optimizer(model, model.generator_rate),
        critic_optimizer=_optimizer(model, model.critic_rate),
        averaging=model.averaging,
        gradient_rule=settings.gradients.rule(),
    )


def _critic(model: ModelSettings, images: bool) -> CriticSpec:
    critic: CriticSpec = (
        ConvCriticSpec(
            activation=model.activation, norm=model.norm, conditioning=model.conditioning
        )
        if images
        else MLPCriticSpec(
            hidden=model.critic_hidden,
            activation=model.activation,
            norm=model.norm,
            conditioning=model.conditioning,
        )
    )
    if model.committee > 1:
        critic = CommitteeSpec(critic, model.committee)
    return MultipliersSpec(critic) if model.multipliers else critic


def _objective(model: ModelSettings) -> ObjectiveSpec:
    match model.objective:
        case "wasserstein":
            return Wasserstein()
        case "hinge":
            return Hinge()
        case "jensen_shannon":
            return JensenShannon()
        case "jensen_shannon_saturating":
            return JensenShannon(saturating=True)


def _lipschitz(model: ModelSettings) -> LipschitzSpec:
    further: list[CriticPenaltySpec] = []
    if model.condition_penalty:
        further.append(ConditionPenalty(model.condition_penalty))
    if model.drift:
        further.append(Drift(model.drift))
    match model.lipschitz:
        case "gradient_penalty":
            penalty = GradientPenalty(
                weight=model.gradient_penalty,
                one_sided=model.penalty_one_sided,
                points=_points(model),
                per_condition=model.penalty_by_class,
                every=model.penalty_every,
            )
            return Penalised((penalty, *further))
        case "clipping":
            return Clipping(model.clip, tuple(further))
        case "spectral_norm":
            return SpectralNorm(penalties=tuple(further))
        case "none":
            return Unconstrained(tuple(further))


def _points(model: ModelSettings) -> PointsSpec:
    match model.penalty_points:
        case "mixed":
            return Interpolates()
        case "real":
            return Real()
        case "fake":
            return Fake()
        case "manifold":
            return Manifold()


def _optimizer(model: ModelSettings, rate: float) -> OptimizerSpec:
    if model.optimizer == "rmsprop":
        return RMSprop(rate)
    return Adam(rate, model.beta1, model.beta2)


def _augmentation(kind: str, views: ViewSettings) -> AugmentationSpec:
    match kind:
        case "noise":
            return InstanceNoise(views.deviation)
        case "diffusion":
            return Diffusion(deviation=views.deviation)
        case _:
            return TableAugmentation()


def _strength(views: ViewSettings) -> StrengthSpec:
    match views.rule:
        case "constant":
            return Constant(views.strength)
        case "decay":
            return Decay(views.strength, views.until)
        case "adaptive":
            return Adaptive(views.target, views.speed, views.statistic)
