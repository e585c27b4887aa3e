"""Which products are summed under differential privacy, and counts made those of a table."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.fairness.matching.consistency import onto_simplex, whole
from everymode.fairness.matching.private_moments import (
    Coordinates,
    choose_clip,
    clipped_moments,
    norms,
    symmetric,
)

# A number with two states (0, 1-2), a category of three (3-5), bins of the number (6-7), two
# groups (8-9) and two labels (10-11).
SPACE = Coordinates(
    12,
    (0,),
    ((1, 3), (3, 6), (6, 8), (8, 10), (10, 12)),
    (0, 0, 0, 1, 1, 1, 0, 0, -1, -1, -1, -1),
    (False,) * 6 + (True,) * 2 + (False,) * 4,
    (2, 2),
)


def rows(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    found = np.zeros((count, SPACE.width), dtype=np.float32)
    for first, last in SPACE.spans:
        found[np.arange(count), rng.integers(first, last, count)] = 1
    found[:, 0] = rng.normal(0, 0.7, count)
    return found


def test_products_that_others_tell_are_not_summed() -> None:
    group, label = SPACE.pairs(0), SPACE.pairs(2)
    assert not group[3, 4] and not group[6, 7] and not group[0, 1] and not group[0, 6]
    # A number with the level's own coordinate is its mean; categories repeat their shares.
    assert group[0, 8] and not group[3, 8] and not group[8, 8]
    assert group[3, 10] and not label[3, 8] and group[0, 3] and group[3, 6] and group[10, 10]
    assert not np.tril(group, -1).any()


@given(st.integers(0, 30), st.floats(0.5, 8.0))
def test_no_row_adds_more_than_the_clip_and_sums_are_exact(seed: int, clip: float) -> None:
    made, published = rows(20, seed), np.ones((5, 12), dtype=bool)
    published[-1] = False
    member = np.concatenate([made[:, 8:] > 0, np.ones((20, 1), dtype=bool)], 1)
    total = clipped_moments(made, member, published, SPACE, clip)
    assert np.array_equal(np.rint(total * 2.0**30), total * 2.0**30)
    backwards = clipped_moments(made[::-1], member[::-1], published, SPACE, clip)
    assert np.array_equal(total, backwards)
    for place in range(20):
        rest = np.delete(np.arange(20), place)
        moved = total - clipped_moments(made[rest], member[rest], published, SPACE, clip)
        # One group and one label.
        assert np.linalg.norm(moved) <= clip * np.sqrt(2) * (1 + 1e-12)


def test_rows_below_the_clip_add_all_they_have() -> None:
    made = rows(50)
    made[:, 0] = np.rint(made[:, 0] * 1024) / 1024
    published = np.zeros((5, 12), dtype=bool)
    published[0] = True
    member = np.concatenate([made[:, 8:] > 0, np.ones((50, 1), dtype=bool)], 1)
    found = symmetric(clipped_moments(made, member, published, SPACE, 50.0), 12)
    own = made[member[:, 0]].astype(np.float64)
    pairs = SPACE.pairs(0)
    assert np.allclose(np.triu(found), (own.T @ own) * pairs, atol=1e-12)
    with pytest.raises(ValueError, match="all or none"):
        clipped_moments(made, member, np.eye(5, 12, dtype=bool), SPACE, 1.0)


def test_the_clip_lets_ordinary_rows_be_and_looks_at_no_data() -> None:
    clip = choose_clip(SPACE)
    assert clip == choose_clip(SPACE)
    made = rows(500)
    made[:, 0] = np.random.default_rng(5).normal(0, 0.5, 500)
    assert np.mean(norms(made.astype(np.float64), SPACE.pairs(0)) <= clip) > 0.9


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12), st.floats(0.5, 100))
def test_the_nearest_counts_are_not_negative_and_add_up(noisy: list[float], total: float) -> None:
    counts = np.array(noisy)
    found = onto_simplex(counts, total)
    assert found.min() >= 0 and found.sum() == pytest.approx(total)
    # Nearest: no other point of the simplex that is tried lies closer.
    rng = np.random.default_rng(0)
    for other in rng.dirichlet(np.ones(len(counts)), 30) * total:
        assert np.linalg.norm(found - counts) <= np.linalg.norm(other - counts) + 1e-9
    assert whole(found).sum() == round(float(found.sum()))


def test_noise_on_empty_cells_is_mostly_removed() -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros(200)
    truth[:10] = 1000.0
    noisy = truth + rng.normal(0, 30, 200)
    found = onto_simplex(noisy, 10_000.0)
    clipped = np.maximum(noisy, 0)
    assert np.abs(found[10:]).sum() < 0.35 * np.abs(clipped[10:]).sum()
