"""Arrays as rows: one shift a coordinate, one scale for all."""

import json

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import everymode.wgan.data.arrays
from everymode.wgan.data.arrays import ArrayCodec, moments
from everymode.wgan.errors import DataError, SettingsError

SAMPLES = [(1,), (2,), (3, 4, 5), (2, 3)]
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=repr)


def data(sample, count=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(rng.normal(0, 3, sample), rng.uniform(0.5, 4, sample), (count, *sample))


def w1(a, b):
    """W1 between two samples of equal size, as the cheapest pairing."""
    costs = cdist(a.reshape(len(a), -1), b.reshape(len(b), -1))
    return costs[linear_sum_assignment(costs)].mean()


@every_sample
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
def test_contract(sample, dtype):
    array = data(sample).astype(dtype)
    before = array.copy()
    codec = ArrayCodec.fit(array)
    rows = codec.encode(array)
    assert rows.shape == (40, codec.width) and rows.dtype == np.float32
    assert codec.width == np.prod(sample) and codec.blocks == ()
    back = codec.decode(rows)
    assert back.shape == array.shape and back.dtype == np.float64
    np.testing.assert_allclose(back, array, atol=1e-5)
    assert np.array_equal(array, before)
    assert codec.encode(array[:0]).shape == (0, codec.width)
    assert codec.decode(rows[:0]).shape == (0, *sample)
    assert ArrayCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec


@every_sample
def test_a_fit_standardises_with_one_scale(sample):
    array = data(sample)
    rows = ArrayCodec.fit(array).encode(array).astype(np.float64)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-6)
    assert np.square(rows).mean() == pytest.approx(1, rel=1e-6)
    # The shape of the data is kept: coordinates keep the ratio of their deviations.
    flat = array.reshape(len(array), -1)
    np.testing.assert_allclose(rows.std(0) / rows.std(0)[0], flat.std(0) / flat.std(0)[0], 1e-5)


def test_w1_is_scaled_by_s_exactly():
    real, fake = data((3,), seed=1), data((3,), seed=2)
    codec = ArrayCodec.fit(real)
    encoded = w1(codec.encode(real), codec.encode(fake))
    assert encoded == pytest.approx(codec.scale * w1(real, fake), rel=1e-5)
    assert codec.shape(4).scale == codec.scale


def test_shapes_tell_images_from_points():
    image = ArrayCodec.images((3, 4, 5)).shape(7)
    assert image.sample == (3, 4, 5) and image.width == 60 and image.condition == 7
    assert image.scale == ArrayCodec.images((3, 4, 5)).scale and image.blocks == ()
    assert ArrayCodec((2,)).shape(0).sample == ()
    assert ArrayCodec((4, 5)).shape(0).sample == ()


def test_images_become_numbers_from_minus_one_to_one():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    codec = ArrayCodec.images((1, 16, 16))
    rows = codec.encode(pixels)
    assert rows.min() == -1 and rows.max() == 1
    np.testing.assert_allclose(np.diff(rows[0]), 2 / 255, atol=1e-6)
    assert np.array_equal(codec.decode(rows).round().astype(np.uint8), pixels)
    unit = ArrayCodec.images((1, 1, 3), low=0, high=1)
    assert unit.encode(np.array([0, 0.5, 1]).reshape(1, 1, 1, 3)).tolist() == [[-1, 0, 1]]


