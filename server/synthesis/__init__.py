"""Sampling from a trained generator, and its postprocessing.

- `synthesizer`: the generators with their postprocessing steps; from cells to a table.
- `steps`: postprocessing steps, which change or reject rows.
- `fitting`: which postprocessing a run has; `calibration` and `projection` fit it to the sums.
- `conditions`: values that a user asks for.
- `trained`: the generators in the state of a training.
- `generator_file`: all of it in one file.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.synthesis.calibration import category_marginals, has_categories
    from everymode.server.synthesis.fitting import build_fits
    from everymode.server.synthesis.generator_file import load_generator, save_generator
    from everymode.server.synthesis.projection import build_binning
    from everymode.server.synthesis.synthesizer import Synthesizer
    from everymode.server.synthesis.trained import trained_generators
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.synthesis.calibration": ("category_marginals", "has_categories"),
            "everymode.server.synthesis.fitting": ("build_fits",),
            "everymode.server.synthesis.generator_file": ("load_generator", "save_generator"),
            "everymode.server.synthesis.projection": ("build_binning",),
            "everymode.server.synthesis.synthesizer": ("Synthesizer",),
            "everymode.server.synthesis.trained": ("trained_generators",),
        },
    )

__all__ = [
    "Synthesizer",
    "build_binning",
    "build_fits",
    "category_marginals",
    "has_categories",
    "load_generator",
    "save_generator",
    "trained_generators",
]
