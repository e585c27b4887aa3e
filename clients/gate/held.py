"""What a server names is held to what the site was asked before, and to its own rows.

*Look*, *values* and *ranks* are asked in this order, about the same columns. *Ranks* counts cells
of all groups and labels that the columns' values make, and of no others. *Prepare* and *cluster*
narrow what *ranks* asked about: they leave out groups, labels, categories and point masses, and add
none. A site remembers its questions on its own disk. What comes after a plan is held to it in
`everymode.clients.gate.planned`.
"""

from dataclasses import fields
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import (
    EncodeData,
    Task,
    from_json,
)
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    HeldOut,
    KMeansStep,
)
from everymode.clients.protocol.sketch import log_edges
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.files import write_bytes

BEFORE = {"values": "look", "ranks": "values", "cluster": "ranks", "prepare": "ranks"}
"""What must have been asked before each question, in the same run."""

KEPT = ("look", "values", "ranks", "cells")
"""Questions that later ones are held to."""

LABEL_EDGES = 3
"""Edges of a numeric target's labels: quarters of its rows."""

SPARED = (
    *("categories", "atoms", "edges", "cumulative", "low", "high"),
    *("rare", "shares", "states", "missing"),
)
"""What of a column is settled by *ranks*; all else is what *ranks* said."""


def kept(site: Site, run: str, kind: str) -> str | None:
    """The JSON text of a question of this run; None where the site was not asked."""
    try:
        return _file(site, run, kind).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def keep(site: Site, run: str, kind: str, text: str) -> None:
    """Keeps a question for those that follow. Not flushed: it is written again if it is lost."""
    path = _file(site, run, kind)
    write_bytes(path, text.encode(), durable=False, private=True)


def check_question(order: Task, text: str, site: Site, run: str) -> None:
    """Holds a question before training to those before it.

    Args:
        order: The question.
        text: Its JSON.
        site: Who is asked.
        run: In which run.

    Raises:
        RefusedError: It does not follow from them, or they were not asked.
    """
    before = BEFORE.get(order.order)
    if before is None or (isinstance(order, CountHistograms) and order.noise is not None):
        # Counts with noise are of declared columns: nothing was asked to find these.
        return
    known = kept(site, run, before)
    if known is None:
        if isinstance(order, EncodeData) and site.simulated:
            # A resumed simulation starts with empty disks; its plan is the one it had.
            return
        raise RefusedError(
            f"'{order.order}' before '{before}': this site was not asked in this run ({run}) what "
            "has to come first"
        )
    _follows(text, known)
    if isinstance(order, EncodeData) and order.conditions.get("centres"):
        cells = kept(site, run, "cells")
        if cells is None and not site.simulated:
            raise RefusedError("latent clusters that this site never counted")
        if cells is not None:
            _among(text, cells)


def check_claims(claimed: npt.NDArray[np.int64], own: npt.NDArray[np.int64], site: str) -> None:
    """Believes counts over all sites only as far as a site's own allow.

    Args:
        claimed: Rows per cell over all sites, any shape; 0 where the cell was left out.
        own: The site's own, likewise.
        site: Its name.

    Raises:
        RefusedError: The site holds more rows of a cell than all sites are said to.
    """
    more = int(((claimed > 0) & (own > claimed)).sum())
    if more:
        raise RefusedError(
            f"site '{site}' refuses: it holds more rows than all sites are said to, in {more} of "
            f"{claimed.size} cells of group, label and cluster"
        )


def _file(site: Site, run: str, kind: str) -> Path:
    return site.workspace / "asked" / f"{run}-{kind}.json"


@lru_cache(maxsize=16)
def _follows(text: str, before: str) -> None:
    """Holds a question to the one before it; once a process, however many sites are asked."""
    order, asked = from_json(text), from_json(before)
    same("cells that stand for no value", order_missing(order), order_missing(asked))
    same("the form of files", getattr(order, "form", None), getattr(asked, "form", None))
    # The difference of two sums of which one holds other rows out would be those rows'.
    same("rows held out", rows_held_out(order), rows_held_out(asked))
    if isinstance(order, CollectVocabulary) and isinstance(asked, DescribeColumns):
        drafted = order.drafted
        same("columns", drafted.names, asked.columns)
        same("samples", order.samples, asked.samples)
        if strangers := set(order.identifiers) - set(asked.drop):
            raise RefusedError(f"identifiers: {len(strangers)} that the site was never asked about")
    elif isinstance(order, CountHistograms) and isinstance(asked, CollectVocabulary):
        _ranks(order, asked)
    elif isinstance(order, KMeansStep | EncodeData) and isinstance(asked, CountHistograms):
        _narrows(order, asked)
        noised = isinstance(order, EncodeData) and order.noised
        same("noise", noised, asked.noise is not None)
    else:
        raise RefusedError(f"'{order.order}' after '{asked.order}'")


def order_missing(order: Task) -> tuple[str, ...]:
    """Cells that stand for no value in the table, as an order says."""
    return (
        order.missing
        if isinstance(
            order, DescribeColumns | CollectVocabulary | CountHistograms | KMeansStep | EncodeData
        )
        else ()
    )


