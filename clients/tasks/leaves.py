"""Counts of a site's rows in the leaves of trees that the server grew on synthetic rows."""

from everymode.clients.gate import floor
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import CountLeaves, Tensors
from everymode.clients.protocol.plan import parse_plan
from everymode.clients.rows import opened
from everymode.clients.site import Site
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.trees import leaf_counts, trees_from_tensors


def count_leaves(order: CountLeaves, tensors: Tensors, site: Site) -> Answer:
    """Rows trained on that each leaf holds of each code; none below the site's floor leaves."""
    text, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    plan = parse_plan(text)
    coding = Coding.of(plan.codec, plan.conditions, order.bins)
    trained = ~data.held_out.numpy()
    codes = coding.codes(data.rows.numpy()[trained], data.cells.numpy()[trained])
    trees = trees_from_tensors(order.targets, order.nodes, tensors)
    counts = leaf_counts(trees, codes, coding.sizes)
    return Answer(order.layout(), {"counts": floor.without_small(counts, site.floor)})
