"""Kernel and sliced matching: from sums over sites, unbiased, and drawn to what they are told."""

import numpy as np
import pytest
import torch

from everymode.fairness.matching.features import FeatureMap, Kind, build_matching, feature_count
from everymode.fairness.matching.kernels import mmd2_from_sums
from everymode.wgan.penalties import GeneratorStep
from everymode.wgan.shape import Block

BLOCKS = (Block(0, 1, "value"), Block(1, 2, "value"), Block(2, 5, "choice"))
KINDS: tuple[Kind, ...] = ("kernel", "sliced")


def rows(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Encoded rows with two groups beside two labels; the second group's are moved by `shift`."""
    rng = np.random.default_rng(seed)
    group, label = rng.integers(0, 2, count), rng.integers(0, 2, count)
    row = np.zeros((count, 5), dtype=np.float32)
    row[:, :2] = 0.5 * rng.standard_normal((count, 2)) + (shift * group)[:, None]
    row[np.arange(count), 2 + rng.integers(0, 3, count)] = 1
    told = np.zeros((count, 4), dtype=np.float32)
    told[np.arange(count), group] = told[np.arange(count), 2 + label] = 1
    return row, told


def step(row: np.ndarray, told: np.ndarray) -> GeneratorStep:
    fake = torch.from_numpy(row).requires_grad_(True)
    return GeneratorStep(fake, torch.from_numpy(told))


def penalty(kind: Kind, row: np.ndarray, told: np.ndarray, weights: np.ndarray | None = None):
    description = FeatureMap.of(kind, BLOCKS, 4, seed=1)
    weights = np.full((len(row), 5), 1 / len(row)) if weights is None else weights
    return build_matching(description, description.sums(row, told, weights), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_additive_down_to_single_rows(kind: Kind) -> None:
    row, told = rows(40, 0)
    weights = np.random.default_rng(1).random((40, 5))
    description = FeatureMap.of(kind, BLOCKS, 4, seed=1)
    whole = description.sums(row, told, weights)
    assert whole.shape == (5, feature_count(kind) + 1)
    parts = [
        description.sums(row[i : i + 1], told[i : i + 1], weights[i : i + 1]) for i in range(40)
    ]
    assert sum(parts) == pytest.approx(whole)
    assert whole[-1, -1] == pytest.approx(weights[:, -1].sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_group_pays(kind: Kind) -> None:
    term = penalty(kind, *rows(4000, 0))
    right, wrong = rows(2000, 1), rows(2000, 1, shift=0.7)
    before, after = (term(step(*made)).detach().numpy() for made in (right, wrong))
    more = after - before
    moved = wrong[1][:, 1] > 0
    assert more[moved].mean() > 2 * abs(more[~moved].mean())


def test_the_kernel_term_is_the_unbiased_discrepancy() -> None:
    """Per level: against the discrepancy of sums, whose formula is another."""
    real, made = rows(300, 0), rows(200, 1, shift=0.4)
    description = FeatureMap.of("kernel", BLOCKS, 4, seed=1)
    term = penalty("kernel", *real)
    ones = np.ones((300, 5)), np.ones((200, 5))
    one, other = description.sums(*real, ones[0]), description.sums(*made, ones[1])
    level = 1
    active = torch.zeros(5, dtype=torch.bool)
    active[level] = True
    alone = type(term)(1.0, term.means, active, term.frequencies)
    values = alone(step(*made)).detach().numpy()[made[1][:, level] > 0]
    n, m = one[level, -1], other[level, -1]
    found = mmd2_from_sums(one[level, :-1], n, other[level, :-1], m)
    mean = one[level, :-1] / n
    # The term leaves out what does not depend on the generator.
    unbiased = (mean @ mean * n * n - n) / (n * (n - 1))
    assert values.mean() + unbiased == pytest.approx(found, abs=1e-5)


def test_the_sliced_term_is_the_transport_distance_of_histograms() -> None:
    """Along one direction, against the exact distance of the samples."""
    rng = np.random.default_rng(0)
    real = np.zeros((5000, 5), dtype=np.float32)
    real[:, 0] = 0.4 * rng.standard_normal(5000)
    made = np.zeros((5000, 5), dtype=np.float32)
    made[:, 0] = 0.4 * rng.standard_normal(5000) + 0.3
    told = np.zeros((5000, 4), dtype=np.float32)
    term = penalty("sliced", real, told)
    value = float(term(step(made, told)).detach().mean())
    slopes = term.directions[0].abs().numpy()
    exact = np.abs(np.sort(real[:, 0]) - np.sort(made[:, 0])).mean()
    assert value == pytest.approx(exact * slopes.mean(), rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_descent_finds_the_real_rows_place(kind: Kind) -> None:
    real, told = rows(3000, 0, shift=0.5)
    term = penalty(kind, real, told)
    made = torch.zeros(400, 5)
    asked = torch.from_numpy(told[:400])
    place = torch.zeros(2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([place], lr=0.02)
    noise = 0.5 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    made[:, 2:] = torch.from_numpy(real[:400, 2:])
    for _ in range(150):
        moved = torch.cat([noise + asked[:, :2] @ place, made[:, 2:]], 1)
        loss = term(GeneratorStep(moved, asked)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert place.detach().numpy() == pytest.approx(np.array([[0, 0], [0.5, 0.5]]), abs=0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_without_weight_or_with_one_row_cost_nothing(kind: Kind) -> None:
    row, told = rows(100, 0)
    weights = np.full((100, 5), 0.01)
    weights[:, 0] = 0
    term = penalty(kind, row, told, weights)
    assert term.active.tolist() == [False, True, True, True, True]
    alone = type(term)(**{**vars(term), "active": torch.tensor([False, True, False, False, False])})
    few = np.flatnonzero(told[:, 1])[:1]
    assert not alone(step(row[few], told[few])).any()
    assert alone(step(row, told)).any()
