"""Linearised games against hand-computed Jacobians, closed forms and simulated paths."""

import math

import pytest
import torch

from everymode.wgan.theory.dirac import (
    critical_penalty,
    dirac_eigenvalues,
    dirac_field,
    dirac_one_centred_field,
    jensen_shannon_slope,
    quadratic_eigenvalues,
    quadratic_field,
    wasserstein_slope,
)
from everymode.wgan.theory.stability import (
    classify,
    convergence_rate,
    game_field,
    jacobian,
    oscillates,
    sign_changes,
    spectrum,
    trajectory,
)

SLOPES = [(wasserstein_slope, 1.0), (jensen_shannon_slope, 0.5)]
every_objective = pytest.mark.parametrize(("derivative", "slope"), SLOPES)
PENALTIES = [0.0, 0.1, 0.7, 1.0, 1.5, 2.0, 5.0]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES)
ORIGIN = torch.zeros(2, dtype=torch.float64)
START = torch.tensor([1.0, 0.5], dtype=torch.float64)


def normal(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def same(found, expected):
    """Equal eigenvalues; a double one is split by the square root of rounding."""
    close = torch.isclose(found[:, None], expected, rtol=1e-7, atol=1e-7)
    assert found.shape == expected.shape
    assert close.any(0).all() and close.any(1).all()
    torch.testing.assert_close(found.sum(), expected.sum(), rtol=1e-9, atol=1e-9)


def dirac_losses(penalty, f):
    """Both players' losses as written in the paper, not their gradients."""

    def objective(theta, psi):
        return (f(psi * theta) + f(torch.zeros_like(theta))).sum()

    return objective, lambda t, p: -objective(t, p) + penalty / 2 * p.square().sum()


def test_a_field_is_minus_both_gradients():
    matrix, theta, psi = normal(3, 2), normal(3, seed=1), normal(2, seed=2)

    def generator(theta, psi):
        return theta @ matrix @ psi + theta.pow(3).sum()

    def critic(theta, psi):
        return psi.square().sum() * theta.sum()

    found = game_field(generator, critic, 3)(torch.cat([theta, psi]))
    by_hand = -torch.cat([matrix @ psi + 3 * theta.square(), 2 * psi * theta.sum()])
    torch.testing.assert_close(found, by_hand)


def test_a_jacobian_equals_the_one_by_hand():
    def generator(theta, psi):
        return theta[0].square() * psi[0] + torch.sin(theta[1])

    def critic(theta, psi):
        return (psi * theta.prod()).sum() + psi[0].pow(3)

    a, b, c = 1.5, -0.5, 2.0
    point = torch.tensor([a, b, c], dtype=torch.float64)
    by_hand = -torch.tensor(
        [[2 * c, 0, 2 * a], [0, -math.sin(b), 0], [b, a, 6 * c]], dtype=torch.float64
    )
    torch.testing.assert_close(jacobian(game_field(generator, critic, 2), point), by_hand)


def test_a_jacobian_equals_finite_differences():
    first, second = normal(5, 4), normal(5, seed=1)

    def loss(theta, psi):
        return (torch.cat([theta, psi]) @ first.T).tanh() @ second

    field = game_field(loss, lambda t, p: -loss(t, p) + p.square().sum(), 2)
    point, h = normal(4, seed=2), 1e-6
    steps = h * torch.eye(4, dtype=torch.float64)
    columns = [(field(point + s) - field(point - s)) / (2 * h) for s in steps]
    torch.testing.assert_close(
        jacobian(field, point), torch.stack(columns, 1), rtol=1e-6, atol=1e-8
    )


@every_penalty
@pytest.mark.parametrize("f", [lambda t: t, lambda t: -torch.nn.functional.softplus(-t)])
def test_dirac_fields_are_those_of_their_losses(f, penalty):
    derivative = torch.func.vmap(torch.func.grad(f))
    field = game_field(*dirac_losses(penalty, f), 1)
    closed = wasserstein_slope if float(f(torch.tensor(2.0))) == 2 else jensen_shannon_slope
    for point in normal(5, 2):
        torch.testing.assert_close(dirac_field(closed, penalty)(point), field(point))
        torch.testing.assert_close(closed(point), derivative(point))


@every_penalty
@every_objective
def test_dirac_eigenvalues_are_those_of_the_jacobian(derivative, slope, penalty):
    found = spectrum(jacobian(dirac_field(derivative, penalty), ORIGIN))
    same(found, dirac_eigenvalues(slope, penalty))


@every_objective
def test_what_the_penalty_does_to_the_equilibrium(derivative, slope):
    critical = critical_penalty(slope)

    def kind(penalty):
        return classify(spectrum(jacobian(dirac_field(derivative, penalty), ORIGIN)))

    assert kind(0.0) == "centre"
    assert kind(0.99 * critical) == "stable spiral"
    assert kind(1.01 * critical) == "stable node"
    assert kind(-0.5) == "unstable spiral"
    # Nothing converges faster than the critical penalty.
    slowest = [float(dirac_eigenvalues(slope, k * critical).real.max()) for k in (0.5, 1, 2)]
    assert min(slowest) == slowest[1] == pytest.approx(-critical / 2)


def test_the_unpenalised_wasserstein_game_turns_at_plus_minus_i():
    expected = torch.tensor([1j, -1j], dtype=torch.complex128)
    same(spectrum(jacobian(dirac_field(wasserstein_slope), ORIGIN)), expected)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 2), (2, 5)])
