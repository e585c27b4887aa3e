"""A site's floor: small cells take no part, no small count leaves, and 0 changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from everymode.clients.app import build_sites
from everymode.clients.gate import floor
from everymode.clients.protocol.messages import (
    CountMarginals,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
    SumMoments,
)
from everymode.clients.protocol.plan import Plan, fingerprint, widths
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import CountHistograms, DescribeColumns, KMeansStep
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sketch import peel
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.errors import DataError
from tests.federated import Federation, people

FLOOR = 12

counts = st.lists(st.integers(0, 30), min_size=1, max_size=12).map(np.array)


@given(counts, st.integers(0, 40))
def test_joined_and_folded_counts_keep_their_sum_and_hold_no_small_count(
    values: Any, least: int
) -> None:
    for few in (floor.joined, floor.folded):
        found = few(values, least)
        total = int(values.sum())
        assert found.sum() == (total if total >= least else 0)
        assert not ((found > 0) & (found < least)).any()
    np.testing.assert_array_equal(floor.joined(values, 0), values)
    np.testing.assert_array_equal(floor.folded(values, 0), values)


@given(counts, st.integers(1, 8))
def test_joining_moves_no_rank_by_more_than_two_floors(values: Any, least: int) -> None:
    found = floor.joined(values, least)
    if found.any():
        assert np.abs(found.cumsum() - values.cumsum()).max() <= 2 * least


@given(counts, st.integers(0, 40))
def test_neither_what_is_counted_nor_what_is_not_is_small(values: Any, least: int) -> None:
    rows = values + values[::-1]
    found = floor.snap_to_bounds(values, rows, least)
    assert not ((found > 0) & (found < np.minimum(least, rows))).any()
    assert not ((rows - found > 0) & (rows - found < least)).any()


@pytest.fixture
def floored(tmp_path: Path) -> Federation:
    """Sites of which one holds eight rows of a cell, fewer than its floor."""
    return Skewed(tmp_path, floor=FLOOR)


class Skewed(Federation):
    def __init__(self, folder: Path, **site: Any) -> None:
        super().__init__(folder, **site)
        # The first site's women of high income are but eight.
        table = people(60, 0)
        few = ((table["sex"] == "f") & (table["income"] == "high")).to_numpy().nonzero()[0][8:]
        table.loc[few, "sex"] = "m"
        first = self.sites[0]
        folder = folder / "again"
        folder.mkdir()
        table.to_csv(folder / "site-0.csv", index=False)
        self.sites[0] = replace(first, table=folder / "site-0.csv", workspace=folder / "work")
        for request in self.exchange.requests:
            self.ask(request.order, sites=self.sites[:1])


def own(federation: Federation, order: Any) -> Any:
    return handle_at_site(order, {}, federation.sites[0])


def of_cells(federation: Federation) -> Any:
    return own(federation, federation.exchange.requests[2].order)


def test_a_small_cell_is_counted_nowhere_and_told_as_left_out(floored: Federation) -> None:
    found = of_cells(floored)
    assert found["cells"][0, 0] == 0 and found["left_out"][0] == 8
    assert found["cells"].sum() == 60 - 8
    for field in found.layout.fields:
        values = found.units(field.name)
        small = (values > 0) & (values < FLOOR)
        assert field.name == "left_out" or not small.any(), field.name


def test_rows_left_out_are_in_no_later_sum(floored: Federation) -> None:
    prepared = floored.ask(floored.prepare, sites=floored.sites[:1])
    assert (prepared["rows"][0], prepared["left_out"][0]) == (52, 8)
    cells = floored.sites[0].array(floored.name, "cells")
    assert len(cells) == 52 and 0 not in cells
    plan = floored.plan
    marginals = Marginals.of(plan.schema, people(50, 9))
    audit = own(floored, CountMarginals(floored.name, marginals.to_json(), 2, ("",)))
    for field in audit.layout.fields:
        values = audit.units(field.name)
        assert values.sum() == 52, "every column counts the same rows"
        assert not ((values > 0) & (values < FLOOR)).any()


def test_no_small_count_leaves_by_another_way(tmp_path: Path) -> None:
    floored = Skewed(tmp_path, held_out=0.25, floor=FLOOR)
    order = floored.prepare
    floored.ask(order, sites=floored.sites[:1])
    plan, name = Plan.of(order), fingerprint(order)
    bins = sum(widths(plan.shape.blocks))
    profile = own(floored, SiteStatistics(name, 4, bins)).per_site["site-0"]
    for values in profile.values():
        assert not ((values > 0) & (values < FLOOR)).any()
    feel = own(floored, HeldOutFeatureSums(name, 2, 8, 1.0, 0))
    small = feel["held"] < FLOOR
    assert small.any() and not feel["features"][small].any() and not feel["held"][small].any()
    points = np.array([[0.0] * plan.shape.width, [9.0] * plan.shape.width])
    points[1, 0] = 0.6
    conditions = plan.conditions.clustered(points)
    sums = own(floored, KMeansStep(order.schema, conditions.to_json(), 0, ("",)))
    kept = sums["counts"] > 0
    assert (sums["counts"][kept] >= FLOOR).all()
    assert not sums["sums"][~kept].any() and not sums["squares"][~kept].any()


def test_moments_of_few_rows_of_a_site_stay_there(tmp_path: Path) -> None:
    """Also what subtraction within the site's own sums would leave."""
    sums = {}
    for least in (0, FLOOR):
        folder = tmp_path / str(least)
        folder.mkdir()
        asked = Skewed(folder, floor=least)
        order = replace(asked.prepare, matching="moments")
        prepared = asked.ask(order, sites=asked.sites[:1])
        plan, counts = Plan.of(order), prepared.units("counts")
        published = np.ones(counts.shape, dtype=bool)
        found = own(asked, SumMoments(fingerprint(order), to_text(published)))["moments"]
        sums[least] = counts, found
    small = (sums[0][0] > 0) & (sums[0][0] < FLOOR)
    assert small.any() and not ((sums[FLOOR][0] > 0) & (sums[FLOOR][0] < FLOOR)).any()
    width, start = counts.shape[1], 0
    for level in range(len(counts)):
        rows, columns = np.triu_indices(width)
        part = sums[FLOOR][1][start : start + len(rows)]
        start += len(rows)
        unsaid = sums[FLOOR][0][level] == 0
        assert not part[unsaid[rows] | unsaid[columns]].any()
    assert plan.choices.any() and sums[FLOOR][1].any()


