"""W1 between laws on the nodes of a graph, where mass can only go along edges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, near
from everymode.simulations.claims.fitting import SMALL, fit_critic
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import Fresh
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.edges import EdgePenalty
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.shape import Shape
from everymode.wgan.theory.graph import GraphTransport, graph_wasserstein
from everymode.wgan.theory.transport import wasserstein

Array = NDArray[np.float64]

WEIGHT = 1000.0
"""Of m edges drawn alike, one of length l that carries the flow f has slope 1 + m f l / (2 lambda):
a per cent here."""


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
    """A circle; the two laws lie on opposite arcs, so mass goes both ways round."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(nodes) / nodes
    positions = np.stack([np.cos(angles), np.sin(angles)], 1)
    edges = np.stack([np.arange(nodes), np.roll(np.arange(nodes), -1)], 1)
    source, target = np.zeros(nodes), np.zeros(nodes)
    part = nodes // 4
    source[:part], target[2 * part : 3 * part] = rng.dirichlet(np.ones(part), 2)
    return Graph("ring", positions, edges, _spans(positions, edges), source, target)


def bridge(seed: int, rows: int = 5, columns: int = 3) -> Graph:
    """Two grids side by side, joined by one edge between their top corners."""
    rng = np.random.default_rng(seed)
    number = np.arange(2 * rows * columns).reshape(rows, 2 * columns)
    up = np.stack([number[:-1].ravel(), number[1:].ravel()], 1)
    across = np.stack([number[:, :-1], number[:, 1:]], 2)
    inside = np.delete(across, columns - 1, 1).reshape(-1, 2)
    edges = np.concatenate([up, inside, across[-1:, columns - 1]])
    y, x = np.divmod(number.ravel(), 2 * columns)
    positions = np.stack([x - columns + 0.5, y - (rows - 1) / 2], 1) / 2
    source, target = np.zeros(number.size), np.zeros(number.size)
    # The lower halves of the grids: near one another in the plane, far over the bridge.
    left, right = number[: rows // 2, :columns].ravel(), number[: rows // 2, columns:].ravel()
    source[left], target[right] = rng.dirichlet(np.ones(len(left)), 2)
    return Graph("grids with a bridge", positions, edges, _spans(positions, edges), source, target)


def geometric(seed: int, nodes: int = 30, radius: float = 0.6) -> Graph:
    """Random points, joined where near, by roads of random detours (1 to 3 times straight)."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-1, 1, (nodes, 2))
    distance = cdist(positions, positions)
    # A spanning tree keeps it in one piece.
    joined = (distance < radius) | (minimum_spanning_tree(distance).toarray() > 0)
    edges = np.argwhere(np.triu(joined | joined.T, 1))
    lengths = _spans(positions, edges) * rng.uniform(1, 3, len(edges))
    source, target = rng.dirichlet(np.full(nodes, 0.3), 2)
    return Graph("random geometric", positions, edges, lengths, source, target)


MAKERS: tuple[Callable[[int], Graph], ...] = (ring, bridge, geometric)


def _spans(positions: Array, edges: NDArray[np.intp]) -> Array:
    """Straight length of each edge, `(m,)`."""
    spans: Array = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    return spans


@dataclass(frozen=True)
class Potential:
    """What a critic says of a graph's nodes.

    Attributes:
        values: `(n,)`.
        estimate: Difference of their means under the two laws.
        slope: Largest slope along an edge; estimate / slope never exceeds W1.
    """

    values: Array
    estimate: float
    slope: float


def judged(graph: Graph, values: Array) -> Potential:
    """Estimate and largest slope of values `(n,)` at the nodes."""
    gaps = np.abs(values[graph.edges[:, 0]] - values[graph.edges[:, 1]])
    estimate = float(values @ (graph.source - graph.target))
    return Potential(values, estimate, float((gaps / graph.lengths).max()))


def learn(
    graph: Graph, seed: int, *, one_hot: bool, straight: bool = False, steps: int = 2500
) -> Potential:
    """Trains a critic between the two laws.

    Args:
        graph: Where they live.
        seed: Of weights and batches.
        one_hot: A linear critic of one-hot rows, a free value at each node; else a network that
            sees the positions.
        straight: Bounded by the gradient penalty in the plane, not along the edges.
        steps: Critic steps.
    """
    nodes = len(graph.positions)
    rows = torch.eye(nodes) if one_hot else torch.as_tensor(graph.positions).float()
    penalty = GradientPenalty(WEIGHT, one_sided=True) if straight else _along(graph, one_hot)
    recipe = replace(
        SMALL,
        critic=MLPCriticSpec(hidden=() if one_hot else (64, 64)),
        lipschitz=Penalised((penalty,)),
        critic_optimizer=Adam(5e-2 if one_hot else 2e-3, 0.5, 0.9),
    )
    real, fake = graph.draw(graph.source, rows), graph.draw(graph.target, rows)
    fitted = fit_critic(recipe, Shape((), rows.shape[1], 0), real, fake, steps=steps, seed=seed)
    return judged(graph, fitted.score(rows).double().numpy())


def _along(graph: Graph, one_hot: bool) -> EdgePenalty:
    edges = tuple((int(u), int(v)) for u, v in graph.edges)
    rows = () if one_hot else tuple(map(tuple, graph.positions.tolist()))
    return EdgePenalty(edges, tuple(graph.lengths.tolist()), rows, WEIGHT)


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Free values on all graphs, a network that sees the plane on the graph that differs most."""
    checks, certified, detours, bars = [], [], [], []
    axes = figure.subplots(1, 4)
    kinds = [[make(seed) for seed in seeds] for make in MAKERS]
    for graphs, panel in zip(kinds, axes[:3], strict=True):
        exact = [graph.exact() for graph in graphs]
        found = [learn(g, seed, one_hot=True) for g, seed in zip(graphs, seeds, strict=True)]
        pairs = list(zip(found, exact, strict=True))
        name = graphs[0].name
        shares = [critic.estimate / flow.value for critic, flow in pairs]
        checks.append(near(f"{name}: estimate / linear programme", shares, 1.0, 0.02))
        certified += [critic.estimate / critic.slope / flow.value for critic, flow in pairs]
        detours += [f.value / g.straight() for f, g in zip(exact, graphs, strict=True)]
        _draw(panel, graphs[0], exact[0], found[0])
        bars.append((name, exact[0].value, found[0].estimate, graphs[0].straight()))
    _draw_bars(axes[3], bars)
    graphs = kinds[1]
    network = [
        learn(graph, seed, one_hot=False, steps=1500).estimate / graph.exact().value
        for graph, seed in zip(graphs, seeds, strict=True)
    ]
    plane = [
        learn(graph, seed, one_hot=False, straight=True, steps=1500).estimate / graph.straight()
        for graph, seed in zip(graphs, seeds, strict=True)
    ]
    return [
        *checks,
        Check(
            "all three: estimate / steepest edge / linear programme",
            "0.97 to 1",
            f"{min(certified):.3f} to {max(certified):.3f}",
            min(certified) > 0.97 and max(certified) < 1 + 1e-6,
        ),
        near("network of positions, bridge: estimate / linear programme", network, 1.0, 0.02),
        near("same, gradient penalty: estimate / W1 in the plane", plane, 1.0, 0.02),
        above("linear programme / W1 in the plane, least", [min(detours)], 1.2),
    ]


def _draw(axes: Axes, graph: Graph, exact: GraphTransport, found: Potential) -> None:
    for (u, v), flow in zip(graph.edges, np.abs(exact.flow), strict=True):
        width = 0.6 + 4 * flow
        colour = "black" if flow > 1e-9 else "#c8c8c8"
        axes.plot(*graph.positions[[u, v]].T, color=colour, linewidth=width, zorder=1)
    x, y = graph.positions.T
    axes.scatter(x, y, c=found.values, cmap="cividis", s=36, zorder=2)
    axes.set(xticks=[], yticks=[], aspect="equal", title=graph.name)
    axes.set_xlabel("colour: critic\nblack: cheapest flow")
    axes.spines[["left", "bottom"]].set_visible(False)


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float, float, float]]) -> None:
    places = np.arange(len(bars))
    columns = (("programme", GREY), ("critic", BLUE), ("plane's W1", ORANGE))
    for index, (label, colour) in enumerate(columns):
        heights = [float(bar[1 + index]) for bar in bars]
        axes.bar(places + 0.27 * (index - 1), heights, 0.25, color=colour, label=label)
    axes.set_xticks(places, ["ring", "bridge", "random"])
    axes.set(ylabel="distance", title="what the critic learns", ylim=(0, 6.5))
    axes.legend(fontsize=7.5, loc="upper right")


CLAIM = Claim(
    24,
    "graph_transport",
    "A critic whose score changes across an edge by no more than its length estimates W1 with the "
    "graph's own cost: it reaches the linear programme's value, not the plane's W1.",
    "Kantorovich duality for the shortest-path distance; Beckmann, 1952; Peyre, Cuturi, "
    "Computational Optimal Transport, 2019, section 6.2",
    measure,
    seconds=42,
)
