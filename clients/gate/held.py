"""What a server names is held to what the site was asked before, and to its own rows.

*Look*, *values* and *ranks* are asked in this order, about the same columns. *Ranks* counts cells
of all groups and labels that the columns' values make, and of no others. *Prepare* and *cluster*
narrow what *ranks* asked about: they leave out groups, labels, categories and point masses, and add
none. What comes after a plan has the plan's numbers. A site remembers its questions on its own
disk.
"""

from dataclasses import fields
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter

from clients import training
from clients.gate import limits
from clients.gate.balls import check_book
from clients.gate.refusal import RefusedError, readable
from clients.orders import (
    Audit,
    Feel,
    Measure,
    Moments,
    Order,
    Prepare,
    Profile,
    Recall,
    Tensors,
    Train,
    from_json,
)
from clients.plan import plan_of
from clients.profile import widths
from clients.questions import Cluster, HeldOut, Look, Ranks, Values
from clients.site import Site
from clients.sketch import log_edges
from fairness.codebook import Codebook
from fairness.groups import MISSING, Conditions
from fairness.marginals import Marginals
from fairness.suppression import of_text
from wgan.data.codec import TableCodec
from wgan.data.schema import Column, Schema
from wgan.errors import SettingsError, StateError
from wgan.recipe import Recipe
from wgan.shape import Shape
from wgan.state import write_bytes

BEFORE = {"values": "look", "ranks": "values", "cluster": "ranks", "prepare": "ranks"}
"""What must have been asked before each question, in the same run."""

KEPT = ("look", "values", "ranks", "cells")
"""Questions that later ones are held to."""

LABEL_EDGES = 3
"""Edges of a numeric target's labels: quarters of its rows."""

SPARED = ("categories", "atoms", "edges", "cumulative", "low", "high")
"""What of a column is settled by *ranks*; all else is what *ranks* said."""

_CONDITIONS: TypeAdapter[Conditions] = TypeAdapter(Conditions)
_SCHEMA: TypeAdapter[Schema] = TypeAdapter(Schema)
_JSON: TypeAdapter[Any] = TypeAdapter(Any)


def check_contents(order: Order) -> None:
    """Reads what an order describes, and refuses sizes and numbers beyond all limits.

    Raises:
        RefusedError: It cannot be read, is too large, or does not fit together.
    """
    if isinstance(order, Ranks | Cluster | Prepare):
        schema, conditions = _read(order.schema, order.conditions)
        problems = limits.check_schema(schema) + limits.check_conditions(conditions)
        columns = {*conditions.sensitive, *([conditions.target] if conditions.target else [])}
        if strangers := columns - set(schema.names):
            problems.append(f"groups or labels of {len(strangers)} columns that are none")
        if problems:
            raise RefusedError(problems[:5])
        if isinstance(order, Prepare):
            _check_networks(order, schema, conditions)
        if not isinstance(order, Ranks):
            width = TableCodec(schema.without(conditions.given)).width
            if any(len(centre) != width for centre in conditions.centres):
                raise RefusedError(f"centres of other lengths than {width}")
            if len(set(conditions.centres)) < len(conditions.centres):
                raise RefusedError("a centre twice")
    if isinstance(order, Audit):
        with readable("'marginals'"):
            marginals = Marginals.from_json(order.marginals)
            found = limits.check_marginals(marginals)
        if found:
            raise RefusedError(found[:5])


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


def check_question(order: Order, text: str, site: Site, run: str) -> None:
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
    if before is None:
        return
    known = kept(site, run, before)
    if known is None:
        if isinstance(order, Prepare) and site.simulated:
            # A resumed simulation starts with empty disks; its plan is the one it had.
            return
        raise RefusedError(
            f"'{order.order}' before '{before}': this site was not asked in this run ({run}) what "
            "has to come first"
        )
    _follows(text, known)
    if isinstance(order, Prepare) and order.conditions.get("centres"):
        cells = kept(site, run, "cells")
        if cells is None and not site.simulated:
            raise RefusedError("latent clusters that this site never counted")
        if cells is not None:
            _among(text, cells)


