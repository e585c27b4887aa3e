"""What must hold of the sums of one reply, whoever sent it: weights, moments and rounds.

A site's weight decides how far its updates carry. It follows from the rows that the site counted
before, so that no round may claim another.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import (
    CountBatchRows,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
    Train,
)
from everymode.clients.protocol.plan import Plan, widths
from everymode.clients.protocol.sums import LARGEST, SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.features import BINS
from everymode.fairness.matching.moments import Bools, eligible_strata, share_strata
from everymode.fairness.weighting.group_weights import row_weights
from everymode.server.replies.invariants import Floats, Ints, Problems, Reply

RISK = 2.0
"""Largest squared discrepancy under a kernel between 0 and 1."""


def prepare(order: EncodeData, reply: Reply) -> Problems:
    """Rows are those counted before, and weights are those of so many rows."""
    plan = reply.plan or Plan.of(order)
    conditions = plan.conditions
    weights = row_weights(plan.mass, conditions.group_counts)
    kept, rows = reply.kept(conditions), reply.count("rows")
    most = reply.learnt if kept is None else int(kept.sum())
    yield from reply.fits("'rows'", rows, most, exact=kept is not None)
    yield from reply.fits("'left_out'", reply.count("left_out"), reply.learnt)
    yield from _participants(reply, kept)
    weight = float(reply.sums["weight"][0])
    allowed = rows * float(weights.max()) if kept is None else float(kept.sum(1) @ weights)
    slack = reply.slack("weight")
    if weight < -slack or weight > allowed + slack:
        yield f"it counts {weight:.6g} of the whole, where its rows allow {allowed:.6g}"
    elif kept is not None and reply.exact and weight < allowed - slack:
        yield f"it counts only {weight:.6g} of the whole, where its rows make {allowed:.6g}"
    # Rows of all sites are an upper bound where those of this one are not known.
    cells = conditions.plain.table if kept is None else kept

    def ceilings_of(taking: Bools, levels: Bools) -> Floats:
        most_of = _level_weights(cells * (weights * taking)[:, None], conditions)
        ceilings: Floats = most_of * np.append(levels, True)
        return ceilings

    exact = kept is not None and reply.exact and conditions.clusters == 1
    if order.matching in ("kernel", "sliced"):
        ceilings = ceilings_of(*eligible_strata(conditions))
        yield from _description(reply, order.matching, ceilings, exact)
    if order.matching == "moments":
        taking, _ = eligible_strata(conditions)
        most_rows = _level_weights((cells * taking[:, None]).astype(np.float64), conditions)
        yield from _counts(reply, plan, most_rows, exact)
    if order.marginals or order.matching == "moments":
        found = reply.sums["marginals"]
        # Shares are of small groups, too, where there are no others.
        ceilings = ceilings_of(*share_strata(conditions))
        yield from _levels(reply, "marginals", found[:, -1], ceilings, exact)
        # A site's floor may take from the shares of categories.
        yield from _one_hot(
            reply, "marginals", found[:, :-1], found[:, -1], plan.spans, reply.exact
        )
        if found[:, :-1][:, ~plan.choices].any():
            yield "'marginals' holds means of numbers, which were not asked for"


def _counts(reply: Reply, plan: Plan, most: Floats, exact: bool) -> Problems:
    """Every row of a level has one coordinate of each one-hot part."""
    counts = reply.sums.units("counts")
    if (counts > np.rint(most)[:, None]).any():
        level = int(np.argmax((counts > np.rint(most)[:, None]).any(1)))
        yield f"'counts' holds more rows than the {most[level]:,.0f} of level {level + 1}"
    for start, stop in plan.spans:
        rows = counts[:, start:stop].sum(1)
        if (rows > np.rint(most)).any() or (exact and (rows != np.rint(most)).any()):
            yield "'counts' holds categories that do not add up to the rows of their level"
            return


def _participants(reply: Reply, kept: Ints | None) -> Problems:
    """A site counts one, in all and in every group that it has rows of."""
    sites, taking = reply.count("sites"), reply.count("taking")
    groups = reply.sums.units("group_sites")
    if sites != reply.asked:
        yield f"it counts as {sites:,} sites, and {reply.asked} were asked"
    if taking > reply.asked or int(groups.max(initial=0)) > taking or taking > int(groups.sum()):
        yield f"{taking:,} sites take part in groups of at most {int(groups.max(initial=0)):,}"
    if kept is not None:
        held = kept.sum(1) > 0
        if (groups[~held] > 0).any() or (reply.exact and (groups[held] == 0).any()):
            yield "its groups are not those that it counted rows of"


def _level_weights(cells: Floats, conditions: ConditionSpace) -> Floats:
    """Weight of each level's rows and of all, `(C + 1,)`, from that of cells `(G, L)`."""
    told = conditions.blocks
    # Nobody has said yet how rows spread over clusters.
    parts = [cells.sum(1), cells.sum(0), np.full(told[2], cells.sum())]
    chosen = [part for part, size in zip(parts, told, strict=True) if size]
    return np.concatenate([np.zeros(0), *chosen, [cells.sum()]])


