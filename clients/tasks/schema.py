"""Latent clusters, and a site's encoded rows: encoded once, for clusters and for training."""

import hashlib
import json
from dataclasses import asdict

import numpy as np

from everymode.clients.datasets.base import Encoded
from everymode.clients.datasets.choice import open_dataset
from everymode.clients.gate import floor
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import EncodeData
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.clients.site import Site
from everymode.fairness.groups.clusters import Centres
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.schema import Schema


def kmeans_step(order: KMeansStep, site: Site) -> Answer:
    """Sums around centres, or counts of cells; rows are encoded once, onto the site's disk."""
    schema, conditions = Schema.from_json(order.schema), ConditionSpace.from_json(order.conditions)
    name = _encoding_of(order, conditions.plain, site)
    if not site.stamp(name):
        found = _encode(site, schema, conditions, order)
        site.store(name, found.arrays(), {"encoded for": "clusters", "left_out": found.left_out})
    rows = site.array(name, "rows").astype(np.float32, copy=False)
    if not order.cells:
        tally = Centres(np.array(conditions.centres)).sums(rows)
        for part in (tally.sums, tally.squares, tally.counts):
            part[tally.counts < site.floor] = 0.0
        return Answer(order.layout(), vars(tally))
    pairs = site.array(name, "pairs").astype(np.int64, copy=False)
    shape = (len(conditions.groups), conditions.per_group)
    counts = np.bincount(conditions.refined(pairs, rows), minlength=shape[0] * shape[1])
    counts = floor.without_small(counts, site.floor)
    return Answer(order.layout(), {"cells": counts.reshape(shape)})


def encoded(site: Site, schema: Schema, conditions: ConditionSpace, order: EncodeData) -> Encoded:
    """The site's encoded rows; those that k-means was asked about are encoded already."""
    name = _encoding_of(order, conditions.plain, site)
    if conditions.centres and site.stamp(name):
        return Encoded.stored(site, name)
    return _encode(site, schema, conditions, order)


def _encoding_of(order: KMeansStep | EncodeData, plain: ConditionSpace, site: Site) -> str:
    """16 hexadecimal digits of all that codes depend on: a table written anew is encoded anew."""
    found = site.table.stat()
    pairs_with_rows = {**plain.to_json(), "counts": (plain.table > 0).tolist()}
    told = (order.schema, pairs_with_rows, order.missing, order.seed, order.held_out)
    text = json.dumps([*told, asdict(order.form), found.st_mtime_ns, found.st_size, site.floor])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _encode(
    site: Site, schema: Schema, conditions: ConditionSpace, order: KMeansStep | EncodeData
) -> Encoded:
    return open_dataset(site).encode(schema, conditions, order)
