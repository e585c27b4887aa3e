"""FedDyn and FedNova against loops written by hand from their papers.

Sites take plain gradient steps on quadratic losses |w - b_k|^2 / 2, so that all is known.
"""

from typing import Any

import numpy as np
import pytest
import torch

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.base import Correction
from everymode.clients.protocol.parts.feddyn import FedDyn
from everymode.clients.protocol.parts.fednova import FedNova
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.statistics import Averaged, Private
from everymode.clients.protocol.parts.weighting import AFL, RowWeights
from everymode.clients.tasks.train import LocalSteps

TARGETS = np.array([[4.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
RATE = 0.02


def federated(
    part: Correction, weights: np.ndarray[Any, Any], steps: int, rounds: int, absent: int = -1
) -> np.ndarray[Any, Any]:
    """Rounds with a correction's own halves; from round 3 on, site `absent` is away."""
    training = LocalTraining(corrections=(part,))  # type: ignore[arg-type]
    order = Train("p", 1, steps, 0, 8, 1, 1.0, 0, 0, "cpu", (1, 2), 1, sites=3, training=training)
    shared, server = torch.zeros(2, dtype=torch.float64), part.start(2)
    server = {name: vector.double() for name, vector in server.items()}
    own = [{n: torch.zeros(2, dtype=torch.float64) for n in part.site_vectors} for _ in TARGETS]
    for number in range(1, rounds + 1):
        taking = [k for k in range(3) if number < 3 or k != absent]
        mean, totals = np.zeros(2), {name: np.zeros(1) for name in part.totals}
        for k in taking:
            vector = shared.clone()
            memory = {f"critic_{n}": v for n, v in {**server, **own[k]}.items()}
            local = LocalSteps.of(order, "critic", vector, memory, float(weights[k]))
            for _ in range(local.number):
                vector -= RATE * local.correct(vector - torch.from_numpy(TARGETS[k]))
            left = local.rules[0].finish(local.number)
            own[k].update(left.state)
            mean += weights[k] * part.scaled((vector - shared).numpy(), local.number)
            for name, value in left.totals.items():
                totals[name] = totals[name] + weights[k] * value
        weight = float(weights[taking].sum())
        shared = shared + part.receive(torch.from_numpy(mean / weight), weight, totals, server)
    return shared.numpy()


def feddyn_by_hand(alpha: float, steps: int, rounds: int, absent: int = -1) -> Any:
    """Acar et al., algorithm 1, with gradient steps for the inner minimisation."""
    shared, h, g = np.zeros(2), np.zeros(2), np.zeros((3, 2))
    for number in range(1, rounds + 1):
        taking = [k for k in range(3) if number < 3 or k != absent]
        found = []
        for k in taking:
            w = shared.copy()
            for _ in range(steps):
                w -= RATE * ((w - TARGETS[k]) - g[k] + alpha * (w - shared))
            g[k] -= alpha * (w - shared)
            found.append(w)
        h -= alpha / 3 * sum(w - shared for w in found)
        shared = np.mean(found, axis=0) - h / alpha
    return shared


@pytest.mark.parametrize("absent", [-1, 1])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_feddyn_by_hand(alpha: float, absent: int) -> None:
    equal = np.full(3, 1 / 3)
    found = federated(FedDyn(alpha), equal, steps=4, rounds=6, absent=absent)
    np.testing.assert_allclose(found, feddyn_by_hand(alpha, 4, 6, absent), rtol=1e-9)
    # The control: without the regulariser sites move otherwise.
    assert np.abs(found - federated(Correction(), equal, 4, 6, absent)).max() > 1e-2


def test_feddyn_wants_an_alpha() -> None:
    for alpha in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            FedDyn(alpha)


def fednova_by_hand(weights: Any, steps: int, rounds: int, normalised: bool = True) -> Any:
    """Wang et al., equation 6, for plain local steps: a_k is a vector of tau_k ones."""
    shared = np.zeros(2)
    tau = [min(max(round(steps * p * 3), 1), steps) for p in weights]
    for _ in range(rounds):
        directions = []
        for k in range(3):
            w = shared.copy()
            for _ in range(tau[k]):
                w -= RATE * (w - TARGETS[k])
            directions.append((shared - w) / (RATE * tau[k]))
        effective = float(np.dot(weights, tau))
        scale = [effective if normalised else t for t in tau]
        shared = shared - RATE * sum(
            p * s * d for p, s, d in zip(weights, scale, directions, strict=True)
        )
    return shared


def test_fednova_by_hand_and_nearer_to_the_objective_than_the_plain_mean() -> None:
    weights = np.array([0.7, 0.2, 0.1])
    found = federated(FedNova(), weights, steps=10, rounds=60)
    np.testing.assert_allclose(found, fednova_by_hand(weights, 10, 60), rtol=1e-9)
    # What it is for: the plain mean of the same steps ends at another objective's minimum.
    minimum, plain = weights @ TARGETS, fednova_by_hand(weights, 10, 60, normalised=False)
    assert np.linalg.norm(found - minimum) < 0.5 * np.linalg.norm(plain - minimum)


def test_fednova_is_the_plain_mean_where_all_take_the_same_steps() -> None:
    equal = np.full(3, 1 / 3)
    assert {FedNova().local_steps(12, 1 / 3, 3), FedNova().local_steps(12, 0.9, 3)} == {12}
    assert FedNova().local_steps(12, 0.001, 3) == 1
    plain = federated(Correction(), equal, steps=5, rounds=4)
    np.testing.assert_allclose(federated(FedNova(), equal, 5, 4), plain, rtol=1e-12)


def test_what_fednova_does_not_go_with() -> None:
    averaged = Placement("sites")
    assert not list(FedNova().incompatibilities(averaged, Private(), RowWeights()))
    (one,) = FedNova().incompatibilities(averaged, Averaged(), RowWeights())
    assert "write federation.statistics = 'private'" in one
    (other,) = FedNova().incompatibilities(averaged, Private(), AFL())
    assert "'afl'" in other
