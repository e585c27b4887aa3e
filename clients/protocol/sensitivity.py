"""The sensitivity of every sum that can be released with noise, each with its derivation.

One row more at one site, all else alike. Whatever of a table is not told by a question's layout
cannot leave a site, so a question that is not here is not released with noise at all: `sensitivity`
raises, and configurations that would ask it are refused beforehand.
"""

import math

from everymode.clients.protocol.messages import CountLeaves, SumMoments, Task
from everymode.clients.protocol.noise import NOISE_BITS, Sensitivity
from everymode.clients.protocol.schema_messages import CountHistograms
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.schema import Schema


def sensitivity(order: Task, conditions: ConditionSpace | None = None) -> Sensitivity:
    """By how much one row moves the answer to a question.

    Args:
        order: The question; it carries its noise.
        conditions: Of the plan, for moments.

    Raises:
        ValueError: No bound is known for such a question.
    """
    match order:
        case CountHistograms():
            return of_histograms(order)
        case SumMoments() if conditions is not None and order.noise is not None:
            return of_moments(order, conditions)
        case CountLeaves():
            return of_leaves(order)
        case _:
            raise ValueError(f"'{order.order}' has no known sensitivity")


def of_histograms(order: CountHistograms) -> Sensitivity:
    """Counts of cells of group and label, and of every number's point masses and bins.

    A row lies in at most one cell; of each numeric column it has at most one value, which is
    counted once, as a point mass or in a bin. So it adds 1 to at most 1 + N entries, N being the
    number of numeric columns: sqrt(1 + N). Categories are declared, and their counts stay 0.
    """
    schema = Schema.from_json(order.schema)
    numbers = [i for i, column in enumerate(schema.counted) if column.numeric]
    fields = ("cells", *(f"{name}.{i}" for i in numbers for name in ("atoms", "bins")))
    sizes = {field.name: field.size for field in order.layout().fields}
    return Sensitivity(
        math.sqrt(1 + len(numbers)),
        fields,
        sum(sizes[name] for name in fields),
        0,
        f"a row is counted once among the cells of group and label and once in each of "
        f"{len(numbers)} columns of numbers",
    )


def of_moments(order: SumMoments, conditions: ConditionSpace) -> Sensitivity:
    """Products of coordinates, in levels of group and of label.

    The site bounds what a row adds to one level by the order's `clip`, exactly, in whole multiples
    of 2^-30 (`everymode.fairness.matching.private_moments`). A row has one group and one label, so
    it is in at most one asked level of each of the B blocks that the condition has: clip sqrt(B).
    The level of all rows is not asked for: it is the sum of a block's levels.
    """
    assert order.noise is not None
    asked = ["1" in row for row in order.published]
    blocks, start = 0, 0
    for size in conditions.blocks:
        blocks += any(asked[start : start + size])
        start += size
    if asked[-1]:
        blocks += 1
    size = order.layout().size
    return Sensitivity(
        order.noise.clip * math.sqrt(blocks),
        ("moments",),
        size,
        NOISE_BITS,
        f"what a row adds is scaled to a norm of at most {order.noise.clip:.4g} in each of the "
        f"{blocks} levels that it can be in",
    )


def of_leaves(order: CountLeaves) -> Sensitivity:
    """Counts in the leaves of T trees: a row lies in one leaf of each and has one code: sqrt(T)."""
    trees = len(order.targets)
    return Sensitivity(
        math.sqrt(trees),
        ("counts",),
        order.layout().size,
        0,
        f"a row is counted once in each of {trees} trees",
    )
