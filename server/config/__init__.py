"""What a user may write, and how it becomes parts.

- `sections`, `federation`, `gradients`, `settings`: every key, its type, default and meaning.
- `strategies`: known methods as choices of keys.
- `compatibility`: what does not go together.
- `recipe`: networks, penalties and optimizers of the engine.
- `training`: the parts of a federation.
- `tables`: what is wanted of the tables.
- `files`: TOML in and out.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.config.federation import FederationSettings
    from everymode.server.config.files import commented, keys, load, parse, presets, resolve
    from everymode.server.config.recipe import build_recipe
    from everymode.server.config.sections import DataSettings, OutputSettings, SplitSettings
    from everymode.server.config.settings import (
        Settings,
        decisive,
        differing,
        harmless_keys,
        settings_digest,
    )
    from everymode.server.config.strategies import BASELINES, SHARED_KEYS, STRATEGIES
    from everymode.server.config.tables import build_table_spec
    from everymode.server.config.training import (
        build_mixture,
        build_participation,
        build_terms,
        build_training,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.config.federation": ("FederationSettings",),
            "everymode.server.config.files": (
                "commented",
                "keys",
                "load",
                "parse",
                "presets",
                "resolve",
            ),
            "everymode.server.config.recipe": ("build_recipe",),
            "everymode.server.config.sections": ("DataSettings", "OutputSettings", "SplitSettings"),
            "everymode.server.config.settings": (
                "Settings",
                "decisive",
                "differing",
                "harmless_keys",
                "settings_digest",
            ),
            "everymode.server.config.strategies": ("BASELINES", "SHARED_KEYS", "STRATEGIES"),
            "everymode.server.config.tables": ("build_table_spec",),
            "everymode.server.config.training": (
                "build_mixture",
                "build_participation",
                "build_terms",
                "build_training",
            ),
        },
    )

__all__ = [
    "BASELINES",
    "SHARED_KEYS",
    "STRATEGIES",
    "DataSettings",
    "FederationSettings",
    "OutputSettings",
    "Settings",
    "SplitSettings",
    "build_mixture",
    "build_participation",
    "build_recipe",
    "build_table_spec",
    "build_terms",
    "build_training",
    "commented",
    "decisive",
    "differing",
    "harmless_keys",
    "keys",
    "load",
    "parse",
    "presets",
    "resolve",
    "settings_digest",
]
