"""One score from several critics: each scores a part of the batch, or their odds are mixed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from everymode.wgan.flat import FlatModule

ScoreFn = Callable[[Tensor, Tensor], Tensor]
"""Rows `(B, D)` and conditions `(B, C)` -> scores `(B,)`."""


def judged_in_parts(critic: FlatModule[nn.Module], vectors: Tensor) -> ScoreFn:
    """Every critic scores a part of the batch, all parts alike in size.

    With a loss that is a mean over rows this is the mean of the critics' losses, each on rows of
    its own (Hardy, Le Merrer, Sericola, "MD-GAN", 2019, section 4). Critic i gets the rows i,
    i + K, i + 2K, ...

    Args:
        critic: The network; its own parameters are ignored.
        vectors: The parameters of each critic, `(K, P)`.
    """

    def judge(rows: Tensor, condition: Tensor) -> Tensor:
        owner = torch.arange(len(rows), device=rows.device) % len(vectors)
        scores = rows.new_empty(len(rows))
        for k, vector in enumerate(vectors):
            mine = owner == k
            if mine.any():
                part = critic.call(vector, rows[mine], condition[mine])
                scores = scores.masked_scatter(mine, part)
        return scores

    return judge


def judged_by_odds(critic: FlatModule[nn.Module], vectors: Tensor, log_prior: Tensor) -> ScoreFn:
    """The logit of a discriminator whose odds are the mixture of the critics' odds.

    With D_k the sigmoid of critic k's score and pi_k the share of the rows (of the row's class)
    that site k holds, odds(D) = sum_k pi_k D_k / (1 - D_k). If every D_k is optimal at its site,
    so is D for the mixture of all sites' rows (Zhang et al., "Training Federated GANs with
    Theoretical Guarantees: A Universal Aggregation Approach", 2021, equation 3 and theorem 1).

    Args:
        critic: The network; its own parameters are ignored.
        vectors: The parameters of each critic, `(K, P)`.
        log_prior: log pi_k of each row, `(B, K)`; -inf where a site holds none.
    """

    def judge(rows: Tensor, condition: Tensor) -> Tensor:
        scores = [critic.call(vector, rows, condition) for vector in vectors]
        return torch.logsumexp(torch.stack(scores, 1) + log_prior, 1)

    return judge