def rows_held_out(order: Task) -> HeldOut:
    """Which rows an order before training leaves out."""
    if isinstance(order, KMeansStep | EncodeData):
        return HeldOut(order.held_out, order.seed)
    return (
        order.held_out
        if isinstance(order, DescribeColumns | CollectVocabulary | CountHistograms)
        else HeldOut()
    )


def _ranks(order: CountHistograms, asked: CollectVocabulary) -> None:
    """All cells that values of the sensitive features and of the target make, and no others."""
    schema, conditions = Schema.from_json(order.schema), ConditionSpace.from_json(order.conditions)
    drafted = asked.drafted
    same("columns", schema.names, drafted.names)
    same("samples", schema.samples and schema.samples.layout, asked.samples)
    same("constraints", schema.constraints, drafted.constraints)
    for what, field in (("kinds", "kind"), ("forms", "form"), ("columns with strays", "lenient")):
        one, other = ([getattr(c, field) for c in s.counted] for s in (schema, drafted))
        same(what, tuple(one), tuple(other))
    same("hidden columns", *([c.name for c in s.hidden] for s in (schema, drafted)))
    if conditions.centres or conditions.table.any():
        raise RefusedError("'ranks' with counts or clusters, which it is asked for to find")
    if len(set(conditions.sensitive)) < len(conditions.sensitive):
        raise RefusedError("a sensitive feature twice")
    features = [schema[name] for name in conditions.sensitive]
    if any(column.numeric for column in features):
        raise RefusedError("groups by a number: every value of it would be a group of its own")
    if conditions.groups != tuple(product(*map(_states, features))):
        raise RefusedError(
            "groups that are not all cells of the sensitive features' values: a group may not be "
            "made to measure"
        )
    shifts = dict(zip(asked.columns, asked.shifts, strict=bool(asked.shifts)))
    same("labels", conditions.labels, _labels(conditions, schema, shifts))


def _states(column: Column) -> tuple[str, ...]:
    return column.categories + ((MISSING,) if column.missing else ())


def _labels(conditions: ConditionSpace, schema: Schema, shifts: dict[str, int]) -> tuple[str, ...]:
    edges = conditions.label_edges
    if conditions.target is None:
        return ("all",) if not edges else ()
    column = schema[conditions.target]
    if not column.numeric:
        return _states(column) if not edges else ()
    grid = log_edges(shifts.get(conditions.target, 0))
    if len(edges) > LABEL_EDGES or not np.isin(edges, grid).all():
        raise RefusedError(
            f"labels of a number with {len(edges)} edges; expected {LABEL_EDGES} at most, of the "
            "grid that its histogram was asked in"
        )
    bins = tuple(f"bin {b + 1}" for b in range(len(edges) + 1))
    return bins + ((MISSING,) if column.missing else ())


def _narrows(order: KMeansStep | EncodeData, asked: CountHistograms) -> None:
    """Nothing is told apart that *ranks* did not count."""
    schema, wide = Schema.from_json(order.schema), Schema.from_json(asked.schema)
    now, then = (
        ConditionSpace.from_json(order.conditions),
        ConditionSpace.from_json(asked.conditions),
    )
    same("columns", schema.names, wide.names)
    same("samples", schema.samples, wide.samples)
    same("constraints", schema.constraints, wide.constraints)
    same("hidden columns", *([c.name for c in s.hidden] for s in (schema, wide)))
    for column, candidate in zip(schema.counted, wide.counted, strict=True):
        for field in fields(Column):
            if field.name not in SPARED:
                what = f"{field.name} of column '{column.name}'"
                same(what, getattr(column, field.name), getattr(candidate, field.name))
        _among_those("categories of a column", column.categories, candidate.categories)
        # A linear column of a single value has that value for a point mass.
        single = column.scale == "linear" and len(column.atoms) == 1 and not column.edges
        if not single:
            _among_those("point masses of a column", column.atoms, candidate.atoms)
    for name in ("sensitive", "target", "label_edges", "conditioned_on"):
        same(name, getattr(now, name), getattr(then, name))
    _among_those("groups", now.groups, then.groups)
    _among_those("labels", now.labels, then.labels)
    if then.label_edges:
        same("labels", now.labels, then.labels)


@lru_cache(maxsize=4)
def _among(text: str, cells: str) -> None:
    """Holds a plan's latent clusters to those that the site counted rows of."""
    order, asked = from_json(text), from_json(cells)
    assert isinstance(order, EncodeData) and isinstance(asked, KMeansStep)
    _among_those(
        "centres of latent clusters",
        ConditionSpace.from_json(order.conditions).centres,
        ConditionSpace.from_json(asked.conditions).centres,
    )


def same(what: str, sent: object, expected: object) -> None:
    """Raises `RefusedError` where something is not as it was agreed."""
    if sent != expected:
        short = f": {sent}; expected {expected}"
        raise RefusedError(f"other {what} than was agreed{short if len(short) < 200 else ''}")


def _among_those(what: str, sent: tuple[Any, ...], known: tuple[Any, ...]) -> None:
    if strangers := len(set(sent) - set(known)):
        raise RefusedError(f"{what}: {strangers} that the site was never asked about")
