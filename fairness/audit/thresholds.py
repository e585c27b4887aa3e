"""Limits of an audit: the keys of `[audit]` and of `everymode audit --set`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator


class Thresholds(BaseModel):
    """Limits of the audit; "off" leaves a check out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _off(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: None if value == "off" else value for key, value in values.items()}

    @model_serializer(mode="wrap", when_used="json")
    def _told(self, plain: Any) -> dict[str, Any]:
        return {key: "off" if value is None else value for key, value in plain(self).items()}

    coverage_group_min: float | None = Field(
        0.7, ge=0, description="least standardised coverage of every group"
    )
    coverage_difference: float | None = Field(
        0.3, ge=0, description="most that standardised coverage differs between a level's groups"
    )
    recall_group_min: float | None = Field(
        0.7, ge=0, description="least standardised recall of every group"
    )
    precision: float | None = Field(
        0.6, ge=0, le=1, description="least share of a group's rows that look like real ones"
    )
    share_ratio: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="least ratio of a group's shares, real and synthetic, either way",
    )
    tv: float | None = Field(
        0.1, ge=0, description="most mean total variation of a group's categories, less noise"
    )
    ks: float | None = Field(
        0.1, ge=0, description="most mean Kolmogorov-Smirnov distance of its numbers, less noise"
    )
    pairwise: float | None = Field(
        0.1, ge=0, description="most that a column's ties to the others may change, less noise"
    )
    modes: float | None = Field(
        0.9, ge=0, le=1, description="least share of a group's modes that are covered"
    )
    missing_categories: int | None = Field(
        0, ge=0, description="most categories of a group that are never made"
    )
    unseen_categories: float | None = Field(
        0.0, ge=0, le=1, description="most rows with a category that no real row of the table has"
    )
    invented_groups: float | None = Field(
        0.0, ge=0, le=1, description="most rows of a group that no real row is in"
    )
    copied: float | None = Field(
        0.01, ge=0, le=1, description="most copies of real rows, beyond held-out rows' own"
    )
    copied_held_out: float | None = Field(
        0.01, ge=0, le=1, description="most copies of held-out rows, beyond real rows' own"
    )
    closer_to_training: float | None = Field(
        0.55, ge=0.5, le=1, description="most rows nearer to real rows trained on than to held-out"
    )
    closer_to_held_out: float | None = Field(
        0.55, ge=0.5, le=1, description="most rows nearer to held-out rows than to those trained on"
    )
    auc_ratio: float | None = Field(
        0.95, ge=0, le=1, description="least AUC of a model trained on synthetic rows, over real"
    )
    base_rate_difference: float | None = Field(
        0.05, ge=0, description="most that the target's rates differ beyond the real rows' own gap"
    )
    demographic_parity_difference: float | None = Field(
        0.05,
        ge=0,
        description="most that a model's selection rates differ beyond the same model's "
        "trained on real rows",
    )
    equalized_odds_difference: float | None = Field(
        0.1, ge=0, description="the same of its true and false positive rates"
    )
