"""One round, and what is carried from round to round.

- `rounds`: the loop.
- `participation`: who takes part, and what each site keeps.
- `aggregation`, `weighting`: from sums to the next state.
- `generator_step`, `penalties`: the generator's part on the server.
- `monitor`: slopes, overfitting, trends, the plateau.
- `state`: all that a checkpoint holds.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.training.participation import ClientSampler
    from everymode.server.training.penalties import build_penalties, request_moments
    from everymode.server.training.rounds import Rounds
    from everymode.server.training.state import TrainingState, generators_in
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.training.participation": ("ClientSampler",),
            "everymode.server.training.penalties": ("build_penalties", "request_moments"),
            "everymode.server.training.rounds": ("Rounds",),
            "everymode.server.training.state": ("TrainingState", "generators_in"),
        },
    )

__all__ = [
    "ClientSampler",
    "Rounds",
    "TrainingState",
    "build_penalties",
    "generators_in",
    "request_moments",
]