def check_plan(order: Order, plan_text: str, tensors: Tensors) -> None:
    """Holds a request after `Prepare` to the plan.

    Args:
        order: What is asked.
        plan_text: The JSON of the `Prepare` that the site was prepared with.
        tensors: The arrays that all sites get.

    Raises:
        RefusedError: Its numbers are not those of the plan.
    """
    plan = plan_of(plan_text)
    groups, width = len(plan.conditions.groups), plan.shape.width
    match order:
        case Look() | Values() | Ranks() | Cluster() | Prepare():
            return
        case Moments():
            shape = of_text(order.published).shape
            wide = width + plan.binning.width + plan.conditions.width
            _same("levels and coordinates", shape, (plan.conditions.width + 1, wide))
        case Profile():
            bins = sum(widths(plan.shape.blocks))
            _same("cells and bins", (order.cells, order.bins), (plan.conditions.table.size, bins))
        case Feel():
            _same("groups", order.groups, groups)
        case Train():
            _train(order, plan_text)
        case Measure():
            _train(order.train, plan_text)
        case Audit():
            _same("groups", order.groups, groups)
            prepared = from_json(plan_text)
            assert isinstance(prepared, Prepare)
            _same("cells that stand for no value", order.missing, prepared.missing)
            _marginals(Marginals.from_json(order.marginals), plan.schema)
        case Recall():
            _same("groups", len(order.sizes), groups)
            _same("held_out", order.held_out, plan.held_out > 0)
            book = Codebook.of_tensors(tensors, order.sizes)
            check_book(book, plan.shape.blocks, width, order.cells)
        case _:
            assert_never(order)


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


def _read(schema: dict[str, Any], conditions: dict[str, Any]) -> tuple[Schema, Conditions]:
    """Both, with every value of the type that it should have."""
    with readable("'schema' or 'conditions'"):
        _SCHEMA.validate_json(_JSON.dump_json(schema), strict=True)
        _CONDITIONS.validate_json(_JSON.dump_json(conditions), strict=True)
        return Schema.from_json(schema), Conditions.from_json(conditions)


def _check_networks(order: Prepare, schema: Schema, conditions: Conditions) -> None:
    """Refuses a recipe whose networks would be too large, without making them."""
    with readable("'recipe'"):
        if len(order.recipe) > limits.RECIPE:
            raise RefusedError(
                f"a recipe of {len(order.recipe):,} characters, more than {limits.RECIPE:,}"
            )
        problems = limits.check_recipe(_JSON.validate_json(order.recipe))
    if problems:
        raise RefusedError(problems)
    codec = TableCodec(schema.without(conditions.given))
    shape = Shape(codec.blocks, codec.width, conditions.width)
    try:
        recipe = Recipe.from_json(order.recipe)
        recipe.check(shape)
    except (SettingsError, StateError) as error:
        raise RefusedError(error.problems) from None
    packed = shape.packed(recipe.pack)
    # On this device tensors have shapes and no memory.
    with torch.device("meta"):
        networks = {
            "generator": recipe.generator.build(shape),
            "critic": recipe.critic.build(packed),
        }
    for name, network in networks.items():
        if (size := sum(p.numel() for p in network.parameters())) > limits.PARAMETERS:
            raise RefusedError(f"a {name} of {size:,} parameters, more than {limits.PARAMETERS:,}")
    if len(order.mass) != len(conditions.groups):
        raise RefusedError(f"{len(order.mass)} masses for {len(conditions.groups)} groups")


@lru_cache(maxsize=16)
def _follows(text: str, before: str) -> None:
    """Holds a question to the one before it; once a process, however many sites are asked."""
    order, asked = from_json(text), from_json(before)
    _same("cells that stand for no value", order_missing(order), order_missing(asked))
    # The difference of two sums of which one holds other rows out would be those rows'.
    _same("rows held out", rows_held_out(order), rows_held_out(asked))
    if isinstance(order, Values) and isinstance(asked, Look):
        _same("columns", order.columns, asked.columns)
    elif isinstance(order, Ranks) and isinstance(asked, Values):
        _ranks(order, asked)
    elif isinstance(order, Cluster | Prepare) and isinstance(asked, Ranks):
        _narrows(order, asked)
    else:
        raise RefusedError(f"'{order.order}' after '{asked.order}'")


def order_missing(order: Order) -> tuple[str, ...]:
    """Cells that stand for no value in the table, as an order says."""
    return order.missing if isinstance(order, Look | Values | Ranks | Cluster | Prepare) else ()


def rows_held_out(order: Order) -> HeldOut:
    """Which rows an order before training leaves out."""
    if isinstance(order, Cluster | Prepare):
        return HeldOut(order.held_out, order.seed)
    return order.held_out if isinstance(order, Look | Values | Ranks) else HeldOut()


def _ranks(order: Ranks, asked: Values) -> None:
    """All cells that values of the sensitive features and of the target make, and no others."""
    schema, conditions = Schema.from_json(order.schema), Conditions.from_json(order.conditions)
    _same("columns", schema.names, asked.columns)
    _same("kinds", tuple(c.kind for c in schema.columns), asked.kinds)
    _same("forms of dates", tuple(c.form for c in schema.columns), asked.forms)
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
    _same("labels", conditions.labels, _labels(conditions, schema))


