"""What a server names is held to what a site was asked before, and to the site's own rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.clients.protocol.messages import (
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
)
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    KMeansStep,
)
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.trees import NO_COLUMN
from everymode.fairness.metrics.codebook import Codebook, alike, ball_radii, codebook_reach
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.shape import Block
from tests.federated import RUN, Federation, people


def question(federation: Federation, place: int) -> Any:
    return federation.exchange.requests[place].order


def conditions(order: Any, **values: Any) -> Any:
    return replace(order, conditions=order.conditions | values)


def column(order: Any, name: str, **values: Any) -> Any:
    columns = [c | (values if c["name"] == name else {}) for c in order.schema["columns"]]
    return replace(order, schema=order.schema | {"columns": columns})


def fresh(federation: Federation, order: Any, run: str = "d" * 16) -> Any:
    """Asks a question in a run of its own, after the honest ones before it."""
    for request in federation.exchange.requests:
        if request.order.order == order.order:
            break
        federation.ask(request.order, run=run)
    return federation.ask(order, run=run)


RANKS: dict[str, tuple[Callable[[CountHistograms], CountHistograms], str]] = {
    "a group of one person's making": (
        lambda o: conditions(
            o,
            sensitive=["age", "job", "sex"],
            groups=[["37", "smith", "f"]],
            counts=[[0, 0]],
        ),
        "groups by a number",
    ),
    "one group of many": (
        lambda o: conditions(o, groups=[["f"]], counts=[[0, 0]]),
        "not all cells of the sensitive features' values",
    ),
    "one group twice, by another order": (
        lambda o: conditions(o, groups=[["m"], ["f"]]),
        "not all cells of the sensitive features' values",
    ),
    "a sensitive feature twice": (
        lambda o: conditions(
            o, sensitive=["sex", "sex"], groups=[["f", "f"], ["m", "m"]], counts=[[0, 0]] * 2
        ),
        "a sensitive feature twice",
    ),
    "one label of two": (
        lambda o: conditions(o, labels=["high"], counts=[[0], [0]]),
        "other labels",
    ),
    "a label of a number around one value": (
        lambda o: conditions(
            o,
            target="age",
            labels=["bin 1", "bin 2", "bin 3"],
            label_edges=[36.9, 37.1],
            counts=[[0] * 3] * 2,
        ),
        "of the grid",
    ),
    "labels of a number by the dozen": (
        lambda o: conditions(
            o,
            target="age",
            labels=[f"bin {b + 1}" for b in range(13)],
            label_edges=[2.0**e for e in range(12)],
            counts=[[0] * 13] * 2,
        ),
        "3 at most",
    ),
    "counts already": (lambda o: conditions(o, counts=[[1, 0], [0, 0]]), "with counts"),
    "other columns": (
        lambda o: replace(o, schema={"columns": o.schema["columns"][::-1]}),
        "other columns",
    ),
    "another kind": (lambda o: column(o, "age", kind="float"), "other kinds"),
    "a group by no column": (
        lambda o: conditions(o, sensitive=["ward"], groups=[["1"]], counts=[[0, 0]]),
        "columns that are none",
    ),
    "other missing cells": (lambda o: replace(o, missing=("f",)), "no value"),
    "another form of files": (lambda o: replace(o, form=FileForm("|")), "form of files"),
}


@pytest.mark.parametrize("what", RANKS)
def test_cells_are_those_of_all_values_of_agreed_columns(what: str, asked: Federation) -> None:
    change, error = RANKS[what]
    with pytest.raises(RefusedError, match=error):
        fresh(asked, change(question(asked, 2)))


NARROW: dict[str, tuple[Callable[[EncodeData], EncodeData], str]] = {
    "a group that was not counted": (
        lambda o: conditions(o, groups=[["f"], ["x"]], counts=o.conditions["counts"]),
        "groups: 1 that the site was never asked about",
    ),
    "a label that was not counted": (
        lambda o: conditions(o, labels=["high", "middle"]),
        "labels: 1 that the site was never asked about",
    ),
    "another sensitive feature": (
        lambda o: conditions(o, sensitive=["job"], groups=[["clerk"], ["smith"]]),
        "other sensitive",
    ),
    "another target": (
        lambda o: conditions(o, target="job", labels=["clerk", "smith"]),
        "other target",
    ),
    "a point mass at a guess": (
        lambda o: column(o, "age", atoms=[37.0]),
        "point masses of a column: 1",
    ),
    "a category that was not counted": (
        lambda o: column(o, "job", categories=["clerk", "smith", "Ada"]),
        "categories of a column: 1",
    ),
    "another kind": (lambda o: column(o, "age", kind="float"), "kind of column 'age'"),
    "other missing cells": (lambda o: replace(o, missing=()), "no value"),
    "another form of files": (lambda o: replace(o, form=FileForm("|")), "form of files"),
    "clusters that were not counted": (
        lambda o: replace(
            o,
            conditions=Plan.of(o)
            .conditions.clustered(np.zeros((1, Plan.of(o).shape.width)))
            .to_json(),
        ),
        "never counted",
    ),
}


@pytest.mark.parametrize("what", NARROW)
def test_a_plan_tells_nothing_apart_that_was_not_counted(what: str, asked: Federation) -> None:
    change, error = NARROW[what]
    with pytest.raises(RefusedError, match=error):
        asked.ask(change(asked.prepare))


@pytest.mark.parametrize(
    "what", ["a group that was not counted", "a label that was not counted", "another kind"]
)
def test_neither_does_a_question_about_clusters(what: str, asked: Federation) -> None:
    change, error = NARROW[what]
    plan = asked.plan
    centred = plan.conditions.clustered(np.zeros((1, plan.shape.width)))
    order = KMeansStep(asked.prepare.schema, centred.to_json(), 0, ("",))
    with pytest.raises(RefusedError, match=error):
        asked.ask(change(order))  # type: ignore[arg-type]


def test_a_plan_may_leave_out_what_was_counted(asked: Federation) -> None:
    order = conditions(asked.prepare, labels=["high"], counts=[[60], [60]])
    counts = np.array(asked.prepare.conditions["counts"])[:, :1]
    asked.ask(conditions(order, counts=counts.tolist()))


def test_nothing_comes_before_what_it_builds_on(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    for place, before in ((1, "look"), (2, "values")):
        with pytest.raises(RefusedError, match=f"before '{before}': this site was not asked"):
            federation.ask(question(federation, place), run="e" * 16)
    with pytest.raises(RefusedError, match="before 'ranks'"):
        federation.ask(federation.prepare, run="e" * 16)


def test_a_resumed_simulation_has_forgotten_the_questions_and_keeps_its_plan(
    tmp_path: Path,
) -> None:
    federation = Federation(tmp_path, simulated=True)
    federation.ask(federation.prepare, run="e" * 16)
    with pytest.raises(RefusedError, match="this site was not asked"):
        federation.ask(question(federation, 2), run="e" * 16)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_site_cannot_hold_more_rows_than_all_sites_together(
    share: float, asked: Federation
) -> None:
    counts = np.array(asked.prepare.conditions["counts"])
    counts[0, 0] = max(int(share * counts[0, 0] / 3), 1)
    with pytest.raises(RefusedError, match="it holds more rows than all sites are said to, in 1"):
        asked.ask(conditions(asked.prepare, counts=counts.tolist()))


def test_a_claim_is_believed_where_the_site_s_own_rows_allow_it(asked: Federation) -> None:
    counts = np.array(asked.prepare.conditions["counts"]) + 1000
    asked.ask(conditions(asked.prepare, counts=counts.tolist()))


# After a plan


AFTER: dict[str, tuple[Callable[[Federation], Any], str]] = {
    "cells of others": (lambda f: SiteStatistics(f.name, 5, 22), "other cells and bins"),
    "features of others": (lambda f: HeldOutFeatureSums(f.name, 3, 8, 1.0, 0), "other groups"),
    "networks of others": (lambda f: f.train(sizes=(5, 5))[0], "other sizes"),
    "rounds of other groups": (lambda f: f.train(groups=3)[0], "other groups"),
    "masses of other groups": (lambda f: f.train(mass=(0.5, 0.25, 0.25))[0], "other masses"),
    "buffers of others": (lambda f: f.train(buffers=2)[0], "other buffers"),
    "an audit of one column": (
        lambda f: CountMarginals(f.name, {"columns": marginals(f)["columns"][:1]}, 2, ("",)),
        "other columns",
    ),
    "an audit of other categories": (
        lambda f: CountMarginals(f.name, marginals(f, job=["Ada"]), 2, ("",)),
        "categories of column 'job'",
    ),
    "an audit with other missing cells": (
        lambda f: CountMarginals(f.name, marginals(f), 2, ("", "f")),
        "no value",
    ),
    "an audit of files in another form": (
        lambda f: CountMarginals(f.name, marginals(f), 2, ("",), FileForm(header=False)),
        "form of files",
    ),
    "an audit of other groups": (
        lambda f: CountMarginals(f.name, marginals(f), 3, ("",)),
        "other groups",
    ),
}


def marginals(federation: Federation, **categories: Any) -> dict[str, Any]:
    found = Marginals.of(federation.plan.schema, people(50, 9)).to_json()
    for each in found["columns"]:
        each["categories"] = categories.get(each["name"], each["categories"])
    return found


@pytest.mark.parametrize("what", AFTER)
def test_what_comes_after_a_plan_has_the_plan_s_numbers(what: str, ready: Federation) -> None:
    order, error = AFTER[what]
    made = order(ready)
    tensors = ready.train()[1] if made.order == "train" else {}
    if what == "networks of others":
        tensors = {name: np.zeros(5, np.float32) for name in tensors}
    if what == "buffers of others":
        tensors["critic_buffers"] = np.zeros(2, np.float32)
    with pytest.raises(RefusedError, match=error):
        ready.ask(made, tensors)


# Balls


def around(point: Any, count: int, spread: float, seed: int = 0) -> Any:
    """Centres about a guess."""
    rng = np.random.default_rng(seed)
    moved = point + spread * rng.normal(size=(count, len(point)))
    return moved.astype(np.float32)


def attack(ready: Federation, change: Callable[[Codebook, Any], Codebook]) -> None:
    """Counts with a codebook that was tampered with, towards a row of a site."""
    order, book = ready.book()
    site = ready.sites[0]
    victim = np.array(site.array(ready.name, "rows")[0])
    book = change(book, victim)
    ready.ask(replace(order, sizes=book.sizes), book.tensors())


def with_balls(book: Codebook, balls: Any) -> Codebook:
    """All of group 1's balls replaced, and all that follows from them made anew."""
    rest = book.balls[book.sizes[0] :]
    return Codebook.of([balls, rest], 4)


