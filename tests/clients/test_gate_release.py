"""The one way out of a site: mechanisms, the ledger of releases, and that nothing goes around."""

import ast
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.gate import release as gate
from everymode.clients.gate.mechanism import Answer, ReleaseContext
from everymode.clients.gate.release import NAME, release
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.sums import Field, Layout, ReplyError, SiteSums
from everymode.clients.protocol.wire import MECHANISMS, pack_sums, unpack_reply
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle
from tests.federated import RUN, Federation

ROOT = Path(__file__).resolve().parents[2]

LAYOUT = Layout((Field("rows", (1,)), Field("loss", (2,), bits=20)), (Field("own", (2,)),))

PACKS = {
    "pack": {"clients/gate/release.py"},
    "site_payload": {"clients/gate/release.py"},
    # A sum over no sites, and what came over the wire.
    "zero": {"clients/tasks/dispatch.py", "clients/tasks/train.py"},
    "SiteSums": {"clients/protocol/sums.py", "clients/protocol/wire.py", "clients/secure/wire.py"},
    "release": {"clients/tasks/dispatch.py"},
}
"""Which files of `clients` may call what makes a vector of sums."""


def around(path: str, source: str) -> list[str]:
    """Calls by which sums could leave a site without passing its gate."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if path not in PACKS.get(name, {path}):
                found.append(f"{path}: {ast.unparse(node.func)}")
    return found


def test_nothing_else_packs_an_answer() -> None:
    files = sorted((ROOT / "clients").rglob("*.py"))
    texts = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in files}
    assert [call for path, text in texts.items() for call in around(path, text)] == []
    # What a task returns is an `Answer`, `handle_at_site` alone makes sums of it.
    for path in (p for p in texts if p.startswith("clients/tasks/")):
        functions = [n for n in ast.walk(ast.parse(texts[path])) if isinstance(n, ast.FunctionDef)]
        sums = {f.name for f in functions if f.returns and ast.unparse(f.returns) == "SiteSums"}
        allowed = {"handle", "computed", "served", "handle_at_site"}
        assert sums == (allowed if path.endswith("dispatch.py") else set()), path


@pytest.mark.parametrize(
    "source",
    ["layout.pack(x)", "order.layout().site_payload('a', x)", "SiteSums(a)", "sums.SiteSums()"],
)
def test_the_checker_sees_what_goes_around(source: str) -> None:
    # A control: the test above could pass because it sees nothing.
    assert around("clients/tasks/schema.py", source)


@dataclass(eq=False)
class Recording:
    """Remembers every answer that passes."""

    seen: list[tuple[ReleaseContext, Answer]] = field(default_factory=list)
    name: str = "recording"

    def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
        self.seen.append((context, answer))
        return answer

    def statement(self, layout: Layout) -> None:
        return None


@dataclass(frozen=True)
class Plus:
    """A toy: adds a constant to the counts of one field."""

    field: str
    constant: int
    name: str = "plus"

    def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
        if self.field not in answer.sums:
            return answer
        more = {self.field: answer.sums[self.field] + self.constant}
        return replace(answer, sums={**answer.sums, **more})

    def statement(self, layout: Layout) -> dict[str, Any] | None:
        if self.field not in {f.name for f in layout.fields}:
            return None
        return {"field": self.field, "constant": self.constant}


@dataclass(frozen=True)
class Refusing:
    """A site that does not tell how many rows it leaves out."""

    name: str = "refusing"

    def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
        if context.task == "prepare":
            raise RefusedError("counts of rows left out do not leave this site")
        return answer

    def statement(self, layout: Layout) -> None:
        return None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site("a", tmp_path / "a.csv", tmp_path / "work")


def answer(**changes: Any) -> Answer:
    sums = {"rows": np.array([3]), "loss": np.array([0.5, 0.25])}
    return Answer(LAYOUT, sums | changes, {"own": np.ones(2), "more": np.ones(5)})


CONTEXT = ReleaseContext("a", RUN, "train", 1)


def lines(site: Site) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (site.workspace / NAME).read_text().splitlines()]


def test_without_a_mechanism_an_answer_leaves_as_it_was_computed(site: Site) -> None:
    sums = release(answer(), CONTEXT, site)
    assert sums["rows"].tolist() == [3] and sums["loss"].tolist() == [0.5, 0.25]
    # Only what was agreed on leaves, whatever a task has at hand.
    assert {name: list(own) for name, own in sums.per_site.items()} == {"a": ["own"]}
    assert sums.mechanisms == ()
    zero = release(Answer.zero(LAYOUT), CONTEXT, site)
    assert not zero.vector.any() and not zero.per_site


def test_a_mechanism_sees_every_field_of_every_answer(tmp_path: Path) -> None:
    recording = Recording()
    federation = Federation(tmp_path, mechanism=recording).prepared()
    order, tensors = federation.train()
    # A site whose rows do not take part answers with zeros, which are an answer, too.
    federation.ask(order, tensors)
    asked = [*(r.order for r in federation.exchange.requests), federation.prepare, order]
    expected = [(o.order, s.name, o.layout()) for o in asked for s in federation.sites]
    assert [(c.task, c.site, a.layout) for c, a in recording.seen] == expected
    for _, seen in recording.seen:
        assert set(seen.sums) == {f.name for f in seen.layout.fields}
    assert {c.scope for c, _ in recording.seen} == {RUN, federation.name}
    assert [c.round for c, _ in recording.seen][-3:] == [1, 1, 1]


def test_a_mechanism_changes_its_field_and_nothing_else(tmp_path: Path) -> None:
    """End to end: the total moves by the constant of each site, and both ledgers name the toy."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "toy").mkdir()
    plain = Federation(tmp_path / "plain").prepared()
    toy = Federation(tmp_path / "toy", mechanism=Plus("left_out", 5)).prepared()
    before, after = plain.ask(plain.prepare), toy.ask(toy.prepare)
    assert after["left_out"] - before["left_out"] == 3 * 5
    for name in {f.name for f in before.layout.fields} - {"left_out"}:
        assert np.array_equal(before.units(name), after.units(name))
    stated = {"name": "plus", "field": "left_out", "constant": 5}
    assert [json.loads(text) for text in after.mechanisms] == [stated]
    told = {line["task"]: line["mechanism"] for line in lines(toy.sites[0])}
    assert told == {"look": None, "values": None, "ranks": stated, "prepare": stated}


