"""Requests and sums as Flower messages: arrays and one JSON text, never a pickle."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from clients.orders import Request, from_json, to_json
from clients.sums import Layout, SiteSums
from wgan.errors import DataError, EveryModeError, NumericalError

ORDER = "query.everymode"
"""The message type: one handler on the client serves all orders."""


@dataclass(frozen=True)
class Ground:
    """Where a simulated node finds its sites; empty in deployment.

    Attributes:
        folder: Tables, one a site.
        workspace: Under it, each site's own folder.
    """

    folder: str = ""
    workspace: str = ""


def pack_request(request: Request, ground: Ground) -> RecordDict:
    """A request as the content of a message to one node."""
    config: dict[str, Any] = {
        "order": to_json(request.order),
        "sites": json.dumps(request.sites),
        "folder": ground.folder,
        "workspace": ground.workspace,
    }
    arrays = {name: Array(np.ascontiguousarray(t)) for name, t in request.tensors.items()}
    return RecordDict({"order": ConfigRecord(config), "tensors": ArrayRecord(arrays)})


def unpack_request(content: RecordDict) -> tuple[Request, Ground]:
    """The inverse of `pack_request`.

    Raises:
        pydantic.ValidationError: The order is none.
        KeyError: A part is missing.
    """
    config = content.config_records["order"]
    sites = json.loads(str(config["sites"]))
    tensors = {n: a.numpy() for n, a in content.array_records["tensors"].items()}
    order = from_json(str(config["order"]))
    request = Request(order, tensors, None if sites is None else tuple(sites))
    return request, Ground(str(config["folder"]), str(config["workspace"]))


def pack_sums(sums: SiteSums) -> RecordDict:
    """Sums as the content of a reply."""
    arrays = ArrayRecord({"sums": Array(sums.vector)})
    return RecordDict({"sums": arrays})


def pack_problems(error: EveryModeError) -> RecordDict:
    """What is wrong with a site's table, in words that hold no cell of it."""
    kind = "numerical" if isinstance(error, NumericalError) else "data"
    return RecordDict({"problems": ConfigRecord({"kind": kind, "text": list(error.problems)})})


def unpack_reply(message: Message, layout: Layout) -> SiteSums:
    """The sums of a reply.

    Raises:
        DataError: The node says that a table does not fit.
        NumericalError: The node says that training has diverged.
        ValueError: The vector has another length or type than was agreed.
    """
    content = message.content
    if "problems" in content.config_records:
        record = content.config_records["problems"]
        text = record["text"]
        problems = [str(t) for t in text] if isinstance(text, list) else [str(text)]
        raise (NumericalError if record["kind"] == "numerical" else DataError)(problems)
    vector = content.array_records["sums"]["sums"].numpy()
    if vector.dtype != np.int64 or vector.shape != (layout.size,):
        raise ValueError(
            f"a node sent {vector.dtype} {vector.shape}, agreed were int64 ({layout.size},)"
        )
    return SiteSums(layout, vector)