BALLS: dict[str, tuple[Callable[[Codebook, Any], Codebook], str]] = {
    "a radius around a guess": (
        lambda b, v: replace(b, radii=np.minimum(b.radii, np.float32(1e-6))),
        "radii that are not",
    ),
    "radii that leave one out": (
        lambda b, v: replace(b, radii=(b.radii * 4).astype("f")),
        "radii that are not",
    ),
    "a reach of nothing": (
        lambda b, v: replace(b, reach=np.full_like(b.reach, 1e-9)),
        "reach is not that of its balls",
    ),
    "a cell around a guess": (
        lambda b, v: replace(b, book=np.stack([np.vstack([c[:3], v]) for c in b.book])),
        "cells",
    ),
    "six copies of a guess": (
        lambda b, v: with_balls(b, np.vstack([b.balls[:20], np.repeat(v[None], 6, 0)])),
        "copies of others",
    ),
    "six near-copies of a guess": (
        lambda b, v: with_balls(b, np.vstack([b.balls[:20], around(v, 6, 1e-6)])),
        "copies of others",
    ),
    "a single ball": (
        lambda b, v: replace(
            b,
            balls=b.balls[b.sizes[0] - 1 :],
            radii=b.radii[b.sizes[0] - 1 :],
            sizes=(1, *b.sizes[1:]),
        ),
        "1 of them; expected none, or more than 5",
    ),
    "a codebook without balls": (
        lambda b, v: replace(
            b, balls=b.balls[b.sizes[0] :], radii=b.radii[b.sizes[0] :], sizes=(0, *b.sizes[1:])
        ),
        "a codebook without balls",
    ),
    "rows of another length": (
        lambda b, v: replace(b, balls=b.balls[:, :-1].copy()),
        "expected",
    ),
}


