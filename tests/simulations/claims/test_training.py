"""Claims about whole trainings: their measures, with a few steps where they train."""

import math

import pytest
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims import adaptive_augmentation as augmentation
from everymode.simulations.claims import mode_coverage as coverage
from everymode.simulations.claims import noise_views as noise
from everymode.simulations.claims import plateau_stopping as plateau
from everymode.wgan.strength import Constant, Decay
from everymode.wgan.training import Schedule


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_claims_have_their_numbers_and_sources():
    claims = [coverage.CLAIM, plateau.CLAIM, noise.CLAIM, augmentation.CLAIM]
    assert [claim.number for claim in claims] == [10, 14, 19, 20]
    assert all(claim.source and claim.statement for claim in claims)


def test_true_lines_are_all_covered_with_equal_shares():
    report = coverage.line_report(coverage.draw_lines(4000, rng()))
    assert (report.modes, report.quality) == (4, 1.0)
    assert report.divergence == pytest.approx(0, abs=2e-3)


def test_a_single_line_is_one_mode_and_its_divergence_is_the_largest():
    rows = coverage.draw_lines(4000, rng())
    report = coverage.line_report(rows[rows[:, 0] > 2])
    assert report.modes == 1
    assert report.divergence == pytest.approx(math.log(4))


def test_a_line_with_less_than_a_tenth_is_not_covered():
    rows = torch.zeros(100, 2)
    rows[:, 0] = 1.0
    rows[:9, 0] = -1.0
    assert coverage.line_report(rows).modes == 1
    rows[:10, 0] = -1.0
    assert coverage.line_report(rows).modes == 2


def test_a_blur_lies_near_the_lines_by_chance_only():
    blur = torch.rand((20000, 2), generator=rng()) * torch.tensor([8.0, 1.0]) - torch.tensor(
        [4.0, 0.5]
    )
    assert coverage.line_report(blur).quality == pytest.approx(2 * coverage.NEAR, abs=0.01)


def test_a_blur_over_the_grid_is_near_it_by_the_discs_share_of_the_area():
    side = 2.0 + 2 * 4 * coverage.GRID.deviation
    discs = 25 * math.pi * (3 * coverage.GRID.deviation) ** 2
    assert coverage.blur(coverage.TASKS[2]) == pytest.approx(discs / side**2, rel=0.25)


def test_points_near_no_line_cover_none():
    assert coverage.line_report(torch.full((10, 2), 50.0)).modes == 0


def test_the_claim_on_modes_fails_where_the_two_sides_are_swapped():
    task = coverage.TASKS[0]
    rows = coverage.draw_lines(4000, rng())
    all_of_them, one = rows, rows[rows[:, 0] > 2]
    right = coverage.compare(task, [coverage.Pair(js=one, gp=all_of_them)])
    wrong = coverage.compare(task, [coverage.Pair(js=all_of_them, gp=one)])
    assert all(check.holds is not False for check in right)
    assert not any(check.holds for check in wrong[:3])


def test_the_grid_is_the_published_one_in_other_units():
    assert coverage.GRID.deviation / coverage.GRID.centres.max() == pytest.approx(0.05 / 4)


def test_both_sides_train_and_are_drawn(monkeypatch):
    short = [
        coverage.Task(task.name, task.draw, task.modes, Schedule(2, 1, batch=16))
        for task in coverage.TASKS
    ]
    monkeypatch.setattr(coverage, "TASKS", tuple(short))
    figure = Figure()
    checks = coverage.measure([100], figure)
    assert len(checks) == 12 and len(figure.axes) == 6


def test_excess_and_share_are_those_of_the_look_at_which_the_rule_fired():
    run = plateau.Run([20, 40, 60, 80], [1.0, 0.5, 0.5, 0.5], [2.0, 1.1, 1.0, 1.5], 1)
    assert run.excess == pytest.approx(0.1)
    assert run.share == 0.5


def test_a_rule_that_never_fires_fails_the_claim():
    run = plateau.Run([20], [1.0], [2.0], None)
    assert run.share == 1.0
    assert run.excess == math.inf


def test_the_floor_is_what_a_perfect_generator_shows():
    assert plateau.floor(0, 64) > 0
    assert plateau.floor(0, 512) < plateau.floor(0, 64)


def test_a_watched_training_looks_every_so_often():
    run = plateau.watched(100, steps=2 * plateau.EVERY, held=32)
    assert run.steps == [plateau.EVERY, 2 * plateau.EVERY]
    assert len(run.estimates) == len(run.exact) == 2
    assert run.stopped_at is None


def test_noise_gives_a_fitted_critic_a_gradient_to_hand_on():
    bare, noised = (noise.gradient(strength, 100, steps=200) for strength in (0.0, 1.0))
    assert noised > 2 * bare


def test_trainings_with_a_view_are_repeatable_and_begin_far_from_the_target():
    first, again = (noise.training(Decay(), 100, steps=2, first=3) for _ in range(2))
    assert torch.equal(first.rows, again.rows)
    assert noise.target().report(first.start).modes == 0


def test_a_training_without_a_view_differs():
    with_view = noise.training(Decay(), 100, steps=2, first=3)
    without = noise.training(Constant(0.0), 100, steps=2, first=3)
    assert torch.equal(with_view.start, without.start)
    assert not torch.equal(with_view.rows, without.rows)


def test_overfitting_is_read_late_and_the_distance_at_the_end():
    run = augmentation.Run([9, 9, 9, 9, 0.1, 0.2, 0.9, 0.4], [0.0] * 8, [5.0] * 6 + [1.0, 3.0])
    assert run.late == pytest.approx(0.4)
    assert run.distance == 2.0


def test_a_training_on_few_rows_is_looked_at_as_often_as_its_rule_looks():
    run = augmentation.trained(augmentation.AUGMENTED, 100, steps=40)
    assert len(run.overfitting) == len(run.strength) == 10
    assert len(run.exact) == 1
    assert all(0 <= value <= 1 for value in run.overfitting)


def test_without_views_the_strength_is_0():
    assert set(augmentation.trained(augmentation.PLAIN, 100, steps=4).strength) == {0.0}
