"""Images are compared by features that know a stroke from its place, and the audit uses them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit
from everymode.fairness.metrics.image_features import ImageFeatures, image_shape
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.errors import DataError

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits():
    values, classes = load_digits(return_X_y=True)
    frame = pd.DataFrame(values, columns=[f"p{i:02}" for i in range(64)])
    frame["digit"] = np.where(classes < 5, "low", "high")
    frame["class"] = [f"d{c}" for c in classes]
    return frame


def of(frame, shape=SHAPE, others=("digit", "class")):
    return ImageFeatures.of(frame, fit_schema(frame), others, shape)


def test_neighbours_are_of_the_same_class(digits):
    points = of(digits)(digits)
    square = (points**2).sum(1)
    distance = square[:, None] + square - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    classes = digits["class"].to_numpy()
    assert (classes[distance.argmin(1)] == classes).mean() > 0.97
    distance[np.isinf(distance)] = np.nan
    assert np.sqrt(np.nanmean(distance)) == pytest.approx(np.sqrt(2), rel=0.01)


def test_a_shift_by_a_pixel_is_nearer_than_another_class(digits):
    """Of pixels it is not, for one image in three."""
    images = digits.iloc[:300]
    pixels = images.iloc[:, :64].to_numpy().reshape(-1, 8, 8)
    moved = images.copy()
    moved.iloc[:, :64] = np.roll(pixels, 1, axis=1).reshape(-1, 64)
    features = of(digits)
    here, there = features(images), features(moved)
    classes = images["class"].to_numpy()
    other = classes[:, None] != classes

    def nearer(a, b):
        apart = ((a[:, None] - a[None]) ** 2).sum(2)
        own = ((a - b) ** 2).sum(1)
        return (own < np.where(other, apart, np.inf).min(1)).mean()

    flat = pixels.reshape(-1, 64)
    by_pixels = nearer(flat, moved.iloc[:, :64].to_numpy())
    assert nearer(here, there) > by_pixels + 0.05


def test_the_same_for_everybody(digits):
    assert np.array_equal(of(digits)(digits.head(9)), of(digits)(digits.head(9)))


def test_the_audit_of_images_finds_a_class_that_is_missing(digits):
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits))
    real, made = digits.iloc[order[:900]], digits.iloc[order[900:]]
    options = {"sensitive_features": ["digit"], "image": SHAPE, "effort": SamplingLimits(rows=400)}
    frames = [frame.drop(columns="class").reset_index(drop=True) for frame in (real, made)]
    good = audit(*frames, **options)
    assert good.coverage_group_min > 0.9 and good.settings["image"] == "1 x 8 x 8"
    assert good.groups[0].pairwise is None and good.groups[0].mmd < 0.01
    poor = audit(frames[0], frames[1][(made["class"] != "d0").to_numpy()], **options)
    cover = {g.name: g.standardised_coverage.value for g in poor.groups}
    assert cover["low"] < cover["high"] - 0.1


def test_what_is_no_image_is_refused(digits):
    with pytest.raises(DataError, match="of 1 x 8 x 9 has 72 pixels, but 64 columns"):
        of(digits, (1, 8, 9))
    with pytest.raises(DataError, match="column 'class' is of kind category"):
        of(digits, others=("digit",))
    features = of(digits)
    with pytest.raises(DataError, match="'p03': a pixel is missing"):
        features(digits.head(5).assign(p03=np.nan))
    for text in ("8", "8x", "axb", "1x2x3x4", "0x8"):
        with pytest.raises(ValueError, match="expected HxW"):
            image_shape(text)