@every_sample
def test_moments_of_sites_add_up_to_the_pooled_fit(sample):
    array = data(sample, 50)
    parts = [moments(part) for part in np.split(array, [3, 3, 20])]
    summed = [sum(entries) for entries in zip(*parts, strict=True)]
    for got, expected in zip(summed, moments(array), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    joint, pooled = ArrayCodec.from_moments(sample, *summed), ArrayCodec.fit(array)
    np.testing.assert_allclose(joint.centre, pooled.centre, rtol=1e-12)
    assert joint.scale == pytest.approx(pooled.scale, rel=1e-12)


def test_pieces_make_no_difference(monkeypatch):
    array = data((3,), 50)
    whole, sums = ArrayCodec.fit(array), moments(array)
    monkeypatch.setattr(everymode.wgan.data.arrays, "_NUMBERS", 20)
    pieces = ArrayCodec.fit(array)
    np.testing.assert_allclose(pieces.centre, whole.centre, rtol=1e-12)
    assert pieces.scale == pytest.approx(whole.scale, rel=1e-12)
    for got, expected in zip(moments(array), sums, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert np.array_equal(whole.encode(array), whole.encode(array.copy()))
    array[37, 1] = np.nan
    with pytest.raises(DataError, match="sample 37 "):
        moments(array)


def test_a_fit_is_exact_far_from_the_origin():
    array = data((2,)) + 1e7
    near = ArrayCodec.fit(array - 1e7)
    assert ArrayCodec.fit(array).scale == pytest.approx(near.scale, rel=1e-7)
    # As documented: sums about 0 lose digits, and say so when too many are lost.
    close = ArrayCodec.from_moments((2,), *moments(array - 1e7 + 1e3))
    assert close.scale == pytest.approx(near.scale, rel=1e-8)
    with pytest.raises(DataError, match="too little beside their mean"):
        ArrayCodec.from_moments((2,), *moments(array))


@pytest.mark.parametrize(
    "use", [ArrayCodec.fit, moments, ArrayCodec((2,)).encode], ids=["fit", "from_moments", "encode"]
)
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 4.0]]), r"file: sample 1 .*NaN or infinity; expected"),
        (np.array([[1.0, np.inf], [3.0, 4.0]]), r"file: sample 0 .*NaN or infinity; expected"),
        (np.array([["a", "b"], ["c", "d"]]), "file: holds values of type <U1; expected numbers"),
        (np.array([1.0, 2.0]), r"file: shape \(2,\); expected \(n, "),
        (np.array(1.0), r"file: shape \(\); expected \(n, "),
        (np.zeros((3, 0)), r"file: shape \(3, 0\); expected \(n, "),
    ],
)
def test_what_cannot_be_used_is_named(use, array, message):
    with pytest.raises(DataError, match=message):
        use(array, where="file")


def test_other_axes_are_named():
    with pytest.raises(DataError, match=r"shape \(5, 3\); expected \(n, 2\)"):
        ArrayCodec((2,)).encode(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), got \(5, 3\)"):
        ArrayCodec((2,)).decode(np.zeros((5, 3)))
    with pytest.raises(DataError, match=r"expected \(2,\), as samples have axes \(2,\)"):
        ArrayCodec.from_moments((2,), *moments(np.zeros((5, 3))))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 + 0.1])
@pytest.mark.parametrize("count", [2, 1000])
def test_data_that_do_not_vary_are_refused(value, count):
    array = np.full((count, 3), value)
    for fit in (ArrayCodec.fit, lambda a: ArrayCodec.from_moments((3,), *moments(a))):
        with pytest.raises(DataError, match=r"samples are all equal.*expected at least 2"):
            fit(array)


def test_too_few_samples_are_refused():
    with pytest.raises(DataError, match="1 samples; expected at least 2"):
        ArrayCodec.fit(np.ones((1, 2)))
    with pytest.raises(DataError, match="no samples"):
        ArrayCodec.from_moments((2,), *moments(np.ones((0, 2))))
    with pytest.raises(DataError, match="not finite"):
        ArrayCodec.from_moments((1,), 2, np.array([np.nan]), np.array([1.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArrayCodec(()), r"sample = \[\]"),
        (lambda: ArrayCodec((0, 2)), r"sample = \[0, 2\]"),
        (lambda: ArrayCodec((2,), scale=0.0), "scale = 0.0: expected a positive"),
        (lambda: ArrayCodec((2,), scale=float("nan")), "scale = nan"),
        (lambda: ArrayCodec((2,), (1.0, 2.0, 3.0)), "3 numbers; expected one, or 2"),
        (lambda: ArrayCodec((2,), float("inf")), "centre: expected finite"),
        (lambda: ArrayCodec.images((28, 28)), r"\[channels, height, width\]"),
        (lambda: ArrayCodec.images((1, 2, 2), 1, 1), "expected low < high"),
    ],
)
def test_a_codec_that_cannot_work_is_refused(make, message):
    with pytest.raises(SettingsError, match=message):
        make()


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingsError) as error:
        ArrayCodec((0,), (float("nan"),), -1.0)
    assert len(error.value.problems) == 4
