"""Limits of an audit: the keys of `[audit]` and of `everymode audit --set`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_serializer, model_validator

from everymode.fairness.audit.metrics import METRICS, Metric


class Limits(BaseModel):
    """A limit a metric; "off" leaves a check out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _off(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: None if value == "off" else value for key, value in values.items()}

    @model_serializer(mode="wrap", when_used="json")
    def _write_off(self, plain: Any) -> dict[str, Any]:
        return {key: "off" if value is None else value for key, value in plain(self).items()}


def build_thresholds(metrics: Sequence[Metric]) -> type[Limits]:
    """A model with a key for every metric that has a limit, in their order."""
    fields: dict[str, Any] = {}
    for metric in metrics:
        if (limit := metric.limit) is not None:
            kind: Any = int | None if limit.whole else float | None
            bounds: dict[str, Any] = dict(limit.bounds)
            fields[metric.name] = (
                kind,
                Field(limit.default, description=limit.description, **bounds),
            )
    return create_model(
        "Thresholds",
        __base__=Limits,
        __module__=__name__,
        __doc__='Limits of the audit; "off" leaves a check out.',
        **fields,
    )


if TYPE_CHECKING:

    class Thresholds(Limits):
        """Limits of the audit; the keys are the table's."""

        def __init__(self, **limits: float | None) -> None:
            """A limit a key; None leaves the check out."""

else:
    Thresholds = build_thresholds(METRICS)
