"""Dispatch of a task to its handler at one site, and over all sites that a node serves."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.datasets.choice import forget, open_dataset
from everymode.clients.gate import floor
from everymode.clients.gate.admission import Admission
from everymode.clients.gate.held import check_claims
from everymode.clients.gate.mechanism import Answer
from everymode.clients.gate.noise import build_noise
from everymode.clients.gate.release import Mask, build_context, release
from everymode.clients.gate.spending import spend
from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
    SumMoments,
    Task,
    Tensors,
    Train,
    to_json,
)
from everymode.clients.protocol.plan import Plan, derive_seed, fingerprint, parse_plan
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.rows import opened
from everymode.clients.site import Site
from everymode.clients.tasks import level_sums, schema
from everymode.clients.tasks.leaves import count_leaves
from everymode.clients.tasks.statistics import held_out_feature_sums, site_statistics
from everymode.clients.tasks.train import count_batch_rows, train
from everymode.fairness.matching.features import FeatureMap
from everymode.fairness.matching.private_moments import clipped_moments
from everymode.fairness.matching.suppression import of_text
from everymode.fairness.metrics.codebook import Codebook
from everymode.fairness.weighting.group_weights import row_weights, site_mass
from everymode.wgan.errors import DataError, NumericalError, named


def handle(request: Request, sites: Iterable[Site]) -> SiteSums:
    """The sum of the answers of all sites that a node serves, once each has let the request in.

    Raises:
        RefusedError: A site does not answer such a request; those of all sites at once.
        DataError: Tables do not fit; the problems of all sites at once.
    """
    together = tuple(sites)
    return computed(request, together, admission(request, together))


def computed(
    request: Request, sites: Iterable[Site], admit: Callable[[Site], None] = lambda site: None
) -> SiteSums:
    """The sum of what sites compute, each of which `admit` may refuse; see `handle`."""
    total = request.order.layout().zero()
    refusals: list[str] = []
    problems: list[str] = []
    for site in sites:
        try:
            total += served(request, site, admit)
        except RefusedError as error:
            refusals += error.problems
        except DataError as error:
            problems += error.problems
    if refusals:
        raise RefusedError([*refusals, *problems])
    if problems:
        raise DataError(problems)
    return total


def admission(request: Request, sites: tuple[Site, ...]) -> Callable[[Site], None]:
    """What lets a request in at each of the sites that are asked together, or refuses it there.

    Raises:
        RefusedError: No site answers such a request.
    """
    return Admission.of(request, sites).admit


def served(
    request: Request,
    site: Site,
    admit: Callable[[Site], None] = lambda site: None,
    mask: Mask | None = None,
) -> SiteSums:
    """What one site sends back for a request, masked or not; what goes wrong there names it.

    Raises:
        RefusedError: The site does not answer such a request.
        DataError: Its table does not fit.
        NumericalError: Its training has diverged.
    """
    own = request.per_site.get(site.name, {})
    try:
        admit(site)
        return handle_at_site(request.order, {**request.tensors, **own}, site, request.run, mask)
    except (DataError, NumericalError) as error:
        raise type(error)(named(error.problems, f"site '{site.name}'")) from error


def handle_at_site(
    order: Task, tensors: Tensors, site: Site, run: str = "0" * 16, mask: Mask | None = None
) -> SiteSums:
    """What one site sends back to a request that it has let in (see `served`).

    Everything that leaves a site passes `everymode.clients.gate.release.release` here.

    Raises:
        RefusedError: It would spend more of the site's privacy than its policy allows.
    """
    context = build_context(order, run, site.name)
    plan = fingerprint(order) if isinstance(order, EncodeData) else None
    noise = build_noise(order, tensors, context, site)
    spend(site, context, noise, mask is not None)
    answer = compute(order, tensors, site)
    return release(answer, context, site, run, plan, noise, mask)


def compute(order: Task, tensors: Tensors, site: Site) -> Answer:
    """One site's answer to a task, before it passes the gate."""
    match order:
        case DescribeColumns():
            return open_dataset(site).describe(order)
        case CollectVocabulary():
            return open_dataset(site).vocabulary(order)
        case CountHistograms():
            return open_dataset(site).histograms(order)
        case KMeansStep():
            return schema.kmeans_step(order, site)
        case EncodeData():
            return encode_data(order, site)
        case SumMoments():
            return moments(order, site)
        case SiteStatistics():
            return site_statistics(order, site)
        case HeldOutFeatureSums():
            return held_out_feature_sums(order, site)
        case Train():
            return train(order, tensors, site)
        case CountBatchRows():
            return count_batch_rows(order, site)
        case CountLeaves():
            return count_leaves(order, tensors, site)
        case CountMarginals():
            return audit(order, site)
        case CountNeighbours():
            return recall(order, tensors, site)


