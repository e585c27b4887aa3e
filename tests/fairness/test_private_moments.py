"""Which products are summed under differential privacy, and counts made those of a table."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.fairness.matching.consistency import onto_simplex, whole
from everymode.fairness.matching.private_moments import (
    Coordinates,
    choose_clips,
    clipped_moments,
    norms,
    symmetric,
)
from everymode.fairness.matching.shrinkage import shrink

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
    group, label, every = SPACE.pairs(0), SPACE.pairs(2), SPACE.pairs(4)
    for own in (group, label, every):
        assert not own[3, 4] and not own[6, 7] and not own[0, 1] and not own[0, 6]
        # The state that there is a number, and the bin of no number, sum up others.
        assert not own[1].any() and not own[7].any() and not own[:, 1].any() and not own[:, 7].any()
        assert not np.tril(own, -1).any()
    # In a group: with labels alone, and squares of numbers.
    assert group[0, 10] and group[2, 11] and group[3, 10] and group[6, 10] and group[0, 0]
    assert group.sum() == 2 * 6 + 1
    # In a label: pairs of columns; a number with the level's own coordinate is its mean.
    assert label[0, 10] and not label[3, 10] and not label[10, 10] and not label[3, 8]
    assert label[0, 3] and label[3, 6] and label[2, 3] and label[3, 3]
    assert every[3, 8] and every[3, 10]
    assert np.flatnonzero(SPACE.crossed(0)).tolist() == [8, 10, 11]
    assert not SPACE.crossed(2).any() and not SPACE.crossed(4).any()


def test_a_group_without_labels_is_told_its_shares_and_means() -> None:
    alone = replace(SPACE, blocks=(4, 0), spans=(*SPACE.spans[:3], (8, 12)))
    found = alone.pairs(1)
    assert found[0, 9] and found[3, 3] and found[6, 6] and found[2, 2] and not found[3, 9]
    assert found.sum() == 1 + 1 + 3 + 1 + 1


def test_columns_with_numbers_and_states_count_once() -> None:
    assert SPACE.gated == ((1, (2,), (6,), 7),)
    assert SPACE.partitions == ((2, 6), (3, 4, 5))
    # Each row has just one coordinate of a partition.
    made = rows(300)
    for own in SPACE.partitions[1:]:
        assert (made[:, own].sum(1) == 1).all()


@given(st.integers(0, 30), st.floats(0.5, 8.0))
def test_no_row_adds_more_than_the_clip_and_sums_are_exact(seed: int, clip: float) -> None:
    made, published = rows(20, seed), np.ones((5, 12), dtype=bool)
    published[-1] = False
    member = np.concatenate([made[:, 8:] > 0, np.ones((20, 1), dtype=bool)], 1)
    clips = clip / 3, clip
    total = clipped_moments(made, member, published, SPACE, clips)
    assert np.array_equal(np.rint(total * 2.0**30), total * 2.0**30)
    backwards = clipped_moments(made[::-1], member[::-1], published, SPACE, clips)
    assert np.array_equal(total, backwards)
    half = len(total) // 2
    for place in range(20):
        rest = np.delete(np.arange(20), place)
        moved = total - clipped_moments(made[rest], member[rest], published, SPACE, clips)
        # One group and one label.
        assert np.linalg.norm(moved[:half]) <= clip / 3 * (1 + 1e-12)
        assert np.linalg.norm(moved[half:]) <= clip * (1 + 1e-12)


def test_rows_below_the_clip_add_all_they_have() -> None:
    made = rows(50)
    made[:, 0] = np.rint(made[:, 0] * 1024) / 1024
    published = np.zeros((5, 12), dtype=bool)
    published[2] = True
    member = np.concatenate([made[:, 8:] > 0, np.ones((50, 1), dtype=bool)], 1)
    found = symmetric(clipped_moments(made, member, published, SPACE, (50.0, 50.0)), 12)
    own = made[member[:, 2]].astype(np.float64)
    pairs = SPACE.pairs(2)
    assert np.allclose(np.triu(found), (own.T @ own) * pairs, atol=1e-12)
    with pytest.raises(ValueError, match="all or none"):
        clipped_moments(made, member, np.eye(5, 12, dtype=bool), SPACE, (1.0, 1.0))


def test_the_clips_let_ordinary_rows_be_and_look_at_no_data() -> None:
    clips = choose_clips(SPACE)
    assert clips == choose_clips(SPACE)
    made = rows(500)
    has = made[:, 1] > 0
    made[:, 0] = np.where(has, np.random.default_rng(5).normal(0, 0.5, 500), 0.0)
    made[:, 6], made[:, 7] = has, ~has
    for clip, level in zip(clips, (0, 2), strict=True):
        within = norms(made.astype(np.float64), SPACE.pairs(level)) <= clip
        assert within.mean() > 0.9
    assert clips[0] < clips[1]


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


def test_shrinking_keeps_what_noise_does_not_explain_and_loses_the_rest() -> None:
    rng = np.random.default_rng(2)
    truth = np.full(60, 20.0)
    noisy = truth + rng.normal(0, 9, 60)
    assert np.abs(shrink(noisy, truth, 9.0) - truth).max() < 0.5 * np.abs(noisy - truth).max()
    far = truth + np.linspace(-500, 500, 60)
    assert np.allclose(shrink(far, truth, 9.0), far, atol=1.0)
    # Never worse in the mean, wherever the truth lies.
    for distance in (0.0, 3.0, 10.0, 30.0):
        lost = []
        for _ in range(300):
            own = truth + distance * rng.choice([-1, 1], 60)
            noisy = own + rng.normal(0, 9, 60)
            drawn = np.square(shrink(noisy, truth, 9.0) - own).sum()
            lost.append(drawn - np.square(noisy - own).sum())
        assert np.mean(lost) < 0
