"""What corrects a site's steps: the proximal term and control variates."""

import pytest
import torch

from clients.tasks.train import _Steps
from wgan.optimizers import UpdateBound


def test_fedprox_adds_the_slope_of_its_penalty() -> None:
    """The gradient of mu / 2 |w - w0|^2 by automatic differentiation."""
    start, vector = torch.zeros(3), torch.tensor([1.0, -2.0, 0.5])
    steps = _Steps(vector, start, 0.3, None, guard=None)
    moved = vector.clone().requires_grad_()
    (slope,) = torch.autograd.grad(0.15 * (moved - start).square().sum(), moved)
    gradient = torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(steps.correct(gradient), gradient + slope)
    # At the shared point nothing pulls.
    torch.testing.assert_close(_Steps(start, start, 0.3, None, None).correct(gradient), gradient)


def test_control_variates_replace_the_sites_mean_by_everyones() -> None:
    """If a site's gradients are its own mean, the corrected ones are the mean over all sites."""
    everyone, own = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -1.0])
    steps = _Steps(torch.zeros(2), torch.zeros(2), 0.0, everyone - own, guard=None)
    for _ in range(3):
        torch.testing.assert_close(steps.correct(own.clone()), everyone)
    # What the site remembers are its own gradients, uncorrected.
    torch.testing.assert_close(steps.mean, own)


def test_the_mean_is_of_the_rounds_own_gradients() -> None:
    steps = _Steps(torch.zeros(1), torch.zeros(1), 0.0, torch.zeros(1), guard=None)
    for value in (1.0, 2.0, 6.0):
        steps.correct(torch.tensor([value]))
    assert float(steps.mean) == pytest.approx(3.0)


def test_frozen_statistics_need_the_gradient_at_the_shared_point() -> None:
    steps = _Steps(torch.zeros(1), torch.zeros(1), 0.0, None, UpdateBound(0.5))
    steps.correct(torch.tensor([1.0]))
    steps.correct(torch.tensor([5.0]))
    assert steps.first is not None and float(steps.first) == 1.0
