"""The coordinator of real sites: it reads no table, and finds sites by name whatever their ids."""

import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import tomli_w
from flwr.app import Context, Message, RecordDict
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.app import app as client_app
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.wire import unpack_request
from everymode.server.app import app as server_app
from everymode.server.config.files import load, parse
from everymode.server.in_process import simulate
from everymode.server.progress import Interrupted
from everymode.server.secure.choice import secured
from everymode.server.secure.exchange import Masking
from everymode.server.transport.deployment import DeploymentExchange, leave_when
from everymode.server.transport.exchange import ExchangeError
from everymode.wgan.errors import DataError, SettingsError
from tests.conftest import TINY
from tests.federated import people
from tests.server.test_app import LOOK, TRAIN, FakeGrid

NAMES = ("south", "north")
COLUMNS = ["age", "job", "sex", "income"]
DEPLOYED: dict[str, Any] = {
    "data": {"sensitive": ["sex"], "target": "income"},
    "deployment": {"sites": list(NAMES), "columns": COLUMNS, "wait": 0.0},
    **TINY,
}


@pytest.fixture(autouse=True)
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message belongs to a run and a node; nobody waits between tries."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("everymode.server.transport.grid.RETRY_WAIT", 0.0)


def node(name: str, number: int, came: str = "at first") -> Any:
    return SimpleNamespace(name=name, node_id=number, last_activated_at=came)


@dataclass
class NamedGrid(FakeGrid):
    """A grid that also tells the nodes' names; `after` changes who is there, by message."""

    known: list[Any] = field(default_factory=lambda: [node("north", 7), node("south", 3)])
    after: dict[int, Callable[["NamedGrid"], None]] = field(default_factory=dict)
    looks: int = 0

    def get_nodes(self) -> Iterable[Any]:
        self.looks += 1
        return self.known

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        found = list(super().push_messages(messages))
        if change := self.after.get(len(self.pushed)):
            change(self)
        return found


def exchange(grid: Any, **options: Any) -> DeploymentExchange:
    shares = [(name,) for name in NAMES]
    return DeploymentExchange(grid, shares, SimulationPaths(), **({"wait": 0.0} | options))


def asked(grid: FakeGrid) -> list[tuple[int, Any]]:
    return [(m.metadata.dst_node_id, unpack_request(m.content)[0].sites) for m in grid.pushed]


def test_sites_are_asked_by_name_in_the_order_of_the_configuration() -> None:
    grid = NamedGrid(known=[node("stranger", 1), node("north", 7), node("south", 3)])
    found = exchange(grid)
    assert found(Request(LOOK))["rows"].tolist() == [2]
    assert asked(grid) == [(3, ("south",)), (7, ("north",))]
    assert found.names == ("north", "south")
    grid.known = [node("south", 9), node("north", 7)]
    found(Request(LOOK, {}, ("south",)))
    assert asked(grid)[2:] == [(9, ("south",))]


def test_who_is_missing_is_named_once_the_wait_is_over() -> None:
    told: list[str] = []
    grid = NamedGrid(known=[node("north", 7)])
    with pytest.raises(ExchangeError, match=r"'south' is not connected after 0\.2 s.*north"):
        exchange(grid, wait=0.2, tell=told.append)(Request(LOOK))
    assert told == ["note: waits up to 0.2 s for 'south' to connect"]
    assert grid.looks > 1 and not grid.pushed


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="two SuperNodes are registered as 'north'"):
        exchange(NamedGrid(known=[node("north", 7), node("north", 3)]))(Request(LOOK))


def test_a_round_goes_on_without_a_site_that_is_gone_and_waits_for_it_once() -> None:
    told: list[str] = []
    grid = NamedGrid(known=[node("north", 7)])
    found = exchange(grid, wait=0.2, skip=True, retries=0, tell=told.append)
    assert found(Request(TRAIN))["sites"].tolist() == [1]
    looks = grid.looks
    assert found(Request(TRAIN))["sites"].tolist() == [1]
    assert grid.looks == looks + 1, "it was known to be away"
    grid.known = [node("north", 7), node("south", 3)]
    assert found(Request(TRAIN))["sites"].tolist() == [2]
    assert "note: site 'south' is back" in told