@pytest.mark.parametrize("what", BALLS)
def test_a_ball_around_a_guess_is_refused(what: str, ready: Federation) -> None:
    change, error = BALLS[what]
    with pytest.raises(RefusedError, match=error):
        attack(ready, change)


def test_an_honest_codebook_is_let_in(ready: Federation) -> None:
    attack(ready, lambda book, victim: book)


def test_balls_for_other_rows_than_the_plan_holds_out_are_refused(ready: Federation) -> None:
    order, book = ready.book()
    with pytest.raises(RefusedError, match="other held_out"):
        ready.ask(replace(order, held_out=True), book.tensors())
    with pytest.raises(RefusedError, match="other groups"):
        ready.ask(
            CountNeighbours(ready.name, (sum(book.sizes),), 4, False),
            {**book.tensors(), "book": book.book[:1], "reach": book.reach[:1]},
        )


def cut_anywhere(nodes: Any) -> None:
    nodes[0, 1] = 10**6


def own_column(nodes: Any) -> None:
    nodes[0, 0] = 2


def no_column(nodes: Any) -> None:
    nodes[0, 0] = 99


def a_circle(nodes: Any) -> None:
    nodes[1, 3] = 0


def a_leaf_twice(nodes: Any) -> None:
    leaves = np.flatnonzero(nodes[:, 0] < 0)
    nodes[leaves[1], 3] = nodes[leaves[0], 3]


