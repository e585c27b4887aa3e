"""The smallest adversarial games, whose dynamics are known in closed form.

Dirac-GAN: the data sit at 0, the generator at theta, the critic is psi x. The players' objective
is f(psi theta) + f(0), raised by the critic and lowered by the generator: f(t) = t for a
Wasserstein objective, f(t) = -log(1 + exp(-t)) for Goodfellow's. Points are (theta, psi), `(2,)`.
The equilibrium is the origin.

Source: Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", 2018,
sections 2 to 4; the quadratic game: Mescheder, Nowozin, Geiger, "The Numerics of GANs", 2017.
"""

import torch
from torch import Tensor

from everymode.wgan.theory.stability import Field


def wasserstein_slope(t: Tensor) -> Tensor:
    """f'(t) = 1.

    >>> wasserstein_slope(torch.zeros(1))
    tensor([1.])
    """
    return torch.ones_like(t)


def jensen_shannon_slope(t: Tensor) -> Tensor:
    """f'(t) = 1 / (1 + exp(t)); 1/2 at the equilibrium.

    >>> jensen_shannon_slope(torch.zeros(1))
    tensor([0.5000])
    """
    return torch.sigmoid(-t)


def dirac_field(derivative: Field, penalty: float = 0.0) -> Field:
    """The Dirac-GAN with lambda / 2 psi^2 added to the critic's loss.

    psi is the critic's slope everywhere, so this is the zero-centred gradient penalty, at the data
    (R1), the fakes (R2) or between.

    Source: Mescheder, Geiger, Nowozin, 2018, section 4.1.

    Args:
        derivative: f', such as `wasserstein_slope`.
        penalty: lambda, at least 0.

    >>> dirac_field(wasserstein_slope, 0.5)(torch.tensor([2.0, 3.0]))
    tensor([-3.0000,  0.5000])
    """

    def field(point: Tensor) -> Tensor:
        theta, psi = point
        pull = derivative(theta * psi)
        return torch.stack([-pull * psi, pull * theta - penalty * psi])

    return field


def dirac_one_centred_field(derivative: Field, penalty: float, target: float = 1.0) -> Field:
    """The Dirac-GAN with WGAN-GP's penalty, lambda (|psi| - target)^2.

    The origin is no equilibrium: just off psi = 0 the penalty pushes with 2 lambda target, away
    from it on either side (the field is not defined on psi = 0; taken as the unpenalised one here).
    On psi > 0 a Wasserstein critic's field is linear around (-2 lambda target, 0) with the
    eigenvalues of `dirac_field` for 2 lambda. For lambda >= 1 paths come to rest at that false
    point or its mirror image; for a smaller penalty they pass it, cross psi = 0 and go round in a
    cycle. They never converge to the data.

    Source: Mescheder, Geiger, Nowozin, 2018, section 3.2 (lambda = gamma / 2); the linear halves
    are worked out here.

    Args:
        derivative: f'.
        penalty: lambda, the weight as in `GradientPenalty`.
        target: The slope asked for.

    >>> dirac_one_centred_field(wasserstein_slope, 0.5)(torch.tensor([0.0, 1e-6]))[1]
    tensor(1.0000)
    """

    def field(point: Tensor) -> Tensor:
        theta, psi = point
        pull = derivative(theta * psi)
        excess = psi.sign() * (psi.abs() - target)
        return torch.stack([-pull * psi, pull * theta - 2 * penalty * excess])

    return field


def dirac_eigenvalues(slope: float, penalty: float = 0.0) -> Tensor:
    """Eigenvalues at the origin of `dirac_field`, complex `(2,)`.

    (-lambda +- sqrt(lambda^2 - 4 f'(0)^2)) / 2: +-i f'(0) without a penalty.

    Source: Mescheder, Geiger, Nowozin, 2018, sections 2 and 4.1.

    Args:
        slope: f'(0).
        penalty: lambda.

    >>> dirac_eigenvalues(1.0, 2.5)
    tensor([-0.5000+0.j, -2.0000+0.j], dtype=torch.complex128)
    """
    return quadratic_eigenvalues(torch.tensor([[slope]], dtype=torch.float64), penalty)


def critical_penalty(slope: float) -> float:
    """The lambda from which the game no longer turns, 2 |f'(0)|.

    It is also where the Dirac-GAN converges fastest. For a quadratic game pass the largest singular
    value of its coupling.

    >>> critical_penalty(0.5)
    1.0
    """
    return 2 * abs(slope)


def quadratic_field(coupling: Tensor, penalty: float = 0.0) -> Field:
    """The game theta' B psi, raised by the critic, with lambda / 2 |psi|^2 added to its loss.

    theta moves with -B psi and psi with B' theta - lambda psi; points are (theta, psi), `(a + b,)`.

    Args:
        coupling: B, `(a, b)`.
        penalty: lambda.

    >>> quadratic_field(torch.tensor([[2.0]]), 1.0)(torch.tensor([1.0, 1.0]))
    tensor([-2.,  1.])
    """
    split = len(coupling)

    def field(point: Tensor) -> Tensor:
        theta, psi = point[:split], point[split:]
        return torch.cat([-(coupling @ psi), coupling.T @ theta - penalty * psi])

    return field


def quadratic_eigenvalues(coupling: Tensor, penalty: float = 0.0) -> Tensor:
    """All a + b eigenvalues of `quadratic_field`, in the order of `spectrum`, complex `(a + b,)`.

    (-lambda +- sqrt(lambda^2 - 4 sigma^2)) / 2 for each of the min(a, b) singular values sigma of
    B; each generator's direction that the critic cannot see adds a 0, each critic's direction that
    no generator feels a -lambda.

    Args:
        coupling: B, `(a, b)`.
        penalty: lambda.

    >>> quadratic_eigenvalues(torch.tensor([[2.0], [0.0]]), 5.0).real.tolist()
    [0.0, -1.0, -4.0]
    """
    rows, columns = coupling.shape
    sizes = torch.linalg.svdvals(coupling.double())
    root = (penalty**2 - 4 * sizes.square()).to(torch.complex128).sqrt()
    unseen = root.new_zeros(max(0, rows - columns))
    unfelt = root.new_full((max(0, columns - rows),), -float(penalty))
    values = torch.cat([(root - penalty) / 2, (-root - penalty) / 2, unseen, unfelt])
    values = values[values.imag.argsort(descending=True, stable=True)]
    return values[values.real.argsort(descending=True, stable=True)]
