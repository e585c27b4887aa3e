"""The grid exchange against a grid that loses, delays and breaks replies; what is asked of Ray."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.app import build_sites
from everymode.clients.protocol.messages import Request, Train
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.wire import (
    SimulationPaths,
    pack_problems,
    pack_request,
    pack_sums,
    unpack_request,
)
from everymode.server.app import SimulationExchange
from everymode.server.config.files import load
from everymode.server.config.settings import Settings
from everymode.server.transport.exchange import ExchangeError
from everymode.server.transport.grid import GridExchange, deal
from everymode.simulations.flower import backend
from everymode.wgan.errors import DataError, EveryModeError, NumericalError, StateError

LOOK = DescribeColumns(("age",))
TRAIN = Train(
    plan="p",
    round=1,
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


@dataclass
class FakeGrid:
    """Answers with the number of sites as rows; `script` says what goes wrong, by attempt."""

    nodes: tuple[int, ...] = (7, 3)
    script: dict[tuple[int, int], str] = field(default_factory=dict)
    pushed: list[Message] = field(default_factory=list)
    replies: dict[str, Message] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)

    def get_node_ids(self) -> Iterable[int]:
        return self.nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"m{len(self.pushed)}"
            identity = message.metadata.message_id
            self.pushed.append(message)
            attempt = self.tries[node] = self.tries.get(node, 0) + 1
            fate = self.script.get((node, attempt), "answer")
            request, _ = unpack_request(message.content)
            if fate == "answer":
                reply = Message(pack_sums(self.sums(request)), reply_to=message)
            elif fate == "dies":
                reply = Message(Error(code=0, reason="the actor died"), reply_to=message)
            elif fate == "refuses":
                problems = pack_problems(DataError("site 'b' (b.csv): column 'age' is infinite"))
                reply = Message(problems, reply_to=message)
            elif fate == "nonsense":
                reply = Message(
                    pack_sums(DescribeColumns(("a", "b")).layout().zero()), reply_to=message
                )
            else:
                yield identity
                continue
            self.replies[identity] = reply
            yield identity

    def sums(self, request: Request) -> Any:
        layout = request.order.layout()
        values = {f.name: np.zeros(f.shape, dtype=np.int64) for f in layout.fields}
        values["rows" if isinstance(request.order, DescribeColumns) else "sites"] = np.array(
            [len(request.sites or ("own",))]
        )
        if isinstance(request.order, DescribeColumns):
            # Each site has one row, without a value.
            values["cells.0"][0] = len(request.sites or ("own",))
        if isinstance(request.order, Train):
            values["weight"] = np.array([0.25])
        return layout.pack(values)

    def pull_messages(self, identities: Iterable[str]) -> Iterable[Message]:
        return [self.replies.pop(i) for i in list(identities) if i in self.replies]


@pytest.fixture(autouse=True)
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message belongs to a run and a node; nobody waits between tries."""
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)
    monkeypatch.setattr("everymode.server.transport.grid.RETRY_WAIT", 0.0)


def exchange(grid: FakeGrid, **options: Any) -> GridExchange:
    shares = [("a", "c"), ("b",)]
    return GridExchange(grid, shares, SimulationPaths("tables", "work"), **options)  # type: ignore[arg-type]


def test_every_site_is_asked_once_and_the_sum_comes_back() -> None:
    grid = FakeGrid()
    found = exchange(grid)
    assert found(Request(LOOK))["rows"].tolist() == [3]
    asked = [unpack_request(m.content)[0].sites for m in grid.pushed]
    assert sorted(s for sites in asked for s in sites or ()) == ["a", "b", "c"]
    assert found.traffic.up == 2 * 8 * LOOK.layout().size and found.traffic.down > 0


def test_a_simulation_that_others_can_reach_ends_with_its_first_reply() -> None:
    shares, ground = [("a", "c"), ("b",)], SimulationPaths("tables", "work")
    closed = SimulationExchange(FakeGrid(), shares, ground)  # type: ignore[arg-type]
    assert closed(Request(LOOK))["rows"].tolist() == [3]
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert closed(Request(LOOK))["rows"].tolist() == [3], "it is looked at once"
        opened = SimulationExchange(FakeGrid(), shares, ground)  # type: ignore[arg-type]
        with pytest.raises(StateError, match=f"0.0.0.0 port {server.getsockname()[1]}"):
            opened(Request(LOOK))