def _levels(reply: Reply, name: str, weights: Floats, ceilings: Floats, exact: bool) -> Problems:
    """Whether the rows of each level have the weight that so many rows have."""
    slack = reply.slack(name, float(ceilings.max(initial=0.0)))
    low = weights < (ceilings - slack if exact else -slack)
    if (low | (weights > ceilings + slack)).any():
        at = int(np.argmax(low | (weights > ceilings + slack)))
        yield (
            f"'{name}' is of rows of weight {weights[at]:.6g} in level {at + 1}, where its rows "
            f"have {ceilings[at]:.6g}"
        )


def _one_hot(
    reply: Reply,
    name: str,
    means: Floats,
    weights: Floats,
    spans: Sequence[tuple[int, int]],
    exact: bool = True,
) -> Problems:
    """Whether every one-hot part `(L, D)` adds up to the weight of its level, `(L,)`, or less."""
    slack = reply.slack(name, float(np.abs(weights).max(initial=0.0)))
    for start, stop in spans:
        part = means[:, start:stop]
        if (part < -slack).any():
            yield f"'{name}' holds a negative share of a category"
            return
        gap = part.sum(1) - weights
        if ((np.abs(gap) if exact else gap) > (stop - start + 1) * slack).any():
            yield f"'{name}' holds categories that do not add up to the rows of their level"
            return


def _description(reply: Reply, kind: str, ceilings: Floats, exact: bool) -> Problems:
    """Features are within a circle; every direction has a bin for every row."""
    found = reply.sums["description"]
    sums, weights = found[:, :-1], found[:, -1]
    yield from _levels(reply, "description", weights, ceilings, exact)
    slack = reply.slack("description")
    if kind == "kernel":
        most = weights[:, None] / math.sqrt(sums.shape[1] / 2) + slack
        if (np.abs(sums) > most).any():
            yield "'description' holds larger features than its rows have"
    else:
        spans = [(b, b + BINS) for b in range(0, sums.shape[1], BINS)]
        yield from _one_hot(reply, "description", sums, weights, spans)


def site_statistics(order: SiteStatistics, reply: Reply) -> Problems:
    """Every row trained on lies in one cell, and in one bin of every column."""
    per_site = reply.sums.per_site
    if reply.count("sites") != reply.asked or len(per_site) != reply.asked:
        yield f"{len(per_site)} of {reply.asked} sites have told what rows they have"
        return
    prepared = reply.known.prepared.get(order.plan)
    most = reply.rows if prepared is None else prepared.rows
    total = 0.0
    for name, letter in per_site.items():
        cells, bins = letter["cells"].astype(np.float64), letter["bins"].astype(np.float64)
        total += cells.sum()
        if (cells < 0).any() or (bins < 0).any() or (cells != np.rint(cells)).any():
            yield f"the counts of site '{name}' are no counts"
        elif reply.plan is not None and order.bins:
            ends = np.cumsum(widths(reply.plan.shape.blocks))
            columns = np.add.reduceat(bins, [0, *ends[:-1]])
            if (np.abs(columns - cells.sum()) > 1e-6 * cells.sum()).any():
                yield f"the columns of site '{name}' do not have as many rows as its cells"
    yield from reply.fits("'cells'", round(total), most)


