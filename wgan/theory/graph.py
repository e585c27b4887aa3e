"""W1 on an undirected graph: the cheapest flow along its edges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array, hstack
from scipy.sparse.csgraph import connected_components, shortest_path

from everymode.wgan.errors import NumericalError
from everymode.wgan.theory.checks import Array, balanced, masses, vector

_SAME_MASS = 1e-9


@dataclass(frozen=True)
class GraphTransport:
    """A cheapest flow and the potential that certifies it.

    Attributes:
        value: W1: the sum of length times |flow|, and of potential times (source - target).
        flow: Mass along each edge, positive from its first node to its second, `(m,)`.
        potential: One value a node, `(n,)`; it differs across an edge by at most its length.
    """

    value: float
    flow: Array
    potential: Array


def shortest_paths(edges: ArrayLike, lengths: ArrayLike, nodes: int) -> Array:
    """Distances between all nodes, `(n, n)`; infinite between parts that no edge joins.

    Args:
        edges: Pairs of nodes 0..n-1, undirected, `(m, 2)`; several may join the same pair.
        lengths: Positive, `(m,)`.
        nodes: n.

    Raises:
        ValueError: For nodes that are not there, and lengths that are not positive.

    >>> shortest_paths([[0, 1], [1, 2], [0, 2]], [1, 1, 5], 3)[0].tolist()
    [0.0, 1.0, 2.0]
    """
    pairs, sizes = _graph(edges, lengths, nodes)
    # Parallel edges would be added up: keep the shortest of each pair.
    ends = np.sort(pairs, axis=1)
    ranks = np.lexsort((sizes, ends[:, 1], ends[:, 0]))
    ends, sizes = ends[ranks], sizes[ranks]
    first = np.ones(len(ends), dtype=np.bool_)
    first[1:] = (ends[1:] != ends[:-1]).any(axis=1)
    matrix = coo_array((sizes[first], ends[first].T), shape=(nodes, nodes)).tocsr()
    distances: Array = shortest_path(matrix, directed=False)
    return distances


def graph_wasserstein(
    edges: ArrayLike, lengths: ArrayLike, source: ArrayLike, target: ArrayLike
) -> GraphTransport:
    """W1 for the shortest-path distance, as a flow with given divergence (Beckmann).

    Min sum length |flow| subject to out - in = source - target at every node: one variable an edge
    and direction, not one a pair of nodes.

    Source: Beckmann 1952; Peyre, Cuturi, "Computational Optimal Transport", 2019, section 6.3.

    Args:
        edges: Pairs of nodes 0..n-1, undirected, `(m, 2)`.
        lengths: Positive, `(m,)`.
        source: Mass at each node, `(n,)`.
        target: Mass at each node, of the same sum, `(n,)`.

    Raises:
        ValueError: For a graph that `shortest_paths` refuses, masses that are negative or differ
            in sum, and mass that would have to move where no edge leads.
        NumericalError: If the solver gave up.

    >>> found = graph_wasserstein([[0, 1], [1, 2]], [1, 2], [1, 0, 0], [0, 0, 1])
    >>> float(found.value), found.flow.tolist()
    (3.0, [1.0, 1.0])
    """
    nodes = np.size(source)
    start = masses(source, nodes, "source")
    end = balanced(start, masses(target, nodes, "target"))
    pairs, sizes = _graph(edges, lengths, nodes)
    count = len(pairs)
    index = np.concatenate([np.arange(count), np.arange(count)])
    signs = np.repeat([1.0, -1.0], count)
    incidence = coo_array((signs, (pairs.T.ravel(), index)), shape=(nodes, count))
    surplus = start - end
    _check_parts(pairs, nodes, surplus, float(start.sum()))
    # The solver's tolerances are absolute.
    scale, unit = float(sizes.max()), float(start.max())
    solved = linprog(
        np.tile(sizes / scale, 2),
        A_eq=hstack([incidence, -incidence], format="csc"),
        b_eq=surplus / unit,
        method="highs",
    )
    if not solved.success:
        raise NumericalError(f"the cheapest flow was not found: {solved.message}")
    flow = unit * (solved.x[:count] - solved.x[count:])
    return GraphTransport(float(sizes @ np.abs(flow)), flow, scale * solved.eqlin.marginals)


def _graph(edges: ArrayLike, lengths: ArrayLike, nodes: int) -> tuple[NDArray[np.intp], Array]:
    pairs = np.asarray(edges)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(
            f"expected edges as whole numbers of shape (m, 2), got {pairs.dtype} {pairs.shape}"
        )
    if pairs.min() < 0 or pairs.max() >= nodes:
        raise ValueError(f"expected edges between nodes 0 to {nodes - 1}")
    sizes = vector(lengths, "lengths")
    if sizes.shape != (len(pairs),) or (sizes <= 0).any():
        raise ValueError(f"expected {len(pairs)} lengths above 0, one an edge")
    return pairs.astype(np.intp), sizes


def _check_parts(pairs: NDArray[np.intp], nodes: int, surplus: Array, total: float) -> None:
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(nodes, nodes))
    _, part = connected_components(links, directed=False)
    if (np.abs(np.bincount(part, weights=surplus)) > _SAME_MASS * total).any():
        raise ValueError("expected equal masses in every connected part: no edge leads to another")
