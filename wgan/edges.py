"""A penalty that bounds the slope of a critic of a graph's nodes along the edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from everymode.wgan.penalties import CriticPenalty, CriticStep, Drawn
from everymode.wgan.shape import Shape


@dataclass(frozen=True)
class EdgePenalty(CriticPenalty):
    """Bounds what the critic's score may change by across an edge: the edge's length.

    max(0, |C(u) - C(v)| / length - 1)^2 at edges (u, v) drawn uniformly. A function is 1-Lipschitz
    for the shortest-path distance exactly if it is so across every edge, so a critic held like this
    estimates W1 with the graph's own cost (`everymode.wgan.theory.graph.graph_wasserstein`). The
    slope, not the difference, is compared, as in `GradientPenalty(one_sided=True)`: long and short
    edges then overshoot by like shares.

    Source: Peyre, Cuturi, "Computational Optimal Transport", 2019, section 6.2 (the dual on a
    graph); one-sided as in Petzka et al., "On the regularization of Wasserstein GANs", 2018.

    Attributes:
        edges: Pairs of nodes 0..n-1, undirected.
        lengths: One an edge, above 0.
        rows: What the critic sees of each node, n of length D; empty: one-hot rows.
        weight: lambda.
        name: Its name in reports and errors.
        every: It is taken at every `every`-th critic step, times `every`.
    """

    edges: tuple[tuple[int, int], ...]
    lengths: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...] = ()
    weight: float = 10.0
    name: str = "edge_penalty"
    every: int = 1
    kind: Literal["edge_penalty"] = "edge_penalty"

    holds_slope: ClassVar[bool] = True

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

    def check(self, shape: Shape | None = None) -> Iterator[str]:
        """As in `CriticPenalty`; also that nodes are as long as samples."""
        yield from super().check(shape)
        nodes = 1 + max(node for edge in self.edges for node in edge)
        if shape and self.rows and len(self.rows[0]) != shape.width:
            yield (
                f"{self.name}: rows of length {len(self.rows[0])} for nodes, and samples of length "
                f"{shape.width}; expected the same codec for both"
            )
        elif shape and not self.rows and nodes > shape.width:
            yield (
                f"{self.name}: {nodes} nodes, and samples of length {shape.width}; write what the "
                "critic sees of each node in rows, or make samples one-hot"
            )

    def draw(self, step: CriticStep, rng: torch.Generator) -> Drawn:
        """An edge for each example."""
        drawn = torch.randint(len(self.edges), (len(step.real),), generator=rng, device=rng.device)
        return {"edge": drawn.to(step.real.device)}

    def value(self, step: CriticStep, drawn: Drawn) -> Tensor:
        """One value per example, that of the edge drawn for it, `(B,)`."""
        like, edge = step.real, drawn["edge"]
        ends = torch.tensor(self.edges, device=like.device)[edge]
        rows = like.new_tensor(self.rows) if self.rows else _one_hot(like)
        # One pass over both ends is cheaper than two.
        scores = step.critic(rows[ends.T.flatten()], step.condition.repeat(2, 1))
        first, second = scores.chunk(2)
        slope = (first - second).abs() / like.new_tensor(self.lengths)[edge]
        return (slope - 1).clamp_min(0.0).square()


def _one_hot(like: Tensor) -> Tensor:
    return torch.eye(like.shape[1], device=like.device, dtype=like.dtype)
