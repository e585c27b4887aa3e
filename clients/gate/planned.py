"""What comes after a plan has the plan's numbers: groups, cells, sizes, columns, balls."""

from typing import assert_never

from everymode.clients.gate.balls import check_book
from everymode.clients.gate.held import same
from everymode.clients.protocol import limits
from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
    SumMoments,
    Task,
    Tensors,
    Train,
    from_json,
)
from everymode.clients.protocol.plan import Plan, parse_plan, resident, widths
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.suppression import of_text
from everymode.fairness.matching.trees import trees_from_tensors
from everymode.fairness.metrics.codebook import Codebook
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.schema import Schema


def check_plan(order: Task, plan_text: str, tensors: Tensors) -> None:
    """Holds a request after `EncodeData` to the plan.

    Args:
        order: What is asked.
        plan_text: The JSON of the `EncodeData` that the site was prepared with.
        tensors: The arrays that all sites get.

    Raises:
        RefusedError: Its numbers are not those of the plan.
    """
    plan = parse_plan(plan_text)
    groups, width = len(plan.conditions.groups), plan.shape.width
    match order:
        case (
            DescribeColumns()
            | CollectVocabulary()
            | CountHistograms()
            | KMeansStep()
            | EncodeData()
        ):
            return
        case SumMoments():
            shape = of_text(order.published).shape
            wide = width + plan.binning.width + plan.conditions.width
            same("levels and coordinates", shape, (plan.conditions.width + 1, wide))
        case SiteStatistics():
            bins = sum(widths(plan.shape.blocks))
            same("cells and bins", (order.cells, order.bins), (plan.conditions.table.size, bins))
        case HeldOutFeatureSums():
            same("groups", order.groups, groups)
        case Train():
            _train(order, plan_text)
        case CountBatchRows():
            _train(order.train, plan_text)
        case CountLeaves():
            _leaves(order, plan, tensors)
        case CountMarginals():
            same("groups", order.groups, groups)
            prepared = from_json(plan_text)
            assert isinstance(prepared, EncodeData)
            same("cells that stand for no value", order.missing, prepared.missing)
            same("the form of files", order.form, prepared.form)
            _marginals(Marginals.from_json(order.marginals), plan.schema)
        case CountNeighbours():
            same("groups", len(order.sizes), groups)
            same("held_out", order.held_out, plan.held_out > 0)
            book = Codebook.of_tensors(tensors, order.sizes)
            check_book(book, plan.shape.blocks, width, order.cells)
        case _:
            assert_never(order)


def _leaves(order: CountLeaves, plan: Plan, tensors: Tensors) -> None:
    """Trees over the plan's columns, of leaves that are told apart by their splits alone."""
    if plan.schema.samples is not None:
        raise RefusedError("trees over columns of arrays, which have none")
    coding = Coding.of(plan.codec, plan.conditions, order.bins)
    try:
        trees = trees_from_tensors(order.targets, order.nodes, tensors)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    for number, (tree, size) in enumerate(zip(trees, order.sizes, strict=True), 1):
        if problem := tree.problem(coding.sizes, coding.given):
            raise RefusedError(f"tree {number} of {len(trees)}: {problem}")
        same("codes", size, tree.size(coding.sizes))


def _train(order: Train, plan_text: str) -> None:
    plan = parse_plan(plan_text)
    groups = len(plan.conditions.groups)
    same("groups", order.groups, groups)
    if order.mass:
        same("masses", len(order.mass), groups)
    turn = -(-order.critic_steps // max(order.generator_steps, 1))
    numbers = turn * max(order.batch, order.minimum) * max(plan.shape.width, 1)
    if numbers > limits.SUMS:
        raise RefusedError(f"{numbers:,} numbers drawn at once, more than {limits.SUMS:,}")
    players = resident(plan_text, order.device)
    same("sizes", order.sizes, (len(players.generator.vector), len(players.critic.vector)))
    same("buffers", order.buffers, len(players.critic.buffers))


def _marginals(marginals: Marginals, schema: Schema) -> None:
    """The plan's columns and categories; points of numbers are the synthetic rows'."""
    same("columns", tuple(c.name for c in marginals.columns), schema.names)
    for bins, column in zip(marginals.columns, schema.columns, strict=True):
        fold = str.lower if column.kind == "boolean" else str
        wanted = () if column.numeric else tuple(map(fold, column.categories))
        same(
            f"kind, form and categories of column '{column.name}'",
            (bins.kind, bins.form if column.numeric else "", bins.categories),
            (column.kind, column.form if column.numeric else "", wanted),
        )
        if not column.numeric and bins.points:
            raise RefusedError(f"points of column '{column.name}', which holds no numbers")
