"""Two players' gradient fields: linearised at a point, or followed from it.

A game is given by its field v, in which simultaneous gradient descent moves with small steps:
v(theta, psi) = (-grad_theta L_G, -grad_psi L_D). Games with closed forms live in `dirac`.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Field = Callable[[Tensor], Tensor]
"""Both players' parameters `(n,)` -> their velocity `(n,)`."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Generator's parameters `(a,)` and critic's `(b,)` -> a scalar."""

Kind = Literal[
    "stable node", "stable spiral", "centre", "saddle", "unstable node", "unstable spiral"
]

# Below this share of the largest value a coordinate's sign is rounding.
_FLOOR = 1e-10


def game_field(generator_loss: Loss, critic_loss: Loss, split: int) -> Field:
    """The field of two losses, each of both players' parameters.

    Source: Mescheder, Nowozin, Geiger, "The Numerics of GANs", 2017.

    Args:
        generator_loss: What the generator lowers.
        critic_loss: What the critic lowers.
        split: a: how many parameters, the first ones, are the generator's.

    >>> field = game_field(lambda t, p: -(t * p).sum(), lambda t, p: (t * p).sum(), 1)
    >>> field(torch.tensor([2.0, 3.0]))
    tensor([ 3., -2.])
    """
    of_generator = torch.func.grad(generator_loss, argnums=0)
    of_critic = torch.func.grad(critic_loss, argnums=1)

    def field(point: Tensor) -> Tensor:
        theta, psi = point[:split], point[split:]
        velocity: Tensor = -torch.cat([of_generator(theta, psi), of_critic(theta, psi)])
        return velocity

    return field


def jacobian(field: Field, point: Tensor) -> Tensor:
    """Derivative of the field at a point `(n,)`, `(n, n)`; row i is that of velocity i.

    >>> jacobian(lambda x: x * x.sum(), torch.tensor([1.0, 2.0]))
    tensor([[4., 1.],
            [2., 5.]])
    """
    result: Tensor = torch.func.jacrev(field)(point)
    return result


def spectrum(matrix: Tensor) -> Tensor:
    """Eigenvalues of `(n, n)`, complex `(n,)`, by real part, then imaginary part, descending.

    >>> spectrum(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    tensor([0.+1.j, 0.-1.j])
    """
    values: Tensor = torch.linalg.eigvals(matrix)
    by_imaginary = values[values.imag.argsort(descending=True, stable=True)]
    return by_imaginary[by_imaginary.real.argsort(descending=True, stable=True)]


def classify(eigenvalues: Tensor, tolerance: float = 1e-6) -> Kind:
    """What an equilibrium does to its neighbourhood, by the eigenvalues of its Jacobian.

    A spiral is one in which any eigenvalue turns. `centre` stands for all that linearisation
    leaves open: some real parts are zero and the others have one sign.

    Args:
        eigenvalues: `(n,)`.
        tolerance: Size below which a real or imaginary part is zero. Rounding splits a double
            eigenvalue by its square root, hence the default for float64.

    Raises:
        ValueError: If an eigenvalue is not finite, or there is none.

    >>> classify(torch.tensor([-1 + 2j, -1 - 2j]))
    'stable spiral'
    """
    if not eigenvalues.numel() or not eigenvalues.isfinite().all():
        raise ValueError(f"expected at least one and only finite eigenvalues, got {eigenvalues}")
    values = eigenvalues.to(torch.complex128)
    low, high = float(values.real.min()), float(values.real.max())
    turns = bool((values.imag.abs() > tolerance).any())
    if low < -tolerance and high > tolerance:
        return "saddle"
    if high < -tolerance:
        return "stable spiral" if turns else "stable node"
    if low > tolerance:
        return "unstable spiral" if turns else "unstable node"
    return "centre"


