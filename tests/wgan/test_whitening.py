"""Whitening from sums, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.whitening import Whitened, Whitening, check_plain, second_moments
from everymode.wgan.errors import DataError, SettingsError
from everymode.wgan.shape import Block
from everymode.wgan.state import read_tensors, write_tensors

WIDTH = 4


def data(count=300, seed=0, width=WIDTH):
    """Rows with correlations and deviations from 1 to 30 or so."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width)) * np.geomspace(1, 30, width)
    return rng.normal(size=(count, width)) @ mix + rng.normal(0, 5, width)


def fitted(rows, regularisation=1e-3):
    return Whitening.from_moments(second_moments(rows), regularisation)


def covariance(rows):
    return np.cov(rows.T, bias=True).reshape(rows.shape[1], -1)


def test_moments_of_sites_add_up_to_the_pooled_ones():
    rows = data()
    summed = sum(second_moments(part) for part in np.split(rows, [0, 7, 250]))
    np.testing.assert_allclose(summed, second_moments(rows), rtol=1e-12)
    assert summed.shape == (WIDTH + 1, WIDTH + 1) and summed.dtype == np.float64
    # In float32 sums would keep 7 digits.
    single = second_moments(rows.astype(np.float32))
    np.testing.assert_allclose(single, second_moments(rows.astype(np.float32).astype(float)), 1e-12)
    joint, pooled = Whitening.from_moments(summed), fitted(rows)
    np.testing.assert_allclose(joint.matrix, pooled.matrix, rtol=1e-9, atol=1e-12)


