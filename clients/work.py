"""What one site does for an order, and a node for the sites it serves: sums, and nothing else."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from clients import query
from clients.orders import (
    Audit,
    Feel,
    Measure,
    Moments,
    Order,
    Prepare,
    Profile,
    Recall,
    Request,
    Tensors,
    Train,
    to_json,
)
from clients.plan import Plan, fingerprint, plan_of, seed_of
from clients.profile import feel, profile
from clients.questions import Cluster, Look, Ranks, Values
from clients.rows import opened
from clients.site import Site
from clients.sums import SiteSums
from clients.training import measure, train
from fairness.codebook import Codebook
from fairness.feature_matching import Description
from fairness.marginals import Marginals
from fairness.matching import (
    described,
    first_moments,
    level_counts,
    memberships,
    second_moments,
)
from fairness.suppression import of_text
from fairness.weights import row_weights, site_mass
from wgan.errors import DataError


def serve(request: Request, sites: Iterable[Site]) -> SiteSums:
    """The sum of the answers of all sites that a node serves.

    Raises:
        DataError: Tables do not fit; the problems of all sites at once.
    """
    total = request.order.layout().zero()
    problems: list[str] = []
    for site in sites:
        try:
            own = request.letters.get(site.name, {})
            total += answer(request.order, {**request.tensors, **own}, site)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return total


def answer(order: Order, tensors: Tensors, site: Site) -> SiteSums:
    """What one site sends back."""
    match order:
        case Look():
            return query.look(order, site)
        case Values():
            return query.values(order, site)
        case Ranks():
            return query.ranks(order, site)
        case Cluster():
            return query.cluster(order, site)
        case Prepare():
            return prepare(order, site)
        case Moments():
            return moments(order, site)
        case Profile():
            return profile(order, site)
        case Feel():
            return feel(order, site)
        case Train():
            return train(order, tensors, site)
        case Measure():
            return measure(order, site)
        case Audit():
            return audit(order, site)
        case Recall():
            return recall(order, tensors, site)


def prepare(order: Prepare, site: Site) -> SiteSums:
    """Encodes the site's rows onto its disk; rows of cells that were floored are left out.

    Rows held out are encoded, too, but they are in none of the sums.
    """
    plan = Plan.of(order)
    conditions = plan.conditions
    pairs, rows, held = query.encoded(site, plan.schema, conditions, order)
    cells = conditions.refined(pairs, rows)
    arrays: dict[str, npt.NDArray[np.generic]] = {"rows": rows, "cells": cells, "held": held}
    site.store(fingerprint(order), arrays, {"order": to_json(order)})
    rows, cells = rows[~held], cells[~held]
    groups = cells // conditions.per_group
    present = np.bincount(groups, minlength=len(conditions.groups)) > 0
    taking, _ = described(conditions)
    sums: dict[str, npt.NDArray[Any]] = {
        "rows": np.array([len(rows)]),
        "weight": np.array([site_mass(row_weights(plan.mass, conditions.group_counts), groups)]),
        "sites": np.array([1]),
        "group_sites": present.astype(np.int64),
        "taking": np.array([int(present.any())]),
    }
    weights = plan.weights(cells)
    if order.matching in ("kernel", "sliced"):
        seed = seed_of(order.seed, "description")
        described_by = Description.of(order.matching, plan.shape.blocks, conditions.width, seed)
        sums["description"] = described_by.sums(rows, conditions.encode(cells), weights)
    layout = order.layout()
    wanted = {field.name for field in layout.fields}
    if wanted & {"counts", "marginals"}:
        joined = plan.joined(rows, cells)
    if "counts" in wanted:
        member = memberships(conditions.encode(cells)) * taking[groups, None]
        sums["counts"] = level_counts(joined, member)
    if "marginals" in wanted:
        # The sum of a number over few rows would be theirs; shares are asked of categories only.
        joined[:, ~plan.choices] = 0
        sums["marginals"] = first_moments(joined, weights)
    return layout.pack(sums)


def moments(order: Moments, site: Site) -> SiteSums:
    """Second moments of the rows trained on, of what every level may publish."""
    text, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    plan = plan_of(text)
    trained = ~data.held_out.numpy()
    cells = data.cells.numpy()[trained]
    joined = plan.joined(data.rows.numpy()[trained], cells)
    sums = second_moments(joined, plan.weights(cells), of_text(order.published))
    return order.layout().pack({"moments": sums})


def audit(order: Audit, site: Site) -> SiteSums:
    """Counts of the site's rows in every bin, by group."""
    plan = plan_of(str(site.plan(order.plan)["order"]))
    frame = site.frame(order.missing)
    group = plan.conditions.group_index(frame, plan.schema, str(site.table))
    known = group >= 0
    marginals = Marginals.from_json(order.marginals)
    return order.layout().pack(marginals.count(frame.loc[known], group[known], order.groups))


def recall(order: Recall, tensors: Tensors, site: Site) -> SiteSums:
    """Counts of the site's encoded rows near synthetic ones, by group."""
    _, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    wanted = data.held_out.numpy() == order.held_out
    book = Codebook.of_tensors(tensors, order.sizes)
    return order.layout().pack(book.count(data.rows.numpy()[wanted], data.groups.numpy()[wanted]))