def half_a_node(nodes: Any) -> None:
    nodes[0, 3] += 0.5


TREES = {
    cut_anywhere: "a cut at a code that the column does not have",
    own_column: "a split on a column that is none, or on the one",
    no_column: "a split on a column that is none",
    a_circle: "nodes that are not reached just once",
    a_leaf_twice: "leaves that are not numbered",
    half_a_node: "not whole",
}


@pytest.mark.parametrize("change", TREES, ids=lambda change: change.__name__)
def test_what_is_no_tree_is_refused(change: Any, ready: Federation) -> None:
    order, tensors = ready.trees()
    nodes = tensors["nodes"].copy()
    # The first tree predicts the third column, and is more than a leaf.
    assert order.targets[0] == 2 and order.nodes[0] > 2
    change(nodes)
    with pytest.raises(RefusedError, match=TREES[change]):
        ready.ask(order, {"nodes": nodes})


def test_leaves_are_counted_of_the_plans_columns_once_an_exchange(ready: Federation) -> None:
    order, tensors = ready.trees()
    found = ready.ask(order, tensors).units("counts")
    sizes = [(n + 1) // 2 * size for n, size in zip(order.nodes, order.sizes, strict=True)]
    rows = int(ready.plan.conditions.table.sum())
    assert [int(part.sum()) for part in np.split(found, np.cumsum(sizes)[:-1])] == [rows] * 2
    # The same again, after a lost reply; no other trees, of which a difference could tell rows.
    assert (ready.ask(order, tensors).units("counts") == found).all()
    other, more = ready.trees(2)
    with pytest.raises(RefusedError, match=r"round 1 of .* has been answered already"):
        ready.ask(replace(other, exchange=1), more)
    ready.ask(other, more)
    with pytest.raises(RefusedError, match="exchange: 7; expected 1 to 6"):
        ready.ask(replace(other, exchange=7), more)
    with pytest.raises(RefusedError, match="other codes"):
        ready.ask(replace(order, exchange=3, sizes=(order.sizes[0], 99)), tensors)


def test_of_trees_that_predict_no_column_rows_alone_are_counted(ready: Federation) -> None:
    order, tensors = ready.trees()
    full = ready.ask(order, tensors).units("counts")
    none = replace(order, exchange=2, targets=(NO_COLUMN,) * 2, sizes=(1, 1))
    found = ready.ask(none, tensors).units("counts")
    sizes = [(n + 1) // 2 * size for n, size in zip(order.nodes, order.sizes, strict=True)]
    parts = np.split(full, np.cumsum(sizes)[:-1])
    added = [part.reshape(-1, n).sum(1) for part, n in zip(parts, order.sizes, strict=True)]
    assert (found == np.concatenate(added)).all()
    with pytest.raises(RefusedError, match="other codes"):
        ready.ask(replace(none, exchange=3, sizes=order.sizes), tensors)


def test_counts_of_leaves_below_a_sites_floor_do_not_leave(tmp_path: Path) -> None:
    found = Federation(tmp_path, floor=5).prepared()
    order, tensors = found.trees()
    alone = found.ask(order, tensors, sites=found.sites[:1]).units("counts")
    assert (alone > 0).any() and (alone[alone > 0] >= 5).all()


def test_radii_and_reach_follow_from_the_centres() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    book = Codebook.of([rows], 4)
    np.testing.assert_array_equal(book.radii, ball_radii(rows))
    assert book.reach[0] == codebook_reach(rows, book.book[0])


def test_rows_without_numbers_may_be_alike_and_rows_with_numbers_may_not() -> None:
    blocks = (Block(0, 1, "value"), Block(1, 3, "choice"))
    rows = np.array([[0.3, 1, 0], [0.3, 1, 0], [0, 0, 1], [0, 0, 1], [0.30001, 1, 0]], np.float32)
    assert alike(rows, blocks).tolist() == [False, True, False, False, True]


def test_conditions_are_read_as_they_were_asked(asked: Federation) -> None:
    # What the honest server sends is a product of values, in the order of the columns.
    found = ConditionSpace.from_json(question(asked, 2).conditions)
    assert found.groups == (("f",), ("m",)) and isinstance(question(asked, 1), CollectVocabulary)
    assert asked.exchange.requests[0].run == RUN