@pytest.mark.parametrize("came", ["later", None], ids=["restarted", "gone, and back"])
def test_a_site_whose_node_lost_the_question_is_asked_again(
    came: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this, it would be asked again after `timeout` only: ten minutes."""
    monkeypatch.setattr("everymode.server.transport.deployment.LOOK", 0.05)
    north = node("north", 7)

    def killed(grid: NamedGrid) -> None:
        grid.known = [north, node("south", 3, came)] if came else [north]

    def back(grid: NamedGrid) -> None:
        grid.known = [north, node("south", 3, "later")]

    grid = NamedGrid(script={(3, 1): "hangs"}, after={2: killed})
    found = exchange(grid, timeout=60.0, wait=20.0)
    if came is None:
        found.tell = lambda text: back(grid)
    assert found(Request(LOOK))["rows"].tolist() == [2]
    assert [name for name, _ in asked(grid)] == [3, 7, 3]


def test_a_run_that_is_to_end_does_not_wait_for_sites() -> None:
    grid = NamedGrid(script={(3, 1): "hangs"})
    with pytest.raises(Interrupted):
        exchange(grid, stop=lambda: bool(grid.pushed))(Request(LOOK))


@dataclass
class RealGrid:
    """Hands every message to the ClientApp of the node that it names, as a SuperNode would.

    `at` is called with the number of each message before it is answered.
    """

    folder: Path
    ids: dict[int, str]
    at: Callable[[int], None] = lambda number: None
    policies: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    deaf: bool = False
    replies: dict[str, Message] = field(default_factory=dict)
    orders: list[Any] = field(default_factory=list)

    def get_nodes(self) -> Iterable[Any]:
        return [node(name, number) for number, name in self.ids.items()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            self.sent += 1
            self.at(self.sent)
            self.orders.append(unpack_request(message.content)[0].order)
            message.metadata.__dict__["_message_id"] = f"m{self.sent}"
            if message.metadata.dst_node_id not in self.ids:
                # What Flower says of a node that it does not know.
                yield ""
                continue
            name = self.ids[message.metadata.dst_node_id]
            own = {
                "site": name,
                "data": str(self.folder / f"{name}.csv"),
                "workspace": str(self.folder.parent / "work"),
            }
            if name in self.policies:
                own["policy"] = self.policies[name]
            context = Context(1, 1, own, RecordDict(), {}, 1)  # type: ignore[arg-type]
            self.replies[f"m{self.sent}"] = client_app(message, context)
            yield f"m{self.sent}"

    def pull_messages(self, identities: Iterable[str]) -> Iterable[Message]:
        found = [i for i in identities if i in self.replies and not self.deaf]
        return [self.replies.pop(i) for i in found]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        people(90 + 30 * number, number).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(DEPLOYED))
    return path


def coordinate(grid: Any, **run_config: Any) -> None:
    server_app(grid, Context(1, 1, {}, RecordDict(), run_config, 1))


def expected(tables: Path, out: Path) -> bytes:
    values = {key: value for key, value in DEPLOYED.items() if key != "deployment"}
    values["data"] = {**values["data"], "path": str(tables)}
    return simulate(parse(values), out).folder.synthetic.read_bytes()


def test_the_table_is_that_of_a_run_in_process_and_nothing_of_the_machine_is_read(
    tables: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the coordinator reads a table")

    same = expected(tables, tmp_path / "same")
    for place in ("stages.agree", "simulated_sites"):
        monkeypatch.setattr(f"everymode.server.{place}.read_table", never)
    out = tmp_path / "out"
    coordinate(RealGrid(tables, {12: "north", 5: "south"}), config=str(config), out=str(out))
    assert (out / "synthetic.csv").read_bytes() == same
    summary = (out / "summary.json").read_text()
    assert "utility on held-out rows: it needs real rows" in summary
    assert '"coverage_group_min": null' in summary


def test_a_run_that_is_stopped_in_mid_round_goes_on_to_the_same_bytes(
    tables: Path, config: Path, tmp_path: Path
) -> None:
    """SIGTERM comes while sites train; after the resume their nodes have other ids."""
    came: list[int] = []
    out, grid = tmp_path / "out", RealGrid(tables, {12: "north", 5: "south"})

    def terminate(number: int) -> None:
        rounds = out / "metrics.jsonl"
        if not grid.deaf and rounds.exists() and rounds.read_text().count("\n") == 3:
            grid.deaf = True
            signal.raise_signal(signal.SIGTERM)

    grid.at = terminate
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with pytest.raises(Interrupted, match=r"flwr run .*resume="):
            coordinate(grid, config=str(config), out=str(out))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM], "Flower's own handler comes last"
    assert (out / "checkpoints" / "round-000003.safetensors").exists()
    coordinate(RealGrid(tables, {3: "north", 8: "south"}), resume=str(out))
    assert (out / "synthetic.csv").read_bytes() == expected(tables, tmp_path / "same")


def test_only_a_run_between_real_sites_goes_on_this_way(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no run directory"):
        coordinate(None, resume=str(tmp_path))
    expected(tables, tmp_path / "same")
    with pytest.raises(SettingsError, match="everymode simulate --resume"):
        coordinate(None, resume=str(tmp_path / "same"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("data.path=a.csv", "name their tables themselves"),
        ("data.holdout=a.csv", "reads no table"),
        ("deployment.columns=[]", "no site sends its headers"),
        ("deployment.columns=['age','sex']", "lacks income"),
        ("deployment.sites=['north','north']", "names north twice"),
        ("deployment.sites=['north','../south']", "cannot be the name of a site"),
        ("deployment.sites=[]", "for real sites"),
        ("strategy=pooled", "cannot pool their rows"),
        ("federation.sites_per_round=3", "names 2"),
    ],
)
def test_what_a_coordinator_cannot_do_is_said(config: Path, change: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load(config, [change])


def test_a_simulation_of_real_sites_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="reached by flwr run"):
        simulate(load(config), tmp_path / "out")


class RunNotRunningException(BaseException):
    """Flower's, by its name: no `Exception`."""


def test_flwr_stop_and_a_superlink_that_is_gone_leave_a_checkpoint(
    tables: Path, config: Path, tmp_path: Path
) -> None:
    """Flower's client raises both out of any call."""
    for number, error in enumerate((RunNotRunningException(), _refused())):
        out, grid = tmp_path / f"out-{number}", RealGrid(tables, {12: "north", 5: "south"})

        def fail(_: int, out: Path = out, error: BaseException = error) -> None:
            rounds = out / "metrics.jsonl"
            if rounds.exists() and rounds.read_text().count("\n") == 3:
                raise error

        grid.at = fail
        kind = ExchangeError if number else Interrupted
        with pytest.raises(kind, match="SuperLink does not answer" if number else "resume="):
            coordinate(grid, config=str(config), out=str(out))
        assert (out / "checkpoints" / "round-000003.safetensors").exists()


def _refused() -> Exception:
    return httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("error", "kind"), [(RunNotRunningException(), Interrupted), (_refused(), ExchangeError)]
)
def test_a_masked_question_ends_alike(error: BaseException, kind: type[Exception]) -> None:
    """Its steps go over the grid by themselves."""

    class Gone:
        def get_nodes(self) -> Iterable[Any]:
            raise error

    shares = [("east",), ("north",), ("south",)]
    grid: Any = Gone()
    exchange = DeploymentExchange(grid, shares, SimulationPaths(), exact=False)
    with pytest.raises(kind):
        secured(exchange, Masking(retries=0))(Request(LOOK, run="a" * 16))