def held_out_feature_sums(order: HeldOutFeatureSums, reply: Reply) -> Problems:
    """Features of so many rows are no longer than they."""
    held = reply.sums["held"]
    most = reply.rows if reply.known.rows is None else reply.known.held
    yield from reply.fits("'held'", int(held.sum()), most)
    features = np.abs(reply.sums["features"])
    slack = reply.slack("features", float(held.max(initial=0.0)))
    if (features > held[:, None] / math.sqrt(order.count) + slack).any():
        yield "'features' is larger than its rows allow"


def whole(plan: Plan, total: SiteSums) -> Problems:
    """The weights of all sites together make a whole, where they have the rows that were agreed.

    Another number of rows means that tables have changed, which is not told here.
    """
    weight, sites = float(total["weight"][0]), int(total.units("sites")[0])
    rows = int(plan.conditions.table.sum())
    if int(total.units("rows")[0]) == rows and weight > 1 + sites * 2.0**-41 + 1e-9:
        yield f"the weights of all sites together make {weight:.6g} of the whole"


def train(order: Train, reply: Reply) -> Problems:
    """A site counts one, weighs what it weighed before, and took the rows it was asked to."""
    sites, weight = reply.count("sites"), float(reply.sums["weight"][0])
    drawn = reply.sums.units("estimated")
    if sites > reply.asked:
        yield f"it counts as {sites:,} sites, and {reply.asked} were asked"
        return
    if not sites and (reply.sums.vector.any() or reply.sums.per_site):
        yield "no site took part, and an update came"
    yield from _weight(order, reply, sites, weight)
    yield from _room(order, reply, weight)
    most = order.critic_steps * _batch(order, reply.plan, sites, order.batch, weight)
    if int(drawn.sum()) > most:
        yield f"it took {int(drawn.sum()):,} rows, and was asked for at most {most:,}"
    idle = drawn == 0
    if any(reply.sums.units(name)[idle].any() for name in ("estimate", "penalties")):
        yield "it reports on groups of which it took no row"
    if order.inspect:
        yield from _inspected(order, reply, sites, weight)
    if reply.sums.layout.per_site and len(reply.sums.per_site) != sites:
        yield f"payloads of {len(reply.sums.per_site)} sites came, and {sites} took part"
    if order.training.reports_share:
        yield from _shares(reply, weight)
    for name, letter in reply.sums.per_site.items():
        if "risk" in letter and not 0 <= float(letter["risk"][0]) <= RISK:
            yield f"the risk of site '{name}' is no squared discrepancy"
        if "seen" in letter and (letter["seen"] < 0).any():
            yield f"the optimizers of site '{name}' have seen a negative number of steps"


def _weight(order: Train, reply: Reply, sites: int, weight: float) -> Problems:
    slack = reply.slack("weight")
    allowed, exact = weight_allowed(order, reply)
    if order.training.weighting.basis == "equal":
        allowed, exact = sites / order.sites, True
    if weight < -slack or weight > allowed + slack or (exact and weight < allowed - slack):
        yield f"it counts {weight:.6g} of the whole, where its rows make {allowed:.6g}"


