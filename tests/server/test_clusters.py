"""Latent clusters agreed by sums: what sites are prepared with, and what they are told."""

import os
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from everymode.clients.protocol.messages import EncodeData, Request, from_json, to_json
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.clients.site import Site
from everymode.clients.tasks import schema
from everymode.fairness.weighting.group_weights import group_mass
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import DataError
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.recipe import Recipe

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RECIPE = Recipe(SkipGeneratorSpec((8,), noise=4), MLPCriticSpec((8,)))
ROWS = 600
BLOBS = 4


def table(seed=0):
    """Numbers in blobs that no column names, beside a feature and a target."""
    rng = np.random.default_rng(seed)
    blob = np.arange(ROWS) * BLOBS // ROWS
    frame = pd.DataFrame(
        {
            "x": np.array([-9, -9, 9, 9])[blob] + rng.normal(size=ROWS),
            "y": np.array([-9, 9, -9, 9])[blob] + rng.normal(size=ROWS),
            "kind": np.array(["a", "b"])[blob % 2],
            "sex": rng.choice(["f", "m"], ROWS, p=[0.2, 0.8]),
            "income": rng.choice(["high", "low"], ROWS),
        }
    )
    return frame.astype(object), blob


class Counting(InProcess):
    """An exchange that remembers its orders."""

    def __call__(self, request):
        self.__dict__.setdefault("orders", []).append(request.order)
        return super().__call__(request)


def build_sites(frame, owners, folder):
    folder.mkdir(parents=True, exist_ok=True)
    sites = []
    for k in np.unique(owners):
        site = Site(f"site-{k}", folder / f"site-{k}.csv", folder / "work" / f"site-{k}")
        frame.loc[owners == k].to_csv(site.table, index=False)
        sites.append(site)
    return sites


def agreed(frame, owners, folder, seed=0, **data):
    exchange = Counting(build_sites(frame, np.asarray(owners), folder))
    usual = {"sensitive": ("sex",), "target": "income", "clusters": BLOBS}
    settings = TableSpec(**usual | data)
    return agree(exchange, list(frame.columns), settings, seed), exchange


def prepared(found, exchange, seed=0):
    """Rows and cells that each site stored for training."""
    conditions = found.conditions
    mass = group_mass(conditions.group_counts, "tempered")
    told = (found.schema.to_json(), conditions.to_json(), tuple(mass.tolist()), RECIPE.to_json())
    order = EncodeData(*told, seed, "none")
    sums = exchange(Request(order))
    assert Plan.of(order).conditions == conditions
    stored = [[s.array(fingerprint(order), n) for n in ("rows", "cells")] for s in exchange.sites]
    rows, cells = (np.concatenate(parts) for parts in zip(*stored, strict=True))
    assert len(rows) == int(sums["rows"][0])
    return rows, cells


def test_sites_that_differ_in_what_no_column_names(tmp_path):
    frame, blob = table()
    found, exchange = agreed(frame, blob, tmp_path)
    conditions = found.conditions
    assert conditions.clusters == BLOBS and conditions.width == 2 + 2 + BLOBS
    # Every site holds one blob, hence mostly one cluster: ranks have no gap between blobs.
    rows, cells = prepared(found, exchange)
    cluster = conditions.split(cells)[2]
    shares = pd.crosstab(blob, cluster, normalize="index").to_numpy()
    assert (shares.max(1) > 0.9).all() and len(set(shares.argmax(1))) == BLOBS
    centre = np.array([rows[cluster == k].mean(0) for k in range(BLOBS)])
    np.testing.assert_allclose(centre, conditions.centres, atol=2e-6)


@pytest.mark.parametrize(
    ("told", "seed"), [("group_and_label", 11), ("group", 0), ("label", 0), ("none", 11)]
)
def test_counts_are_those_of_the_rows_that_sites_train_on(told, seed, tmp_path):
    frame, _ = table()
    found, exchange = agreed(frame, np.arange(ROWS) % 3, tmp_path, seed, condition=told, clusters=7)
    conditions = found.conditions
    assert conditions.table.sum() == ROWS == found.rows
    _, cells = prepared(found, exchange, seed)
    counts = np.bincount(cells, minlength=conditions.table.size)
    np.testing.assert_array_equal(counts, conditions.table.reshape(-1))
    pairs = Counter(zip(frame["sex"], frame["income"], strict=True))
    plain = conditions.plain
    for group, row in zip(plain.groups, plain.table, strict=True):
        assert [pairs[group[0], label] for label in plain.labels] == row.tolist()


