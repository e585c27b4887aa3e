"""Whatever is wrong with a node's reply: that node is named, asked again, and not counted twice."""

import io
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.protocol.messages import Request, SiteStatistics, Task, Train
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.protocol.wire import (
    SimulationPaths,
    pack_problems,
    pack_sums,
    unpack_request,
)
from everymode.server.transport.exchange import ExchangeError
from everymode.server.transport.grid import GridExchange
from everymode.wgan.errors import DataError, NumericalError

LOOK = DescribeColumns(("age",))
PROFILE = SiteStatistics("p", cells=2, bins=0)
TRAIN = Train(
    plan="p",
    round=4,
    critic_steps=1,
    generator_steps=0,
    batch=1,
    minimum=1,
    factor=1.0,
    critic_seen=0,
    generator_seen=0,
    device="cpu",
    sizes=(3, 2),
    groups=1,
)
NODES = {3: ("b",), 7: ("a", "c")}

Fate = Callable[[Message, "FakeGrid"], Iterable[Message]]


def sums_of(order: Task, sites: Iterable[str]) -> SiteSums:
    """What honest sites of one row each send: they are alike."""
    layout, names = order.layout(), tuple(sites)
    values: dict[str, Any] = {f.name: np.zeros(f.shape, np.int64) for f in layout.fields}
    values["rows" if isinstance(order, DescribeColumns) else "sites"] = np.array([len(names)])
    per_site = {}
    if isinstance(order, DescribeColumns):
        for i in range(len(order.columns)):
            # No site has a value.
            values[f"cells.{i}"][0] = len(names)
    if isinstance(order, Train):
        values |= {"weight": np.array([0.25]), "critic": np.full(2, 0.25)}
    if isinstance(order, SiteStatistics):
        own = {"cells": np.array([1.0, 0.0]), "bins": np.zeros(0)}
        per_site = {n: layout.site_payload(n, own)[n] for n in names}
    return layout.pack(values, per_site)


def honest(message: Message) -> RecordDict:
    request, _ = unpack_request(message.content)
    return pack_sums(sums_of(request.order, request.sites or ("own",)))


@dataclass
class FakeGrid:
    """Nodes 3 and 7; the first `failing` messages to node 3 meet `fate`, all others an answer."""

    fate: Fate
    failing: int = 1
    nodes: tuple[int, ...] = tuple(NODES)
    tries: dict[int, int] = field(default_factory=dict)
    replies: dict[str, list[Message]] = field(default_factory=dict)
    sent: int = 0

    def get_node_ids(self) -> Iterable[int]:
        return self.nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            self.sent += 1
            identity = f"m{self.sent}"
            message.metadata.__dict__["_message_id"] = identity
            node = message.metadata.dst_node_id
            attempt = self.tries[node] = self.tries.get(node, 0) + 1
            if node == 3 and attempt <= self.failing:
                self.replies[identity] = list(self.fate(message, self))
                if self.replies[identity] == [UNDELIVERED]:
                    continue
            else:
                self.replies[identity] = [Message(honest(message), reply_to=message)]
            yield identity

    def pull_messages(self, identities: Iterable[str]) -> Iterable[Message]:
        found = [reply for i in identities for reply in self.replies.pop(i, [])]
        if BROKEN in found:
            raise ValueError("Unexpected set of `children`")
        return found


def asked() -> Message:
    return Message(RecordDict(), dst_node_id=3, message_type="query.everymode")


UNDELIVERED, BROKEN = object(), object()


@pytest.fixture(autouse=True)
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message belongs to a run and a node; nobody waits between tries."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("everymode.server.transport.grid.RETRY_WAIT", 0.0)


class Exploding:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        """What a pickle of it calls."""
        return (pytest.fail, ("a reply was unpickled",))


def npy(values: Any, **kind: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, **kind), allow_pickle=True)
    return file.getvalue()


