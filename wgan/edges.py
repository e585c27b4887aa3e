"""A penalty for critics of a graph's nodes: their slope is bounded along the edges."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wgan.penalties import CriticStep


@dataclass(frozen=True)
class EdgePenalty:
    """Bounds what the critic's score may change by across an edge: the edge's length.

    max(0, |C(u) - C(v)| / length - 1)^2 at edges (u, v) drawn uniformly. A function is 1-Lipschitz
    for the shortest-path distance exactly if it is so across every edge, so a critic held like this
    estimates W1 with the graph's own cost (`wgan.theory.graph.graph_wasserstein`). The slope, not
    the difference, is compared, as in `GradientPenalty(one_sided=True)`: long and short edges then
    overshoot by like shares.

    Source: Peyre, Cuturi, "Computational Optimal Transport", 2019, section 6.2 (the dual on a
    graph); one-sided as in Petzka et al., "On the regularization of Wasserstein GANs", 2018.

    Attributes:
        edges: Pairs of nodes 0..n-1, undirected.
        lengths: One an edge, above 0.
        rows: What the critic is shown for each node, n of length D; empty: one-hot rows.
        weight: lambda.
        name: For whoever reports it.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    edges: tuple[tuple[int, int], ...]
    lengths: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...] = ()
    weight: float = 10.0
    name: str = "edge_penalty"
    every: int = 1
    kind: Literal["edge_penalty"] = "edge_penalty"

    def __post_init__(self) -> None:
        """Refuses what is no graph.

        Raises:
            ValueError: Not one length above 0 for each edge, no edge, or a node without a row.
        """
        if not self.edges or len(self.edges) != len(self.lengths) or min(self.lengths) <= 0:
            raise ValueError(
                f"expected edges with one length above 0 each, got {len(self.edges)} edges and "
                f"{len(self.lengths)} lengths"
            )
        nodes = [node for edge in self.edges for node in edge]
        if min(nodes) < 0 or (self.rows and max(nodes) >= len(self.rows)):
            raise ValueError(
                f"expected edges between nodes 0 to {len(self.rows) - 1}, got {min(nodes)} to "
                f"{max(nodes)}"
            )

    def __call__(self, step: CriticStep) -> Tensor:
        """One value per example, that of an edge drawn for it, `(B,)`."""
        like, count = step.real, len(step.real)
        drawn = torch.randint(
            len(self.edges), (count,), generator=step.rng, device=step.rng.device
        ).to(like.device)
        ends = torch.tensor(self.edges, device=like.device)[drawn]
        rows = like.new_tensor(self.rows) if self.rows else _one_hot(like)
        # One pass over both ends is cheaper than two.
        scores = step.critic(rows[ends.T.flatten()], step.condition.repeat(2, 1))
        first, second = scores.chunk(2)
        slope = (first - second).abs() / like.new_tensor(self.lengths)[drawn]
        return (slope - 1).clamp_min(0.0).square()


def _one_hot(like: Tensor) -> Tensor:
    return torch.eye(like.shape[1], device=like.device, dtype=like.dtype)
