"""Adversarial learning in one process: parts, one loop, state. No idea of groups or federations.

>>> import torch
>>> from wgan import Batch, GradientPenalty, Penalised, Players, Recipe, Schedule, Shape, train
>>> def real(count, rng):
...     rows = 1 + torch.randn((count, 2), generator=rng)
...     return Batch(rows, rows[:, :0], torch.ones(count))
>>> recipe = Recipe(lipschitz=Penalised((GradientPenalty(one_sided=True),)))
>>> rng, players = torch.Generator().manual_seed(0), Players(recipe, Shape((), 2, 0))
>>> for report in train(players, real, Schedule(steps=2, batch=16), rng):
...     estimate = report.estimate.mean()
>>> players.fake(torch.zeros(3, 0), rng).shape
torch.Size([3, 2])
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from wgan.augmentations import (
        Augmentation,
        Diffusion,
        ImageAugmentation,
        InstanceNoise,
        TableAugmentation,
    )
    from wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
    from wgan.diagnostics import Finding, Observation, diagnose
    from wgan.edges import EdgePenalty
    from wgan.errors import DataError, EveryModeError, NumericalError, SettingsError, StateError
    from wgan.flat import FlatModule
    from wgan.generators import (
        ConvGeneratorSpec,
        MLPGeneratorSpec,
        SkipGeneratorSpec,
        TableGenerator,
    )
    from wgan.gradients import CriticLosses, CriticReport, GradientRule, Plain
    from wgan.lipschitz import Clipping, Lipschitz, Penalised, SpectralNorm, Unconstrained
    from wgan.objectives import Hinge, JensenShannon, Objective, Wasserstein
    from wgan.optimizers import SGD, Adam, Optimizer, RMSprop
    from wgan.penalties import (
        ConditionPenalty,
        CriticPenalty,
        CriticStep,
        Drift,
        GeneratorPenalty,
        GeneratorStep,
        GradientPenalty,
    )
    from wgan.players import Batch, Players
    from wgan.points import Fake, Interpolates, Manifold, Real
    from wgan.recipe import Recipe
    from wgan.schedules import Cosine, Linear
    from wgan.shape import Block, Shape
    from wgan.stopping import Plateau
    from wgan.strength import Adaptive, Constant, Decay
    from wgan.training import Schedule, Source, observe, train
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "wgan.augmentations": (
                "Augmentation",
                "Diffusion",
                "ImageAugmentation",
                "InstanceNoise",
                "TableAugmentation",
            ),
            "wgan.critics": ("CommitteeSpec", "ConvCriticSpec", "MLPCriticSpec", "MultipliersSpec"),
            "wgan.diagnostics": ("Finding", "Observation", "diagnose"),
            "wgan.edges": ("EdgePenalty",),
            "wgan.errors": (
                "DataError",
                "EveryModeError",
                "NumericalError",
                "SettingsError",
                "StateError",
            ),
            "wgan.flat": ("FlatModule",),
            "wgan.generators": (
                "ConvGeneratorSpec",
                "MLPGeneratorSpec",
                "SkipGeneratorSpec",
                "TableGenerator",
            ),
            "wgan.gradients": ("CriticLosses", "CriticReport", "GradientRule", "Plain"),
            "wgan.lipschitz": (
                "Clipping",
                "Lipschitz",
                "Penalised",
                "SpectralNorm",
                "Unconstrained",
            ),
            "wgan.objectives": ("Hinge", "JensenShannon", "Objective", "Wasserstein"),
            "wgan.optimizers": ("SGD", "Adam", "Optimizer", "RMSprop"),
            "wgan.penalties": (
                "ConditionPenalty",
                "CriticPenalty",
                "CriticStep",
                "Drift",
                "GeneratorPenalty",
                "GeneratorStep",
                "GradientPenalty",
            ),
            "wgan.players": ("Batch", "Players"),
            "wgan.points": ("Fake", "Interpolates", "Manifold", "Real"),
            "wgan.recipe": ("Recipe",),
            "wgan.schedules": ("Cosine", "Linear"),
            "wgan.shape": ("Block", "Shape"),
            "wgan.stopping": ("Plateau",),
            "wgan.strength": ("Adaptive", "Constant", "Decay"),
            "wgan.training": ("Schedule", "Source", "observe", "train"),
        },
    )

__all__ = [
    "SGD",
    "Adam",
    "Adaptive",
    "Augmentation",
    "Batch",
    "Block",
    "Clipping",
    "CommitteeSpec",
    "ConditionPenalty",
    "Constant",
    "ConvCriticSpec",
    "ConvGeneratorSpec",
    "Cosine",
    "CriticLosses",
    "CriticPenalty",
    "CriticReport",
    "CriticStep",
    "DataError",
    "Decay",
    "Diffusion",
    "Drift",
    "EdgePenalty",
    "EveryModeError",
    "Fake",
    "Finding",
    "FlatModule",
    "GeneratorPenalty",
    "GeneratorStep",
    "GradientPenalty",
    "GradientRule",
    "Hinge",
    "ImageAugmentation",
    "InstanceNoise",
    "Interpolates",
    "JensenShannon",
    "Linear",
    "Lipschitz",
    "MLPCriticSpec",
    "MLPGeneratorSpec",
    "Manifold",
    "MultipliersSpec",
    "NumericalError",
    "Objective",
    "Observation",
    "Optimizer",
    "Penalised",
    "Plain",
    "Plateau",
    "Players",
    "RMSprop",
    "Real",
    "Recipe",
    "Schedule",
    "SettingsError",
    "Shape",
    "SkipGeneratorSpec",
    "Source",
    "SpectralNorm",
    "StateError",
    "TableAugmentation",
    "TableGenerator",
    "Unconstrained",
    "Wasserstein",
    "diagnose",
    "observe",
    "train",
]
