"""Handwritten digits, eight by eight: a class a site, or every class in a site's own hand.

Data: scikit-learn's copy of the UCI set (Alpaydin, Kaynak, 1998), 1,797 images, shipped with the
package.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter, shift
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from everymode.simulations.scenarios.scenario import Figures, Scenario

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PIXELS = tuple(f"p{r}{c}" for r in range(8) for c in range(8))
NEIGHBOURS = 5
CONFIDENT = 0.8
"""Share of the nearest real images that must agree on a digit."""

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


@dataclass(frozen=True)
class Reader:
    """Reads digits by the real images nearest to them, and says where it does not know.

    A network or a support vector machine is sure of noise, too; here an image must also lie as
    close to a real one as real ones do to each other (in the spirit of precision in Kynkäänniemi
    et al., "Improved Precision and Recall Metric", 2019).

    Attributes:
        model: Votes of the nearest real images.
        reach: Distance below which 99 % of real images have another one.
    """

    model: KNeighborsClassifier
    reach: float

    @staticmethod
    def of(images: Floats, labels: Ints) -> "Reader":
        """From real images `(n, 64)` and the digits `(n,)` they show."""
        model = KNeighborsClassifier(NEIGHBOURS).fit(images, labels)
        # Without an argument an image is not its own neighbour.
        distances, _ = model.kneighbors(n_neighbors=1)
        return Reader(model, float(np.quantile(distances, 0.99)))

    def __call__(self, images: Floats) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The digit that each of the images `(n, 64)` shows, and whether it is sure of it."""
        votes = self.model.predict_proba(images)
        distances, _ = self.model.kneighbors(images, n_neighbors=1)
        sure = (votes.max(1) >= CONFIDENT) & (distances[:, 0] <= self.reach)
        return self.model.classes_[votes.argmax(1)], sure


@lru_cache(maxsize=2)
def reader(hands: bool) -> Reader:
    """Of scikit-learn's digits; with `hands`, as all six writers would have written them."""
    digits = load_digits()
    images, labels = digits.images, digits.target
    if hands:
        images = np.concatenate([written(images, hand) for hand in range(HANDS)])
        labels = np.tile(labels, HANDS)
    return Reader.of(np.rint(images).reshape(len(images), 64), labels)


def score(made: pd.DataFrame, seed: int, hands: bool = False) -> Figures:
    """Classes that a reader finds among images meant to show them, 2,000 at most."""
    rows = made.sample(min(len(made), 2_000), random_state=seed)
    images = rows[list(PIXELS)].to_numpy(np.float64)
    read, sure = reader(hands)(images)
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
    """As `score`, with a reader of all six hands."""
    return score(made, seed, hands=True)


HIGHER = {"classes": True, "worst_share": True, "largest_share": False, "readable": True}

DIGITS = (
    Scenario("digits-class", "digits, ten sites with one class each", by_class, score, HIGHER),
    Scenario(
        "digits-style", "digits, six sites that write differently", by_hand, score_hands, HIGHER
    ),
)
