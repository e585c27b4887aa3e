"""Toy distributions and the published way to count their modes."""

import math

import pytest
import torch

from everymode.simulations.toys import Cloud, Fresh, grid, parallel_lines, plain, ring, swiss_roll


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_samples_of_the_mixture_itself_cover_it():
    for modes, count in ((ring(), 8), (grid(), 25)):
        assert modes.centres.shape == (count, 2)
        report = modes.report(modes(2500, seeded()))
        # In two dimensions 1.1 % of a Gaussian lie beyond three deviations.
        assert report.modes == count and report.quality == pytest.approx(0.989, abs=0.01)
        assert 0 <= report.divergence < 0.02


def test_one_mode_and_none():
    modes = grid()
    one = modes.report(modes.centres[:1].expand(100, 2))
    assert (one.modes, one.quality) == (1, 1.0)
    assert one.divergence == pytest.approx(math.log(25))
    none = modes.report(torch.full((10, 2), 99.0))
    assert (none.modes, none.quality) == (0, 0.0)
    assert none.divergence == pytest.approx(math.log(25))


def test_the_reverse_divergence_of_unequal_shares():
    modes = ring(2)
    rows = modes.centres[torch.tensor([0, 0, 0, 1])]
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert modes.report(rows).divergence == pytest.approx(expected)


def test_lines_are_upright_parallel_and_apart():
    rows = parallel_lines(4000, seeded())
    assert rows[:, 0].unique().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert rows[:, 1].min() >= -0.5 and rows[:, 1].max() <= 0.5
    shares = rows[:, 0].unique(return_counts=True)[1] / 4000
    assert (shares - 0.25).abs().max() < 0.04


def test_the_roll_is_of_unit_size_and_turns_about_the_origin():
    rows = swiss_roll(2000, seeded(), noise=0.0)
    radius = rows.norm(dim=1)
    assert 0.6 < radius.min() < 0.7 and 1.8 < radius.max() < 1.9


def test_sources_give_plain_batches():
    fresh = Fresh(lambda n, rng: torch.rand((n, 3), generator=rng))(5, seeded())
    assert fresh.real.shape == (5, 3) and fresh.condition.shape == (5, 0)
    rows, condition = torch.arange(6.0).view(3, 2), torch.eye(3)
    drawn = Cloud(rows, condition)(50, seeded())
    assert torch.equal(rows[drawn.condition.argmax(1)], drawn.real)
    assert torch.equal(drawn.weights, torch.ones(50))
    assert plain(rows).condition.shape == (3, 0)
