"""Attribute inference: what a synthetic table tells of a column of a row whose others are known.

The attacker finds the synthetic row nearest by all other columns and takes its value. A number is
right within a twentieth of the guess. The baseline takes the value of a synthetic row at random.

Source: Giomi et al., 2023, section 4.3 (anonymeter's `InferenceEvaluator`); see
`everymode.fairness.attacks.rates`.
"""

from collections.abc import Sequence

import numpy as np

from everymode.fairness.attacks.gower import Coded, nearest_without_each
from everymode.fairness.attacks.rates import Guesses, Hits
from everymode.fairness.attacks.rows import Floats

TOLERANCE = 0.05


def infer_attributes(
    synthetic: Coded,
    members: Coded,
    nonmembers: Coded,
    secrets: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Guesses]:
    """Guesses of each secret column, by its name.

    Args:
        synthetic: Rows that the attacker has.
        members: Targets that were trained on.
        nonmembers: Targets that were not.
        secrets: Columns to guess.
        rng: Draws the baseline's rows.
    """
    columns = [synthetic.names.index(name) for name in secrets]
    attack, control = (
        nearest_without_each(targets, synthetic, columns) for targets in (members, nonmembers)
    )
    found = {}
    for name, column in zip(secrets, columns, strict=True):
        values, number = synthetic.values[column], bool(synthetic.numeric[column])
        chance = rng.integers(len(synthetic), size=len(members))
        found[name] = Guesses(
            right(values[attack[column]], members.values[column], number),
            right(values[control[column]], nonmembers.values[column], number),
            right(values[chance], members.values[column], number),
        )
    return found


def right(guesses: Floats, truth: Floats, number: bool) -> Hits:
    """Which guesses are right; that a value is missing can be guessed, too.

    >>> right(np.array([100.0, 100.0, np.nan]), np.array([104.0, 106.0, np.nan]), True).tolist()
    [True, False, True]
    """
    same = np.isnan(guesses) & np.isnan(truth)
    if not number:
        return np.asarray(same | (guesses == truth))
    return np.asarray(same | (np.abs(guesses - truth) <= TOLERANCE * np.abs(guesses)))