def _states(column: Column) -> tuple[str, ...]:
    return column.categories + ((MISSING,) if column.missing else ())


def _labels(conditions: Conditions, schema: Schema) -> tuple[str, ...]:
    edges = conditions.label_edges
    if conditions.target is None:
        return ("all",) if not edges else ()
    column = schema[conditions.target]
    if not column.numeric:
        return _states(column) if not edges else ()
    if len(edges) > LABEL_EDGES or not np.isin(edges, log_edges()).all():
        raise RefusedError(
            f"labels of a number with {len(edges)} edges; expected {LABEL_EDGES} at most, of the "
            "grid that its histogram was asked in"
        )
    bins = tuple(f"bin {b + 1}" for b in range(len(edges) + 1))
    return bins + ((MISSING,) if column.missing else ())


def _narrows(order: Cluster | Prepare, asked: Ranks) -> None:
    """Nothing is told apart that *ranks* did not count."""
    schema, wide = Schema.from_json(order.schema), Schema.from_json(asked.schema)
    now, then = Conditions.from_json(order.conditions), Conditions.from_json(asked.conditions)
    _same("columns", schema.names, wide.names)
    for column, candidate in zip(schema.columns, wide.columns, strict=True):
        for field in fields(Column):
            if field.name not in SPARED:
                what = f"{field.name} of column '{column.name}'"
                _same(what, getattr(column, field.name), getattr(candidate, field.name))
        _among_those("categories of a column", column.categories, candidate.categories)
        # A linear column of a single value has that value for a point mass.
        single = column.scale == "linear" and len(column.atoms) == 1 and not column.edges
        if not single:
            _among_those("point masses of a column", column.atoms, candidate.atoms)
    for name in ("sensitive", "target", "label_edges", "told"):
        _same(name, getattr(now, name), getattr(then, name))
    _among_those("groups", now.groups, then.groups)
    _among_those("labels", now.labels, then.labels)
    if then.label_edges:
        _same("labels", now.labels, then.labels)


@lru_cache(maxsize=4)
def _among(text: str, cells: str) -> None:
    """Holds a plan's latent clusters to those that the site counted rows of."""
    order, asked = from_json(text), from_json(cells)
    assert isinstance(order, Prepare) and isinstance(asked, Cluster)
    _among_those(
        "centres of latent clusters",
        Conditions.from_json(order.conditions).centres,
        Conditions.from_json(asked.conditions).centres,
    )


def _train(order: Train, plan_text: str) -> None:
    plan = plan_of(plan_text)
    groups = len(plan.conditions.groups)
    _same("groups", order.groups, groups)
    if order.mass:
        _same("masses", len(order.mass), groups)
    turn = -(-order.critic_steps // max(order.generator_steps, 1))
    numbers = turn * max(order.batch, order.minimum) * max(plan.shape.width, 1)
    if numbers > limits.SUMS:
        raise RefusedError(f"{numbers:,} numbers drawn at once, more than {limits.SUMS:,}")
    players = training.resident(plan_text, order.device)
    _same("sizes", order.sizes, (len(players.generator.vector), len(players.critic.vector)))
    _same("buffers", order.buffers, len(players.critic.buffers))


def _marginals(marginals: Marginals, schema: Schema) -> None:
    """The plan's columns and categories; points of numbers are the synthetic rows'."""
    _same("columns", tuple(c.name for c in marginals.columns), schema.names)
    for bins, column in zip(marginals.columns, schema.columns, strict=True):
        fold = str.lower if column.kind == "boolean" else str
        wanted = () if column.numeric else tuple(map(fold, column.categories))
        _same(
            f"kind, form and categories of column '{column.name}'",
            (bins.kind, bins.form if column.numeric else "", bins.categories),
            (column.kind, column.form if column.numeric else "", wanted),
        )
        if not column.numeric and bins.points:
            raise RefusedError(f"points of column '{column.name}', which holds no numbers")


def _same(what: str, sent: object, expected: object) -> None:
    if sent != expected:
        short = f": {sent}; expected {expected}"
        raise RefusedError(f"other {what} than was agreed{short if len(short) < 200 else ''}")


def _among_those(what: str, sent: tuple[Any, ...], known: tuple[Any, ...]) -> None:
    if strangers := len(set(sent) - set(known)):
        raise RefusedError(f"{what}: {strangers} that the site was never asked about")
