"""The recipe of a training: typed parts.

`everymode.server.config` builds them, `everymode.server.training` runs them.

- `recipe`: `Federation` and `TrainingRecipe`, which put the parts together.
- `participation`: who takes part in a round.
- `aggregation`: how the sites' updates become one.
- `bounds`: how long an update may be.
- `optimizers`: what the server does with that one.
- `terms`: what the server's generator pays for besides the critic.

Parts that sites must know of as well are in `everymode.clients.protocol.parts`.
"""

from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.placement import Placement
from everymode.server.federation.aggregation import (
    Aggregation,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    TrimmedMean,
)
from everymode.server.federation.bounds import UpdateBound
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
    "Aggregation",
    "Federation",
    "GeneratorTerms",
    "GeometricMedian",
    "Krum",
    "LocalTraining",
    "Mean",
    "Median",
    "Minimax",
    "MultiKrum",
    "ParityTerm",
    "Participation",
    "Placement",
    "ServerAdam",
    "ServerMean",
    "ServerMomentum",
    "ServerOptimizer",
    "TrainingRecipe",
    "TrimmedMean",
    "UpdateBound",
]