def test_a_mechanism_may_refuse_and_nothing_is_written_down(tmp_path: Path) -> None:
    federation = Federation(tmp_path, mechanism=Refusing())
    with pytest.raises(RefusedError, match=r"^site 'site-0' refuses: counts of rows left out") as e:
        federation.prepared()
    assert len(e.value.problems) == 3
    assert "prepare" not in {line["task"] for line in lines(federation.sites[0])}


def test_a_mechanism_cannot_change_what_was_agreed_on(site: Site) -> None:
    @dataclass(frozen=True)
    class Other(Refusing):
        def apply(self, answer: Answer, context: ReleaseContext) -> Answer:
            return Answer(Layout(()), {})

    with pytest.raises(ValueError, match="'refusing' changed the layout of 'train'"):
        release(answer(), CONTEXT, replace(site, mechanism=Other()))


def test_the_ledger_has_a_line_where_what_leaves_changes(site: Site) -> None:
    for number in (1, 2, 3):
        release(answer(), replace(CONTEXT, round=number), site)
    short = Answer(Layout(LAYOUT.fields[:1]), {"rows": np.array([3])})
    release(short, replace(CONTEXT, round=4), site)
    release(answer(), replace(CONTEXT, round=5), site)
    expected = [(1, ["rows", "loss"]), (4, ["rows"]), (5, ["rows", "loss"])]
    assert [(line["round"], [*line["sums"]]) for line in lines(site)] == expected
    first = lines(site)[0]
    assert first["sums"] == {"rows": [1], "loss": [2]} and first["per_site"] == {"own": [2]}
    assert (first["version"], first["scope"], first["task"]) == (1, RUN, "train")
    assert stat.S_IMODE((site.workspace / NAME).stat().st_mode) == 0o600
    # The same questions again, in another process: their answers are known.
    gate._known.cache_clear()
    for number, told in ((2, answer()), (4, short), (5, answer())):
        release(told, replace(CONTEXT, round=number), site)
    assert len(lines(site)) == 3


def test_a_line_that_a_crash_cut_short_says_nothing(site: Site) -> None:
    release(answer(), CONTEXT, site)
    path = site.workspace / NAME
    path.write_bytes(path.read_bytes()[:-9])
    gate._known.cache_clear()
    release(answer(), CONTEXT, site)
    whole = path.read_text().splitlines()
    assert len(whole) == 2 and json.loads(whole[1])["task"] == "train"


def test_a_site_whose_disk_takes_no_line_releases_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate.os, "write", lambda *_: 0)
    with pytest.raises(Exception, match="the disk is full; free space at the site"):
        release(answer(), CONTEXT, site)


def replies(sums: SiteSums, stated: Any) -> Iterator[Message]:
    content = pack_sums(replace(sums, mechanisms=()))
    content[MECHANISMS] = stated
    yield Message(RecordDict(dict(content.items())), dst_node_id=1, message_type="query")


@pytest.fixture
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.mark.usefixtures("flower_run")
def test_what_mechanisms_state_travels_and_is_not_trusted(site: Site) -> None:
    sums = release(answer(), CONTEXT, replace(site, mechanism=Plus("rows", 1)))
    content = pack_sums(sums)
    message = Message(content, dst_node_id=1, message_type="query")
    assert unpack_reply(message, LAYOUT, ("a",)).mechanisms == sums.mechanisms
    # Without one there is no such record: replies keep their bytes.
    assert MECHANISMS not in pack_sums(replace(sums, mechanisms=()))
    for stated in (
        ConfigRecord({"stated": "plus"}),
        ConfigRecord({"stated": [1.5]}),
        ConfigRecord({"stated": ["no JSON"]}),
        ConfigRecord({"stated": ['{"constant": 1}']}),
        ConfigRecord({"stated": ['{"name": "a", "rows": [1, 2]}']}),
        ConfigRecord({"stated": ['{"name": "a", "scale": NaN}']}),
        ConfigRecord({"stated": [json.dumps({"name": "a" * 5000})]}),
        ConfigRecord({"other": ["{}"]}),
        ConfigRecord({"stated": []}),
    ):
        for reply in replies(sums, stated):
            with pytest.raises(ReplyError, match=r"stated in the agreed form"):
                unpack_reply(reply, LAYOUT, ("a",))


def test_sums_of_sites_with_other_mechanisms_name_them_all(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    sites = [
        replace(site, mechanism=Plus("held", k % 2)) for k, site in enumerate(federation.sites)
    ]
    order = DescribeColumns(("age", "job", "sex", "income"), missing=("",))
    total = handle(Request(order, run="00000000000000bb"), sites)
    assert [json.loads(text)["constant"] for text in total.mechanisms] == [0, 1]
