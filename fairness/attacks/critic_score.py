"""Membership by the critic's score, for whoever has the trained critic (white box).

A critic that has overfitted gives rows that it has seen higher scores than others.

Source: Hayes, Melis, Danezis, De Cristofaro, "LOGAN: Membership Inference Attacks Against
Generative Models", 2019, section 4.2 (white-box attack).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from everymode.fairness.attacks.rows import Floats, Rows


@dataclass(frozen=True)
class CriticScore:
    """Scores rows by a critic.

    Attributes:
        critic: Scores of rows as they are written, `(n,)`; higher: more like rows trained on.
    """

    critic: Callable[[pd.DataFrame], Floats]

    def score(self, rows: Rows) -> Floats:
        """See `everymode.fairness.attacks.rows.MembershipAttack`.

        Raises:
            ValueError: The rows have points alone.
        """
        if rows.frame is None:
            raise ValueError("a critic scores rows as they are written, got points alone")
        return np.asarray(self.critic(rows.frame), dtype=np.float64)
