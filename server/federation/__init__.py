"""The recipe of a training: typed parts that `server.config` builds and `server.training` runs.

- `recipe`: `Federation` and `TrainingRecipe`, which put the parts together.
- `participation`: who takes part in a round.
- `optimizers`: what the server does with the mean update.
- `terms`: what the server's generator pays for besides the critic.

Parts that sites must know of as well are in `clients.protocol.parts`.
"""

from clients.protocol.parts.arrays import LocalTraining
from clients.protocol.parts.placement import Placement
from server.federation.optimizers import ServerAdam, ServerMean, ServerMomentum, ServerOptimizer
from server.federation.participation import Absence, Participation
from server.federation.recipe import Federation, Minimax, TrainingRecipe
from server.federation.terms import GeneratorTerms, ParityTerm

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
