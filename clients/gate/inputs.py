"""The arrays that go with an order: just those it needs, in just the shapes it names."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountNeighbours,
    Request,
    Task,
    Tensors,
    Train,
    to_json,
)
from everymode.clients.protocol.refusal import RefusedError
from everymode.wgan.errors import NumericalError

Shapes = Mapping[str, tuple[int, ...] | None]
"""Shapes by name; None: any, since another check knows it."""


def shared_shapes(order: Task) -> Shapes:
    """The arrays that all sites get with an order."""
    if isinstance(order, CountNeighbours):
        groups = len(order.sizes)
        balls = sum(order.sizes)
        return {"balls": None, "radii": (balls,), "book": None, "reach": (groups,)}
    if isinstance(order, CountLeaves):
        return {"nodes": (sum(order.nodes), 4)}
    if not isinstance(order, Train):
        return {}
    return order.arrays.shared


def own_shapes(order: Task) -> Shapes:
    """The arrays that each site gets for itself: what it sent apart and would have kept."""
    if not isinstance(order, Train):
        return {}
    return {field.name: field.shape for field in order.arrays.state}


def check_arrays(arrays: Tensors, shapes: Shapes, what: str) -> None:
    """Refuses arrays of other names, types or shapes, or with numbers that are not finite.

    Raises:
        RefusedError: Names, types or shapes.
        NumericalError: Numbers that are not finite.
    """
    if arrays.keys() != shapes.keys():
        sent = ", ".join(sorted(map(str, arrays)))[:200] or "none"
        wanted = ", ".join(sorted(shapes)) or "none"
        raise RefusedError(f"{what}: arrays {sent}; expected {wanted}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or (shape is not None and array.shape != shape):
            raise RefusedError(
                f"{what}: '{name}' is {array.dtype} {array.shape}; expected float32"
                + (f" {shape}" if shape is not None else "")
            )
        if not np.isfinite(array).all():
            raise NumericalError(
                f"{what}: '{name}' is not finite: training has diverged; lower model.critic_rate "
                "and model.generator_rate"
            )


def compute_request_digest(order: Task, tensors: Tensors, together: tuple[str, ...]) -> bytes:
    """What tells one question of a node from another: all that its sites' answers depend on.

    Args:
        order: What is asked.
        tensors: The arrays that all sites get.
        together: The sites that the node answers for in one sum. Without one of them, the
            difference of two sums is that one's own.
    """
    if isinstance(order, CountBatchRows):
        # The answer does not depend on these, which differ once a run is resumed.
        train = replace(order.train, critic_seen=0, generator_seen=0, strength=0.0)
        order = replace(order, train=train)
    found = hashlib.sha256()
    _add(found, to_json(order).encode())
    for name in together:
        _add(found, name.encode())
    _add_arrays(found, tensors)
    return found.digest()


def digest_for(site: str, shared: bytes, request: Request) -> str:
    """The digest of one site's question, 32 hexadecimal digits, from that of its node's."""
    found = hashlib.sha256(shared)
    _add(found, site.encode())
    _add_arrays(found, request.per_site.get(site, {}))
    return found.hexdigest()[:32]


def _add_arrays(found: "hashlib._Hash", arrays: Tensors) -> None:
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        _add(found, f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data.cast("B") if array.size else b"")


def _add(found: "hashlib._Hash", part: bytes) -> None:
    # With its length, so that no two lists of parts run together into the same bytes.
    found.update(len(part).to_bytes(8, "big") + part)
