"""The projection: what it is in closed form, what it leaves alone, what rejection makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.postprocessing.projection import Projection, project
from everymode.fairness.postprocessing.projection_problem import MAX_TILT, MAX_WEIGHT, joint_tilt
from everymode.fairness.weighting.group_weights import row_weights

CHOICES = np.array([True, True, True, True, False])
SPANS = ((0, 2), (2, 4))
CELLS = 4


def rows(count, seed, together=0.5, tie=0.0):
    """Two categories that agree with a probability, and a number tied to the first."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 2, count)
    second = np.where(rng.random(count) < together, first, 1 - first)
    row = np.zeros((count, 5), dtype=np.float32)
    row[np.arange(count), first] = 1
    row[np.arange(count), 2 + second] = 1
    row[:, 4] = rng.normal(size=count) + tie * first
    return row


def conditions(counts):
    return ConditionSpace(("s",), "y", (("a",), ("b",)), ("n", "p"), (), counts)


def moments(told, cells, row):
    mass = np.array([0.5, 0.5])
    each = row_weights(mass, told.group_counts)[cells // 2]
    encoded = told.encode(cells)
    return LevelMoments.of_rows(row, encoded, each, CHOICES)


def weights(told):
    each = row_weights(np.array([0.5, 0.5]), told.group_counts)
    return torch.from_numpy((told.table * each[:, None]).reshape(-1))


def data(count, seed, **law):
    cells = np.random.default_rng(seed).integers(0, CELLS, count)
    counts = np.bincount(cells, minlength=CELLS).reshape(2, 2)
    told = conditions(tuple(map(tuple, counts.tolist())))
    return told, moments(told, cells, rows(count, seed + 1, **law))


def made(count, seed, **law):
    return {c: torch.from_numpy(rows(count, seed + 10 * c, **law)) for c in range(CELLS)}


def fitted(told, wanted, count=20_000, **law):
    return project(made(count, 1, **law), made(count, 2, **law), weights(told), told, wanted, SPANS)


def test_two_categories_are_brought_together_as_the_odds_ratio_says():
    told, wanted = data(40_000, 0, together=0.8)
    fit = fitted(told, wanted)
    assert fit.before > 0 and fit.after == 0
    tilt = joint_tilt(fit.projection.levels, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    # log odds ratio: 2 (A_02 + A_13 - A_03 - A_12), against that of .8 and .2.
    found = 2 * float(tilt[0, 2] + tilt[1, 3] - tilt[0, 3] - tilt[1, 2])
    assert found == pytest.approx(2 * np.log(4), rel=0.1)
    # The fewer of both kinds are kept: of half of the rows all, of half a quarter.
    assert fit.kept == pytest.approx(0.5 + 0.5 / 4, abs=0.04)


def test_rows_that_are_kept_have_the_data_s_moments_and_the_shares_stay():
    told, wanted = data(40_000, 0, together=0.75, tie=0.4)
    fit = fitted(told, wanted, tie=0.0)
    row = torch.from_numpy(rows(60_000, 99))
    cells = np.random.default_rng(5).integers(0, CELLS, len(row))
    keep = fit.projection.accept(
        row, torch.from_numpy(told.encode(cells)), cells, torch.Generator().manual_seed(0)
    )
    kept = row[keep].numpy()
    assert (kept[:, 0] * kept[:, 2] + kept[:, 1] * kept[:, 3]).mean() == pytest.approx(
        0.75, abs=0.02
    )
    assert kept[:, 0].mean() == pytest.approx(0.5, abs=0.01)
    tie = kept[kept[:, 1] > 0, 4].mean() - kept[kept[:, 0] > 0, 4].mean()
    assert tie == pytest.approx(0.4, abs=0.06)


def test_within_chance_nothing_is_moved():
    told, wanted = data(2000, 0)
    fit = fitted(told, wanted)
    assert (fit.projection, fit.before, fit.after, fit.kept) == (None, 0, 0, 1.0)


def test_moments_with_noise_are_met_within_its_deviation_and_left_alone_below_it():
    told, wanted = data(40_000, 0, together=0.56)
    levels = len(wanted.totals)
    # They are off by .03, half of which a deviation of .015 leaves.
    exact, some, much = (
        fitted(told, replace(wanted, noise=np.full(levels, deviation)), together=0.5)
        for deviation in (0.0, 0.015, 0.06)
    )
    assert exact.before > 0 and some.before > 0 and much.before == 0
    tilts = [float(fit.projection.levels.abs().sum()) for fit in (exact, some)]
    assert 0.2 * tilts[0] < tilts[1] < 0.8 * tilts[0]


def test_only_the_level_that_is_off_is_tilted():
    law = {"together": 0.5}
    cells = np.repeat(np.arange(CELLS), 10_000)
    told = conditions(((10_000, 10_000), (10_000, 10_000)))
    row = np.concatenate(
        [rows(20_000, 0, **law), rows(20_000, 1, together=0.9)]  # groups a and b
    )
    fit = fitted(told, moments(told, cells, row))
    levels = fit.projection.levels
    a, b = (
        joint_tilt(levels, torch.tensor(c)) for c in ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0])
    )
    assert abs(float(a[0, 2] - a[0, 3])) < 0.05 < 0.5 < float(b[0, 2] - b[0, 3])


