"""What corrects a site's steps: each mechanism against its formula."""

from typing import Any

import pytest
import torch

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.control_variates import ControlVariates
from everymode.clients.protocol.parts.proximal import Proximal
from everymode.clients.protocol.parts.statistics import Frozen
from everymode.clients.tasks.train import LocalSteps


def order(*corrections: Any, **changes: Any) -> Train:
    training = LocalTraining(corrections=corrections, **changes)
    return Train("p", 1, 3, 0, 8, 1, 1.0, 0, 0, "cpu", (1, 3), 1, training=training)


def steps(vector: torch.Tensor, asked: Train, **memory: torch.Tensor) -> LocalSteps:
    return LocalSteps.of(asked, "critic", vector, memory, 0.5)


def test_fedprox_adds_the_slope_of_its_penalty() -> None:
    """The gradient of mu / 2 |w - w0|^2 by automatic differentiation."""
    start, vector = torch.zeros(3), torch.zeros(3)
    taken = steps(vector, order(Proximal(0.3)))
    gradient = torch.tensor([0.1, 0.2, 0.3])
    # At the shared point nothing pulls.
    torch.testing.assert_close(taken.correct(gradient), gradient)
    vector.copy_(torch.tensor([1.0, -2.0, 0.5]))
    moved = vector.clone().requires_grad_()
    (slope,) = torch.autograd.grad(0.15 * (moved - start).square().sum(), moved)
    torch.testing.assert_close(taken.correct(gradient), gradient + slope)


def test_control_variates_replace_the_sites_mean_by_everyones() -> None:
    """If a site's gradients are its own mean, the corrected ones are the mean over all sites."""
    everyone, own = torch.tensor([1.0, 2.0]), torch.tensor([4.0, -1.0])
    asked = order(ControlVariates(), Proximal(1.0))
    taken = steps(torch.zeros(2), asked, critic_control=everyone, critic_control_own=own)
    for _ in range(3):
        torch.testing.assert_close(taken.correct(own.clone()), everyone)
    # What the site remembers are its own gradients, uncorrected.
    left = taken.rules[0].finish(3)
    torch.testing.assert_close(left.state["control_own"], own)
    assert left.totals["control"] == pytest.approx([0.0, 0.0])


def test_the_mean_is_of_the_rounds_own_gradients_whatever_comes_before() -> None:
    zero, vector = torch.zeros(1), torch.zeros(1)
    asked = order(Proximal(5.0), ControlVariates())
    taken = steps(vector, asked, critic_control=zero, critic_control_own=zero)
    for value in (1.0, 2.0, 6.0):
        taken.correct(torch.tensor([value]))
        vector.add_(1.0)
    assert float(taken.rules[1].finish(3).state["control_own"]) == pytest.approx(3.0)


def test_frozen_statistics_need_the_gradient_at_the_shared_point() -> None:
    taken = steps(torch.zeros(1), order(statistics=Frozen()))
    taken.correct(torch.tensor([1.0]))
    taken.correct(torch.tensor([5.0]))
    assert taken.first is not None and float(taken.first) == 1.0
    # The control: where statistics are averaged it is not kept.
    plain = steps(torch.zeros(1), order())
    plain.correct(torch.tensor([1.0]))
    assert plain.first is None
