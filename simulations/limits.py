"""Limits of checks from options `--set KEY=VALUE`, for audits and attacks."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from everymode.wgan.errors import SettingsError

Limits = TypeVar("Limits", bound=BaseModel)


def parse_limits(
    kind: type[Limits], overrides: Iterable[str], base: Mapping[str, Any] | None = None
) -> Limits:
    """Limits from `KEY=VALUE` over those of a file; every wrong one is told of at once.

    Args:
        kind: Which limits.
        overrides: The options; `KEY=off` takes a limit away.
        base: Values that hold unless an option says otherwise.

    Raises:
        SettingsError: What is wrong.
    """
    values: dict[str, Any] = dict(base or {})
    problems = []
    for item in overrides:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in kind.model_fields:
            known = ", ".join(kind.model_fields)
            problems.append(f"--set {item}: expected KEY=VALUE with one of {known}")
        values[key] = None if value == "off" else value
    if problems:
        raise SettingsError(problems)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            [f"--set {e['loc'][0]}={e['input']}: {e['msg']}, or 'off'" for e in error.errors()]
        ) from None
