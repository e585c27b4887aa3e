"""Every decoder, given what nobody wrote: the declared error comes, or a value that holds.

Valid content is changed in a few bytes, or in a few places of its JSON. What is of another kind
than the decoder's errors fails here; so does what takes long, or as much memory as was claimed.
"""

import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everymode.clients.gate.policy import parse_policy
from everymode.clients.protocol.messages import Request, to_json
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.protocol.wire import ORDER, pack_request, pack_sums, unpack_reply
from everymode.clients.protocol.wire import unpack_request as unpack
from everymode.clients.protocol.wire_arrays import JOINED, TENSOR_FORMS, TENSORS
from everymode.clients.tasks.dispatch import handle
from everymode.server.config.files import load, parse
from everymode.server.deployment.address import Address
from everymode.server.deployment.kit import Kit, read_role, write_kit
from everymode.server.outputs.checkpoint_file import load_checkpoint, save_checkpoint
from everymode.server.outputs.metrics_file import parse_metrics
from everymode.server.outputs.plan_file import load_plan, save_plan
from everymode.server.outputs.releases_file import load_releases, save_releases
from everymode.server.outputs.status import read_status
from everymode.server.replies.releases import Releases
from everymode.server.training.state import TrainingState
from everymode.wgan.errors import EveryModeError, SettingsError, StateError
from tests.federated import Federation

JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from([-1, 0, 2**31, 10**9, 1e308, "NaN", "../x", "\0", [], {}]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with a piece cut out, doubled, replaced, or with its end lost."""
    start = draw(st.integers(0, len(content)))
    stop = draw(st.integers(start, min(len(content), start + 64)))
    put = draw(st.binary(max_size=8) | st.just(content[start:stop] * 2))
    rest = b"" if draw(st.booleans()) and draw(st.booleans()) else content[stop:]
    return content[:start] + put + rest


@st.composite
def changed_json(draw: st.DrawFn, value: Any) -> Any:
    """A value of JSON with junk in one or two places, or without them."""
    found = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        parent: Any = {"": found}
        key: Any = ""
        while isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 9)):
            parent = parent[key]
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = draw(st.sampled_from(keys))
        if key == "":
            return draw(JUNK)
        if isinstance(parent, dict) and draw(st.booleans()):
            del parent[key]
        else:
            parent[key] = draw(JUNK)
    return found


@contextlib.contextmanager
def bounded(megabytes: int = 400) -> Iterator[None]:
    """Fails where the block takes more memory than that at its height."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) / 1024 < megabytes


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation(tmp_path_factory.mktemp("sites")).prepared()


@pytest.fixture(scope="module")
def orders(sites: Federation) -> list[tuple[Any, dict[str, Any]]]:
    """An order of each kind with its arrays, as honest servers send them."""
    before = [(request.order, dict(request.tensors)) for request in sites.exchange.requests]
    recall, book = sites.book()
    after = [sites.train(), sites.trees(), (recall, book.tensors()), (sites.prepare, {})]
    return [*before, *((order, dict(tensors)) for order, tensors in after)]


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_that_was_changed_is_refused_or_answered(
    sites: Federation, orders: list[tuple[Any, dict[str, Any]]], data: st.DataObject
) -> None:
    """Through the wire, the gate, and what the site computes."""
    order, tensors = data.draw(st.sampled_from(orders))
    content = pack_request(Request(order, tensors, run="00000000000000cc"), SimulationPaths())
    config = dict(content.config_records["order"])
    config["order"] = json.dumps(data.draw(changed_json(json.loads(to_json(order)))))
    for key in ("sites", "run", "announced"):
        if data.draw(st.integers(0, 9)) == 0:
            config[key] = data.draw(st.text(max_size=20))
    content["order"] = ConfigRecord(config)
    with contextlib.suppress(EveryModeError), bounded():
        request, _ = unpack(content)
        handle(request, sites.sites[:1])


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_of_other_records_or_arrays_is_refused(
    orders: list[tuple[Any, dict[str, Any]]], data: st.DataObject
) -> None:
    order, tensors = data.draw(st.sampled_from([o for o in orders if o[1]]))
    content = pack_request(Request(order, tensors), SimulationPaths())
    array = content.array_records[TENSORS][JOINED]
    raw = data.draw(changed_bytes(array.data[:200])) + array.data[200:]
    content.array_records[TENSORS][JOINED] = Array(
        array.dtype, data.draw(st.just(array.shape) | st.just((2**40,))), array.stype, raw
    )
    config = dict(content.config_records["order"])
    forms = data.draw(changed_json(json.loads(str(config[TENSOR_FORMS]))))
    config[TENSOR_FORMS] = json.dumps(forms)
    content["order"] = ConfigRecord(config)
    with contextlib.suppress(EveryModeError), bounded():
        unpack(content)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reply_that_was_changed_is_taken_or_refused(
    orders: list[tuple[Any, dict[str, Any]]], data: st.DataObject
) -> None:
    order, _ = data.draw(st.sampled_from(orders))
    layout = order.layout()
    content = pack_sums(SiteSums(layout, np.zeros(layout.size, np.int64)))
    array = content.array_records["sums"]["sums"]
    head = data.draw(changed_bytes(array.data[:160]))
    kind = data.draw(st.sampled_from(["int64", "float64", "object", "<U9", "\0"]))
    shape = data.draw(st.just(array.shape) | st.just((2**50,)) | st.just((-1,)))
    record = ArrayRecord({"sums": Array(kind, shape, array.stype, head + array.data[160:])})
    records: dict[str, Any] = {data.draw(st.sampled_from(["sums", "letter.a", "x"])): record}
    if data.draw(st.booleans()):
        told = data.draw(st.lists(st.text(max_size=20), max_size=3))
        records["problems"] = ConfigRecord({"kind": data.draw(st.text(max_size=9)), "text": told})
    if data.draw(st.booleans()):
        stated = data.draw(st.lists(st.text(max_size=30), max_size=3))
        records["mechanisms"] = ConfigRecord({"stated": stated})
    with contextlib.suppress(EveryModeError), bounded():
        unpack_reply(_reply(RecordDict(records)), layout, ("a",))


def _reply(content: RecordDict) -> Message:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_run_id", "_task_id", "_node_id"):
            patch.setattr(TaskIdentity, name, 1)
        return Message(content, dst_node_id=1, message_type=ORDER)


def _checkpoint(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "round-000001.safetensors"
    tensors = {"critic": torch.arange(6.0), "generator": torch.ones(2, 3)}
    save_checkpoint(path, tensors, TrainingState(round=1), "0" * 16, "1" * 64)
    return path, lambda changed: load_checkpoint(changed, "0" * 16, "1" * 64)


def _plan(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "schema.json"
    save_plan(path, sites.prepare, 180, parse({"data": {"path": "a.csv"}}))
    return path, load_plan


def _releases(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    path, made = folder / "releases.json", Releases()
    order = sites.exchange.requests[0].order
    sums = sites.ask(order, run="00000000000000dd")
    made.add(order.order, made.number(order), ("site-0",), sums)
    save_releases(path, made)
    return path, lambda changed: load_releases(changed, Releases())


def _metrics(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "metrics.jsonl"
    rows = ({"round": n, "seconds": 0.1, "estimate": 1.5, "sites": 3} for n in (1, 2, 3))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, lambda changed: parse_metrics(changed.read_bytes(), changed)


def _status(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "watch.json"
    path.write_text(json.dumps({"run": "r", "done": 3, "total": 5, "last_seen": {"a": 1.0}}))
    return path, lambda changed: read_status(changed.parent)


def _role(folder: Path, sites: Federation) -> tuple[Path, Callable[[Path], Any]]:
    write_kit(folder / "kit", Kit(Address("127.0.0.1", 443), ("north",)))
    path = folder / "kit" / "north" / "kit.json"
    return path, lambda changed: read_role(changed.parent)


FILES = {
    "checkpoint": _checkpoint,
    "plan": _plan,
    "releases": _releases,
    "metrics": _metrics,
    "watch": _status,
    "kit": _role,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_run_that_was_changed_is_read_or_said_to_be_damaged(
    name: str, sites: Federation, tmp_path: Path
) -> None:
    path, read = FILES[name](tmp_path, sites)
    content = path.read_bytes()
    read(path)

    @given(changed_bytes(content) | st.binary(max_size=60))
    def bytes_are_changed(changed: bytes) -> None:
        path.write_bytes(changed)
        with contextlib.suppress(StateError), bounded():
            read(path)

    bytes_are_changed()
    if path.suffix != ".json":
        return

    @given(changed_json(json.loads(content)))
    def values_are_changed(changed: Any) -> None:
        path.write_text(json.dumps(changed))
        with contextlib.suppress(StateError), bounded():
            read(path)

    values_are_changed()


CONFIGURATION = {
    "data": {"path": "a.csv", "sensitive": ["sex"], "columns": {"age": {"kind": "integer"}}},
    "deployment": {"sites": [], "columns": []},
    "train": {"rounds": 3, "retries": 2},
    "federation": {"away": ["a:1-2"], "corrections": [{"kind": "proximal", "mu": 0.01}]},
}


@given(changed_json(CONFIGURATION))
def test_a_configuration_of_anything_is_one_or_an_error_of_ours(values: Any) -> None:
    if isinstance(values, dict):
        with contextlib.suppress(SettingsError), bounded():
            parse(values)


@given(changed_bytes(tomli_w.dumps(CONFIGURATION).encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_configuration_of_any_bytes_is_one_or_an_error_of_ours(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with contextlib.suppress(SettingsError), bounded():
        load(path)


@given(changed_bytes(b'questions = ["look"]\nmin_rows = 5\nplans = "ask"\nhours = ["20:00-06:00"]'))
def test_a_policy_of_any_bytes_is_one_or_an_error_of_ours(content: bytes) -> None:
    with contextlib.suppress(SettingsError):
        parse_policy(content, "policy.toml")
