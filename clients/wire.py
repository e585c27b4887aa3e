"""Requests and sums as Flower messages: arrays and one JSON text, never a pickle."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from clients.gate.limits import SITES, TEXT
from clients.gate.refusal import RefusedError, readable
from clients.gate.simulation import Ground
from clients.orders import Request, Tensors, from_json, to_json
from clients.sums import Layout, Letter, SiteSums
from wgan.errors import DataError, EveryModeError, NumericalError

ORDER = "query.everymode"
"""The message type: one handler on the client serves all orders."""


LETTER = "letter."
"""Begins the name of the record that holds a single site's arrays."""

KINDS: dict[str, type[EveryModeError]] = {
    "numerical": NumericalError,
    "refused": RefusedError,
    "data": DataError,
}
"""Errors that keep their kind on the wire; all others become the last."""


def pack_request(request: Request, ground: Ground) -> RecordDict:
    """A request as the content of a message to one node."""
    config: dict[str, Any] = {
        "order": to_json(request.order),
        "sites": json.dumps(request.sites),
        "run": request.run,
        "folder": ground.folder,
        "token": ground.token,
    }
    content = RecordDict({"order": ConfigRecord(config), "tensors": _arrays(request.tensors)})
    return _enclosed(content, request.letters)


def unpack_request(content: RecordDict) -> tuple[Request, Ground]:
    """The inverse of `pack_request`.

    Raises:
        RefusedError: It is not one, or a part is missing or too long.
    """
    with readable("the request"):
        config = content.config_records["order"]
        text, names = str(config["order"]), str(config["sites"])
        if max(len(text), len(names)) > TEXT:
            raise RefusedError(f"a request of more than {TEXT:,} characters")
        sites = json.loads(names)
        if sites is not None and (
            not isinstance(sites, list)
            or len(sites) > SITES
            or not all(isinstance(name, str) for name in sites)
        ):
            raise RefusedError("sites that are not a list of names")
        request = Request(
            from_json(text),
            {n: a.numpy() for n, a in content.array_records["tensors"].items()},
            None if sites is None else tuple(sites),
            _letters(content),
            str(config["run"]),
        )
        return request, Ground(str(config["folder"]), str(config["token"]))


def pack_sums(sums: SiteSums) -> RecordDict:
    """Sums as the content of a reply."""
    content = RecordDict({"sums": ArrayRecord({"sums": Array(sums.vector)})})
    return _enclosed(content, sums.letters)


def pack_problems(error: EveryModeError) -> RecordDict:
    """What is wrong with a site's table, in words that hold no cell of it."""
    kind = next((k for k, known in KINDS.items() if isinstance(error, known)), "data")
    return RecordDict({"problems": ConfigRecord({"kind": kind, "text": list(error.problems)})})


def unpack_reply(message: Message, layout: Layout) -> SiteSums:
    """The sums of a reply.

    Raises:
        DataError: The node says that a table does not fit.
        RefusedError: The node does not answer such a request.
        NumericalError: The node says that training has diverged.
        ValueError: The vector has another length or type than was agreed.
    """
    content = message.content
    if "problems" in content.config_records:
        record = content.config_records["problems"]
        text = record["text"]
        problems = [str(t) for t in text] if isinstance(text, list) else [str(text)]
        raise KINDS.get(str(record["kind"]), DataError)(problems)
    vector = content.array_records["sums"]["sums"].numpy()
    if vector.dtype != np.int64 or vector.shape != (layout.size,):
        raise ValueError(
            f"a node sent {vector.dtype} {vector.shape}, agreed were int64 ({layout.size},)"
        )
    letters = _letters(content)
    agreed = {field.name: field.shape for field in layout.letters}
    for site, own in letters.items():
        found = {name: array.shape for name, array in own.items()}
        if found != agreed or any(a.dtype != np.float32 for a in own.values()):
            raise ValueError(f"the letters of site '{site}' are not those that were agreed")
    return SiteSums(layout, vector, letters)


def _arrays(arrays: Tensors) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(t)) for name, t in arrays.items()})


def _enclosed(content: RecordDict, letters: Mapping[str, Tensors]) -> RecordDict:
    for site, own in letters.items():
        content[LETTER + site] = _arrays(own)
    return content


def _letters(content: RecordDict) -> dict[str, Letter]:
    return {
        name.removeprefix(LETTER): {n: a.numpy() for n, a in record.items()}
        for name, record in content.array_records.items()
        if name.startswith(LETTER)
    }
