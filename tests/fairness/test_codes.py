"""Codes of encoded rows: they keep categories and values, and order numbers by size."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

RANKS = np.linspace(0, 1, 21)
WIDE = Column(
    "wide",
    "float",
    edges=tuple(np.interp(RANKS, (0.0, 0.5, 0.9, 1.0), (0.0, 1.0, 5.0, 99.0)).tolist()),
    cumulative=tuple(RANKS.tolist()),
    high=99,
)
GRID = Column(
    "grid",
    "integer",
    atoms=(3.0,),
    edges=(0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5),
    cumulative=(0, 0.2, 0.4, 0.55, 0.7, 0.85, 1),
    low=1,
    high=6,
    missing=True,
)
ATOMS = Column("atoms", "integer", atoms=(0.0, 7.0), low=0, high=7)
TOWN = Column("town", "category", categories=("a", "b", "c"), missing=True)
ONE = Column("one", "category", categories=("x",))
SCHEMA = Schema((WIDE, GRID, ATOMS, TOWN, ONE))
CONDITIONS = ConditionSpace(
    ("sex", "race"),
    "y",
    (("f", "p"), ("f", "q"), ("m", "p")),
    ("no", "yes"),
    (),
    ((1, 2), (3, 4), (5, 6)),
)


@pytest.fixture
def coding() -> Coding:
    return Coding.of(TableCodec(SCHEMA), CONDITIONS, 10)


def test_columns_and_their_codes(coding: Coding) -> None:
    assert [c.name for c in coding.columns] == ["sex", "race", "y", "wide", "grid", "atoms", "town"]
    # Ten bins; values 1 to 6 and a point mass beside the bin of its value, and missing ones.
    assert coding.sizes == (2, 2, 2, 10, 8, 2, 4) and coding.given == 3
    assert coding.given_codes(np.array([0, 3, 4])).tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_codes_come_back_from_the_rows_that_stand_for_them(coding: Coding) -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 6, 4000)
    codes = (rng.random((4000, len(coding.sizes))) * np.array(coding.sizes)).astype(np.int16)
    codes[:, :3] = coding.given_codes(cells)
    rows = coding.rows(codes, rng)
    assert (coding.codes(rows, cells) == codes).all()


def test_numbers_are_ordered_by_size_and_values_of_a_grid_are_exact(coding: Coding) -> None:
    codec = TableCodec(SCHEMA)
    frame = pd.DataFrame(
        {
            "wide": np.linspace(0, 99, 60),
            "grid": pd.array([1, 2, 3, 4, 5, 6, None, 3, 1, 6] * 6, "Int64"),
            "atoms": [0, 7] * 30,
            "town": ["a", "b", "c", None] * 15,
            "one": "x",
        }
    )
    rows = codec.encode(frame, np.random.default_rng(0))
    cells = np.zeros(60, dtype=np.int64)
    codes = coding.codes(rows, cells)
    for place, name in ((3, "wide"), (4, "grid"), (5, "atoms")):
        known = frame[name].notna().to_numpy()
        order = np.argsort(frame[name][known].to_numpy(float), kind="stable")
        assert (np.diff(codes[known, place][order]) >= 0).all(), name
    made = codec.decode(coding.rows(codes, np.random.default_rng(1)))
    pd.testing.assert_series_equal(made["grid"], frame["grid"], check_dtype=False)
    assert made["atoms"].tolist() == frame["atoms"].tolist()
    assert made["town"].tolist()[:3] == ["a", "b", "c"] and made["town"].isna().sum() == 15
    assert made["wide"].between(0, 99).all()
    # Within a bin numbers lie as the data's do: evenly by rank.
    many = np.repeat(codes[:1], 20_000, axis=0)
    many[:, 3] = np.arange(20_000) % 10
    wide = codec.decode(coding.rows(many, np.random.default_rng(2)))["wide"]
    assert abs((wide < 1).mean() - 0.5) < 0.02 and abs((wide < 5).mean() - 0.9) < 0.02
