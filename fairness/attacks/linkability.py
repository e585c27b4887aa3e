"""Linkability: whether a synthetic table shows that two halves of a row's columns belong together.

The attacker knows some columns of a row from one source and the others from another. If the
nearest synthetic row by either half is the same, the halves are linked. The baseline picks two
synthetic rows at random.

Source: Giomi et al., 2023, section 4.2 (anonymeter's `LinkabilityEvaluator`); see
`everymode.fairness.attacks.rates`.
"""

import numpy as np

from everymode.fairness.attacks.gower import Coded, nearest
from everymode.fairness.attacks.rates import Guesses, Hits


def halves(columns: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Every other column, and the rest: neighbouring columns often say much the same.

    >>> halves(5)
    ((0, 2, 4), (1, 3))
    """
    return tuple(range(0, columns, 2)), tuple(range(1, columns, 2))


def link(
    synthetic: Coded,
    members: Coded,
    nonmembers: Coded,
    columns: tuple[tuple[int, ...], tuple[int, ...]],
    rng: np.random.Generator,
    neighbours: int = 1,
) -> Guesses:
    """Which rows are linked.

    Args:
        synthetic: Rows that the attacker has.
        members: Targets that were trained on.
        nonmembers: Targets that were not.
        columns: The two halves, by place.
        rng: Draws the baseline's rows.
        neighbours: Nearest rows of either half among which one must be the same.
    """

    def linked(targets: Coded) -> Hits:
        one, two = nearest(targets, synthetic, columns, neighbours)
        return np.asarray((one[:, :, None] == two[:, None, :]).any(axis=(1, 2)))

    picked = [
        np.stack(
            [rng.choice(len(synthetic), neighbours, replace=False) for _ in range(len(members))]
        )
        for _ in range(2)
    ]
    chance = (picked[0][:, :, None] == picked[1][:, None, :]).any(axis=(1, 2))
    return Guesses(linked(members), linked(nonmembers), np.asarray(chance))
