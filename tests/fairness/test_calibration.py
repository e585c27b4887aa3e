"""Shares of categories: summed over sites, begun with, and met level by level."""

import numpy as np
import pytest
import torch

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import first_moments, stratum_memberships
from everymode.fairness.postprocessing.calibration import BELIEF, CategoryMarginals, fit_calibration
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.shape import Block, Shape

SPANS = ((0, 3), (4, 6))
BLOCKS = (Block(0, 3, "choice"), Block(3, 4, "value"), Block(4, 6, "choice"))


def conditions(counts):
    groups = tuple((f"g{i}",) for i in range(len(counts)))
    return ConditionSpace(("s",), "y", groups, ("n", "p"), (), counts)


def rows(count, seed):
    """Encoded rows whose category depends on group and label, with their conditions."""
    rng = np.random.default_rng(seed)
    group, label = rng.integers(0, 2, count), rng.integers(0, 2, count)
    law = np.array([[0.7, 0.295, 0.005], [0.2, 0.6, 0.2]])[group]
    choice = (rng.random(count)[:, None] > law.cumsum(1)).sum(1).clip(max=2)
    row = np.zeros((count, 6), dtype=np.float32)
    row[np.arange(count), choice] = 1
    row[:, 3] = rng.normal(size=count)
    row[np.arange(count), 4 + (rng.random(count) < 0.2 + 0.5 * label)] = 1
    told = np.zeros((count, 4), dtype=np.float32)
    told[np.arange(count), group] = told[np.arange(count), 2 + label] = 1
    return row, told, group * 2 + label


def shares(row, told, cells):
    counts = np.bincount(cells, minlength=4).reshape(2, 2)
    sums = first_moments(np.concatenate([row, told], 1), stratum_memberships(told) / len(row))
    return CategoryMarginals.of(sums, conditions(tuple(map(tuple, counts.tolist()))), SPANS)


def test_moments_are_additive_means():
    row, told, _ = rows(500, 0)
    weights = np.random.default_rng(1).random((500, 5)) * stratum_memberships(told)
    whole = first_moments(row, weights)
    parts = [first_moments(row[i], weights[i]) for i in (slice(200), slice(200, 500))]
    assert sum(parts) == pytest.approx(whole)
    own = told[:, 1] > 0
    mean = np.average(row[own], axis=0, weights=weights[own, 1])
    assert whole[1, :-1] / whole[1, -1] == pytest.approx(mean, abs=1e-6)
    assert whole[-1, -1] == pytest.approx(weights[:, -1].sum())


def test_shares_leave_small_groups_out():
    row, told, cells = rows(2000, 0)
    found = shares(row, told, cells)
    assert found.rows.tolist() == [*np.bincount(cells // 2), *np.bincount(cells % 2), 2000]
    table = ((900, 900), (20, 20))
    small = CategoryMarginals.of(np.ones((5, 7)), conditions(table), SPANS)
    assert small.rows.tolist() == [1800, 0, 900, 900, 1800]


def test_the_tilt_meets_the_shares_of_every_level_and_revives_a_lost_category():
    row, told, cells = rows(20_000, 0)
    found = shares(row, told, cells)
    _, wanted, _ = rows(20_000, 1)
    raw = torch.from_numpy(np.random.default_rng(2).normal(size=(20_000, 6))).float()
    raw[:, 2] -= 8
    asked = torch.from_numpy(wanted)
    tilt = fit_calibration(raw, asked, torch.ones(20_000), found)
    assert tilt.before > 0.1 and tilt.after < 3e-3
    made = raw + tilt.bias + asked @ tilt.levels
    for first, last in SPANS:
        choice = torch.softmax(made[:, first:last], 1).numpy()
        for level in range(4):
            real = row[told[:, level] > 0, first:last].mean(0)
            assert choice[wanted[:, level] > 0].mean(0) == pytest.approx(real, abs=4e-3)
    assert torch.equal(tilt.bias[3], torch.tensor(0.0)) and not tilt.levels[:, 3].any()


def test_of_all_laws_with_the_shares_the_tilted_is_the_nearest():
    """The tilt is exponential in level and category: what is learnt within them stays."""
    row, told, cells = rows(5000, 0)
    raw = torch.from_numpy(np.random.default_rng(2).normal(size=(5000, 6))).float()
    asked = torch.from_numpy(told)
    tilt = fit_calibration(raw, asked, torch.ones(5000), shares(row, told, cells))
    moved = asked @ tilt.levels + tilt.bias
    same = cells == 1
    assert moved[same].std(0).max() < 1e-5


def test_few_rows_are_outweighed_by_what_was_learnt():
    row, told, cells = rows(20_000, 0)
    found = shares(row, told, cells)
    few = CategoryMarginals(found.means, np.array([0, 0, 0, 0, BELIEF]), found.vectors, SPANS)
    raw, asked = torch.zeros(20_000, 6), torch.from_numpy(told)
    tilt = fit_calibration(raw, asked, torch.ones(20_000), few)
    made = torch.softmax((raw + tilt.bias)[0, :3], 0)
    assert made.numpy() == pytest.approx((row[:, :3].mean(0) + 1 / 3) / 2, abs=1e-4)
    assert not tilt.levels.any()


def test_a_tilted_generator_gives_tilted_outputs():
    shape = Shape(BLOCKS, 6, 4)
    torch.manual_seed(0)
    generator = SkipGeneratorSpec((8,), 3).build(shape)
    noise, asked = torch.randn(10, 3), torch.from_numpy(rows(10, 0)[1])
    before = generator.raw(noise, asked)
    bias, levels = torch.randn(6), torch.randn(4, 6)
    generator.tilt(bias, levels)
    after = generator.raw(noise, asked)
    assert torch.allclose(after, before + bias + asked @ levels, atol=1e-5)


def test_groups_that_are_moved_on_purpose_are_not_moved_back():
    row, told, cells = rows(5000, 0)
    found = shares(row, told, cells).without_groups()
    raw = torch.from_numpy(np.random.default_rng(2).normal(size=(5000, 6))).float()
    tilt = fit_calibration(raw, torch.from_numpy(told), torch.ones(5000), found)
    assert not tilt.levels[:2].any() and tilt.levels[2:].any() and tilt.bias.any()
