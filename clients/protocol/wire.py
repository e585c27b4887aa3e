"""Requests and sums as Flower messages: arrays and one JSON text, never a pickle."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from everymode.clients.protocol.announcement import announcement_to_json, parse_announcement
from everymode.clients.protocol.limits import SITES, TEXT
from everymode.clients.protocol.messages import Request, Tensors, from_json, to_json
from everymode.clients.protocol.refusal import RefusedError, readable
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sums import Layout, ReplyError, SitePayload, SiteSums
from everymode.clients.protocol.wire_arrays import (
    TENSOR_FORMS,
    TENSORS,
    join_tensors,
    pack_arrays,
    read_arrays,
    read_tensors,
    short,
    split_tensors,
    tensor_forms,
)
from everymode.wgan.errors import DataError, EveryModeError, NumericalError
from everymode.wgan.versions import package_versions
from everymode.wgan.words import brief

ORDER = "query.everymode"
"""The message type: one handler on the client serves all orders."""


VERSION = "version"
"""Under which name a request says what the coordinator has installed."""

ANNOUNCED = "announced"
"""Under which name the first request of a run says what the run will ask."""

MECHANISMS = "mechanisms"
"""Name of the record in which a node states what its sites' privacy mechanisms do."""

SITE_PAYLOAD = "letter."
"""Begins the name of the record that holds a single site's arrays."""

KINDS: dict[Any, type[EveryModeError]] = {
    "numerical": NumericalError,
    "refused": RefusedError,
    "data": DataError,
}
"""Errors that keep their kind on the wire; all others become the last."""

PROBLEMS, LENGTH = 100, 2000
"""Most problems that a node may name in a reply, and most characters of each."""


@lru_cache(maxsize=1)
def own_version() -> str:
    """The version of this package."""
    return package_versions(["everymode"])["everymode"]


def pack_request(request: Request, simulation_paths: SimulationPaths) -> RecordDict:
    """A request as the content of a message to one node."""
    config: dict[str, Any] = {
        "order": to_json(request.order),
        "sites": json.dumps(request.sites),
        "run": request.run,
        VERSION: own_version(),
        TENSOR_FORMS: tensor_forms(request.tensors),
        "folder": simulation_paths.folder,
        "token": simulation_paths.token,
    }
    if request.announced is not None:
        config[ANNOUNCED] = announcement_to_json(request.announced)
    content = RecordDict({"order": ConfigRecord(config), TENSORS: join_tensors(request.tensors)})
    return _enclosed(content, request.per_site)


def unpack_request(content: RecordDict) -> tuple[Request, SimulationPaths]:
    """The inverse of `pack_request`.

    Raises:
        RefusedError: It is not one, or a part is missing or too long, or it is of another version.
    """
    with readable("the request"):
        theirs = str(content.config_records["order"].get(VERSION, "without a version"))
    if theirs != own_version():
        raise RefusedError(
            f"the coordinator runs everymode {brief(theirs)} and this site {own_version()}; "
            "install the same version at both"
        )
    with readable("the request"):
        config = content.config_records["order"]
        text, names, forms = (str(config[key]) for key in ("order", "sites", TENSOR_FORMS))
        if max(len(text), len(names), len(forms)) > TEXT:
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
            split_tensors(content.array_records[TENSORS], json.loads(forms)),
            None if sites is None else tuple(sites),
            _read_payloads(content),
            str(config["run"]),
            parse_announcement(str(config[ANNOUNCED])) if ANNOUNCED in config else None,
        )
        return request, SimulationPaths(str(config["folder"]), str(config["token"]))


def pack_sums(sums: SiteSums) -> RecordDict:
    """Sums as the content of a reply."""
    content = RecordDict({"sums": ArrayRecord({"sums": Array(sums.vector)})})
    if sums.mechanisms:
        content[MECHANISMS] = ConfigRecord({"stated": list(sums.mechanisms)})
    return _enclosed(content, sums.per_site)


def pack_problems(error: EveryModeError) -> RecordDict:
    """What is wrong with a site's table, in words that hold no cell of it."""
    kind = next((k for k, known in KINDS.items() if isinstance(error, known)), "data")
    return RecordDict({"problems": ConfigRecord({"kind": kind, "text": list(error.problems)})})


