"""Membership by the nearest synthetic row: what is close to one was trained on.

Source: Chen, Yu, Zhang, Fritz, "GAN-Leaks: A Taxonomy of Membership Inference Attacks against
Generative Models", 2020, section 4.2 (full black-box attack).
"""

from dataclasses import dataclass

from everymode.fairness.attacks.rows import Floats, Points, Rows, kth_distance


@dataclass(frozen=True)
class NearestRow:
    """Scores rows by their distance to the nearest synthetic row, negative.

    Attributes:
        synthetic: Points of the synthetic rows, `(m, d)`, at least one.
    """

    synthetic: Points

    def score(self, rows: Rows) -> Floats:
        """See `everymode.fairness.attacks.rows.MembershipAttack`."""
        return -kth_distance(rows.points, self.synthetic, 1)