def encode_data(order: EncodeData, site: Site) -> Answer:
    """Encodes the site's rows onto its disk; rows of cells that were floored are left out.

    Rows held out are encoded, too, but they are in none of the sums.
    """
    plan = Plan.of(order)
    conditions = plan.conditions
    found = schema.encoded(site, plan.schema, conditions, order)
    forget()
    rows, held = found.rows, found.held_out
    cells = conditions.refined(found.pairs, rows)
    own_counts = np.bincount(cells[~held], minlength=conditions.table.size)
    enough = own_counts[cells] >= site.floor
    left_out = found.left_out + int((~enough & ~held).sum())
    # Codes are most of what a large site holds in memory: no copy is made or kept without need.
    del found
    if not enough.all():
        cells, rows, held = cells[enough], rows[enough], held[enough]
    if not order.noised:
        # Counts with noise may well be lower than a site's own.
        check_claims(conditions.table.reshape(-1), own_counts, site.name)
    arrays: dict[str, npt.NDArray[np.generic]] = {"rows": rows, "cells": cells, "held": held}
    site.store(fingerprint(order), arrays, {"order": to_json(order)})
    if order.noised:
        return Answer(order.layout(), {"sites": np.array([1])})
    if held.any():
        rows, cells = rows[~held], cells[~held]
    groups = cells // conditions.per_group
    present = np.bincount(groups, minlength=len(conditions.groups)) > 0
    sums: dict[str, npt.NDArray[Any]] = {
        "rows": np.array([len(rows)]),
        "weight": np.array([site_mass(row_weights(plan.mass, conditions.group_counts), groups)]),
        "sites": np.array([1]),
        "group_sites": present.astype(np.int64),
        "taking": np.array([int(present.any())]),
        "left_out": np.array([left_out]),
    }
    weights = plan.weights(cells)
    if order.matching in ("kernel", "sliced"):
        seed = derive_seed(order.seed, "description")
        described_by = FeatureMap.of(order.matching, plan.shape.blocks, conditions.width, seed)
        sums["description"] = described_by.sums(rows, conditions.encode(cells), weights)
    layout = order.layout()
    wanted = {field.name for field in layout.fields}
    if "counts" in wanted:
        mine = level_sums.published(plan, rows, cells, site.floor)
        sums["counts"] = level_sums.sum_counts(plan, rows, cells, mine)
    if "marginals" in wanted:
        mine = level_sums.published(plan, rows, cells, site.floor, shares=True)
        sums["marginals"] = level_sums.sum_shares(plan, rows, cells, mine)
    return Answer(layout, sums)


def moments(order: SumMoments, site: Site) -> Answer:
    """Second moments of the rows trained on, of what every level may publish."""
    text, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    plan = parse_plan(text)
    trained = ~data.held_out.numpy()
    cells = data.cells.numpy()[trained]
    rows = data.rows.numpy()
    # Mapped from the disk: without rows held out, no copy is made of them.
    rows = rows if trained.all() else rows[trained]
    if order.noise is not None:
        member = plan.weights(cells) > 0
        published = of_text(order.published)
        clips = order.noise.group_clip, order.noise.clip
        joined = plan.joined(rows, cells)
        clipped = clipped_moments(joined, member, published, plan.coordinates, clips)
        return Answer(order.layout(), {"moments": clipped})
    mine = level_sums.published(plan, rows, cells, site.floor)
    sums = level_sums.sum_products(plan, rows, cells, of_text(order.published), mine)
    return Answer(order.layout(), {"moments": sums})


def audit(order: CountMarginals, site: Site) -> Answer:
    """Counts of the site's rows in every bin, by group."""
    plan = parse_plan(str(site.plan(order.plan)["order"]))
    counts = open_dataset(site).marginals(order, plan)
    return Answer(order.layout(), counts)


def recall(order: CountNeighbours, tensors: Tensors, site: Site) -> Answer:
    """Counts of the site's encoded rows near synthetic ones, by group."""
    _, data = opened(site, order.plan, site.stamp(order.plan), "cpu")
    groups = data.groups.numpy()
    wanted = data.held_out.numpy() == order.held_out
    wanted &= floor.large(np.where(wanted, groups, -1), len(order.sizes), site.floor)
    book = Codebook.of_tensors(tensors, order.sizes)
    counts = book.count(data.rows.numpy()[wanted], groups[wanted])
    for name in ("recalled", "outside"):
        counts[name] = floor.snap_to_bounds(counts[name], counts["rows"], site.floor)
    counts["cells"] = floor.folded(counts["cells"], site.floor)
    return Answer(order.layout(), counts)
