"""Figures of a private run: of what was released with noise already, so that they cost nothing.

Shares of categories by group are those of the private moments. Numbers, recall and the rest would
need counts of their own, and are not judged.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.fairness.matching.consistency import whole
from everymode.fairness.metrics.marginals import Bins, Marginals
from everymode.server.evaluation.figures import Counted, group_of_rows
from everymode.wgan.data.codec import TableCodec

NOT_JUDGED = (
    "numbers, recall and copies: they would need counts of their own, for which no part of the "
    "privacy budget is kept; shares of categories are compared with private moments, whose noise "
    "is in the distances",
)
"""What a private run leaves out."""


def counted_privately(
    plan: Plan, counts: npt.NDArray[np.float64], synthetic: pd.DataFrame
) -> Counted:
    """Counts of categories by group, the real ones as far as private moments tell them.

    Args:
        plan: What server and sites agreed on.
        counts: Rows of each coordinate in each level, `(C + 1, W)`.
        synthetic: The synthetic rows.
    """
    conditions, codec = plan.conditions, plan.codec
    assert isinstance(codec, TableCodec)
    groups = len(conditions.groups)
    told = bool(conditions.blocks[0])
    # Where groups are not told all rows stand in the first.
    levels = counts[:groups] if told else np.concatenate([counts[-1:], np.zeros_like(counts)])
    marginals, real = [], {}
    for bins in Marginals.of(plan.schema, synthetic).columns:
        if bins.numeric:
            continue
        found = np.zeros((groups + 1, bins.bins), dtype=np.int64)
        if bins.name in conditions.given:
            _of_cells(plan, bins, found)
        else:
            span = codec.span(bins.name)
            own = levels[:groups, span]
            size = min(own.shape[1], len(bins.categories))
            found[:groups, :size] = [whole(row) for row in own[:, :size]]
            if own.shape[1] > len(bins.categories):
                found[:groups, -1] = np.rint(own[:, -1])
        marginals.append(bins)
        real[bins.name] = found
    kept = Marginals(tuple(marginals))
    made = kept.count(synthetic, group_of_rows(plan, synthetic), groups + 1)
    return Counted(kept, real, made)


def _of_cells(plan: Plan, bins: Bins, found: npt.NDArray[np.int64]) -> None:
    """Counts of a column that follows from the condition: from the cells."""
    conditions = plan.conditions
    fold = str.lower if bins.kind == "boolean" else str
    place = {name: i for i, name in enumerate(bins.categories)}
    for g, group in enumerate(conditions.groups):
        for label, rows in zip(conditions.labels, conditions.plain.table[g].tolist(), strict=True):
            sensitive = dict(zip(conditions.sensitive, group, strict=True))
            value = fold(sensitive.get(bins.name, label))
            found[g, place.get(value, len(bins.categories) + 1)] += rows


def no_recall(plan: Plan) -> list[dict[str, Any]]:
    """Of each group that its recall is not measured."""
    names = ("recall", "expected", "value", "low", "high", "outside", "cells")
    rows = plan.conditions.group_counts.tolist()
    return [{"rows": int(n), **dict.fromkeys(names)} for n in rows]