def unpack_reply(message: Message, layout: Layout, sites: Sequence[str] | None) -> SiteSums:
    """The sums of a reply, of which no byte is trusted.

    Nothing is unpickled or evaluated, and nothing is allocated of a size that the sender names: an
    array is taken where its bytes begin with the very header of the agreed type and shape and have
    the very length that follows from it.

    Args:
        message: The reply; it holds content.
        layout: What was agreed on.
        sites: Who was asked; None: the node's own site, whose name is not known.

    Raises:
        DataError: The node says that a table does not fit.
        RefusedError: The node does not answer such a request.
        NumericalError: The node says that training has diverged.
        ReplyError: The reply is not what was agreed on.
    """
    records = dict(message.content.items())
    if "problems" in records:
        raise read_problems(records.pop("problems"), records)
    found = read_arrays(
        records.pop("sums", None), {"sums": (np.dtype(np.int64), (layout.size,))}, ""
    )
    mechanisms = read_mechanisms(records.pop(MECHANISMS, None))
    per_site: dict[str, SitePayload] = {}
    agreed = {field.name: (np.dtype(np.float32), field.shape) for field in layout.per_site}
    for name, record in records.items():
        site = name.removeprefix(SITE_PAYLOAD)
        if not name.startswith(SITE_PAYLOAD) or not agreed:
            raise ReplyError(f"a record {short(name)} came that nobody asked for")
        if site not in (sites if sites is not None else [site]):
            raise ReplyError(f"payloads of site {short(site)} came, which was not asked")
        per_site[site] = read_arrays(record, agreed, f" of the payloads of site {short(site)}")
    if sites is None and len(per_site) > 1:
        raise ReplyError(f"payloads of {len(per_site)} sites came from a node that serves one")
    return SiteSums(layout, found["sums"], per_site, mechanisms)


def read_mechanisms(record: Any) -> tuple[str, ...]:
    """What sites' mechanisms state, each a flat JSON object with a name, in canonical spelling."""
    if record is None:
        return ()
    told = record.get("stated") if isinstance(record, ConfigRecord) and len(record) == 1 else None
    if not isinstance(told, list) or not 0 < len(told) <= PROBLEMS:
        raise ReplyError("mechanisms are not stated in the agreed form")
    found = set()
    for text in told:
        try:
            if not isinstance(text, str) or len(text) > LENGTH:
                raise ValueError
            value = json.loads(text)
            if not isinstance(value, dict) or not isinstance(value.get("name"), str):
                raise ValueError
            if any(isinstance(v, list | dict) or v is None for v in value.values()):
                raise ValueError
            found.add(json.dumps(value, sort_keys=True, allow_nan=False))
        except (RecursionError, TypeError, ValueError):
            raise ReplyError("a mechanism is not stated in the agreed form") from None
    return tuple(sorted(found))


def read_problems(record: Any, others: Mapping[str, Any]) -> EveryModeError:
    """What a node says is wrong; a `ReplyError` where it does not say it as agreed."""
    if not isinstance(record, ConfigRecord) or others or set(record) != {"kind", "text"}:
        return ReplyError("the node says that something is wrong, but not in the agreed form")
    kind, text = record["kind"], record["text"]
    told = text if isinstance(text, list) and text else None
    if not isinstance(kind, str) or kind not in KINDS or told is None:
        return ReplyError("the node says that something is wrong, of a kind that is not known")
    problems = [p if len(p) <= LENGTH else p[:LENGTH] + "..." for p in map(str, told[:PROBLEMS])]
    if len(told) > PROBLEMS:
        problems.append(f"and {len(told) - PROBLEMS} problems more")
    return KINDS[kind](problems)


def _enclosed(content: RecordDict, per_site: Mapping[str, Tensors]) -> RecordDict:
    for site, own in per_site.items():
        content[SITE_PAYLOAD + site] = pack_arrays(own)
    return content


def _read_payloads(content: RecordDict) -> dict[str, SitePayload]:
    return {
        name.removeprefix(SITE_PAYLOAD): read_tensors(record)
        for name, record in content.array_records.items()
        if name.startswith(SITE_PAYLOAD)
    }
