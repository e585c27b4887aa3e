"""What the two players minimise. One value per example, `(B,)`; only the loop averages."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field
from torch import Tensor
from torch.nn.functional import relu, softplus


class Objective(Protocol):
    """A pair of losses on critic scores."""

    @property
    def bounded(self) -> bool:
        """Whether the critic's loss has a minimum without any constraint on the critic."""
        ...

    @property
    def logits(self) -> bool:
        """Whether a score's sign says "real" or "fake"; a constant added to it then matters."""
        ...

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scores `(B,)` of real and fake rows -> the critic's loss per pair, `(B,)`."""
        ...

    def generator(self, fake: Tensor) -> Tensor:
        """Scores `(B,)` of fake rows -> the generator's loss per row, `(B,)`."""
        ...

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scores `(B,)` -> what, on average, estimates the distance between the two, `(B,)`."""
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

    kind: Literal["wasserstein"] = "wasserstein"

    @property
    def bounded(self) -> bool:
        """No: scores twice as large are twice as good."""
        return False

    @property
    def logits(self) -> bool:
        """No: a constant added to all scores changes nothing."""
        return False

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """C(fake) - C(real)."""
        return fake - real

    def generator(self, fake: Tensor) -> Tensor:
        """-C(fake)."""
        return -fake

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """C(real) - C(fake): its mean is W1 for the best 1-Lipschitz critic."""
        return real - fake


@dataclass(frozen=True)
class JensenShannon:
    """The original GAN: scores are logits of "this is real".

    The critic's loss is -log D(x) - log(1 - D(y)) with D the logistic function of the score; at its
    minimum, ln 2 minus half of it is the Jensen-Shannon divergence. The generator minimises
    -log D(y), or, `saturating`, the divergence itself: log(1 - D(y)), whose gradient dies where the
    critic is sure.

    Source: Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1, theorem 1 and
    section 3 (both losses of the generator).

    Attributes:
        saturating: Whether the generator minimises log(1 - D(y)).

    >>> import torch
    >>> sure = torch.tensor([50.0])
    >>> JensenShannon().estimate(sure, -sure)
    tensor([0.6931])
    """

    saturating: bool = False
    kind: Literal["jensen_shannon"] = "jensen_shannon"

    @property
    def bounded(self) -> bool:
        """Yes: the loss is never below 0."""
        return True

    @property
    def logits(self) -> bool:
        """Yes: a score above 0 says "real"."""
        return True

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(y))."""
        return softplus(-real) + softplus(fake)

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(y), or log(1 - D(y)) if `saturating`."""
        return -softplus(fake) if self.saturating else softplus(-fake)

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Ln 2 - loss / 2: its mean is a lower bound of the divergence, in nats."""
        return math.log(2.0) - self.critic(real, fake) / 2


@dataclass(frozen=True)
class Hinge:
    """Hinge loss: examples beyond the margin of 1 no longer move the critic.

    Source: Lim, Ye, "Geometric GAN", 2017, section 3; Miyato et al., "Spectral Normalization for
    Generative Adversarial Networks", 2018, equations 16 and 17.

    >>> import torch
    >>> Hinge().critic(torch.tensor([0.25]), torch.tensor([-2.0]))
    tensor([0.7500])
    """

    kind: Literal["hinge"] = "hinge"

    @property
    def bounded(self) -> bool:
        """Yes: the loss is never below 0."""
        return True

    @property
    def logits(self) -> bool:
        """Yes: a score above 0 says "real"."""
        return True

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """max(0, 1 - C(x)) + max(0, 1 + C(y))."""
        return relu(1 - real) + relu(1 + fake)

    def generator(self, fake: Tensor) -> Tensor:
        """-C(fake)."""
        return -fake

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """2 - loss: 2 where all examples lie beyond their margins, 0 for a blind critic."""
        return 2 - self.critic(real, fake)


ObjectiveSpec = Annotated[Wasserstein | JensenShannon | Hinge, Field(discriminator="kind")]
