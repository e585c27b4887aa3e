"""The sensitivity of every sum that can be released with noise, each with its derivation.

One row more at one site, all else alike. Whatever of a table is not told by a question's layout
cannot leave a site, so a question that is not here is not released with noise at all: `sensitivity`
raises, and configurations that would ask it are refused beforehand.
"""

import math

from everymode.clients.protocol.messages import CountLeaves, SumMoments, Task
from everymode.clients.protocol.noise import COUNT_BITS, NOISE_BITS, Portion, Sensitivity
from everymode.clients.protocol.schema_messages import CountHistograms
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.suppression import of_text
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

    A row lies in at most one cell: 1. Of each numeric column it has at most one value, which is
    counted once, as a point mass or in a bin. So it adds 1 to at most N of their entries, N being
    the number of numeric columns: sqrt(N). Categories are declared, and their counts stay 0.
    """
    schema = Schema.from_json(order.schema)
    numbers = [i for i, column in enumerate(schema.counted) if column.numeric]
    fields = ("cells", *(f"{name}.{i}" for i in numbers for name in ("atoms", "bins")))
    sizes = {field.name: field.size for field in order.layout().fields}
    portions = [Portion(1.0, sizes["cells"])]
    if numbers:
        counted = sum(sizes[name] for name in fields[1:])
        portions.append(Portion(math.sqrt(len(numbers)), counted))
    return Sensitivity(
        tuple(portions),
        fields,
        COUNT_BITS,
        f"a row is counted once among the cells of group and label and once in each of "
        f"{len(numbers)} columns of numbers",
    )


def of_moments(order: SumMoments, conditions: ConditionSpace) -> Sensitivity:
    """Products of coordinates, in levels of group and of label.

    The site bounds what a row adds to one level by the order's `clip`, or `group_clip` for levels
    of groups, exactly, in whole multiples of 2^-30
    (`everymode.fairness.matching.private_moments`). A row has one group and one label, so it is in
    at most one asked level of each: `group_clip` for the levels of groups, `clip` for those of
    labels, and as much again where the level of all rows is asked for, too.
    """
    noise = order.noise
    assert noise is not None
    asked = of_text(order.published)
    sizes = asked.sum(1)
    entries = sizes * (sizes + 1) // 2
    groups, labels = conditions.blocks[0], conditions.blocks[0] + conditions.blocks[1]
    portions, blocks = [], 0
    if entries[:groups].any():
        portions.append(Portion(noise.group_clip, int(entries[:groups].sum())))
    blocks = int(entries[groups:labels].any()) + int(entries[labels:].any())
    if blocks:
        portions.append(Portion(noise.clip * math.sqrt(blocks), int(entries[groups:].sum())))
    words = []
    if entries[:groups].any():
        words.append(f"{noise.group_clip:.4g} in the level of its group")
    if blocks:
        words.append(f"{noise.clip:.4g} in each of {blocks} other levels")
    return Sensitivity(
        tuple(portions),
        ("moments",),
        NOISE_BITS,
        f"what a row adds is scaled to a norm of at most {' and '.join(words)}",
    )


def of_leaves(order: CountLeaves) -> Sensitivity:
    """Counts in the leaves of T trees: a row lies in one leaf of each and has one code: sqrt(T)."""
    trees = len(order.targets)
    return Sensitivity(
        (Portion(math.sqrt(trees), order.layout().size),),
        ("counts",),
        COUNT_BITS,
        f"a row is counted once in each of {trees} trees",
    )