def test_a_node_that_dies_is_asked_again_and_only_that_one() -> None:
    grid = FakeGrid(script={(3, 1): "dies", (3, 2): "dies"})
    assert exchange(grid)(Request(LOOK))["rows"].tolist() == [3]
    assert grid.tries == {3: 3, 7: 1}


def test_a_node_that_keeps_dying_ends_the_run_with_its_reason() -> None:
    grid = FakeGrid(script={(3, n): "dies" for n in range(1, 9)})
    with pytest.raises(ExchangeError, match=r"failed 3 times.*the actor died.*--resume"):
        exchange(grid, retries=2)(Request(TRAIN))


def test_a_round_goes_on_without_a_dead_node_where_configured() -> None:
    grid = FakeGrid(script={(3, n): "dies" for n in range(1, 9)})
    total = exchange(grid, retries=1, skip=True)(Request(TRAIN))
    assert total["weight"].tolist() == [0.25], "the mean divides by the weight that took part"
    with pytest.raises(ExchangeError):
        exchange(FakeGrid(script=grid.script), retries=1, skip=True)(Request(LOOK))


def test_silence_counts_as_failure_after_the_timeout() -> None:
    grid = FakeGrid(script={(7, 1): "silent"})
    assert exchange(grid, timeout=0.05)(Request(LOOK))["rows"].tolist() == [3]
    assert grid.tries[7] == 2


def test_what_is_wrong_with_a_table_reaches_the_user_and_is_not_repeated() -> None:
    grid = FakeGrid(script={(3, 1): "refuses"})
    with pytest.raises(DataError, match=r"b\.csv.*'age' is infinite"):
        exchange(grid)(Request(LOOK))
    assert grid.tries[3] == 1


def test_a_vector_of_another_length_is_its_nodes_failure() -> None:
    script = {(3, n): "nonsense" for n in range(1, 9)}
    with pytest.raises(ExchangeError, match=r"^sites 'a', 'c': failed 2.*agreed on was int64"):
        exchange(FakeGrid(script=script), retries=1)(Request(LOOK))


def test_request_survives_the_wire() -> None:
    tensor = np.arange(3, dtype=np.float32)
    request = Request(TRAIN, {"critic": tensor}, ("a",))
    again, ground = unpack_request(pack_request(request, SimulationPaths("t", "w")))
    assert again.order == TRAIN and again.sites == ("a",) and ground == SimulationPaths("t", "w")
    assert np.array_equal(again.tensors["critic"], tensor)
    assert unpack_request(pack_request(Request(LOOK), SimulationPaths()))[0].sites is None


def test_arrays_of_all_types_share_one_array_on_the_wire() -> None:
    """Flower sends each array of a message in calls of its own."""
    tensors: dict[str, Any] = {
        "flags": np.array([True, False, True]),
        "none": np.zeros((0, 3), np.float32),
        "wide": np.arange(6.0).reshape(2, 3).T,
        "counts": np.array([-1, 2**40], np.int64),
    }
    content = pack_request(Request(TRAIN, tensors, ("a",)), SimulationPaths())
    (array,) = content.array_records["tensors"].values()
    assert array.shape == (3 + 48 + 16,)
    again = unpack_request(content)[0].tensors
    assert list(again) == list(tensors)
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype and np.array_equal(again[name], tensor)
        assert again[name].flags.aligned and again[name].flags.writeable


FORMS = '[["a", "float32", [2]]]'


