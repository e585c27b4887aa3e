"""A site answers every question once: the same may come again, another is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.clients.gate import ledger
from everymode.clients.gate.ledger import NAME, Question, enter
from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountMarginals,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
)
from everymode.clients.protocol.plan import Plan, fingerprint, widths
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns, KMeansStep
from everymode.clients.site import Site
from everymode.fairness.metrics.marginals import Marginals
from everymode.server.config.settings import settings_digest
from everymode.server.schema.clusters import clustered
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.server.transport.run_identity import Named
from tests.federated import RUN, Federation, people


def test_a_round_again_without_one_site_is_refused_for_it_gives_that_site_away(
    ready: Federation,
) -> None:
    order, tensors = ready.train()
    ready.ask(order, tensors)
    with pytest.raises(RefusedError, match=r"'train' round 1 of .* answered already"):
        ready.ask(order, tensors, sites=ready.sites[:2])


@pytest.mark.parametrize("change", [{"batch": 25}, {"factor": 0.5}, {"critic_seen": 1}])
def test_a_round_again_with_other_numbers_is_refused(
    change: dict[str, Any], ready: Federation
) -> None:
    order, tensors = ready.train()
    ready.ask(order, tensors)
    with pytest.raises(RefusedError, match="answered already"):
        ready.ask(replace(order, **change), tensors)


def test_a_round_again_from_another_point_is_refused(ready: Federation) -> None:
    order, tensors = ready.train()
    ready.ask(order, tensors)
    with pytest.raises(RefusedError, match="answered already"):
        ready.ask(order, tensors | {"critic": tensors["critic"] + np.float32(1e-6)})


def test_the_same_request_is_answered_again_to_the_last_bit(ready: Federation) -> None:
    order, tensors = ready.train()
    first = ready.ask(order, tensors)
    ready.ask(*ready.train(2))
    again = ready.ask(order, tensors)
    np.testing.assert_array_equal(first.vector, again.vector)
    assert first.vector.any()


def test_rounds_rise_and_may_leave_some_out(ready: Federation) -> None:
    for number in (1, 4, 5):
        ready.ask(*ready.train(number))
    with pytest.raises(RefusedError, match=r"round 3 of plan .* comes after round 5; rounds rise"):
        ready.ask(*ready.train(3))
    ready.ask(*ready.train(4)), ready.ask(*ready.train(6))


def test_another_process_knows_what_was_answered(ready: Federation) -> None:
    ready.ask(*ready.train(7))
    ledger._known.cache_clear()
    with pytest.raises(RefusedError, match="rounds rise"):
        ready.ask(*ready.train(6))
    ready.ask(*ready.train(7))
    with pytest.raises(RefusedError, match="answered already"):
        ready.ask(*ready.train(7, batch=30))


def test_each_question_before_a_plan_is_answered_once_in_a_run(asked: Federation) -> None:
    for request in asked.exchange.requests:
        asked.ask(request.order)
    look = asked.exchange.requests[0].order
    with pytest.raises(RefusedError, match=r"'look' for 0.*aa has been answered already"):
        asked.ask(replace(look, columns=("age", "job", "sex")))
    with pytest.raises(RefusedError, match="'look' for"):
        asked.ask(look, sites=asked.sites[1:])
    asked.ask(look, run="b" * 16)
    asked.ask(asked.prepare)
    with pytest.raises(RefusedError, match="'prepare' for"):
        asked.ask(replace(asked.prepare, marginals=True))


def test_a_refused_question_does_not_become_what_later_ones_are_held_to(asked: Federation) -> None:
    ranks = asked.exchange.requests[2].order
    schema = {
        "columns": [
            {**c, "atoms": [30.0]} if c["kind"] == "integer" else c for c in ranks.schema["columns"]
        ]
    }
    with pytest.raises(RefusedError, match="'ranks' for"):
        asked.ask(replace(ranks, schema=schema))
    with pytest.raises(RefusedError, match="point masses"):
        asked.ask(
            replace(
                asked.prepare,
                schema={
                    "columns": [
                        {**c, "atoms": [30.0]} if c["kind"] == "integer" else c
                        for c in asked.prepare.schema["columns"]
                    ]
                },
            )
        )


def test_each_question_after_a_plan_is_answered_once(ready: Federation) -> None:
    plan = ready.plan
    marginals = [Marginals.of(plan.schema, people(50, k)).to_json() for k in (8, 9)]
    bins = sum(widths(plan.shape.blocks))
    train, _ = ready.train()
    ready.ask(SiteStatistics(ready.name, plan.conditions.table.size, bins))
    ready.ask(HeldOutFeatureSums(ready.name, 2, 16, 1.0, 3))
    ready.ask(CountBatchRows(train, 40))
    ready.ask(CountMarginals(ready.name, marginals[0], 2, ("",)))
    for other in (
        HeldOutFeatureSums(ready.name, 2, 16, 1.0, 4),
        CountBatchRows(train, 41),
        CountMarginals(ready.name, marginals[1], 2, ("",)),
    ):
        with pytest.raises(RefusedError, match="answered already"):
            ready.ask(other)
    # A run that goes on asks how many rows a round takes from where it then stands.
    ready.ask(CountBatchRows(replace(train, critic_seen=99, strength=0.5), 40))


def test_a_table_that_was_changed_in_between_is_not_asked_again(ready: Federation) -> None:
    table = ready.sites[0].table
    table.write_text(table.read_text() + "33,clerk,f,low\n")
    for request in ready.exchange.requests:
        with pytest.raises(RefusedError, match="site 'site-0' refuses: the site's table has been"):
            ready.ask(request.order)
    marginals = Marginals.of(ready.plan.schema, people(50, 9))
    with pytest.raises(RefusedError, match="the site's table has been changed"):
        ready.ask(CountMarginals(ready.name, marginals.to_json(), 2, ("",)))
    # Rounds train on the rows that were encoded.
    ready.ask(*ready.train())


def test_a_cut_line_is_passed_over_and_ends_there(ready: Federation) -> None:
    ready.ask(*ready.train(3))
    path = ready.sites[0].workspace / NAME
    with path.open("ab") as file:
        file.write(b"0123456789abcdef train 9")
    ledger._known.cache_clear()
    ready.ask(*ready.train(4))
    ledger._known.cache_clear()
    with pytest.raises(RefusedError, match="answered already"):
        ready.ask(*ready.train(4, batch=30))


def test_a_ledger_behind_a_link_is_not_written(tmp_path: Path) -> None:
    site = Site("a", tmp_path / "a.csv", tmp_path / "work")
    (tmp_path / "work").mkdir()
    (tmp_path / "mine").touch()
    (tmp_path / "work" / NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(Exception, match="cannot write"):
        enter(site, Question("0" * 16, "look", 0, "0" * 32, "1-1"))


# K-means


def centred(federation: Federation, points: Any, cells: bool = False) -> KMeansStep:
    order = federation.prepare
    conditions = Plan.of(order).conditions.clustered(np.asarray(points, dtype=float))
    return KMeansStep(order.schema, conditions.to_json(), 0, order.missing, cells)


def test_all_that_k_means_asks_is_answered(asked: Federation) -> None:
    plan = asked.plan
    data = TableSpec(clusters=6, floor=3, missing=("",))
    found = clustered(asked.exchange, plan.schema, plan.conditions, data, 0)
    assert found.clusters > 3
    asked.ask(replace(asked.prepare, conditions=found.to_json()))


def test_centres_come_one_by_one_and_not_for_ever(asked: Federation) -> None:
    width = asked.plan.shape.width
    with pytest.raises(RefusedError, match="sums around 40 centres after 0"):
        asked.ask(centred(asked, np.arange(40)[:, None] * np.ones(width)))
    for k in range(15):
        asked.ask(centred(asked, np.full((1, width), float(k))))
    with pytest.raises(RefusedError, match="for the 16th time"):
        asked.ask(centred(asked, np.full((1, width), 99.0)))
    with pytest.raises(RefusedError, match="counts of 2 clusters"):
        asked.ask(centred(asked, np.stack([np.zeros(width), np.ones(width)]), cells=True))
    with pytest.raises(RefusedError, match="a centre twice"):
        asked.ask(centred(asked, np.zeros((2, width))))


# The run's name


def test_the_run_s_name_is_that_of_its_result(kit: Any, table: Path) -> None:
    settings = kit.tiny(table)
    same = kit.tiny(table, device="cpu", train={"retries": 9}, output={"checkpoint_every": 7})
    others = [kit.tiny(table, seed=1), kit.tiny(table, train={"rounds": 9})]
    digest = settings_digest(settings)
    assert digest == settings_digest(same)
    assert all(digest != settings_digest(other) for other in others)


def test_every_request_of_an_exchange_carries_the_run_s_name(asked: Federation) -> None:
    seen = []

    class Inner(InProcess):
        def __call__(self, request: Request) -> Any:
            seen.append(request.run)
            return super().__call__(request)

    exchange = Named(Inner(asked.sites), "c" * 16)
    exchange(Request(DescribeColumns(tuple(people(1, 0).columns))))
    assert seen == ["c" * 16] and exchange.names == ("site-0", "site-1", "site-2")
    assert exchange.traffic.up > 0


def test_plans_are_named_alike_in_any_run(asked: Federation) -> None:
    assert Request(asked.prepare, run=RUN).order == Request(asked.prepare).order
    assert fingerprint(asked.prepare) == asked.name


def test_a_ledger_costs_little_however_long_it_is(tmp_path: Path) -> None:
    # Bytes read, not seconds: what was read once is not read again.
    site = Site("a", tmp_path / "a.csv", tmp_path / "work")
    for number in range(1, 400):
        assert enter(site, Question("0" * 16, "train", number, "0" * 32, "1-1"))
    known = ledger._known(site.workspace / NAME)
    assert known.size == (site.workspace / NAME).stat().st_size
    assert len(known.latest) == 1