def test_it_does_not_depend_on_the_split(tmp_path):
    frame, blob = table()
    whole, _ = agreed(frame, np.zeros(ROWS), tmp_path / "whole", clusters=5)
    for name, owners in {"blobs": blob, "uneven": np.arange(ROWS) // 399}.items():
        parts, _ = agreed(frame, owners, tmp_path / name, clusters=5)
        assert parts.conditions.counts == whole.conditions.counts, name
        np.testing.assert_allclose(parts.conditions.centres, whole.conditions.centres, atol=2e-6)


def test_small_cells_go_to_the_nearest_large_one_and_no_row_is_lost(tmp_path):
    frame, blob = table()
    # Three women in each blob but the first.
    rng = np.random.default_rng(0)
    frame["sex"] = np.where(blob == 0, rng.choice(["f", "m"], ROWS), "m")
    frame.loc[np.flatnonzero(blob > 0)[::150], "sex"] = "f"
    found, exchange = agreed(frame, np.arange(ROWS) % 3, tmp_path, floor=5)
    conditions = found.conditions
    cells = conditions.table[conditions.table > 0]
    assert cells.min() >= 5 and cells.sum() == ROWS
    women = conditions.table[conditions.groups.index(("f",))]
    assert women.sum() == (frame["sex"] == "f").sum() and (women > 0).sum() == 2
    _, stored = prepared(found, exchange)
    counts = np.bincount(stored, minlength=conditions.table.size)
    np.testing.assert_array_equal(counts, conditions.table.reshape(-1))
    assert sum(order.order == "cluster" and order.cells for order in exchange.orders) == 2


def test_a_cell_with_no_part_large_enough_stays_whole(tmp_path):
    frame, blob = table()
    frame["sex"], frame["income"] = "m", "low"
    # Seven women, two in each of three blobs and one in the last.
    frame.loc[[0, 1, 150, 151, 300, 301, 450], "sex"] = "f"
    found, _ = agreed(frame, blob, tmp_path, floor=5)
    women = found.conditions.table[found.conditions.groups.index(("f",))]
    assert sorted(women.tolist()) == [0, 0, 0, 7]


def test_few_exchanges_in_which_sites_encode_once(tmp_path, monkeypatch):
    frame, blob = table()
    encoded = Counter()

    def counting(site, *rest, real=schema._encode):
        encoded[site.name] += 1
        return real(site, *rest)

    monkeypatch.setattr(schema, "_encode", counting)
    _, exchange = agreed(frame, blob, tmp_path)
    asked = [order for order in exchange.orders if order.order == "cluster"]
    assert 4 < len(asked) <= 2 * BLOBS + 15
    assert set(encoded.values()) == {1} and len(encoded) == BLOBS
    # A second run finds its codes; a table that was written anew is encoded anew.
    site = exchange.sites[0]
    exchange(Request(asked[-1]))
    assert encoded[site.name] == 1
    os.utime(site.table, ns=(1, 1))
    exchange(Request(asked[-1]))
    assert encoded[site.name] == 2 and encoded[exchange.sites[1].name] == 1


def test_orders_fix_the_layout_and_survive_json(tmp_path):
    frame, blob = table()
    found, exchange = agreed(frame, blob, tmp_path)
    width = len(found.conditions.centres[0])
    sums, *_, cells = (order for order in exchange.orders if isinstance(order, KMeansStep))
    assert [f.shape for f in sums.layout().fields] == [(1,), (1, width), (1, width)]
    assert [f.shape for f in cells.layout().fields] == [(2, 2 * BLOBS)]
    for order in (sums, cells):
        again = from_json(to_json(order))
        assert to_json(again) == to_json(order) and again.layout() == order.layout()


def test_rows_that_do_not_differ_have_no_clusters(tmp_path):
    frame, blob = table()
    frame[["x", "y"]], frame["kind"] = 7, "a"
    found, _ = agreed(frame, blob, tmp_path)
    assert found.conditions.centres == () and found.conditions.width == 4
    frame = frame[["sex", "income"]]
    assert agreed(frame, blob, tmp_path / "b")[0].conditions.centres == ()


def test_more_clusters_than_rows_can_fill(tmp_path):
    frame, blob = table()
    with pytest.raises(DataError) as caught:
        agreed(frame, blob, tmp_path, clusters=200)
    (told,) = caught.value.problems
    assert "200 clusters of 5 rows or more (data.floor) need 1000 rows, and there are 600" in told
    assert "write at most 120" in told


def test_without_clusters_nothing_more_is_asked(tmp_path):
    frame, blob = table()
    _, exchange = agreed(frame, blob, tmp_path, clusters=0)
    assert [order.order for order in exchange.orders] == ["look", "values", "ranks"]
