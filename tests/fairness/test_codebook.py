"""Recall and codebooks from counts: parts add up, oracles, and generators that must be caught."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from everymode.fairness.metrics.codebook import REACH, Codebook, recall_by_group


def normal(count, seed, groups=2, width=4):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, width)).astype(np.float32)
    return rows, rng.integers(0, groups, count)


def book_of(rows, groups, count=2, **more):
    return Codebook.of([rows[groups == g] for g in range(count)], **more)


def test_sites_counts_add_up_to_the_pooled_ones():
    book = book_of(*normal(400, 0))
    rows, groups = normal(900, 1)
    site = np.random.default_rng(2).integers(0, 7, 900)
    parts = [book.count(rows[site == k], groups[site == k]) for k in range(8)]
    pooled = book.count(rows, groups)
    for name, total in pooled.items():
        assert np.array_equal(sum(part[name] for part in parts), total), name
    assert pooled["rows"].sum() == pooled["cells"].sum() == 900


def test_recall_is_that_of_its_definition():
    made, member = normal(300, 0)
    rows, groups = normal(200, 1)
    found = book_of(made, member).count(rows, groups)
    for g in range(2):
        balls, own = made[member == g], rows[groups == g]
        radius = np.sort(cdist(balls, balls), axis=1)[:, 5]
        assert found["recalled"][g] == (cdist(own, balls) <= radius).any(axis=1).sum()


def test_a_tie_is_inside():
    # A line of points: the farthest ball's edge is at another point exactly.
    rows = np.arange(12, dtype=np.float32)[:, None] * 0.1
    book = Codebook.of([rows], cells=4)
    ends = np.array([[rows[0, 0] - 0.5], [rows[0, 0] - 0.52]], dtype=np.float32)
    found = book.count(ends, np.zeros(2, dtype=np.int64))
    assert found["recalled"].tolist() == [1]


def test_a_book_survives_its_tensors():
    book = book_of(*normal(100, 0))
    again = Codebook.of_tensors(book.tensors(), book.sizes)
    rows, groups = normal(50, 1)
    for name, value in book.count(rows, groups).items():
        assert np.array_equal(again.count(rows, groups)[name], value)


def test_equal_laws_are_recalled_as_fresh_rows_are():
    book = book_of(*normal(1000, 0))
    (rows, groups), (fresh, own) = normal(4000, 1), normal(4000, 2)
    for record in recall_by_group(book.count(rows, groups), book.count(fresh, own)):
        assert record["low"] < 1 < record["high"]
        assert record["outside"] == pytest.approx(1 - REACH, abs=0.03)
        assert record["cells"] < 0.1


def test_a_collapsed_generator_recalls_little_of_the_group_it_collapsed_on():
    rows, groups = normal(2000, 1)
    made, member = normal(1000, 0)
    fresh, own = normal(1000, 2)
    for table, label in ((made, member), (fresh, own)):
        table[label == 1] *= 0.1
    book = book_of(made, member)
    good, bad = recall_by_group(book.count(rows, groups), book.count(fresh, own))
    assert good["low"] > 0.8
    assert bad["high"] < 0.5 and bad["outside"] > 0.5


def test_a_group_that_is_not_made_is_not_measured():
    rows, groups = normal(100, 1)
    made, member = normal(100, 0)
    keep = (member == 0) | (np.cumsum(member) <= 5)
    book = book_of(made[keep], member[keep])
    assert book.sizes[1] == 0
    real = book.count(rows, groups)
    assert real["recalled"][1] == 0 and real["outside"][1] == real["rows"][1]
    records = recall_by_group(real, book.count(made, member))
    assert records[0]["value"] is not None
    assert records[1]["value"] is None and records[1]["rows"] == real["rows"][1]


def test_equal_rows_and_no_columns_are_no_error():
    same = np.ones((20, 3), dtype=np.float32)
    book = Codebook.of([same, same[:0]])
    found = book.count(same, np.zeros(20, dtype=np.int64))
    assert found["recalled"].tolist() == [20, 0] and found["outside"].tolist() == [0, 0]
