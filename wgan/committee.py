"""Critics made of critics: a mean over parts of a sample, and a factor for each condition."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from everymode.wgan.shape import Block


class Committee(nn.Module):
    """The mean of critics that each see some of a sample's values.

    With the Wasserstein objective the loss of the mean is the mean of the members' losses, which is
    what the papers minimise; with others it is not. The papers project a sample on random
    directions or show all of it to every member; here a member sees whole columns.

    Source: Durugkar, Gemp, Mahadevan, "Generative Multi-Adversarial Networks", 2017; Neyshabur,
    Bhojanapalli, Chakrabarti, "Stabilizing GAN Training with Multiple Random Projections", 2017.
    """

    def __init__(self, critics: Sequence[nn.Module], subsets: Sequence[Sequence[int]]) -> None:
        """Takes K critics and, for each, which values of a sample it sees."""
        super().__init__()
        self.critics = nn.ModuleList(critics)
        for index, subset in enumerate(subsets):
            places = torch.tensor(subset, dtype=torch.int64)
            self.register_buffer(f"subset_{index}", places, persistent=False)

    def members(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores of each member, `(B, K)`."""
        return torch.stack(
            [
                critic(sample.index_select(1, self.get_buffer(f"subset_{index}")), condition)
                for index, critic in enumerate(self.critics)
            ],
            1,
        )

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores `(B,)`."""
        return self.members(sample, condition).mean(1)


class Multipliers(nn.Module):
    """A critic times a positive factor that the condition chooses: `m_c f(x, c)`.

    The factor is the product of the entries' multipliers, each raised to the entry's value; with a
    one-hot condition it is that of the entry which is 1. A critic of slope 1 becomes one of slope
    `m_c`.
    """

    def __init__(self, critic: nn.Module, start: Sequence[float]) -> None:
        """Takes the critic f and the first multiplier of each of the condition's C entries."""
        super().__init__()
        self.critic = critic
        # As logarithms, whatever a step does to them, the multipliers stay positive.
        self.logarithms = nn.Parameter(torch.tensor(start, dtype=torch.float32).log())

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores `(B,)`."""
        scores: Tensor = self.critic(sample, condition)
        return scores * (condition @ self.logarithms).exp()


def subsets(
    blocks: Sequence[Block], width: int, count: int, share: float, rng: torch.Generator
) -> list[list[int]]:
    """Which values of a sample each of `count` members sees, in ascending order.

    Columns are dealt round, so that each is seen by some member; then every member draws more until
    it sees `share` of them. If `count * share < 1` members see more than `share`.

    Args:
        blocks: How a sample is laid out; empty: every value is a column.
        width: D, length of a sample.
        count: K, number of members.
        share: Part of the columns that a member sees, above 0 to 1.
        rng: Source of the draws.

    >>> subsets((), 4, 2, 1.0, torch.Generator().manual_seed(0))
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    columns = _columns(blocks, width)
    # Less a little, so that 0.7 of 10 columns are 7 in floating point, too.
    size = max(-int(-(share * len(columns) - 1e-9) // 1), -(-len(columns) // count))
    order = torch.randperm(len(columns), generator=rng, device=rng.device).tolist()
    result = []
    for index in range(count):
        seen = order[index::count]
        more = [
            order[i] for i in torch.randperm(len(order), generator=rng, device=rng.device).tolist()
        ]
        seen += [column for column in more if column not in set(seen)][: size - len(seen)]
        result.append(sorted(value for column in seen for value in columns[column]))
    return result


def _columns(blocks: Sequence[Block], width: int) -> list[list[int]]:
    """The values of a sample that belong together: a one-hot group and the numbers it gates."""
    if not blocks:
        return [[value] for value in range(width)]
    together: dict[int, list[int]] = {}
    for block in blocks:
        gate = block.gate
        owner = (
            block.start
            if gate is None
            else next(b.start for b in blocks if b.start <= gate < b.stop)
        )
        together.setdefault(owner, []).extend(range(block.start, block.stop))
    return list(together.values())
