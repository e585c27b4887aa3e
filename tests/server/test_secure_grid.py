"""Secure summation in Flower's messages, in simulations and between sites with own keys."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.app import answer
from everymode.clients.gate.simulation import mark
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.secure.steps import AnswerMasked
from everymode.clients.secure.wire import unpack_steps
from everymode.server.deployment.keys import make_key
from everymode.server.secure.choice import secured
from everymode.server.secure.exchange import Masking
from everymode.server.transport.exchange import ExchangeError
from everymode.server.transport.grid import GridExchange
from tests.federated import people
from tests.server.test_secure_summation import LOOK, RUN, make_sites, plain

SHARES = [("site-00", "site-03"), ("site-01",), ("site-02",)]


@pytest.fixture(autouse=True)
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message belongs to a run and a node."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class SiteGrid:
    """Nodes that answer as a ClientApp does; `spoil` may change a reply's content."""

    def __init__(self, nodes, spoil=lambda step, content: content) -> None:
        self.nodes, self.spoil = nodes, spoil
        self.replies: dict[str, list[Message]] = {}
        self.bytes = b""

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        for message in messages:
            identity = f"m{len(self.replies)}"
            message.metadata.__dict__["_message_id"] = identity
            context = SimpleNamespace(node_config=self.nodes[message.metadata.dst_node_id])
            reply = answer(message, context)
            step = next(iter(unpack_steps(message.content).values()))
            content = self.spoil(step, reply.content)
            self.bytes += str(content).encode()
            self.replies[identity] = [Message(content, reply_to=message)]
            yield identity

    def pull_messages(self, identities):
        found = [reply for i in identities for reply in self.replies[i]]
        for identity in identities:
            self.replies[identity] = []
        return found


def simulated(folder: Path, spoil=lambda step, content: content) -> GridExchange:
    sites = make_sites(folder / "tables", 4)
    paths = mark(folder / "marked", folder / "tables", folder / "work", 0)
    grid = SiteGrid({k: {"partition-id": k} for k in (1, 2, 3)}, spoil)
    exchange = GridExchange(grid, SHARES, paths, retries=1, pause=0.0)
    assert exchange.names == tuple(site.name for site in sites)
    return exchange


def test_the_sum_over_flowers_messages_is_the_plain_one(tmp_path):
    exchange = secured(simulated(tmp_path), Masking(retries=0))
    total = exchange(Request(LOOK, run=RUN))
    again = exchange(Request(LOOK, run=RUN))
    expected = plain(make_sites(tmp_path / "plain", 4)).vector
    assert (total.vector == expected).all() and (again.vector == expected).all()
    assert total.mechanisms == ('{"name": "secure summation"}',)


def short(step, content):
    """An answer without its last entry."""
    name = "masked.site-02"
    if isinstance(step, AnswerMasked) and name in content:
        vector = content[name]["sums"].numpy()[:-1]
        return RecordDict({**dict(content.items()), name: ArrayRecord({"sums": Array(vector)})})
    return content


def strange(step, content):
    """A record that nobody asked for."""
    return RecordDict({**dict(content.items()), "more": ConfigRecord({"a": 1})})


def silent(step, content):
    return RecordDict({"said": ConfigRecord({})})


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (short, r"'sums' of site 'site-02' came as .*agreed on was int64"),
        (strange, "nobody asked for"),
        (silent, "not in the agreed form"),
    ],
)
def test_replies_that_were_not_agreed_on_are_failures_of_their_site(tmp_path, spoil, match):
    exchange = secured(simulated(tmp_path, spoil), Masking(retries=0))
    with pytest.raises(ExchangeError, match=match):
        exchange(Request(LOOK, run=RUN))


def deployed(folder: Path, names=("east", "north", "south"), keys=True):
    """Sites that serve a table each, sign with registered keys and know one another's."""
    nodes, peers = {}, folder / "peers"
    peers.mkdir()
    for k, name in enumerate(names):
        table = folder / f"{name}.csv"
        people(30, k).to_csv(table, index=False)
        public = make_key(folder / name, name)
        (peers / f"{name}.pub").write_bytes(public.read_bytes())
        nodes[k + 1] = {"site": name, "data": str(table), "workspace": str(folder / "work")}
        if keys:
            key = str(public.with_suffix(""))
            nodes[k + 1] |= {"signing_key": key, "peers": str(peers)}
    grid = SiteGrid(nodes)
    shares = [(name,) for name in names]
    exchange = GridExchange(grid, shares, SimulationPaths(), retries=0, exact=False)
    return secured(exchange, Masking(retries=0)), peers


def test_deployed_sites_sign_with_their_registered_keys(tmp_path):
    exchange, _ = deployed(tmp_path)
    total = exchange(Request(LOOK, run=RUN))
    assert int(total["rows"][0]) == 90
    log = (tmp_path / "work" / "north" / "log.jsonl").read_text()
    assert '"masked": true' in log and '"mechanism": "none"' in log


def test_a_key_that_is_not_the_one_a_site_knows_is_refused(tmp_path):
    exchange, peers = deployed(tmp_path)
    other = make_key(tmp_path / "other", "north")
    (peers / "north.pub").write_bytes(other.read_bytes())
    with pytest.raises(RefusedError, match="site 'north' were not signed by it"):
        exchange(Request(LOOK, run=RUN))
    (peers / "north.pub").unlink()
    (peers / "south.pub").write_text("no key")
    with pytest.raises(RefusedError) as refused:
        exchange(Request(LOOK, run="b" * 16))
    # Each site says all that is wrong there, at once.
    told = [p for p in refused.value.problems if "site 'east'" in p.partition(" refuses")[0]]
    assert len(told) == 2 and any("south.pub, in the folder that site.toml" in p for p in told)
    assert any("key of site 'north' is not known here" in p for p in told)


def test_a_site_needs_no_public_key_of_its_own(tmp_path):
    exchange, peers = deployed(tmp_path)
    for name in ("east", "north", "south"):
        own = tmp_path / f"peers-{name}"
        shutil.copytree(peers, own)
        (own / f"{name}.pub").unlink()
    nodes = exchange.channel.exchange.grid.nodes
    for node in nodes.values():
        node["peers"] = str(tmp_path / f"peers-{node['site']}")
    assert int(exchange(Request(LOOK, run=RUN))["rows"][0]) == 90


def test_at_the_end_of_a_run_its_sites_keep_no_secret(tmp_path):
    exchange, _ = deployed(tmp_path)
    exchange(Request(LOOK, run=RUN))
    kept = [tmp_path / "work" / name / "secure" for name in ("east", "north", "south")]
    assert all(any(folder.glob("*/session.json")) for folder in kept)
    exchange.close()
    assert [sorted(p.name for p in folder.iterdir()) for folder in kept] == [["survivors.txt"]] * 3
    # Nothing more is to end; a run that goes on begins a session of its own.
    exchange.close()
    assert int(exchange(Request(LOOK, run=RUN))["rows"][0]) == 90


def test_a_deployed_site_without_a_key_takes_no_part(tmp_path):
    exchange, _ = deployed(tmp_path, keys=False)
    with pytest.raises(RefusedError, match=r"no signing key.*signing_key = "):
        exchange(Request(LOOK, run=RUN))