def test_whitened_rows_have_mean_zero_and_covariance_one():
    rows = data()
    seen = fitted(rows, 0.0).apply(rows)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(covariance(seen), np.eye(WIDTH), atol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_the_ridge_leaves_each_direction_the_share_it_says(ridge):
    rows = data()
    values, vectors = np.linalg.eigh(covariance(rows))
    left = vectors.T @ covariance(fitted(rows, ridge).apply(rows)) @ vectors
    expected = values / (values + ridge * values.mean())
    np.testing.assert_allclose(left, np.diag(expected), atol=1e-9)


def test_it_is_symmetric_and_the_whitening_that_moves_data_least():
    rows = data()
    whitening = fitted(rows, 0.0)
    np.testing.assert_allclose(whitening.matrix, whitening.matrix.T, atol=1e-12)
    np.testing.assert_allclose(whitening.matrix @ whitening.inverse, np.eye(WIDTH), atol=1e-10)
    centred, seen = rows - rows.mean(0), whitening.apply(rows)
    rng = np.random.default_rng(1)
    for _ in range(20):
        turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        # Any other whitening is this one, turned.
        assert np.square(centred - seen).sum() < np.square(centred - seen @ turn).sum()


def test_white_data_are_left_in_place():
    rows = data()
    white = fitted(rows, 0.0).apply(rows)
    again = fitted(white, 0.0)
    np.testing.assert_allclose(again.matrix, np.eye(WIDTH), atol=1e-9)
    assert again.condition_number == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
def test_it_can_be_undone(dtype, bound):
    rows = (data() / 30).astype(dtype)
    whitening = fitted(rows)
    assert 1 < whitening.condition_number < 100
    back = whitening.invert(whitening.apply(rows))
    assert back.dtype == rows.dtype and np.abs(back - rows).max() < bound
    tensor = torch.from_numpy(rows)
    seen = whitening.apply(tensor)
    np.testing.assert_allclose(seen.numpy(), whitening.apply(rows), atol=100 * bound)
    back = whitening.invert(seen)
    assert back.dtype == tensor.dtype and (back - tensor).abs().max() < bound


def test_gradients_pass():
    whitening = fitted(data())
    rows = torch.randn(3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(whitening.apply, rows.requires_grad_(True))
    assert torch.autograd.gradcheck(whitening.invert, rows)


def test_slopes_and_distances_stay_within_the_bounds():
    rows, fake = data(60, 1), data(60, 2) + 3
    whitening = fitted(rows)
    low, high = whitening.slope_bounds
    assert whitening.condition_number == pytest.approx(high / low)

    def w1(a, b):
        costs = cdist(a, b)
        return costs[linear_sum_assignment(costs)].mean()

    seen = w1(whitening.apply(rows), whitening.apply(fake))
    assert seen / high <= w1(rows, fake) <= seen / low
    # A critic of slope 1 along u has the slope |W u| on the rows; the bounds are met.
    directions = np.random.default_rng(3).normal(size=(WIDTH, 200))
    slopes = np.linalg.norm(whitening.matrix @ directions, axis=0)
    slopes /= np.linalg.norm(directions, axis=0)
    assert low <= slopes.min() and slopes.max() <= high
    _, vectors = np.linalg.eigh(whitening.matrix)
    assert np.linalg.norm(whitening.matrix @ vectors[:, 0]) == pytest.approx(low)
    assert np.linalg.norm(whitening.matrix @ vectors[:, -1]) == pytest.approx(high)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_fewer_rows_than_directions_do(ridge, count):
    rows = data(count, width=20)
    whitening = fitted(rows, ridge)
    assert whitening.condition_number <= np.sqrt(1 + 20 / ridge) * (1 + 1e-6)
    np.testing.assert_allclose(whitening.invert(whitening.apply(rows)), rows, atol=1e-8)
    assert np.linalg.eigvalsh(covariance(whitening.apply(rows))).max() <= 1
    with pytest.raises(DataError, match=r"of 20 directions do not vary.*write a larger one"):
        fitted(rows, 0.0)


def test_a_copied_column_is_counted():
    rows = data()
    rows[:, 3] = rows[:, 0]
    with pytest.raises(DataError, match="1 of 4 directions"):
        fitted(rows, 0.0)


@pytest.mark.parametrize(
    ("total", "message"),
    [
        (second_moments(np.full((5, 3), 0.1)), "all rows are equal; expected at least 2"),
        (second_moments(np.zeros((5, 3))), "all rows are equal"),
        (second_moments(np.ones((1, 3))), "all rows are equal"),
        (second_moments(np.zeros((0, 3))), "of no rows; expected"),
        (second_moments(np.array([[np.nan, 1.0]])), "not finite"),
    ],
)
def test_moments_that_say_nothing_are_refused(total, message):
    with pytest.raises(DataError, match=message):
        Whitening.from_moments(total)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_regularisation_out_of_range_is_refused(value):
    with pytest.raises(SettingsError, match=r"regularisation = .*expected 0 or more"):
        fitted(data(), value)


def test_it_survives_a_file(tmp_path):
    whitening = fitted(data())
    path = tmp_path / "whitening.safetensors"
    write_tensors(path, whitening.tensors(), {})
    again = Whitening.from_tensors(read_tensors(path)[0])
    rows = data(seed=5)
    assert np.array_equal(again.apply(rows), whitening.apply(rows))
    assert np.array_equal(again.invert(rows), whitening.invert(rows))


def whitened(array, codec=None):
    codec = codec or ArrayCodec.fit(array)
    return Whitened(codec, fitted(codec.encode(array)))


@pytest.mark.parametrize("sample", [(2,), (1, 3, 2)], ids=repr)
def test_a_whitened_codec_is_a_codec(sample):
    array = data(width=int(np.prod(sample))).reshape(-1, *sample)
    codec = whitened(array)
    rows = codec.encode(array)
    assert rows.shape == (len(array), codec.width) and rows.dtype == np.float32
    np.testing.assert_allclose(rows, codec.whitening.apply(codec.codec.encode(array)))
    np.testing.assert_allclose(codec.decode(rows), array, atol=1e-4)
    shape = codec.shape(3)
    assert shape.blocks == codec.blocks == () and shape.scale == codec.scale == 1.0
    assert (shape.width, shape.condition) == (codec.width, 3)
    assert shape.sample == (sample if len(sample) == 3 else ())
    with pytest.raises(DataError, match="expected"):
        codec.encode(array[:, :1, ...] if len(sample) == 1 else array[..., :1])


def table(columns):
    return TableCodec(Schema(tuple(columns)))


NUMBER = Column("a", "float", edges=(0.0, 1.0, 2.0), cumulative=(0.0, 0.5, 1.0), high=2.0)


def test_a_table_of_numbers_may_be_whitened():
    inner = table([NUMBER, Column("b", "float", edges=(0.0, 4.0), cumulative=(0.0, 1.0), high=4.0)])
    assert [b.kind for b in inner.blocks] == ["value", "value"]
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 2, 200)
    frame = pd.DataFrame({"a": a, "b": 1.5 * a + rng.uniform(0, 1, 200)})
    codec = Whitened(inner, fitted(inner.encode(frame, rng)))
    rows = codec.encode(frame, rng, where="file")
    assert abs(np.corrcoef(rows.T)[0, 1]) < 0.05
    pd.testing.assert_frame_equal(codec.decode(rows), frame, atol=1e-3)


@pytest.mark.parametrize(
    "columns",
    [
        [NUMBER, Column("c", "category", categories=("x", "y"))],
        [Column("a", "float", edges=(0.0, 1.0), cumulative=(0.0, 1.0), atoms=(0.0,))],
    ],
    ids=["category", "gated number"],
)
def test_one_hot_blocks_are_not_mixed(columns):
    inner = table(columns)
    rows = np.random.default_rng(0).normal(size=(20, inner.width))
    with pytest.raises(SettingsError, match=r"1 blocks.*one-hot.*write whitening = false"):
        Whitened(inner, fitted(rows))


def test_a_gate_alone_is_refused_too():
    check_plain((Block(0, 1, "value"), Block(1, 2, "value")))
    with pytest.raises(SettingsError, match="1 numbers hang on one"):
        check_plain((Block(0, 1, "value", gate=1), Block(1, 2, "value")))


def test_a_whitening_of_another_length_is_refused():
    with pytest.raises(ValueError, match="4 outputs for rows of 2"):
        Whitened(ArrayCodec((2,)), fitted(data()))