@pytest.mark.parametrize(
    ("forms", "size"),
    [
        *(('[["a", "float32", [3]]]', 8), ('[["a", "float32", [1]]]', 8), ("[]", 8), (FORMS, 0)),
        *(('[["a", "float32", [1]], ["a", "float32", [1]]]', 8), ('[["a", "O", [1]]]', 8)),
        *(('[["a", "float32", [-2]]]', 8), ('[["a", "float32", [1e400]]]', 8), ("{}", 8)),
        *(('[["a", "float32", [0, 4611686018427387904, 4]]]', 0), ('["abc"]', 8), ("[", 8)),
    ],
)
def test_arrays_that_are_not_what_is_said_of_them_are_refused(forms: str, size: int) -> None:
    content = pack_request(Request(LOOK), SimulationPaths())
    if size:
        content["tensors"] = ArrayRecord({"joined": Array(np.zeros(size, np.uint8))})
    content.config_records["order"]["forms"] = forms
    with pytest.raises(RefusedError):
        unpack_request(content)


def test_problems_keep_their_kind_on_the_wire() -> None:
    for error in (NumericalError("diverged"), DataError(["one", "two"])):
        record = pack_problems(error).config_records["problems"]
        assert record["text"] == list(error.problems)


def context(**node: str | int) -> Context:
    return Context(run_id=1, node_id=1, node_config=dict(node), state=RecordDict(), run_config={})


def test_a_real_site_serves_its_own_table_whatever_the_server_says(tmp_path: Path) -> None:
    own = context(site="north", data="/data/north.csv", workspace=str(tmp_path))
    (site,) = build_sites(own, Request(LOOK, {}, ("north",)), SimulationPaths("/etc", "/tmp"))
    assert (site.name, site.table) == ("north", Path("/data/north.csv"))
    assert site.workspace == tmp_path / "north"


def test_a_real_site_that_is_registered_under_another_name_says_so(tmp_path: Path) -> None:
    own = context(site="north", data="/data/north.csv", workspace=str(tmp_path))
    with pytest.raises(RefusedError, match="serves site 'north', and is asked as 'other'"):
        build_sites(own, Request(LOOK, {}, ("other",)), SimulationPaths())


def test_a_site_of_another_version_answers_nothing() -> None:
    content = pack_request(Request(LOOK), SimulationPaths())
    content.config_records["order"]["version"] = "0.0.9"
    with pytest.raises(RefusedError, match=r"everymode 0\.0\.9 and this site .*same version"):
        unpack_request(content)


def test_a_real_node_without_a_table_says_how_to_name_it() -> None:
    with pytest.raises(DataError, match="--node-config"):
        build_sites(context(), Request(LOOK), SimulationPaths("/etc", "/tmp"))


def test_dealing_puts_the_heaviest_first_and_loses_nobody() -> None:
    rng = np.random.default_rng(0)
    loads = rng.exponential(size=50).tolist()
    names = [f"s{i}" for i in range(50)]
    shares = deal(names, loads, 4)
    assert sorted(n for share in shares for n in share) == sorted(names)
    totals = [sum(loads[names.index(n)] for n in share) for share in shares]
    # Graham's bound for the longest processing time first: 4/3 - 1/(3m) of the optimum.
    assert max(totals) <= (4 / 3 - 1 / 12) * max(sum(loads) / 4, max(loads))


def settings(*sets: str) -> Settings:
    return load("quick", sets)


def test_one_actor_a_core_and_never_more_nodes_than_sites(tmp_path: Path) -> None:
    nodes, asked = backend(settings("simulation.actors=8"), 3, str(tmp_path))
    assert nodes == 3
    assert asked["client_resources"]["num_cpus"] == 1.0
    assert asked["client_resources"]["num_gpus"] == 0.0
    assert asked["init_args"]["address"] == "local", "an old cluster must not be joined"


def test_a_share_of_a_gpu_is_asked_of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = settings("device=cuda", "simulation.num_gpus=0.25")
    with pytest.raises(EveryModeError, match="PyTorch sees no GPU"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        backend(wanted, 3, str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backend(wanted, 3, str(tmp_path))[1]["client_resources"]["num_gpus"] == 0.25
    # `auto` on a machine without one asks for none, so that the same file runs on both.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    either = settings("device=auto", "simulation.num_gpus=0.25")
    assert backend(either, 3, str(tmp_path))[1]["client_resources"]["num_gpus"] == 0.0


def test_config_record_type_is_what_flower_ships() -> None:
    assert isinstance(pack_request(Request(LOOK), SimulationPaths())["order"], ConfigRecord)
