"""Claims about the structure of data and critic: their measures, with a few steps."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims import class_multipliers as multipliers
from everymode.simulations.claims import committee, whitening
from everymode.simulations.claims import condition_gradient as conditions
from everymode.simulations.claims import curved_manifold as curved
from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.data.whitening import Whitened, Whitening, second_moments
from everymode.wgan.penalties import GradientPenalty, slopes
from everymode.wgan.theory.line import wasserstein_1d
from everymode.wgan.theory.transport import wasserstein


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_claims_have_their_numbers_and_sources():
    claims = [module.CLAIM for module in (whitening, conditions, committee, curved, multipliers)]
    assert [claim.number for claim in claims] == [15, 16, 18, 21, 23]
    assert all(claim.source and claim.statement for claim in claims)


@pytest.mark.parametrize(
    ("module", "fewer"),
    [
        (whitening, {"steps": 2, "rows": 40}),
        (conditions, {"steps": 2, "generator_steps": 1}),
        (committee, {"trainings": 2, "steps": 2}),
        (curved, {"steps": 2, "rows": 60}),
        (multipliers, {"steps": 2}),
    ],
)
def test_measures_run_and_repeat(module, fewer):
    figure = Figure()
    first = module.measure([3], figure, **fewer)
    assert first == module.measure([3], Figure(), **fewer)
    assert figure.axes
    assert all(axes.get_title() for axes in figure.axes)
    assert len({check.what for check in first}) == len(first)


def test_expected_slopes_are_the_minima_of_the_loss_of_each_class():
    pairs = multipliers.Pairs((1.0, 3.0), (0.8, 0.2))
    slope = torch.linspace(0, 8, 80_001, dtype=torch.float64)
    for penalty in (
        GradientPenalty(0.7),
        GradientPenalty(0.7, per_condition=True),
        GradientPenalty(0.7, class_weights=(2.0, 5.0)),
        GradientPenalty(0.7, per_condition=True, class_weights=(2.0, 5.0)),
    ):
        factors = penalty.class_weights or (1.0, 1.0)
        for kind, wanted in enumerate(multipliers.expected(penalty, pairs)):
            share, distance = pairs.shares[kind], pairs.distances[kind]
            counted = 0.5 if penalty.per_condition else share
            cost = penalty.weight * factors[kind] * counted * (slope - 1) ** 2
            best = slope[(cost - share * distance * slope).argmin()]
            assert wanted == pytest.approx(float(best), abs=1e-3)


def test_the_loss_of_the_formula_is_that_of_the_players_up_to_the_shares_of_a_batch():
    # A batch of exactly the shares: the mean penalty of linear critics of slope 3 is
    # sum of q_c v_c (3 - 1)^2.
    pairs = multipliers.Pairs((1.0, 2.0), (0.75, 0.25))
    condition = torch.eye(2)[[0, 0, 0, 1]]
    real = pairs.ends()[[0, 0, 0, 1]]

    class Step:
        critic = staticmethod(lambda x, c: 3 * x[:, 0])
        fake = torch.zeros_like(real)
        scale = 1.0

        slopes = staticmethod(slopes)

    Step.real, Step.condition = real, condition
    weights = (2.0, 5.0)
    plain = GradientPenalty(class_weights=weights)(Step, rng())
    even = GradientPenalty(class_weights=weights, per_condition=True)(Step, rng())
    assert float(plain.mean()) == pytest.approx(4 * (0.75 * 2 + 0.25 * 5))
    assert float(even.mean()) == pytest.approx(4 * (0.5 * 2 + 0.5 * 5))


def test_pairs_keep_shares_and_distances():
    batch = multipliers.Pairs()(20_000, rng())
    assert batch.condition.mean(0).tolist() == pytest.approx(multipliers.SHARES, abs=0.01)
    lengths = batch.real.norm(dim=1)
    assert torch.allclose(lengths, batch.condition @ torch.tensor(multipliers.DISTANCES))


def test_helix_is_run_through_evenly_and_tangents_are_its_derivative():
    helix = curved.Helix.turned(1)
    part = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    exact = curved.Helix(helix.basis.double())
    steps = exact.points(part).diff(dim=0)
    assert float(steps.norm(dim=1).sum()) == pytest.approx(helix.length, rel=1e-6)
    middle = exact.tangents((part[1:] + part[:-1]) / 2)
    assert torch.allclose(steps / steps.norm(dim=1, keepdim=True), middle, atol=1e-6)
    climb = middle @ exact.basis[2]
    assert float(climb.std()) < 1e-6
    assert float(climb.mean()) == pytest.approx(helix.pitch, rel=1e-5)


def test_geodesic_distance_is_that_of_positions_on_the_line():
    helix = curved.Helix.turned(0)
    uniform = (np.arange(4000) + 0.5) / 4000
    exact = wasserstein_1d(np.sqrt(uniform) * helix.length, (1 - np.sqrt(uniform)) * helix.length)
    assert helix.geodesic == pytest.approx(exact, rel=1e-3)


def test_straight_distances_are_shorter_and_interpolates_leave_the_helix():
    helix = curved.Helix.turned(0)
    x, y = helix.high(300, rng()).numpy(), helix.low(300, rng(1)).numpy()
    assert wasserstein(x, y) < helix.geodesic / 2
    between, own = curved.off_the_helix(helix, rng(), 200)
    assert own < 2 * helix.noise < between


def test_turning_is_zero_for_even_lines_and_twice_the_speed_for_a_return():
    line = torch.linspace(0, 1, 11)[:, None] * torch.tensor([3.0, 4.0])
    assert conditions.turning(line) == pytest.approx(0, abs=1e-4)
    there_and_back = torch.cat([line[::2], line[::2].flip(0)[1:]])
    assert conditions.turning(there_and_back) == pytest.approx(2 * 2 * 5, rel=1e-5)


def test_classes_lie_at_their_distances():
    classes = conditions.around([1.0, 2.0, 3.0])
    assert classes.centres.norm(dim=1).tolist() == pytest.approx([1, 2, 3])
    batch = classes(9000, rng())
    means = torch.stack([batch.real[batch.condition[:, k] > 0].mean(0) for k in range(3)])
    assert torch.allclose(means, classes.centres, atol=0.02)


def test_variation_is_unbiased_and_sees_the_spread():
    noise = 0.5 * torch.randn((5, 40_000, 2), generator=rng())
    found = committee.variation(torch.tensor([1.0, 0.0]) + noise)
    assert float(found.variance.mean()) == pytest.approx(0.5, rel=0.02)
    assert float(found.square.mean()) == pytest.approx(1.0, rel=0.02)


def test_critics_of_the_committee_claim_have_as_many_parameters():
    sizes = {name: committee.parameters(spec) for name, spec in committee.CRITICS.items()}
    large = [sizes[name] for name in (committee.PARTS, committee.WHOLES, committee.LARGE)]
    assert max(large) / min(large) < 1.03
    assert sizes[committee.SINGLE] < min(large) / 2


def test_mixture_spans_the_deviations():
    draw = np.random.default_rng(0)
    for dimension in (2, 8):
        rows = whitening.Mixture.turned(dimension, draw)(50_000, draw)
        values = np.linalg.eigvalsh(np.cov(rows.T))
        assert math.sqrt(values[-1] / values[0]) > 90


def test_slopes_along_principal_directions_do_not_depend_on_the_codec():
    draw = np.random.default_rng(0)
    mixture = whitening.Mixture.turned(3, draw)
    data = mixture(2000, draw)
    raw = ArrayCodec.fit(data)
    white = Whitened(raw, Whitening.from_moments(second_moments(raw.encode(data)), 1e-6))
    # C(x) = a x in the data's units, written in those of either codec.
    a = draw.normal(size=3)
    wanted = np.abs(mixture.turn @ a) * mixture.deviations
    for codec in (raw, white):
        jacobian = codec.encode(np.eye(3)).astype(float) - codec.encode(np.zeros((3, 3)))
        gradient = np.linalg.solve(jacobian, a)[None]
        assert whitening.along(gradient, codec, mixture) == pytest.approx(wanted, rel=1e-3)
