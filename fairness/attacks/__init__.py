"""Attacks on a synthetic table: what it tells of the rows that its maker was trained on.

- `suite`: all attacks, `everymode attack`; `findings`, `checks`, `limits`: their results.
- Membership, one file an attack, with `score(rows)`, higher: more likely trained on: `nearest_row`,
  `density_ratio`, `critic_score`; `membership` scores rows of both kinds, `roc` says how well.
- `attributes`, `linkability`, `singling_out`: attacks with a rate, a baseline and a control;
  `rates` compares them, `gower` finds nearest rows.
- `epsilon`: lower bounds of epsilon from a membership attack.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.attacks.findings import Attacks
    from everymode.fairness.attacks.limits import AttackEffort, AttackLimits
    from everymode.fairness.attacks.suite import attack
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.attacks.findings": ("Attacks",),
            "everymode.fairness.attacks.limits": ("AttackEffort", "AttackLimits"),
            "everymode.fairness.attacks.suite": ("attack",),
        },
    )

__all__ = ["AttackEffort", "AttackLimits", "Attacks", "attack"]