def test_a_policy_that_forbids_a_question_ends_the_run_before_training(
    tables: Path, config: Path, tmp_path: Path
) -> None:
    """Leaves and recall are asked after the last round: both keys are named at the first."""
    policy = tmp_path / "policy.toml"
    policy.write_text('questions = ["look", "values", "ranks", "prepare", "moments", "train"]')
    ids = {12: "north", 5: "south"}
    grid = RealGrid(tables, ids, policies={"north": str(policy)})
    with pytest.raises(RefusedError) as refused:
        coordinate(grid, config=str(config), out=str(tmp_path / "out"), set="model.trees=1")
    assert grid.sent == 2, "one question to each site"
    told = "\n".join(refused.value.problems)
    for name, key in (("leaves", "model.trees"), ("recall", "every run"), ("audit", "every run")):
        assert f"policy questions: 'look': this site does not answer '{name}'" in told
        assert key in told
    assert "'moments'" not in told and "south" not in told


def test_a_group_that_leaves_with_its_only_site_is_named(
    tables: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = people(80, 5)
    alone["sex"] = "Other"
    alone.to_csv(tables / "south.csv", index=False)
    out = tmp_path / "out"
    grid = RealGrid(tables, {12: "north", 5: "south"})

    def leave(number: int) -> None:
        rounds = out / "metrics.jsonl"
        done = rounds.read_text().count("\n") if rounds.exists() else 0
        if done == 1:
            grid.ids.pop(5, None)
        elif done == 3:
            grid.ids[5] = "south"

    # A node that is gone answers nothing; who is there is looked at before each round.
    grid.at = leave
    changes = "train.on_failure=skip train.retries=0 train.rounds=6"
    coordinate(grid, config=str(config), out=str(out), set=changes)
    told = capsys.readouterr()
    text = told.out + told.err
    assert text.count("group 'Other' is no longer represented") == 1
    assert text.count("group 'Other' is represented again") == 1
    assert "round 2 goes on without a site's part: site 'south'" in text


@pytest.mark.parametrize(("wish", "asked_again"), [("stop", 0), ("repeat", 2)])
def test_a_run_that_is_to_stop_at_a_failure_asks_nobody_twice(
    wish: str, asked_again: int, tables: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    grid = RealGrid(tables, {12: "north", 5: "south"})

    def hang(number: int) -> None:
        rounds = out / "metrics.jsonl"
        grid.deaf = rounds.exists() and rounds.read_text().count("\n") == 2

    grid.at = hang
    changes = f"train.on_failure={wish} train.retries=1 train.retry_pause=0 train.timeout=0.5"
    with pytest.raises(ExchangeError, match=r"no reply in 0\.5 seconds"):
        coordinate(grid, config=str(config), out=str(out), set=changes)
    assert (out / "checkpoints" / "round-000002.safetensors").exists()
    third = [order for order in grid.orders if getattr(order, "round", 0) == 3]
    assert len(third) == 2 + asked_again


def test_a_call_to_a_superlink_that_is_away_lasts_no_longer_than_the_run() -> None:
    """Flower repeats it for ever, and a signal in the meantime would be heard by nobody."""
    retries, asked = make_simple_http_retry_invoker(), threading.Event()
    leave_when(SimpleNamespace(_retry_invoker=retries), asked.is_set)  # type: ignore[arg-type]
    calls: list[int] = []

    def away() -> None:
        calls.append(1)
        if len(calls) == 2:
            threading.Timer(0.2, asked.set).start()
        raise httpx.ConnectError("away")

    # Waits of its own would be half a second, one, two.
    retries.wait_gen_factory = lambda: iter([0.01, 60.0, 60.0])  # type: ignore[assignment,return-value]
    retries.jitter = None
    started = time.monotonic()
    with pytest.raises(httpx.ConnectError):
        retries.invoke(away)
    assert len(calls) == 3 and time.monotonic() - started < 10
    # Whatever Flower calls its own, a grid of another kind is left alone.
    leave_when(SimpleNamespace(), asked.is_set)  # type: ignore[arg-type]


def test_a_call_lasts_no_longer_than_what_started_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flower's signal for that is not heard while the main thread waits for those that call."""
    retries, parents = make_simple_http_retry_invoker(), iter([7, 7, 1])
    monkeypatch.setattr("os.getppid", lambda: next(parents, 1))
    leave_when(SimpleNamespace(_retry_invoker=retries), lambda: False)  # type: ignore[arg-type]
    retries.wait_gen_factory = lambda: iter([60.0, 60.0])  # type: ignore[assignment,return-value]

    def away() -> None:
        raise httpx.ConnectError("away")

    with pytest.raises(httpx.ConnectError):
        retries.invoke(away)
