"""Bins of numbers: which rows lie where, and what sums hold of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import LevelMoments
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.fit import fit_schema

BINS = 5


def table(count: int = 5000) -> pd.DataFrame:
    """A skewed number, one that is mostly an atom, one with gaps, and a category."""
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(count) < 0.8, 0.0, rng.lognormal(8, 1, count).round(2))
    gap = np.where(rng.random(count) < 0.3, np.nan, rng.normal(size=count).round(3))
    return pd.DataFrame(
        {
            "kind": rng.choice(list("abc"), count),
            "income": rng.lognormal(10, 1, count).round(2),
            "gain": gain,
            "gap": gap,
        }
    )


@pytest.fixture(scope="module")
def coded() -> tuple[TableCodec, pd.DataFrame, torch.Tensor]:
    frame = table()
    codec = TableCodec(fit_schema(frame))
    return codec, frame, torch.from_numpy(codec.encode(frame, np.random.default_rng(1)))


def test_every_number_has_one_bin_and_bins_hold_alike_many(coded):
    codec, frame, rows = coded
    binning = Binning.of(codec, BINS)
    binned = binning(rows)
    assert binned.shape == (len(frame), codec.width + binning.width)
    assert torch.equal(binned[:, : codec.width], rows)
    assert len(binning.numbers) == 3
    for number, (first, last), values in zip(
        binning.numbers,
        binning.spans(codec.width),
        (frame[n].to_numpy() for n in ("income", "gain", "gap")),
        strict=True,
    ):
        assert torch.equal(binned[:, first:last].sum(1), torch.ones(len(frame)))
        place = binned[:, first:last].argmax(1).numpy()
        there = ~np.isnan(values) & (values != 0)
        # Without a number there is no bin; with one, its rank says which.
        assert (place[~there] == BINS).all() and (place[there] < BINS).all()
        assert not rows[~torch.from_numpy(there), number].any()
        order = np.argsort(values[there], kind="stable")
        assert (np.diff(place[there][order]) >= 0).all()
        shares = np.bincount(place[there], minlength=BINS) / there.sum()
        assert shares == pytest.approx(1 / BINS, abs=0.03)


def test_on_a_linear_scale_bins_hold_alike_many_too():
    frame = table()
    schema = fit_schema(frame[["income"]])
    columns = tuple(replace(column, scale="linear") for column in schema.columns)
    codec = TableCodec(replace(schema, columns=columns))
    rows = torch.from_numpy(codec.encode(frame[["income"]], np.random.default_rng(1)))
    binned = Binning.of(codec, BINS)(rows)
    assert binned[:, codec.width :].mean(0).numpy() == pytest.approx(1 / BINS, abs=0.03)


def test_fewer_than_two_bins_are_none(coded):
    codec, _, rows = coded
    for bins in (0, 1):
        binning = Binning.of(codec, bins)
        assert (binning.width, binning.spans(3)) == (0, [])
        assert torch.equal(binning(rows), rows)


def test_moments_without_the_bins_are_those_of_the_rows(coded):
    codec, _, rows = coded
    binning = Binning.of(codec, BINS)
    told = np.eye(2, dtype=np.float32)[np.random.default_rng(2).integers(0, 2, len(rows))]
    one = np.ones(len(rows))
    choices = np.zeros(codec.width, dtype=bool)
    both = np.append(choices, np.ones(binning.width, dtype=bool))
    whole = LevelMoments.of_rows(binning(rows).numpy(), told, one, both)
    alone = LevelMoments.of_rows(rows.numpy(), told, one, choices)
    found = whole.without(codec.width, codec.width + binning.width)
    np.testing.assert_allclose(found.means, alone.means, rtol=1e-12, atol=1e-15)
    assert (found.choices == alone.choices).all() and (found.totals == alone.totals).all()
    # The bins' own: how many rows lie in each.
    diagonal = whole.means[-1].diagonal()[codec.width : codec.width + binning.width]
    np.testing.assert_allclose(diagonal, binning(rows)[:, codec.width :].mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "sizes"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], (8,)),
        (list(range(1, 2 * BINS + 1)), (2 * BINS,)),
        (list(range(1, 2 * BINS + 2)), (BINS,)),
        ([0.25, 0.5, 0.75, 1.0, 1.25], (BINS,)),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], (6,)),
        ([-1e308, 0.123456789012, 5.0, 1e308, 7.25, 9.5], (BINS,)),
    ],
)
def test_short_grids_have_a_bin_for_each_value(numbers, sizes):
    frame = pd.DataFrame({"x": np.tile(np.array(numbers), 40)})
    codec = TableCodec(fit_schema(frame, atom_share=1.0))
    binning = Binning.of(codec, BINS)
    assert binning.sizes == sizes
    rows = torch.from_numpy(codec.encode(frame, np.random.default_rng(0)))
    place = binning(rows)[:, codec.width :].argmax(1).numpy()
    if sizes != (BINS,):
        assert (place == np.round((frame["x"] - min(numbers)) / (numbers[1] - numbers[0]))).all()
        assert len(binning.values[0]) == sizes[0]
