"""W1 between laws on the nodes of a graph, where mass can only go along edges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from torch import Tensor

from simulations.claims.claim import Check, Claim, above, near
from simulations.claims.fitting import SMALL, Fitted, fit_critic
from simulations.claims.page import BLUE, GREY, ORANGE, RED
from simulations.toys import Fresh
from wgan.critics import MLPCriticSpec
from wgan.edges import EdgePenalty
from wgan.lipschitz import LipschitzSpec, Penalised
from wgan.optimizers import Adam
from wgan.penalties import CriticPenaltySpec, GradientPenalty
from wgan.shape import Shape
from wgan.theory.graph import GraphTransport, graph_wasserstein
from wgan.theory.transport import wasserstein

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Graph:
    """A graph in the plane with two laws on its nodes.

    Attributes:
        name: For whoever reads the results.
        positions: `(n, 2)`.
        edges: Pairs of nodes, `(m, 2)`.
        lengths: `(m,)`.
        source: Mass of the real law, `(n,)`.
        target: Mass of the fake law, `(n,)`.
    """

    name: str
    positions: Array
    edges: NDArray[np.intp]
    lengths: Array
    source: Array
    target: Array

    def exact(self) -> GraphTransport:
        """The cheapest flow along the edges."""
        return graph_wasserstein(self.edges, self.lengths, self.source, self.target)

    def straight(self) -> float:
        """W1 with straight lines between the nodes."""
        return wasserstein(self.positions, self.positions, 1, self.source, self.target)

    def draw(self, law: Array, rows: Tensor) -> Fresh:
        """Rows of nodes drawn by their masses."""
        masses = torch.as_tensor(law)
        return Fresh(
            lambda count, rng: rows[
                torch.multinomial(masses, count, replacement=True, generator=rng)
            ]
        )


def ring(seed: int, nodes: int = 24) -> Graph:
    """A circle cut open between its first and last node: near in the plane, far along it."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(nodes) / nodes
    positions = np.stack([np.cos(angles), np.sin(angles)], 1)
    edges = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], 1)
    source, target = np.zeros(nodes), np.zeros(nodes)
    source[:6], target[-6:] = rng.dirichlet(np.ones(6), 2)
    return Graph("ring, cut open", positions, edges, _spans(positions, edges), source, target)
