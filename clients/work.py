"""What one site does for an order, and a node for the sites it serves: sums, and nothing else."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clients import query
from clients.orders import (
    Audit,
    Feel,
    Measure,
    Order,
    Prepare,
    Profile,
    Recall,
    Request,
    Tensors,
    Train,
    to_json,
)
from clients.plan import fingerprint, plan_of, seed_of
from clients.profile import feel, profile
from clients.questions import Cluster, Look, Ranks, Values
from clients.rows import opened
from clients.site import Site
from clients.sums import SiteSums
from clients.training import measure, train
from fairness.binning import Binning
from fairness.calibration import first_moments
from fairness.codebook import Codebook
from fairness.feature_matching import Description
from fairness.groups import Conditions
from fairness.marginals import Marginals
from fairness.matching import described, second_moments
from fairness.weights import row_weights, site_mass
from wgan.data.codec import TableCodec
from wgan.data.schema import Schema
from wgan.errors import DataError, NumericalError, named


def serve(request: Request, sites: Iterable[Site]) -> SiteSums:
    """The sum of the answers of all sites that a node serves.

    Raises:
        DataError: Tables do not fit; the problems of all sites at once.
    """
    total = request.order.layout().zero()
    problems: list[str] = []
    for site in sites:
        try:
            total += served(request, site)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return total


def served(request: Request, site: Site) -> SiteSums:
    """What one site sends back for a request; what goes wrong there names it.

    Raises:
        DataError: Its table does not fit.
        NumericalError: Its training has diverged.
    """
    own = request.letters.get(site.name, {})
    try:
        return answer(request.order, {**request.tensors, **own}, site)
    except (DataError, NumericalError) as error:
        raise type(error)(named(error.problems, f"site '{site.name}'")) from error


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
    """Encodes the site's rows onto its disk; rows of cells that were floored are left out."""
    schema = Schema.from_json(order.schema)
    conditions = Conditions.from_json(order.conditions)
    pairs, rows = query.encoded(site, schema, conditions, order.missing, order.seed)
    cells = conditions.refined(pairs, rows)
    groups = cells // conditions.per_group
    weights = row_weights(np.array(order.mass), conditions.group_counts)
    held = _held_out(len(rows), order, site)
    arrays: dict[str, npt.NDArray[np.generic]] = {"rows": rows, "cells": cells, "held": held}
    site.store(fingerprint(order), arrays, {"order": to_json(order)})
    present = np.bincount(groups, minlength=len(conditions.groups)) > 0
    sums: dict[str, npt.NDArray[Any]] = {
        "rows": np.array([len(rows)]),
        "weight": np.array([site_mass(weights, groups)]),
        "sites": np.array([1]),
        "group_sites": present.astype(np.int64),
        "taking": np.array([int(present.any())]),
    }
    taking, levels = described(conditions)
    counted = (weights * taking)[groups][:, None]
    everyone = counted * np.append(levels, True)
    if order.matching in ("kernel", "sliced"):
        blocks = TableCodec(schema.without(conditions.given)).blocks
        seed = seed_of(order.seed, "description")
        described_by = Description.of(order.matching, blocks, conditions.width, seed)
        sums["description"] = described_by.sums(rows, conditions.encode(cells), everyone)
    if order.matching == "moments":
        binning = Binning.of(TableCodec(schema.without(conditions.given)), order.bins)
        binned = binning(torch.from_numpy(rows)).numpy()
        sums["moments"] = second_moments(binned, conditions.encode(cells), counted * levels)
    if order.marginals:
        sums["marginals"] = first_moments(rows, conditions.encode(cells), everyone)
    return order.layout().pack(sums)


def _held_out(count: int, order: Prepare, site: Site) -> npt.NDArray[np.bool_]:
    """Which rows no critic is trained on, `(n,)`; one row at least is left to train on."""
    held = np.zeros(count, dtype=np.bool_)
    rng = np.random.default_rng(seed_of(order.seed, site.name, "held out"))
    wanted = min(round(order.held_out * count), count - 1)
    if wanted > 0:
        held[rng.choice(count, wanted, replace=False)] = True
    return held


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
