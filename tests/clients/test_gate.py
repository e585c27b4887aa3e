"""A server that asks a site for too much, or by a wrong name: refused; what is honest passes."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from everymode.clients.app import answer as answer_message
from everymode.clients.app import build_sites
from everymode.clients.gate.contents import check_contents
from everymode.clients.gate.simulation import MARKER, mark
from everymode.clients.protocol import limits
from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountMarginals,
    CountNeighbours,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
)
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.wire import ORDER, pack_problems, pack_request, unpack_reply
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle
from everymode.fairness.metrics.marginals import Marginals
from everymode.server.transport.exchange import InProcess
from everymode.wgan.critics import CommitteeSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.errors import DataError, NumericalError
from tests.federated import RECIPE, RUN, Federation, people

# Names and folders


def test_a_plan_s_name_is_no_way_into_another_site_s_folder(ready: Federation) -> None:
    victim, own = ready.sites[0], ready.sites[1]
    name = f"../{victim.name}/{ready.name}"
    with pytest.raises(RefusedError, match="not 16 hexadecimal digits"):
        ready.ask(SiteStatistics(name, 4, 99), sites=[own])
    for attempt in (own.plan, own.stamp, lambda n: own.array(n, "rows")):
        with pytest.raises(RefusedError, match="not 16 hexadecimal digits"):
            attempt(name)
    with pytest.raises(RefusedError, match="not 16 hexadecimal digits"):
        own.store(name, {}, {})


@pytest.mark.parametrize("name", ["../other", "a/b", "..", "", "a\\b", "x\0"])
def test_a_site_s_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a site cannot be called"):
        Site(name, tmp_path / "a.csv", tmp_path)


def context(**node: Any) -> Context:
    return Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})


def simulated_node(ground: SimulationPaths, name: str = "site-0") -> list[Site]:
    return build_sites(
        context(**{"partition-id": 0}), Request(DescribeColumns(("age",)), {}, (name,)), ground
    )


def test_a_simulated_node_serves_marked_folders_only(tmp_path: Path) -> None:
    tables, folder = tmp_path / "tables", tmp_path / "run" / "sites"
    tables.mkdir()
    people(9, 0).to_csv(tables / "site-0.csv", index=False)
    ground = mark(folder, tables, folder / "work", floor=3)
    (site,) = simulated_node(ground)
    assert (site.table, site.floor, site.simulated) == (tables / "site-0.csv", 3, True)
    assert (folder / MARKER).stat().st_mode & 0o777 == 0o600
    with pytest.raises(RefusedError, match="1 sites that the simulation lacks"):
        simulated_node(ground, "site-1")
    # A folder without a marker, a guessed token, and a marker that others could have written.
    for wrong in (
        SimulationPaths(str(tables), ground.token),
        SimulationPaths(ground.folder, "0" * 64),
    ):
        with pytest.raises(RefusedError, match="no simulation of this user marked"):
            simulated_node(wrong)
    os.chmod(folder / MARKER, 0o644)
    with pytest.raises(RefusedError, match="no simulation of this user marked"):
        simulated_node(ground)


def test_a_marker_behind_a_link_is_none(tmp_path: Path) -> None:
    people(9, 0).to_csv(tmp_path / "site-0.csv", index=False)
    ground = mark(tmp_path / "a", tmp_path, tmp_path / "work", 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / MARKER).symlink_to(tmp_path / "a" / MARKER)
    with pytest.raises(RefusedError, match="marked"):
        simulated_node(SimulationPaths(str(tmp_path / "b"), ground.token))


# Sizes


def changed(order: Any, part: str, **values: Any) -> Any:
    return replace(order, **{part: getattr(order, part) | values})


def with_column(order: Any, **values: Any) -> Any:
    columns = [dict(c) for c in order.schema["columns"]]
    columns[0] |= values
    return changed(order, "schema", columns=columns)


def giant(hidden: list[int], part: str = "generator") -> str:
    recipe = json.loads(RECIPE.to_json())
    recipe[part]["hidden"] = hidden
    return json.dumps(recipe)


def centres(order: Any, count: int) -> Any:
    """A k-means question around so many centres."""
    plan = Plan.of(order)
    points = np.arange(count)[:, None] * np.full(plan.shape.width, 1e-3)
    conditions = plan.conditions.clustered(points)
    return KMeansStep(order.schema, conditions.to_json(), 0, order.missing)


TOO_LARGE: dict[str, Callable[[Federation], Any]] = {
    "3,000 centres": lambda f: centres(f.prepare, 3000),
    "a batch of 0": lambda f: f.train(batch=0)[0],
    "10^9 rows": lambda f: f.train(batch=10**9)[0],
    "10^9 rows of the least": lambda f: f.train(minimum=10**9)[0],
    "no steps": lambda f: f.train(critic_steps=0)[0],
    "10^9 steps": lambda f: f.train(critic_steps=10**9)[0],
    "10^9 generator steps": lambda f: f.train(generator_steps=10**9)[0],
    "a factor that is no number": lambda f: f.train(factor=float("nan"))[0],
    "an infinite strength": lambda f: f.train(strength=float("inf"))[0],
    "round 0": lambda f: f.train(0)[0],
    "10^12 parameters": lambda f: f.train(sizes=(10**12, 5))[0],
    "10^12 batches": lambda f: CountBatchRows(f.train()[0], 10**12),
    "10^12 cells": lambda f: SiteStatistics(f.name, 10**12, 9),
    "10^12 bins": lambda f: SiteStatistics(f.name, 4, 10**12),
    "10^9 frequencies": lambda f: HeldOutFeatureSums(f.name, 2, 10**9, 1.0, 0),
    "no deviation": lambda f: HeldOutFeatureSums(f.name, 2, 9, 0.0, 0),
    "10^9 balls": lambda f: CountNeighbours(f.name, (10**9, 6), 4, False),
    "10^9 cells of a codebook": lambda f: CountNeighbours(f.name, (6, 6), 10**9, False),
    "a negative number of balls": lambda f: CountNeighbours(f.name, (-1, 6), 4, False),
    "twenty thousand columns": lambda f: DescribeColumns(tuple(map(str, range(20_000)))),
    "a header of a megabyte": lambda f: DescribeColumns(("a" * 2**20,)),
    "kinds of other columns": lambda f: CollectVocabulary(("a", "b"), ("integer",), ("",)),
    "all rows held out": lambda f: replace(f.prepare, held_out=1.0),
    "a share held out that is no number": lambda f: replace(f.prepare, held_out=float("nan")),
    "a negative share": lambda f: replace(f.prepare, held_out=-0.1),
    "10^9 bins of numbers": lambda f: replace(f.prepare, bins=10**9),
    "masses that are no shares": lambda f: replace(f.prepare, mass=(5.0, -4.0)),
    "masses of other groups": lambda f: replace(f.prepare, mass=(0.25,) * 4),
    "a layer of 10^9 units": lambda f: replace(f.prepare, recipe=giant([10**9])),
    "10^10 parameters": lambda f: replace(f.prepare, recipe=giant([60_000, 60_000], "critic")),
    "a recipe of a megabyte": lambda f: replace(f.prepare, recipe=giant([8] * 500_000)),
    "a recipe that is none": lambda f: replace(f.prepare, recipe="{}"),
    "edges that fall": lambda f: with_column(f.prepare, edges=[2.0, 1.0], cumulative=[]),
    "100,000 edges": lambda f: with_column(f.prepare, edges=list(range(100_000)), cumulative=[]),
    "100,000 categories": lambda f: with_column(f.prepare, categories=[*map(str, range(100_000))]),
    "a schema of other types": lambda f: with_column(f.prepare, decimals="many"),
    "an edge that is no number": lambda f: with_column(f.prepare, edges=[1.0, float("nan")]),
    "a schema that is none": lambda f: replace(f.prepare, schema={}),
    "counts of other cells": lambda f: changed(f.prepare, "conditions", counts=[[1]]),
    "negative counts": lambda f: changed(f.prepare, "conditions", counts=[[-1, 1], [1, 1]]),
    "10^20 rows": lambda f: changed(f.prepare, "conditions", counts=[[10**20, 1], [1, 1]]),
    "an audit with points that fall": lambda f: CountMarginals(
        f.name, {"columns": [{**column(), "points": [2.0, 1.0]}]}, 2
    ),
    "an audit with 10^5 points": lambda f: CountMarginals(
        f.name, {"columns": [{**column(), "points": [*map(float, range(100_000))]}]}, 2
    ),
    "an audit of nothing": lambda f: CountMarginals(f.name, {}, 2),
}


def column() -> dict[str, Any]:
    return {
        "name": "age",
        "kind": "integer",
        "categories": [],
        "points": [],
        "form": "",
        "lenient": False,
    }


@pytest.mark.parametrize("what", TOO_LARGE)
def test_what_is_too_large_or_nonsense_is_refused_before_anything_is_made(
    what: str, ready: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = TOO_LARGE[what](ready)
    monkeypatch.setattr(
        "everymode.clients.tasks.dispatch.compute",
        lambda *a: pytest.fail("the site began to answer"),
    )
    with pytest.raises(RefusedError, match=r"^sites 'site-0', 'site-1', 'site-2' refuse: "):
        ready.ask(order)


@pytest.mark.parametrize(
    "critic",
    [
        CommitteeSpec(MLPCriticSpec((8,)), 3),
        MultipliersSpec(MLPCriticSpec((8,))),
        MLPCriticSpec((8,), conditioning="projection"),
        MLPCriticSpec((8,), norm="layer"),
    ],
    ids=["committee", "multipliers", "projection", "layer norm"],
)
def test_networks_of_every_kind_are_weighed_without_memory(critic: Any, ready: Federation) -> None:
    """Once a committee, which draws its columns, could not be built on a device without memory."""
    recipe = replace(RECIPE, critic=critic)
    check_contents(replace(ready.prepare, recipe=recipe.to_json()))


def test_an_answer_of_a_gigabyte_is_refused(ready: Federation) -> None:
    order = CollectVocabulary(tuple(map(str, range(1000))), ("integer",) * 1000, ("",) * 1000)
    assert order.layout().size < limits.SUMS, "what a table of a thousand columns takes"
    points = [*map(float, range(512))]
    columns = [column() | {"name": f"{i}", "points": points} for i in range(100)]
    with pytest.raises(RefusedError, match="asks for"):
        ready.ask(CountMarginals(ready.name, {"columns": columns}, 4096))


# Arrays


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"critic": np.zeros(3, np.float32)}, "'critic' is float32"),
        ({"critic": np.zeros(10**6, np.float32)}, "'critic' is float32"),
        ({"stranger": np.zeros(3, np.float32)}, "arrays critic, .*stranger"),
        ({"critic": None}, "expected critic"),
    ],
)
def test_arrays_are_just_those_of_the_order(
    change: dict[str, Any], error: str, ready: Federation
) -> None:
    order, tensors = ready.train()
    tensors = {n: a for n, a in (tensors | change).items() if a is not None}
    with pytest.raises(RefusedError, match=error):
        ready.ask(order, tensors)


def test_arrays_of_another_type_or_of_nan_are_refused(ready: Federation) -> None:
    order, tensors = ready.train()
    with pytest.raises(RefusedError, match="float64"):
        ready.ask(order, tensors | {"critic": tensors["critic"].astype(np.float64)})
    with pytest.raises(NumericalError, match="'critic' is not finite: training has diverged"):
        ready.ask(order, tensors | {"critic": np.full_like(tensors["critic"], np.nan)})


def test_letters_for_others_and_letters_nobody_needs_are_refused(ready: Federation) -> None:
    order, tensors = ready.train()
    extra = {"critic": tensors["critic"]}
    with pytest.raises(RefusedError, match="arrays for 1 sites that are not asked"):
        ready.ask(order, tensors, per_site={"elsewhere": extra})
    with pytest.raises(RefusedError, match="site 'site-1' refuses: 'train': arrays critic"):
        ready.ask(order, tensors, per_site={"site-1": extra})


def test_a_site_that_is_named_twice_is_refused(ready: Federation) -> None:
    with pytest.raises(RefusedError, match="one site twice"):
        ready.ask(SiteStatistics(ready.name, 4, 9), sites=[ready.sites[0]] * 2)


# On the wire


@pytest.fixture
def flower_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def told(content: RecordDict, node: Context) -> Message:
    message = Message(content, dst_node_id=1, message_type=ORDER, ttl=60)
    message.metadata.__dict__["_message_id"] = "m"
    return answer_message(message, node)


def real_node(site: Site) -> Context:
    return context(site=site.name, data=str(site.table), workspace=str(site.workspace.parent))


@pytest.mark.usefixtures("flower_run")
def test_a_refusal_travels_with_the_site_s_name_and_stays_one(ready: Federation) -> None:
    request = Request(SiteStatistics("../x", 4, 9), run=RUN)
    reply = told(pack_request(request, SimulationPaths()), real_node(ready.sites[0]))
    with pytest.raises(RefusedError, match=r"^site 'site-0' refuses: the plan's name"):
        unpack_reply(reply, request.order.layout(), None)


@pytest.mark.usefixtures("flower_run")
def test_what_fails_inside_a_site_travels_without_its_words(
    ready: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("Ada Lovelace, 1815")

    monkeypatch.setattr("everymode.clients.app.handle", fails)
    reply = told(
        pack_request(Request(DescribeColumns(("age",))), SimulationPaths()),
        real_node(ready.sites[0]),
    )
    assert reply.has_error() and reply.error.reason.startswith("failed inside (KeyError)")
    assert "Ada" not in reply.error.reason and "Ada" in caplog.text


@pytest.mark.usefixtures("flower_run")
@pytest.mark.parametrize("break_", ["order", "sites", "run", "missing"])
def test_a_request_that_cannot_be_read_is_refused(break_: str, ready: Federation) -> None:
    content = pack_request(Request(DescribeColumns(("age",))), SimulationPaths())
    record = content.config_records["order"]
    if break_ == "missing":
        del record["order"]
    else:
        record[break_] = {"order": '{"order": "steal"}', "sites": "[1]", "run": "../x"}[break_]
    reply = told(content, real_node(ready.sites[0]))
    with pytest.raises(RefusedError):
        unpack_reply(reply, DescribeColumns(("age",)).layout(), None)


def test_errors_keep_their_kind() -> None:
    for error, kind in ((RefusedError("no"), "refused"), (DataError("no"), "data")):
        assert pack_problems(error).config_records["problems"]["kind"] == kind


def test_a_table_without_headers_keeps_its_first_row(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("39,clerk,Ada,high\n40,smith,Bob,low\n")
    site = Site("a", table, tmp_path / "work")
    with pytest.raises(DataError, match="none of those expected") as caught:
        handle(Request(DescribeColumns(("age", "job", "sex", "income"))), [site])
    # The folder's own name may hold the number.
    said = str(caught.value).replace(str(tmp_path), "")
    assert not any(cell in said.split("expected;")[0] for cell in ("39", "Ada", "high"))


# Honest orders


def test_all_that_an_honest_server_asks_is_answered(ready: Federation) -> None:
    order, tensors = ready.train()
    recall, book = ready.book()
    marginals = Marginals.of(ready.plan.schema, people(50, 9))
    assert ready.ask(order, tensors)["sites"][0] == 3
    assert ready.ask(CountBatchRows(order, 40))["rows"].shape == (40,)
    counts = ready.ask(CountMarginals(ready.name, marginals.to_json(), 2, ("",)))
    assert counts["sex"].sum() == 180
    assert ready.ask(recall, book.tensors())["rows"].sum() == 180
    assert [type(r.order) for r in ready.exchange.requests] == [
        DescribeColumns,
        CollectVocabulary,
        CountHistograms,
    ]


def test_in_process_sums_are_those_of_the_gate(asked: Federation) -> None:
    sums = InProcess(asked.sites)(Request(asked.prepare, run=RUN))
    np.testing.assert_array_equal(sums.vector, asked.ask(asked.prepare).vector)
