"""The recipe of a training: typed parts.

`everymode.server.config` builds them, `everymode.server.training` runs them.

- `recipe`: `Federation` and `TrainingRecipe`, which put the parts together.
- `participation`: who takes part in a round.
- `optimizers`: what the server does with the mean update.
- `terms`: what the server's generator pays for besides the critic.

Parts that sites must know of as well are in `everymode.clients.protocol.parts`.
"""

from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.placement import Placement
from everymode.server.federation.optimizers import (
    ServerAdam,
    ServerMean,
    ServerMomentum,
    ServerOptimizer,
)
from everymode.server.federation.participation import Absence, Participation
from everymode.server.federation.recipe import Federation, Minimax, TrainingRecipe
from everymode.server.federation.terms import GeneratorTerms, ParityTerm

__all__ = [
    "Absence",
    "Federation",
    "GeneratorTerms",
    "LocalTraining",
    "Minimax",
    "ParityTerm",
    "Participation",
    "Placement",
    "ServerAdam",
    "ServerMean",
    "ServerMomentum",
    "ServerOptimizer",
    "TrainingRecipe",
]