def test_recall_counts_neither_few_rows_nor_all_but_few(floored: Federation) -> None:
    floored.prepared()
    order, book = floored.book()
    found = handle_at_site(order, book.tensors(), floored.sites[0])
    for name in ("recalled", "outside"):
        rest = found["rows"] - found[name]
        for values in (found[name], rest):
            assert not ((values > 0) & (values < FLOOR)).any()
    np.testing.assert_array_equal(found["cells"].sum(1), found["rows"])


def test_vocabulary_and_values_that_few_rows_share_stay_at_the_site(tmp_path: Path) -> None:
    table = people(60, 0)
    table.loc[0, "job"] = "astronaut"
    table.to_csv(tmp_path / "a.csv", index=False)
    order = Federation(tmp_path).exchange.requests[1].order
    open_, closed = (
        handle_at_site(order, {}, Site("a", tmp_path / "a.csv", tmp_path / "w", floor=least))
        for least in (0, FLOOR)
    )
    assert "astronaut" in peel(open_.units("sketch.1"), "job")
    assert set(peel(closed.units("sketch.1"), "job")) == {"clerk", "smith"}
    histogram = closed.units("histogram.0")
    assert histogram.sum() == 60 and not ((histogram > 0) & (histogram < FLOOR)).any()
    assert not closed.units("vote.0")[..., 0].any(), "no age is shared by twelve"


def test_steps_of_fewer_rows_than_the_floor_are_refused(floored: Federation) -> None:
    floored.prepared()
    with pytest.raises(RefusedError, match=r"steps of 4 rows \(train.site_minimum\) are fewer"):
        floored.ask(*floored.train())
    floored.ask(*floored.train(minimum=FLOOR))


def test_a_floor_of_nothing_changes_no_sum(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    here, there = Federation(tmp_path / "a"), Federation(tmp_path / "b", floor=1)
    for a, b in zip(here.exchange.requests, there.exchange.requests, strict=True):
        np.testing.assert_array_equal(here.ask(a.order).vector, there.ask(b.order).vector)
    a, b = here.ask(here.prepare), there.ask(there.prepare)
    np.testing.assert_array_equal(a.vector, b.vector)
    assert isinstance(here.exchange.requests[2].order, CountHistograms)


def test_a_supernode_says_its_floor(tmp_path: Path) -> None:
    def of(**node: Any) -> Site:
        context = Context(1, 1, {"data": str(tmp_path / "a.csv"), **node}, RecordDict(), {})
        return build_sites(context, Request(DescribeColumns(("age",))), SimulationPaths())[0]

    assert (of().floor, of(floor=10).floor) == (0, 10)
    for wrong in (-1, "ten", 1.5, True):
        with pytest.raises(DataError, match="floor: expected a whole number"):
            of(floor=wrong)


def test_a_run_tells_what_sites_leave_out(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table, site={"floor": 16}, split={"sites": 3, "by": "iid"})
    told = kit.Recorder()
    summary = kit.run(settings, tmp_path / "run", reporter=told)
    assert summary["rows_left_out_by_sites"] > 0
    (note,) = (text for text in told.told if "site.floor" in text)
    assert f"{summary['rows_left_out_by_sites']:,} rows" in note
    assert summary["rows_modelled"] <= 400 - summary["rows_left_out_by_sites"]
