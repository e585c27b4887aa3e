"""What the two players minimise. One value per example, `(B,)`; only the loop averages."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Objective(Protocol):
    """A pair of losses on critic scores."""

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scores `(B,)` of real and fake rows -> the critic's loss per pair, `(B,)`."""
        ...

    def generator(self, fake: Tensor) -> Tensor:
        """Scores `(B,)` of fake rows -> the generator's loss per row, `(B,)`."""
        ...


@dataclass(frozen=True)
class Wasserstein:
    """Kantorovich-Rubinstein dual of the W1 distance.

    The critic maximises E[C(x)] - E[C(y)] over real x and fake y among 1-Lipschitz C; the negative
    of its loss estimates W1.

    Source: Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017, equations 2 and 3.

    >>> import torch
    >>> Wasserstein().critic(torch.tensor([2.0]), torch.tensor([0.5]))
    tensor([-1.5000])
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """C(fake) - C(real)."""
        return fake - real

    def generator(self, fake: Tensor) -> Tensor:
        """-C(fake)."""
        return -fake
