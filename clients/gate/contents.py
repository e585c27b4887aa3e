"""What an order describes: schema, conditions, networks, bins; read strictly, within all limits."""

import math
from typing import Any

import torch
from pydantic import TypeAdapter

from everymode.clients.gate import sizes
from everymode.clients.protocol import limits
from everymode.clients.protocol.messages import CountMarginals, EncodeData, Task
from everymode.clients.protocol.refusal import RefusedError, readable
from everymode.clients.protocol.schema_messages import CountHistograms, KMeansStep
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.recipe import Recipe

_CONDITIONS: TypeAdapter[ConditionSpace] = TypeAdapter(ConditionSpace)
_SCHEMA: TypeAdapter[Schema] = TypeAdapter(Schema)
_JSON: TypeAdapter[Any] = TypeAdapter(Any)


def check_contents(order: Task) -> None:
    """Reads what an order describes, and refuses sizes and numbers beyond all limits.

    Raises:
        RefusedError: It cannot be read, is too large, or does not fit together.
    """
    if isinstance(order, CountHistograms | KMeansStep | EncodeData):
        schema, conditions = _read(order.schema, order.conditions)
        problems = sizes.check_schema(schema) + sizes.check_conditions(conditions)
        columns = {*conditions.sensitive, *([conditions.target] if conditions.target else [])}
        if strangers := columns - set(schema.names):
            problems.append(f"groups or labels of {len(strangers)} columns that are none")
        if schema.samples and set(schema.names) - columns:
            problems.append("columns of arrays that are neither sensitive features nor the target")
        if problems:
            raise RefusedError(problems[:5])
        if isinstance(order, EncodeData):
            _check_networks(order, schema, conditions)
        if not isinstance(order, CountHistograms):
            width = conditions.codec(schema).width
            if any(len(centre) != width for centre in conditions.centres):
                raise RefusedError(f"centres of other lengths than {width}")
            if len(set(conditions.centres)) < len(conditions.centres):
                raise RefusedError("a centre twice")
    if isinstance(order, CountMarginals):
        with readable("'marginals'"):
            marginals = Marginals.from_json(order.marginals)
            found = sizes.check_marginals(marginals)
        if found:
            raise RefusedError(found[:5])


def _read(schema: dict[str, Any], conditions: dict[str, Any]) -> tuple[Schema, ConditionSpace]:
    """Both, with every value of the type that it should have."""
    with readable("'schema' or 'conditions'"):
        _SCHEMA.validate_json(_JSON.dump_json(schema), strict=True)
        _CONDITIONS.validate_json(_JSON.dump_json(conditions), strict=True)
        try:
            return Schema.from_json(schema), ConditionSpace.from_json(conditions)
        except SettingsError as error:
            raise RefusedError(error.problems) from None


def _check_networks(order: EncodeData, schema: Schema, conditions: ConditionSpace) -> None:
    """Refuses a recipe whose networks would be too large, without making them."""
    with readable("'recipe'"):
        if len(order.recipe) > limits.RECIPE:
            raise RefusedError(
                f"a recipe of {len(order.recipe):,} characters, more than {limits.RECIPE:,}"
            )
        problems = _recipe(_JSON.validate_json(order.recipe))
    if problems:
        raise RefusedError(problems)
    shape = conditions.codec(schema).shape(conditions.width)
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


def _recipe(value: Any) -> list[str]:
    """What is wrong with the sizes in a recipe, read from its JSON."""
    problems: list[str] = []

    def walk(part: Any, place: str, depth: int) -> None:
        if depth > 12:
            problems.append(f"recipe{place} is nested too deeply")
        elif isinstance(part, dict):
            for name, inner in part.items():
                walk(inner, f"{place}.{name}", depth + 1)
        elif isinstance(part, list):
            problems.extend(sizes.within(f"length of recipe{place}", len(part), 0, limits.LAYERS))
            for inner in part:
                walk(inner, place, depth + 1)
        elif isinstance(part, int) and not place.endswith(".seed"):
            problems.extend(sizes.within(f"recipe{place}", part, -1, limits.UNITS))
        elif isinstance(part, float) and not math.isfinite(part):
            problems.append(f"recipe{place} is not finite")

    walk(value, "", 0)
    if isinstance(value, dict) and isinstance(value.get("pack"), int):
        problems += sizes.within("recipe.pack", value["pack"], 1, limits.PACK)
    return problems[:3]
