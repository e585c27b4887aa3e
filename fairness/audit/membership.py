"""Scores of membership attacks on the rows of an audit, each scored once for all of its groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everymode.fairness.attacks.membership import LEAST, Scores, score_all
from everymode.fairness.attacks.rows import Places, Rows
from everymode.fairness.audit.copies import Nearness
from everymode.fairness.audit.limits import LEVEL, MIN_ATTACKED
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.streams import stream

ROWS = 2000
"""Rows of either kind that are scored in a group at most."""

SYNTHETIC = 20_000
"""Synthetic rows that an attacker looks at, at most."""


@dataclass(frozen=True)
class Membership:
    """Scores of membership attacks on the rows of an audit.

    Attributes:
        scores: Of rows trained on and held out.
        rows: How many of either kind count in a group.
    """

    scores: Scores
    rows: int

    @staticmethod
    def of(
        nearness: Nearness | None, groups: Sequence[Places], rows: int, seed: int
    ) -> "Membership | None":
        """Scores the rows of every group; None where too few rows are held out or made.

        Args:
            nearness: All rows as points; None: none are held out.
            groups: The finest group of each row trained on and held out.
            rows: Rows that are compared in a group at most; `ROWS` at most here.
            seed: Of what is drawn.
        """
        if nearness is None or len(nearness.holdout) < MIN_ATTACKED:
            return None
        if len(nearness.real) < MIN_ATTACKED or len(nearness.synthetic) < LEAST:
            return None
        rng, made = stream(seed, "membership"), nearness.synthetic
        if len(made) > SYNTHETIC:
            made = made[np.sort(rng.choice(len(made), SYNTHETIC, replace=False))]
        rows = min(rows, ROWS)
        real, held = Rows(nearness.real), Rows(nearness.holdout)
        return Membership(score_all(real, held, made, groups, rows, rng), rows)

    def figures(
        self, attack: str, members: Places, nonmembers: Places, rng: np.random.Generator
    ) -> tuple[Estimate, Estimate]:
        """Area under the ROC curve, and share of members found at `LEVEL`, of a group.

        All None where there are fewer than `MIN_ATTACKED` rows of either kind.

        Args:
            attack: Which one.
            members: Places of the group's rows trained on.
            nonmembers: Places of its held-out rows.
            rng: Draws resamples, for the interval.
        """
        # scikit-learn comes with it, which the table of metrics does without.
        from everymode.fairness.attacks.roc import area, rates_at

        found = self.scores.of(attack, members, nonmembers, self.rows)
        if min(map(len, found)) < MIN_ATTACKED:
            return Estimate(), Estimate()
        (rate,) = rates_at(*found, rng, (LEVEL,))
        return area(*found), rate