@every_penalty
def test_quadratic_games(shape, penalty):
    coupling = normal(*shape, seed=sum(shape))
    field = quadratic_field(coupling, penalty)
    point = torch.zeros(sum(shape), dtype=torch.float64)
    same(spectrum(jacobian(field, point)), quadratic_eigenvalues(coupling, penalty))

    def generator(theta, psi):
        return theta @ coupling @ psi

    def critic(theta, psi):
        return -generator(theta, psi) + penalty / 2 * psi.square().sum()

    at = normal(sum(shape), seed=9)
    torch.testing.assert_close(field(at), game_field(generator, critic, shape[0])(at))


def test_the_largest_singular_value_sets_the_critical_penalty():
    coupling = normal(3, 3, seed=4)
    critical = critical_penalty(float(torch.linalg.matrix_norm(coupling, 2)))
    assert quadratic_eigenvalues(coupling, 0.99 * critical).imag.any()
    assert not quadratic_eigenvalues(coupling, 1.01 * critical).imag.any()
    assert classify(quadratic_eigenvalues(coupling, 1.01 * critical)) == "stable node"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-1, -2], "stable node"),
        ([-1 + 1j, -1 - 1j, -3], "stable spiral"),
        ([1j, -1j], "centre"),
        ([0, -1], "centre"),
        ([1e-9, -1], "centre"),
        ([1, -1], "saddle"),
        ([1 + 1j, 1 - 1j, -1], "saddle"),
        ([1, 2], "unstable node"),
        ([1 + 1j, 1 - 1j], "unstable spiral"),
    ],
)
def test_kinds(values, kind):
    assert classify(torch.tensor(values)) == kind


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
def test_order_of_the_methods(method, order):
    # The unpenalised game turns by one radian per unit of time.
    field = dirac_field(wasserstein_slope)
    exact = torch.tensor(
        [math.cos(1) - 0.5 * math.sin(1), math.sin(1) + 0.5 * math.cos(1)], dtype=torch.float64
    )
    errors = [
        float((trajectory(field, START, 1 / n, n, method)[-1] - exact).norm()) for n in (32, 64)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@every_objective
@pytest.mark.parametrize("share", [0.1, 0.4, 1.5, 3.0])
def test_measured_rates_are_the_largest_real_parts(derivative, slope, share):
    penalty = share * critical_penalty(slope)
    # Small, so that the saturating objective is linear there too.
    path = trajectory(dirac_field(derivative, penalty), 1e-4 * START, 0.1, 600)
    expected = float(dirac_eigenvalues(slope, penalty).real.max())
    assert convergence_rate(path, 0.1) == pytest.approx(expected, rel=0.03)


@every_penalty
def test_measured_rates_of_gradient_descent(penalty):
    step = 0.1
    path = trajectory(dirac_field(wasserstein_slope, penalty), START, step, 600, "euler")
    factors = (1 + step * dirac_eigenvalues(1.0, penalty)).abs()
    expected = float(factors.max().log()) / step
    # A double eigenvalue adds a factor t, hence the loose comparison at lambda = 2.
    rel = 0.1 if penalty == 2.0 else 0.02
    found = convergence_rate(path, step)
    assert found == pytest.approx(expected, rel=rel, abs=1e-3)
    # Simultaneous descent moves away where the field itself only circles, and stays on its circle
    # where the penalty equals the step.
    if penalty != step:
        assert (found > 0) == (penalty < step)


def test_measured_rate_around_another_equilibrium():
    target = torch.tensor([3.0, -2.0], dtype=torch.float64)
    path = trajectory(lambda x: -0.5 * (x - target), START, 0.1, 100)
    assert convergence_rate(path, 0.1, target) == pytest.approx(-0.5, rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_below_the_critical_penalty_paths_oscillate(share):
    path = trajectory(dirac_field(wasserstein_slope, share * 2), START, 0.05, 800)
    assert oscillates(path)
    # Each coordinate passes 0 every half turn, as long as it stands above rounding.
    turning = math.sqrt(1 - share**2)
    seen = min(40.0, -math.log(1e-10) / share if share else math.inf)
    assert sign_changes(path).tolist() == pytest.approx([seen * turning / math.pi] * 2, abs=1.5)


@pytest.mark.parametrize("share", [1.0, 1.2, 4.0])
@pytest.mark.parametrize("seed", range(5))
def test_above_the_critical_penalty_they_do_not(share, seed):
    path = trajectory(dirac_field(wasserstein_slope, share * 2), normal(2, seed=seed), 0.05, 400)
    assert not oscillates(path)


@pytest.mark.parametrize("seed", range(10))
def test_no_node_is_taken_for_a_spiral(seed):
    # Skewed real eigenvectors pass 0 several times in five dimensions, yet fewer than five times.
    basis = normal(5, 5, seed=seed)
    rates = torch.tensor([-0.2, -0.5, -1.0, -2.0, -3.0], dtype=torch.float64)
    matrix = (basis * rates) @ basis.inverse()
    path = trajectory(lambda x: matrix @ x, normal(5, seed=seed + 50), 0.04, 750)
    assert not oscillates(path)


@pytest.mark.parametrize("penalty", [0.2, 0.5, 0.8])
def test_a_small_one_centred_penalty_ends_in_a_cycle(penalty):
    field = dirac_one_centred_field(wasserstein_slope, penalty)
    starts = [2 * START, torch.tensor([0.01, 0.01], dtype=torch.float64)]
    ends = [trajectory(field, start, 0.05, 1600)[-800:] for start in starts]
    for end in ends:
        assert (sign_changes(end) >= 4).all()
        assert end.norm(dim=1).min() > 0.5
        assert abs(convergence_rate(end, 0.05)) < 0.05
    # The same cycle from inside and outside.
    sizes = [end.abs().max(dim=0).values for end in ends]
    torch.testing.assert_close(*sizes, rtol=0.02, atol=0)
    # Zero-centred, the same weight converges.
    path = trajectory(dirac_field(wasserstein_slope, 2 * penalty), START, 0.05, 1200)
    assert path[-1].norm() < 0.01


@pytest.mark.parametrize("penalty", [1.5, 3.0])
def test_a_large_one_centred_penalty_rests_off_the_data(penalty):
    field = dirac_one_centred_field(wasserstein_slope, penalty)
    end = trajectory(field, START, 0.1, 1000)[-1]
    torch.testing.assert_close(
        end, torch.tensor([-2 * penalty, 0.0], dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("target", [0.5, 1.0])
def test_the_one_centred_penalty_pushes_off_the_equilibrium(target):
    field = dirac_one_centred_field(wasserstein_slope, 0.7, target)
    near = torch.tensor([0.0, 1e-9], dtype=torch.float64)
    assert float(field(near)[1]) == pytest.approx(1.4 * target)
    assert float(field(-near)[1]) == pytest.approx(-1.4 * target)

    def critic(theta, psi):
        return -(theta * psi).sum() + 0.7 * (psi.abs() - target).square().sum()

    other = game_field(lambda t, p: (t * p).sum(), critic, 1)
    for point in normal(5, 2):
        torch.testing.assert_close(field(point), other(point))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trajectory(lambda x: -x, START, 0.1, 3, "heun"), "'euler' or 'rk4', got 'heun'"),
        (lambda: trajectory(lambda x: -x, START, 0.0, 3), "step > 0"),
        (lambda: trajectory(lambda x: -x, START, 0.1, -1), "steps >= 0"),
        (lambda: classify(torch.tensor([math.nan])), "only finite eigenvalues"),
        (lambda: classify(torch.tensor([])), "at least one"),
        (lambda: convergence_rate(torch.zeros(10, 2), 0.1), "at least 4 rows"),
        (lambda: convergence_rate(torch.full((9, 2), math.inf), 0.1), "finite path"),
        (lambda: sign_changes(torch.zeros(3)), r"shape \(T, n\)"),
    ],
)
def test_what_is_refused_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
