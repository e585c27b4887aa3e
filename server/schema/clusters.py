"""Latent clusters over all sites, from exchanges of sums, as part of the condition."""

import numpy as np

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.fairness.groups.clusters import Centres, Tally, find
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError


def clustered(
    exchange: Exchange, schema: Schema, conditions: ConditionSpace, data: TableSpec, seed: int
) -> ConditionSpace:
    """Parts every cell of group and label by latent clusters of its rows.

    The clusters are those of all rows together. A cell that would hold fewer than `data.floor` rows
    is not made: its rows go to the nearest cluster in which their group and label have enough, so
    that no group loses rows by being parted. Fewer clusters come back where rows do not differ
    enough, none where they do not differ at all.

    Args:
        exchange: The way to the sites.
        schema: The agreed schema.
        conditions: The cells of group and label, with their counts.
        data: How many clusters, and the floor.
        seed: The run's.

    Raises:
        DataError: There are too few rows for so many clusters.
    """
    rows, floor = int(conditions.table.sum()), data.floor
    if rows < data.clusters * floor:
        raise DataError(
            f"data.clusters: {data.clusters} clusters of {floor} rows or more (data.floor) need "
            f"{data.clusters * floor} rows, and there are {rows}; write at most {rows // floor}, "
            "or 0 for none"
        )

    def question(asked: ConditionSpace, cells: bool = False) -> Request:
        question = KMeansStep(
            schema.to_json(),
            asked.to_json(),
            seed,
            data.missing,
            cells,
            data.held_out,
            data.form,
        )
        return Request(question)

    def ask(centres: Centres) -> Tally:
        sums = exchange(question(conditions.clustered(centres.points)))
        return Tally(sums["counts"], sums["sums"], sums["squares"])

    width = conditions.codec(schema).width
    points = find(ask, width, data.clusters, floor).points
    if len(points) < 2:
        return conditions
    table = exchange(question(conditions.clustered(points), cells=True)).units("cells")
    pairs = table.reshape(-1, len(points))
    kept = pairs >= floor
    # What is parted too finely for any part to be large enough stays whole, where most of it lies.
    whole = ~kept.any(1) & (pairs.sum(1) > 0)
    kept[whole, pairs[whole].argmax(1)] = True
    used = kept.any(0)
    if used.sum() < 2:
        return conditions
    points, counts = points[used], np.where(kept, pairs, 0)[:, used].reshape(len(table), -1)
    found = conditions.clustered(points, counts)
    if counts.sum() == rows:
        return found
    table = exchange(question(found, cells=True)).units("cells")
    return conditions.clustered(points, table)