def trajectory(
    field: Field,
    start: Tensor,
    step: float,
    steps: int,
    method: Literal["euler", "rk4"] = "rk4",
) -> Tensor:
    """The path of both players from `start` `(n,)`, `(steps + 1, n)`.

    Euler's method is simultaneous gradient descent with learning rate `step`; the classical
    Runge-Kutta method of order four follows the field itself.

    Raises:
        ValueError: For another method, a step that is not positive, or a negative count.

    >>> trajectory(lambda x: -x, torch.ones(1), 0.5, 2, "euler").tolist()
    [[1.0], [0.5], [0.25]]
    """
    if method not in ("euler", "rk4"):
        raise ValueError(f"expected method 'euler' or 'rk4', got {method!r}")
    if not step > 0 or steps < 0:
        raise ValueError(f"expected step > 0 and steps >= 0, got {step} and {steps}")
    path = [start]
    for _ in range(steps):
        at = path[-1]
        first = field(at)
        if method == "euler":
            path.append(at + step * first)
            continue
        second = field(at + step / 2 * first)
        third = field(at + step / 2 * second)
        fourth = field(at + step * third)
        path.append(at + step / 6 * (first + 2 * second + 2 * third + fourth))
    return torch.stack(path)


def sign_changes(path: Tensor, equilibrium: Tensor | None = None) -> Tensor:
    """How often each coordinate passes its equilibrium (0 if None), `(T, n)` -> `(n,)`.

    Values below 1e-10 of the path's largest are left out: their sign is rounding.

    >>> sign_changes(torch.tensor([[1.0, 1.0], [-1.0, 0.5], [1.0, 0.1]]))
    tensor([2, 0])
    """
    gaps = _gaps(path, equilibrium)
    floor = _FLOOR * gaps.abs().max()
    counts = []
    for column in gaps.T:
        signs = column[column.abs() > floor].sign()
        counts.append((signs[1:] != signs[:-1]).sum())
    return torch.stack(counts)


def oscillates(path: Tensor, equilibrium: Tensor | None = None) -> bool:
    """Whether a path `(T, n)` turns around its equilibrium as no node lets it.

    A coordinate of a linear field with n real eigenvalues is a sum of n exponentials with
    polynomial factors, which passes zero at most n - 1 times; n times therefore mean a spiral or a
    centre. A spiral that decays before it has turned, or is followed for too short, is not seen.

    Source: the zeros of such sums: Polya, Szego, "Problems and Theorems in Analysis II", part V,
    problem 75.

    >>> oscillates(torch.tensor([[1.0, 0.0], [0.2, 0.9], [-0.7, 0.1], [-0.1, -0.5], [0.4, -0.1]]))
    True
    """
    return bool((sign_changes(path, equilibrium) >= path.shape[1]).any())


def convergence_rate(path: Tensor, step: float, equilibrium: Tensor | None = None) -> float:
    """Fitted r in |x(t) - equilibrium| = const exp(r t) over a path's later half, `(T, n)`.

    To be compared with the largest real part of the spectrum (for Euler's method with the largest
    log|1 + step eigenvalue| / step). Negative if the path converges. The path ends for this where
    the distance drops below 1e-10 of its largest; a spiral wants some whole turns.

    Args:
        path: `(T, n)`, evenly spaced in time.
        step: Time between rows.
        equilibrium: `(n,)`; 0 if None.

    Raises:
        ValueError: If fewer than four rows are left to fit, or one is not finite.

    >>> round(convergence_rate(torch.tensor([[8.0], [4.0], [2.0], [1.0]]), 1.0), 3)
    -0.693
    """
    distances = torch.linalg.vector_norm(_gaps(path, equilibrium).double(), dim=1)
    if not distances.isfinite().all():
        raise ValueError("expected a finite path: follow it for fewer or smaller steps")
    small = (distances <= _FLOOR * distances.max()).nonzero()
    kept = distances[: int(small[0])] if len(small) else distances
    if len(kept) < 4:
        raise ValueError(f"expected at least 4 rows off the equilibrium, got {len(kept)}")
    later = kept[len(kept) // 2 :].log()
    times = step * torch.arange(len(later), dtype=torch.float64)
    times -= times.mean()
    return float(times @ later / times.square().sum())


def _gaps(path: Tensor, equilibrium: Tensor | None) -> Tensor:
    if path.dim() != 2 or not path.numel():
        raise ValueError(f"expected a path of shape (T, n), got {tuple(path.shape)}")
    return path if equilibrium is None else path - equilibrium
