"""Adversarial learning in one process: parts, one loop, state. No idea of groups or federations.

>>> import torch
>>> from everymode.wgan import Batch, GradientPenalty, Penalised, Players, Recipe
>>> from everymode.wgan import Schedule, Shape, train
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

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.wgan.augmentations import (
        Augmentation,
        Diffusion,
        ImageAugmentation,
        InstanceNoise,
        TableAugmentation,
    )
    from everymode.wgan.clipped_noised import ClippedNoised
    from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
    from everymode.wgan.diagnostics import Finding, Observation, diagnose
    from everymode.wgan.edges import EdgePenalty
    from everymode.wgan.errors import (
        DataError,
        EveryModeError,
        NumericalError,
        SettingsError,
        StateError,
    )
    from everymode.wgan.flat import FlatModule
    from everymode.wgan.generators import (
        ConvGeneratorSpec,
        MLPGeneratorSpec,
        SkipGeneratorSpec,
        TableGenerator,
    )
    from everymode.wgan.gradients import CriticLosses, CriticReport, GradientRule, Plain
    from everymode.wgan.lipschitz import Clipping, Lipschitz, Penalised, SpectralNorm, Unconstrained
    from everymode.wgan.objectives import Hinge, JensenShannon, Objective, Wasserstein
    from everymode.wgan.optimizers import SGD, Adam, Optimizer, RMSprop
    from everymode.wgan.penalties import (
        ConditionPenalty,
        CriticPenalty,
        CriticStep,
        Drift,
        GeneratorPenalty,
        GeneratorStep,
        GradientPenalty,
    )
    from everymode.wgan.players import Batch, Players
    from everymode.wgan.points import Fake, Interpolates, Manifold, Real
    from everymode.wgan.recipe import Recipe
    from everymode.wgan.schedules import Cosine, Linear
    from everymode.wgan.shape import Block, Shape
    from everymode.wgan.stopping import Plateau
    from everymode.wgan.strength import Adaptive, Constant, Decay
    from everymode.wgan.training import Schedule, Source, observe, train
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.wgan.augmentations": (
                "Augmentation",
                "Diffusion",
                "ImageAugmentation",
                "InstanceNoise",
                "TableAugmentation",
            ),
            "everymode.wgan.clipped_noised": ("ClippedNoised",),
            "everymode.wgan.critics": (
                "CommitteeSpec",
                "ConvCriticSpec",
                "MLPCriticSpec",
                "MultipliersSpec",
            ),
            "everymode.wgan.diagnostics": ("Finding", "Observation", "diagnose"),
            "everymode.wgan.edges": ("EdgePenalty",),
            "everymode.wgan.errors": (
                "DataError",
                "EveryModeError",
                "NumericalError",
                "SettingsError",
                "StateError",
            ),
            "everymode.wgan.flat": ("FlatModule",),
            "everymode.wgan.generators": (
                "ConvGeneratorSpec",
                "MLPGeneratorSpec",
                "SkipGeneratorSpec",
                "TableGenerator",
            ),
            "everymode.wgan.gradients": ("CriticLosses", "CriticReport", "GradientRule", "Plain"),
            "everymode.wgan.lipschitz": (
                "Clipping",
                "Lipschitz",
                "Penalised",
                "SpectralNorm",
                "Unconstrained",
            ),
            "everymode.wgan.objectives": ("Hinge", "JensenShannon", "Objective", "Wasserstein"),
            "everymode.wgan.optimizers": ("SGD", "Adam", "Optimizer", "RMSprop"),
            "everymode.wgan.penalties": (
                "ConditionPenalty",
                "CriticPenalty",
                "CriticStep",
                "Drift",
                "GeneratorPenalty",
                "GeneratorStep",
                "GradientPenalty",
            ),
            "everymode.wgan.players": ("Batch", "Players"),
            "everymode.wgan.points": ("Fake", "Interpolates", "Manifold", "Real"),
            "everymode.wgan.recipe": ("Recipe",),
            "everymode.wgan.schedules": ("Cosine", "Linear"),
            "everymode.wgan.shape": ("Block", "Shape"),
            "everymode.wgan.stopping": ("Plateau",),
            "everymode.wgan.strength": ("Adaptive", "Constant", "Decay"),
            "everymode.wgan.training": ("Schedule", "Source", "observe", "train"),
        },
    )

__all__ = [
    "SGD",
    "Adam",
    "Adaptive",
    "Augmentation",
    "Batch",
    "Block",
    "ClippedNoised",
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
