"""What epsilon an attack rules out: a lower bound, from how well members are told apart.

(epsilon, delta)-differential privacy bounds every attack: its rate of members found is at most
exp(epsilon) times its rate of false alarms, plus delta. An attack that does better shows that
epsilon is larger. Both bounds hold with a stated confidence; a threshold is chosen on one half of
the rows, and the bound is taken on the other.

- `epsilon_by_rates`: Clopper-Pearson intervals of both rates, as if rows were independent trials
  (Jagielski, Ullman, Oprea, "Auditing Differentially Private Machine Learning", 2020, algorithm 1).
- `epsilon_one_run`: of one training run whose members were drawn at random from all rows, without
  that assumption (Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run", 2023,
  theorem 5.2 and appendix D).
"""

import math

import numpy as np
from scipy.stats import beta, binom

from everymode.fairness.attacks.rows import Floats

CONFIDENCE = 0.95

LEVELS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of the non-members above a threshold, among which one is chosen."""


def clopper_pearson(successes: int, trials: int, level: float) -> tuple[float, float]:
    """One-sided ends of a share, each of which fails with probability `level`.

    Source: Clopper, Pearson, "The Use of Confidence or Fiducial Limits", 1934.

    >>> [round(end, 3) for end in clopper_pearson(0, 100, 0.025)]
    [0.0, 0.036]
    """
    low = 0.0 if successes == 0 else float(beta.ppf(level, successes, trials - successes + 1))
    high = 1.0
    if successes < trials:
        high = float(beta.ppf(1 - level, successes + 1, trials - successes))
    return low, high


def epsilon_by_rates(
    members: Floats,
    nonmembers: Floats,
    delta: float,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> float:
    """Largest epsilon that the rates of an attack rule out; 0 where they rule out none.

    The larger of log((t - delta) / f) and log((1 - f - delta) / (1 - t)), with t the lower end of
    the rate of members found and f the upper end of the rate of false alarms.

    Args:
        members: Scores `(n,)`.
        nonmembers: Scores `(m,)`.
        delta: The other parameter of the claim.
        rng: Deals rows to the half that chooses the threshold, and to the other.
        confidence: Probability with which the bound holds.
    """
    (choose_in, test_in), (choose_out, test_out) = (_halved(s, rng) for s in (members, nonmembers))
    if not (len(choose_in) and len(choose_out) and len(test_in) and len(test_out)):
        return 0.0
    thresholds = np.quantile(choose_out, [1 - level for level in LEVELS], method="higher")

    def plain(threshold: float) -> float:
        """The same with the rates themselves, one row added to each count."""
        t, f = (((s > threshold).sum() + 1) / (len(s) + 2) for s in (choose_in, choose_out))
        return max(math.log(t / f), math.log((1 - f) / (1 - t)))

    best = max(thresholds, key=plain)
    level = (1 - confidence) / 2
    low, high = (
        clopper_pearson(int((test > best).sum()), len(test), level)[side]
        for test, side in ((test_in, 0), (test_out, 1))
    )
    found = [_log(low - delta, high), _log(1 - high - delta, 1 - low)]
    return max(0.0, *found)


def epsilon_one_run(
    members: Floats,
    nonmembers: Floats,
    delta: float,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
) -> float:
    """Largest epsilon that guesses on one training run rule out; 0 where they rule out none.

    As many members as non-members are drawn; the attacker guesses on the rows with the highest
    scores (trained on) and on as many with the lowest, and abstains from the rest.

    Args:
        members: Scores `(n,)` of rows that were drawn at random to be trained on.
        nonmembers: Scores `(m,)` of those that were not.
        delta: The other parameter of the claim.
        rng: Draws the rows, and deals them to two halves.
        confidence: Probability with which the bound holds.
    """
    count = min(len(members), len(nonmembers))
    scores = np.concatenate(
        [rng.choice(own, count, replace=False) for own in (members, nonmembers)]
    )
    truth = np.repeat([True, False], count)
    order = rng.permutation(2 * count)
    choose, test = order[:count], order[count:]
    if not count:
        return 0.0
    guesses = [max(1, int(level * len(choose) / 2)) for level in LEVELS]

    def right(rows: np.ndarray, each: int) -> int:
        # Ties are broken at random: the rows are in a random order.
        ranked = rows[np.argsort(scores[rows], kind="stable")]
        return int(truth[ranked[-each:]].sum() + (~truth[ranked[:each]]).sum())

    best = max(
        guesses,
        key=lambda each: _one_run(len(choose), 2 * each, right(choose, each), delta, confidence),
    )
    return _one_run(len(test), 2 * best, right(test, best), delta, confidence)


def _one_run(rows: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The epsilon at which so many right guesses have probability 1 - confidence."""
    low, high = 0.0, 1.0
    if _likely(rows, guesses, right, 0.0, delta) >= 1 - confidence:
        return 0.0
    while high < 64 and _likely(rows, guesses, right, high, delta) < 1 - confidence:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        if _likely(rows, guesses, right, middle, delta) < 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _likely(rows: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Upper end of the probability of so many right guesses under the claim."""
    q = 1 / (1 + math.exp(-epsilon))
    plain = float(binom.sf(right - 1, guesses, q))
    if delta == 0 or right == 0:
        return plain
    i = np.arange(1, right + 1)
    sums = np.cumsum(binom.pmf(right - i, guesses, q))
    return min(1.0, plain + float((sums / i).max()) * delta * 2 * rows)


def _halved(scores: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    order = rng.permutation(len(scores))
    half = len(scores) // 2
    return scores[order[:half]], scores[order[half:]]


def _log(part: float, whole: float) -> float:
    if part <= 0:
        return 0.0
    return math.log(part / whole) if whole > 0 else math.inf
