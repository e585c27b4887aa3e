"""Columns that follow from another: found in the sums, filled in rows, and not seen in chance."""

import numpy as np
import pandas as pd
import pytest
import torch

from fairness.binning import Binning
from fairness.following import filled, followings
from fairness.matching import LevelMoments, second_moments
from wgan.data.codec import TableCodec
from wgan.data.fit import fit_schema

BINS = 8


def table(count: int = 4000, seed: int = 0) -> pd.DataFrame:
    """A label, its code (one value an atom, some missing), its region, and columns of their own."""
    rng = np.random.default_rng(seed)
    label = rng.choice(list("abcdefgh"), count, p=[0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
    code = pd.Series(label).map(dict(zip("abcdefgh", [3, 7, 1, 2, 4, 5, 6, None], strict=True)))
    return pd.DataFrame(
        {
            "free": rng.normal(size=count).round(3),
            "label": label,
            "code": code.astype("Int64"),
            "region": pd.Series(label).map(lambda x: "north" if x < "d" else "south"),
            "other": rng.choice(["x", "y"], count),
            "small": rng.integers(1, 6, count),
        }
    )


def found(frame, bins=BINS, rows=None):
    codec = TableCodec(fit_schema(frame))
    binning = Binning.of(codec, bins)
    coded = torch.from_numpy(codec.encode(frame, np.random.default_rng(1)))
    told = np.ones((len(frame), 1), dtype=np.float32)
    weights = np.full((len(frame), 1), 1 / len(frame))
    sums = second_moments(binning(coded).numpy(), told, weights)
    choices = np.ones(codec.width + binning.width, dtype=bool)
    moments = LevelMoments.of(sums, 0, choices)
    return codec, coded, followings(codec, binning, moments, rows or len(frame))


def test_what_follows_is_found_and_filled_in():
    frame = table()
    codec, coded, ties = found(frame)
    assert set(ties) == {("label", "code"), ("label", "region")}
    # Rows whose entries were drawn apart: the label stays, what follows is as in the data.
    mixed = torch.stack([coded[torch.randperm(len(coded))] for _ in range(2)])[0].clone()
    span = codec.span("label")
    mixed[:, span] = coded[:, span]
    before = codec.decode(mixed.numpy())
    after = codec.decode(filled(tuple(ties.values()), mixed).numpy())
    for name in ("code", "region"):
        assert not before[name].equals(codec.decode(coded.numpy())[name])
        pd.testing.assert_series_equal(after[name], codec.decode(coded.numpy())[name])
    for name in ("free", "label", "other", "small"):
        pd.testing.assert_series_equal(after[name], before[name])


def test_one_row_that_does_not_fit_is_enough_for_none():
    frame = table()
    frame.loc[frame.index[frame["label"] == "a"][0], "region"] = "south"
    frame.loc[frame.index[frame["label"] == "b"][0], "code"] = 6
    assert not found(frame)[2]


def test_without_a_bin_for_each_value_only_categories_follow():
    assert set(found(table(), bins=3)[2]) == {("label", "region")}


def test_a_category_of_too_few_rows_says_nothing():
    # Of an identifier every value has one row, and each goes with one of everything.
    frame = table(300)
    frame["id"] = [f"p{i}" for i in range(len(frame))]
    ties = found(frame)[2]
    assert not any(source == "id" for source, _ in ties)
    assert ("label", "region") in ties


def test_a_rare_category_follows_where_the_others_do():
    frame = table()
    rare = pd.DataFrame(frame.iloc[:3]).assign(label="z", code=7, region="east")
    whole = pd.concat([frame, rare], ignore_index=True)
    codec, coded, ties = found(whole)
    assert set(ties) == {("label", "code"), ("label", "region")}
    last = coded[-3:].clone()
    last[:, codec.span("region")] = coded[:3, codec.span("region")]
    assert set(codec.decode(filled(tuple(ties.values()), last).numpy())["region"]) == {"east"}


def test_of_two_that_follow_from_each_other_one_leads():
    frame = table()
    frame["same"] = frame["label"].str.upper()
    ties = found(frame)[2]
    assert ("label", "same") in ties and not any(source == "same" for source, _ in ties)


@pytest.mark.parametrize("constant", ["x", None])
def test_a_column_with_one_value_follows_from_nothing(constant):
    frame = table().drop(columns=["code", "region"]).assign(other=constant)
    frame.loc[0, "other"] = "y"
    assert not found(frame)[2]
