"""Per-site statistics that weighting rules need before training.

They are category counts, sent per site, and sums of random features, aggregated over sites.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everymode.clients.gate import floor
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import HeldOutFeatureSums, SiteStatistics
from everymode.clients.protocol.plan import STATISTICS_BINS, STATISTICS_EDGES, parse_plan
from everymode.clients.rows import Rows, opened
from everymode.clients.site import Site
from everymode.fairness.matching.kernels import Features
from everymode.wgan.shape import Block


def site_statistics(order: SiteStatistics, site: Site) -> Answer:
    """Counts of the rows trained on, in every cell and every bin of an encoded row."""
    data, rows, blocks = _trained(order.plan, site)
    cells = data.cells.numpy()[~data.held_out.numpy()]
    counts = [
        np.bincount(
            np.searchsorted(STATISTICS_EDGES, rows[:, block.start], side="right"),
            minlength=STATISTICS_BINS,
        )
        if block.kind == "value"
        else rows[:, block.start : block.stop].sum(0)
        for block in blocks
    ]
    bins = np.concatenate([np.zeros(0), *counts])
    per_site = {
        "cells": floor.without_small(np.bincount(cells, minlength=order.cells), site.floor),
        "bins": np.where(bins < site.floor, 0, bins),
    }
    return Answer(order.layout(), {"sites": np.array([1])}, per_site)


def held_out_feature_sums(order: HeldOutFeatureSums, site: Site) -> Answer:
    """Random features of the rows held out, summed per group."""
    text, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    held = data.held_out.numpy()
    groups = data.groups.numpy()[held]
    width = parse_plan(text).shape.width
    features = Features.of(width, order.count, order.deviation, order.seed)
    values = np.asarray(features(data.rows.numpy()[held]), dtype=np.float64)
    sums = np.zeros((order.groups, 2 * order.count))
    np.add.at(sums, groups, values)
    counts = np.bincount(groups, minlength=order.groups)
    sums[counts < site.floor] = 0.0
    counts = floor.without_small(counts, site.floor)
    return Answer(order.layout(), {"held": counts, "features": sums})


def _trained(plan: str, site: Site) -> tuple[Rows, npt.NDArray[np.float32], Sequence[Block]]:
    text, data = opened(site, plan, site.stamp(plan), "cpu")
    return data, data.rows.numpy()[~data.held_out.numpy()], parse_plan(text).shape.blocks