def test_a_group_too_small_for_moments_keeps_all_its_rows():
    cells = np.repeat(np.arange(CELLS), [10_000, 10_000, 20, 20])
    told = conditions(((10_000, 10_000), (20, 20)))
    row = rows(len(cells), 0, together=0.8)
    taken = cells < 2
    each = row_weights(np.array([0.5, 0.5]), told.group_counts)[cells // 2]
    encoded = told.encode(cells)
    fit = fitted(told, LevelMoments.of_rows(row, encoded, each * taken, CHOICES))
    assert torch.isinf(fit.projection.log_envelopes[2:]).all()
    assert torch.isfinite(fit.projection.log_envelopes[:2]).all()
    other = torch.from_numpy(rows(100, 7))
    two = np.full(100, 2)
    told_two = torch.from_numpy(told.encode(two))
    assert fit.projection.accept(other, told_two, two, torch.Generator()).all()


def test_what_the_generator_hardly_makes_is_not_reached_for():
    # The data have agreeing rows, the generator made a handful: their weight would know no bound.
    told, wanted = data(40_000, 0, together=0.8)
    found = fitted(told, wanted, together=0.0002)
    levels = found.projection.levels
    # In all levels together fewer than `SEEN` rows show the first of both; those apart are plenty.
    assert not levels[:, 0, 2].any() and not levels[:, 1, 3].any()
    off = levels - torch.diag_embed(levels.diagonal(dim1=1, dim2=2))
    assert 0.5 < float(off.abs().max()) <= MAX_TILT + 1e-6
    assert 1 / MAX_WEIGHT < found.kept < 1


def test_without_rows_or_categories_there_is_still_an_answer():
    told, wanted = data(4000, 0, together=0.8)
    assert project({}, {}, weights(told), told, wanted, SPANS).projection is None
    number = {c: r[:, 4:] for c, r in made(4000, 1, tie=0.0).items()}
    cells = np.random.default_rng(0).integers(0, CELLS, 4000)
    encoded = told.encode(cells)
    each = row_weights(np.array([0.5, 0.5]), told.group_counts)[cells // 2]
    row = rows(4000, 3)[:, 4:] + 0.3
    moments = LevelMoments.of_rows(row, encoded, each, CHOICES[4:])
    fit = project(number, number, weights(told), told, moments, ())
    assert fit.before > fit.after == 0


def test_a_projection_is_written_and_read():
    levels, log_envelopes = torch.randn(5, 9, 9), torch.randn(CELLS)
    tensors = {"other": torch.zeros(1)} | Projection(levels, log_envelopes).tensors()
    again = Projection.from_tensors(tensors)
    assert list(tensors) == ["other"]
    assert torch.equal(again.levels, levels) and torch.equal(again.log_envelopes, log_envelopes)
    assert Projection.from_tensors(tensors) is None


def test_the_shape_of_a_distribution_comes_back_and_only_with_bins():
    """Data with two humps, a generator with one of the same mean and variance."""
    rng = np.random.default_rng(0)
    cells = np.repeat(np.arange(CELLS), 5000)
    told = conditions(((5000, 5000), (5000, 5000)))

    def humped(humps: float, count: int, seed: int) -> torch.Tensor:
        draw = np.random.default_rng(seed)
        side = draw.choice([-1.0, 1.0], count) * humps
        number = side + draw.normal(size=count) * (1 - humps**2) ** 0.5
        return torch.from_numpy(number[:, None].astype(np.float32) / 2)

    cuts = tuple(np.quantile(rng.normal(size=10_000) / 2, np.arange(1, 8) / 8).tolist())
    share = {}
    for binning in (Binning(), Binning((0,), (None,), (cuts,))):
        data = binning(humped(0.9, len(cells), 1)).numpy()
        encoded = told.encode(cells)
        one = np.full(len(cells), 1 / len(cells))
        choices = np.append([False], np.ones(binning.width, dtype=bool))
        moments = LevelMoments.of_rows(data, encoded, one, choices)
        made, fresh = (
            {c: binning(humped(0.0, 8000, seed + c)) for c in range(CELLS)} for seed in (10, 20)
        )
        fit = project(made, fresh, weights(told), told, moments, binning.spans(1))
        drawn = humped(0.0, 40_000, 99)
        kept = torch.ones(len(drawn), dtype=torch.bool)
        if fit.projection is not None:
            where = np.zeros(len(drawn), dtype=np.int64)
            condition = torch.from_numpy(told.encode(where))
            kept = fit.projection.accept(binning(drawn), condition, where, torch.Generator())
        share[binning.width] = float((drawn[kept, 0].abs() < 0.15).float().mean())
    wanted = float((humped(0.9, 40_000, 2)[:, 0].abs() < 0.15).float().mean())
    assert share[0] > wanted + 0.1
    assert share[8] == pytest.approx(wanted, abs=0.05)
