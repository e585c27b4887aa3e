"""A site's policy: what it answers, whatever a server asks. A TOML file at the site.

The node's configuration names the file (`policy="/path/policy.toml"`); it is read again at every
question. A key that is left out holds its default, and without a file all defaults hold. The gate
enforces the policy (`everymode.clients.gate.permission`) before anything is computed.
"""

import re
import tomllib
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from everymode.wgan.errors import SettingsError, suggest

Question = Literal[
    "look",
    "values",
    "ranks",
    "cluster",
    "prepare",
    "moments",
    "profile",
    "feel",
    "train",
    "measure",
    "leaves",
    "audit",
    "recall",
]
"""Names of the messages that a site answers (`everymode.clients.protocol.messages`)."""

LARGEST = 2**20
"""Bytes of a policy file at most."""

COUNT = 10**9

Name = Annotated[str, Field(max_length=4096)]
Count = Annotated[int, Field(ge=0, le=COUNT)]

_PLAN = re.compile(r"[0-9a-f]{16}")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Policy(_Section):
    """The keys of a policy; the defaults are what holds without a file."""

    questions: tuple[Question, ...] | None = Field(
        None, description="questions that are answered; left out: all"
    )
    columns: tuple[Name, ...] | None = Field(
        None, description="columns that a question may be about; left out: all"
    )
    sensitive: tuple[Name, ...] | None = Field(
        None, description="columns that groups may be made of; left out: all"
    )
    min_rows: Count = Field(
        0,
        description="rows of a cell of group and label, category or bin that the site must hold "
        "for it to be counted. The larger of this and `floor` of the node's configuration holds",
    )
    releases_per_run: Count = Field(
        0, description="answers that leave in one run, repeated ones included; 0: any number"
    )
    releases: Count = Field(
        0, description="answers that leave in all, repeated ones included; 0: any number"
    )
    selections: Count = Field(
        0,
        description="different selections of rows that are answered for one state of the table "
        "(rows held out, cells without a value, form of the file, cells of group and label); "
        "0: any number",
    )
    masking: bool = Field(
        False,
        description="whether sums must be masked: `true` refuses every question that does not "
        "come with `secure.summation = 'masked'`",
    )
    noise: bool = Field(
        False,
        description="whether sums must carry noise (differential privacy, [privacy] of the "
        "coordinator): `true` refuses exact ones",
    )
    epsilon: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="the largest epsilon that all runs together may spend of this site, as what "
        "the coordinator sees of it counts (with masks the total over all sites, without them this "
        "site's own sums); exact sums are then refused. Left out: any",
    )
    delta: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="the delta at which `epsilon` is meant",
    )
    plans: Literal["any", "ask"] | tuple[str, ...] = Field(
        "any",
        description="fingerprints of plans that are answered; `any`; or `ask`: each new plan waits "
        "for `everymode site approve`",
    )
    hours: tuple[str, ...] = Field(
        (),
        description="times of the day, of this machine's clock, at which questions are answered, "
        'such as `["20:00-06:00"]`; empty: any',
    )

    @field_validator("questions", "columns", "sensitive", "hours", "plans", mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        """TOML has lists only; a policy is hashable, because a site is."""
        if isinstance(value, str) and info.field_name != "plans":
            raise ValueError(f'expected a list, such as ["{value}"]')
        return tuple(value) if isinstance(value, list) else value

    @field_validator("plans")
    @classmethod
    def _fingerprints(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, tuple) and any(not _PLAN.fullmatch(name) for name in value):
            raise ValueError("expected 'any', 'ask', or fingerprints of 16 hexadecimal digits")
        return value

    @field_validator("hours")
    @classmethod
    def _spans(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for span in value:
            found = _HOURS.fullmatch(span)
            if found is None or found[1] + found[2] == found[3] + found[4]:
                raise ValueError("expected spans such as '20:00-06:00'")
        return value

    def open_at(self, now: datetime) -> bool:
        """Whether questions are answered at a time; the end of a span is not part of it.

        >>> Policy(hours=["20:00-06:00"]).open_at(datetime(2026, 1, 1, 5, 59))
        True
        """
        clock = now.time().replace(tzinfo=None)
        return not self.hours or any(_within(span, clock) for span in self.hours)


DEFAULT = Policy()
"""What holds without a file."""


def _within(span: str, clock: time) -> bool:
    begin, _, end = span.partition("-")
    first, last = time.fromisoformat(begin), time.fromisoformat(end)
    if first < last:
        return first <= clock < last
    return clock >= first or clock < last


def parse_policy(content: bytes, source: str) -> Policy:
    """Reads a policy from the bytes of a TOML file.

    Args:
        content: The file's bytes.
        source: What errors call it.

    Raises:
        SettingsError: All that is wrong with it.
    """
    if len(content) > LARGEST:
        raise SettingsError(f"{source}: larger than {LARGEST:,} bytes; write a policy by hand")
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{source}: not valid TOML: {error}") from None
    try:
        return Policy.model_validate(values)
    except ValidationError as error:
        problems = dict.fromkeys(_explain(found) for found in error.errors(include_url=False))
        raise SettingsError(f"{source}: {'; '.join(problems)}") from None


def load_policy(path: Path) -> Policy:
    """Reads a site's policy.

    Raises:
        SettingsError: It cannot be read, or all that is wrong with it.
    """
    try:
        with path.open("rb") as file:
            return parse_policy(file.read(LARGEST + 1), str(path))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such policy file; name one that is there") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from None


def _explain(error: Any) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"unknown key {key[:80]}; {suggest(key, Policy.model_fields, quote='')}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:300]}"