def _room(order: Train, reply: Reply, weight: float) -> Problems:
    """No entry takes so much of a sum's range that the sum over all sites could leave it.

    A reply may have its part of the sites, and of the weight, one half each: over all replies they
    make one range. So whoever sends too much is found by its own reply, not by whose came last.
    """
    part = min((reply.asked / order.sites + max(weight, 0.0)) / 2, 1.0)
    start = 0
    for entry in reply.sums.layout.fields:
        units = reply.sums.vector[start : start + entry.size]
        start += entry.size
        if len(units) and max(int(units.max()), -int(units.min())) > part * LARGEST:
            yield (
                f"'{entry.name}' takes more than {part:.3g} of the range of +-{entry.limit:.3g} "
                "that the sum over all sites can carry"
            )


def _shares(reply: Reply, weight: float) -> Problems:
    """What sites say they count one by one is what they say they count together."""
    shares = [float(sent["share"][0]) for sent in reply.sums.per_site.values()]
    if any(share <= 0 for share in shares):
        yield "a site sent an update that counts nothing, or less"
    # Single numbers travel in single precision.
    elif abs(sum(shares) - weight) > 1e-6 * (1 + weight):
        yield f"its sites count {sum(shares):.6g} one by one, and {weight:.6g} together"


def weight_allowed(order: Train, reply: Reply) -> tuple[float, bool]:
    """What an update may count at most, and whether it has to count just that."""
    prepared, plan = reply.known.prepared.get(order.plan), reply.plan
    if order.training.weighting.basis == "equal":
        return reply.asked / order.sites, False
    if prepared is None or plan is None:
        return 1.0, False
    exact = reply.exact
    if order.training.weighting.basis == "rows":
        return prepared.rows / max(int(plan.conditions.table.sum()), 1), exact
    if not order.mass or order.mass == tuple(plan.mass.tolist()):
        return prepared.weight, exact
    # Masses have moved: a row counts at most what the group counts that gained most.
    moved = np.divide(order.mass, plan.mass, out=np.zeros(len(plan.mass)), where=plan.mass > 0)
    return prepared.weight * float(moved.max()), False


def _batch(order: Train, plan: Plan | None, sites: int, batch: int, weight: float) -> int:
    """Rows that a critic step takes at most at so many sites of so much weight together."""
    pack = 1 if plan is None else plan.recipe.pack
    # Rounding may add half a row at each site, and a multiple of the pack more.
    return sites * (order.minimum + pack) + math.ceil(batch * weight + 1e-6) + sites


def _inspected(order: Train, reply: Reply, sites: int, weight: float) -> Problems:
    """Slopes are a histogram of the site's weight; a score counts at most that."""
    slopes, scored = reply.sums["slopes"], float(reply.sums["scored"][0])
    slack = reply.slack("slopes") * len(slopes)
    if (slopes < 0).any() or abs(slopes.sum() - weight) > slack:
        yield f"its histogram of slopes adds up to {slopes.sum():.6g}, and it counts {weight:.6g}"
    if not -slack <= scored <= weight + slack:
        yield f"its scores count {scored:.6g}, and it counts {weight:.6g}"
    sloped = reply.sums.units("sloped")
    if int(sloped.sum()) > _batch(order, reply.plan, sites, order.batch, weight):
        yield f"it took {int(sloped.sum()):,} slopes, more than it was asked for"
    if (reply.sums["group_slopes"] < 0).any() or reply.sums["group_slopes"][sloped == 0].any():
        yield "it reports slopes of groups of which it took none"


def measure(order: CountBatchRows, reply: Reply) -> Problems:
    """A larger batch takes no fewer rows, and no more than its weight's part."""
    rows: npt.NDArray[np.int64] = reply.sums.units("rows")
    weight, _ = weight_allowed(order.train, reply)
    if (np.diff(rows) < 0).any():
        yield "a larger batch would take fewer rows"
    most = _batch(order.train, reply.plan, reply.asked, order.most, weight)
    if int(rows.max(initial=0)) > most:
        yield f"it would take {int(rows.max()):,} rows, where its weight allows {most:,}"