def claimed(shape: tuple[int, ...]) -> bytes:
    """The header of an array of this shape, without its numbers."""
    file = io.BytesIO()
    told = {"descr": "<i8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def vector(data: bytes, dtype: str = "int64", shape: tuple[int, ...] | None = None) -> RecordDict:
    """A reply whose array says one thing and holds another."""
    size = LOOK.layout().size
    array = Array(dtype, shape or (size,), "numpy.ndarray", data)
    return RecordDict({"sums": ArrayRecord({"sums": array})})


def with_record(name: str, record: Any) -> Callable[[Message], RecordDict]:
    def content(message: Message) -> RecordDict:
        records = honest(message)
        records[name] = record
        return records

    return content


def lettered(name: str, **changes: Any) -> RecordDict:
    """An answer to `PROFILE` whose payloads are another's or hold other things."""
    content = RecordDict(dict(pack_sums(sums_of(PROFILE, ())).items()))
    own = {"cells": np.array([1, 0], np.float32), "bins": np.zeros(0, np.float32)} | changes
    content["letter." + name] = ArrayRecord({n: Array(a) for n, a in own.items()})
    content["sums"] = pack_sums(sums_of(PROFILE, ("b",)))["sums"]
    return content


SIZE = LOOK.layout().size
LOOKS: dict[str, Callable[[Message], RecordDict]] = {
    "a vector of another length": lambda m: pack_sums(DescribeColumns(("a", "b")).layout().zero()),
    "another type": lambda m: vector(npy(np.zeros(SIZE, np.float64)), "float64"),
    "another type than it says": lambda m: vector(npy(np.zeros(SIZE, np.float64))),
    "fewer numbers than it says": lambda m: vector(npy(np.zeros(SIZE, np.int64))[:-8]),
    "more numbers than it says": lambda m: vector(npy(np.zeros(SIZE, np.int64)) + b"12345678"),
    "garbage": lambda m: vector(b"\x00garbage\xff" * 20),
    "no bytes": lambda m: vector(b""),
    "a claim of 8 TB": lambda m: vector(claimed((10**12,)), shape=(10**12,)),
    "a hidden claim of 8 TB": lambda m: vector(claimed((10**12,))),
    "a header of a million brackets": lambda m: vector(b"\x93NUMPY\x03\x00" + b"(" * 10**6),
    "a pickle": lambda m: vector(pickle.dumps(Exploding())),
    "an array of objects": lambda m: vector(npy([Exploding()], dtype=object), "object", (1,)),
    "another way to write arrays": lambda m: RecordDict(
        {"sums": ArrayRecord({"sums": Array("int64", (SIZE,), "pickle", b"")})}
    ),
    "no record": lambda m: RecordDict(),
    "a record of another kind": lambda m: RecordDict({"sums": MetricRecord({"sums": 1})}),
    "an array of another name": lambda m: RecordDict(
        {"sums": ArrayRecord({"total": Array(np.zeros(SIZE, np.int64))})}
    ),
    "an array too many": lambda m: RecordDict(
        {"sums": ArrayRecord({n: Array(np.zeros(SIZE, np.int64)) for n in ("sums", "more")})}
    ),
    "a record too many": with_record("more", MetricRecord({"x": 1.0})),
    "payloads that nobody asked for": with_record("letter.b", ArrayRecord()),
    "a problem of an unknown kind": lambda m: RecordDict(
        {"problems": ConfigRecord({"kind": "party", "text": ["come"]})}
    ),
    "a problem without words": lambda m: RecordDict(
        {"problems": ConfigRecord({"kind": "data", "text": []})}
    ),
    "a problem without a kind": lambda m: RecordDict({"problems": ConfigRecord({"text": ["?"]})}),
    "a problem that is a number": lambda m: RecordDict({"problems": MetricRecord({"kind": 1})}),
    "a problem beside sums": with_record(
        "problems", ConfigRecord({"kind": "data", "text": ["age is infinite"]})
    ),
    "a negative count": lambda m: pack_sums(
        SiteSums(LOOK.layout(), -np.ones(SIZE, dtype=np.int64))
    ),
    "counts without end": lambda m: pack_sums(
        SiteSums(LOOK.layout(), np.full(SIZE, 2**62, dtype=np.int64))
    ),
}
PROFILES: dict[str, Callable[[Message], RecordDict]] = {
    "payloads of a site of another node": lambda m: lettered("a"),
    "payloads of an unknown site": lambda m: lettered("../../etc/passwd"),
    "no payloads": lambda m: pack_sums(sums_of(PROFILE, ("b",)).layout.zero()),
    "payloads that are not finite": lambda m: lettered(
        "b", cells=np.array([np.nan, 0], np.float32)
    ),
    "payloads of another shape": lambda m: lettered("b", cells=np.zeros(3, np.float32)),
    "payloads of another type": lambda m: lettered("b", cells=np.zeros(2, np.float64)),
    "payloads of another name": lambda m: lettered("b", more=np.zeros(2, np.float32)),
    "negative counts in payloads": lambda m: lettered("b", cells=np.array([-1, 2], np.float32)),
}


def told(content: Callable[[Message], RecordDict]) -> Fate:
    return lambda message, grid: [Message(content(message), reply_to=message)]


MESSAGES: dict[str, Fate] = {
    "an actor that dies": lambda m, g: [Message(Error(0, "the actor died"), reply_to=m)],
    "silence": lambda m, g: [],
    "a message that Flower cannot put together": lambda m, g: [BROKEN],  # type: ignore[list-item]
    "a message that is not delivered": lambda m, g: [UNDELIVERED],  # type: ignore[list-item]
}
FATES: dict[str, tuple[Task, Fate]] = {
    **{name: (LOOK, told(content)) for name, content in LOOKS.items()},
    **{name: (PROFILE, told(content)) for name, content in PROFILES.items()},
    **{name: (LOOK, fate) for name, fate in MESSAGES.items()},
}


def exchange(grid: FakeGrid, **options: Any) -> GridExchange:
    usual: dict[str, Any] = {"timeout": 0.05, "retries": 2}
    shares = list(NODES.values())
    return GridExchange(grid, shares, SimulationPaths(), **usual | options)  # type: ignore[arg-type]


def rows(found: SiteSums) -> int:
    return int(found.units(found.layout.fields[0].name)[0])


@pytest.mark.parametrize("name", FATES)
def test_a_node_whose_reply_is_wrong_is_asked_again_and_counted_once(name: str) -> None:
    order, fate = FATES[name]
    grid = FakeGrid(fate)
    found = exchange(grid)(Request(order))
    assert rows(found) == 3 and grid.tries == {3: 2, 7: 1}
    assert np.array_equal(found.vector, sums_of(order, "abc").vector)


@pytest.mark.parametrize("name", FATES)
def test_a_node_that_keeps_failing_ends_the_run_by_name(name: str) -> None:
    order, fate = FATES[name]
    grid = FakeGrid(fate, failing=9)
    with pytest.raises(ExchangeError, match=r"^site 'b': failed 3 times in a row: .*--resume"):
        exchange(grid)(Request(order))
    assert grid.tries == {3: 3, 7: 1}


def test_all_nodes_that_fail_are_named_with_their_reasons() -> None:
    class Dying(FakeGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            for message in messages:
                self.sent += 1
                message.metadata.__dict__["_message_id"] = f"m{self.sent}"
                reason = f"no memory on {message.metadata.dst_node_id}"
                error = Message(Error(code=0, reason=reason), reply_to=message)
                self.replies[f"m{self.sent}"] = [error]
                yield f"m{self.sent}"

    with pytest.raises(ExchangeError) as caught:
        exchange(Dying(lambda m, g: []))(Request(TRAIN))
    first, second = caught.value.problems
    assert first == "site 'b': failed 3 times in a row: no memory on 3"
    assert second.startswith("sites 'a', 'c': failed 3 times in a row: no memory on 7. ")
    assert "on_failure = 'skip'" in second


@pytest.mark.parametrize("name", [*MESSAGES, "garbage", "a claim of 8 TB"])
def test_a_round_goes_on_without_a_failing_node_where_configured_and_says_so(name: str) -> None:
    said: list[str] = []
    grid = FakeGrid(FATES[name][1], failing=9)
    found = exchange(grid, skip=True, tell=said.append)(Request(TRAIN))
    assert rows(found) == 2
    (note,) = said
    assert note.startswith("note: round 4 goes on without a site's part: site 'b': failed 3 times")
    # What everything rests on is not skipped.
    with pytest.raises(ExchangeError, match="site 'b'"):
        exchange(FakeGrid(FATES[name][1], failing=9), skip=True)(Request(LOOK))


def test_the_problems_of_all_tables_are_told_at_once_and_not_asked_for_again() -> None:
    class Refusing(FakeGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            for message in messages:
                node = message.metadata.dst_node_id
                self.tries[node] = self.tries.get(node, 0) + 1
                message.metadata.__dict__["_message_id"] = f"m{node}"
                problem = {3: "b.csv: is empty", 7: "site 'c' (c.csv): lacks a column"}[node]
                content = pack_problems(DataError(problem))
                self.replies[f"m{node}"] = [Message(content, reply_to=message)]
                yield f"m{node}"

    grid = Refusing(lambda m, g: [])
    with pytest.raises(DataError) as caught:
        exchange(grid)(Request(LOOK))
    expected = ("site 'b': b.csv: is empty", "site 'c' (c.csv): lacks a column")
    assert caught.value.problems == expected
    assert grid.tries == {3: 1, 7: 1}


@pytest.mark.parametrize("error", [DataError("age is infinite"), NumericalError("it diverged")])
def test_one_site_that_says_something_is_wrong_does_not_end_a_run_that_may_skip(error) -> None:
    fate = told(lambda message: pack_problems(error))
    said: list[str] = []
    found = exchange(FakeGrid(fate, failing=9), skip=True, tell=said.append)(Request(TRAIN))
    assert rows(found) == 2 and len(said) == 1 and f"site 'b': {error}" in said[0]
    with pytest.raises(type(error), match=f"^site 'b': {error}"):
        exchange(FakeGrid(fate, failing=9))(Request(TRAIN))


def test_what_a_node_says_is_wrong_has_bounds() -> None:
    content = RecordDict({"problems": ConfigRecord({"kind": "data", "text": ["x" * 10**6] * 1000})})
    with pytest.raises(DataError) as caught:
        exchange(FakeGrid(told(lambda message: content)))(Request(LOOK))
    assert len(caught.value.problems) == 101 and max(map(len, caught.value.problems)) < 2100
    assert caught.value.problems[-1] == "site 'b': and 900 problems more"


def twice(message: Message, grid: FakeGrid) -> list[Message]:
    return [Message(honest(message), reply_to=message) for _ in range(2)]


def beside_a_stranger(message: Message, grid: FakeGrid) -> list[Message]:
    stranger = asked()
    stranger.metadata.__dict__["_message_id"] = "nobody's"
    replies = [Message(honest(message), reply_to=m) for m in (stranger, message)]
    return replies


def in_anothers_name(message: Message, grid: FakeGrid) -> list[Message]:
    # Node 3 answers what node 7 was asked, before it answers itself.
    other = Message(RecordDict(), dst_node_id=3, message_type="query.everymode")
    other.metadata.__dict__["_message_id"] = "m2"
    forged = Message(pack_sums(sums_of(LOOK, "abcdefgh")), reply_to=other)
    return [forged, Message(honest(message), reply_to=message)]


@pytest.mark.parametrize("fate", [twice, beside_a_stranger, in_anothers_name])
def test_a_reply_that_nobody_waits_for_is_told_of_and_not_counted(fate: Fate) -> None:
    said: list[str] = []
    grid = FakeGrid(fate)
    assert rows(exchange(grid, tell=said.append)(Request(LOOK))) == 3
    assert grid.tries == {3: 1, 7: 1}
    assert said == ["note: site 'b': a reply came that nobody waits for; it is not counted"]


def test_a_reply_that_comes_after_its_deadline_is_not_added_to_the_second() -> None:
    late: list[Message] = []

    class Slow(FakeGrid):
        def pull_messages(self, identities: Iterable[str]) -> Iterable[Message]:
            found = list(super().pull_messages(identities))
            # The first reply turns up together with the second.
            return [*late, *found] if self.tries[3] == 2 and found else found

    def silent(message: Message, grid: FakeGrid) -> list[Message]:
        late.append(Message(honest(message), reply_to=message))
        return []

    grid = Slow(silent)
    assert rows(exchange(grid)(Request(LOOK))) == 3
    assert late and grid.tries == {3: 2, 7: 1}


def test_a_node_that_serves_its_own_site_is_named_by_its_id() -> None:
    grid = FakeGrid(FATES["garbage"][1], failing=9)
    with pytest.raises(ExchangeError, match=r"^node 3: failed 3 times in a row"):
        GridExchange(grid, None, SimulationPaths(), 2, timeout=0.05)(Request(LOOK))  # type: ignore[arg-type]


def test_traffic_counts_what_was_taken_apart_and_what_was_asked_again() -> None:
    once, again = exchange(FakeGrid(twice)), exchange(FakeGrid(FATES["silence"][1]))
    once(Request(LOOK))
    again(Request(LOOK))
    assert once.traffic.up == again.traffic.up == 2 * 8 * SIZE
    assert again.traffic.down > once.traffic.down
