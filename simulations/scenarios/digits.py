"""Handwritten digits, eight by eight: a class a site, or every class in a site's own hand.

Data: scikit-learn's copy of the UCI set (Alpaydin, Kaynak, 1998), 1,797 images, shipped with the
package.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from simulations.scenarios.scenario import Figures, Scenario

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PIXELS = tuple(f"p{r}{c}" for r in range(8) for c in range(8))
CONFIDENT = 0.8
"""Probability below which the classifier is taken not to know."""

COVERED = 0.2
"""Share of a class's even share that counts as covering it."""


def table(
    images: Floats, labels: npt.NDArray[np.int64], sites: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Images `(n, 64)`, 0 to 16, as a table."""
    pixels = pd.DataFrame(np.rint(images).astype(np.int64), columns=list(PIXELS))
    return pixels.assign(digit=[f"d{n}" for n in labels], site=sites)


def by_class(seed: int) -> pd.DataFrame:
    """Ten sites with one class each."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    labels = digits.target[order]
    return table(digits.data[order], labels, labels)


HANDS = 6
"""Writers, one a site."""


def by_hand(seed: int) -> pd.DataFrame:
    """Six sites with all classes, each in its own hand: shifted, blurred, faint or bold."""
    digits = load_digits()
    rng = np.random.default_rng(seed)
    sites = rng.integers(0, HANDS, len(digits.target))
    images = digits.images.copy()
    for site in range(HANDS):
        own = sites == site
        images[own] = written(images[own], site)
    return table(images.reshape(len(images), 64), digits.target, sites)


def written(images: Floats, hand: int) -> Floats:
    """Images `(n, 8, 8)` as one of the six writers would have written them."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (0, 0)]
    moved = shift(images, (0, *moves[hand]), order=1, mode="constant")
    if hand % 2:
        moved = gaussian_filter(moved, (0, 0.6, 0.6))
    strength = (1.0, 1.3, 0.7, 1.0, 0.6, 1.4)[hand]
    drawn: Floats = np.clip(moved * strength, 0, 16)
    return drawn


@lru_cache(maxsize=2)
def _reader(hands: bool) -> Pipeline:
    """A classifier of real digits: 99 % right on rows it has not seen."""
    digits = load_digits()
    images, labels = digits.images, digits.target
    if hands:
        images = np.concatenate([written(images, hand) for hand in range(HANDS)])
        labels = np.tile(labels, HANDS)
    model = make_pipeline(StandardScaler(), SVC(C=10.0))
    return model.fit(images.reshape(len(images), 64), labels)


def _read(images: Floats, hands: bool) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The digit each image shows, and whether the classifier is sure of it."""
    scores = _reader(hands).decision_function(images)
    ranked = np.sort(scores, axis=1)
    # One against all others: a clear winner leads by half a vote or more.
    sure: npt.NDArray[np.bool_] = ranked[:, -1] - ranked[:, -2] >= 0.5
    return scores.argmax(1), sure


def score(made: pd.DataFrame, seed: int, hands: bool = False) -> Figures:
    """Classes that a classifier with a confidence floor finds among the synthetic images."""
    rows = made.sample(min(len(made), 2_000), random_state=seed)
    images = rows[list(PIXELS)].to_numpy(np.float64)
    read, sure = _read(images, hands)
    meant = rows["digit"].str.removeprefix("d").astype(int).to_numpy()
    right = sure & (read == meant)
    share = np.bincount(read[right], minlength=10) / max(len(rows), 1) * 10
    return {
        "classes": float((share >= COVERED).sum()),
        "worst_share": float(share.min()),
        "largest_share": float(share.max()),
        "readable": float(right.mean()) if len(rows) else 0.0,
    }


def score_hands(made: pd.DataFrame, seed: int) -> Figures:
    """As `score`, with a reader of all six hands, and the worst of the hands' shares."""
    return score(made, seed, hands=True)


HIGHER = {"classes": True, "worst_share": True, "largest_share": False, "readable": True}

DIGITS = (
    Scenario("digits-class", "digits, ten sites with one class each", by_class, score, HIGHER),
    Scenario(
        "digits-style", "digits, six sites that write differently", by_hand, score_hands, HIGHER
    ),
)
