"""Whether a site's policy lets it answer a question; asked before anything is computed.

What the policy stops of differencing: `selections` bounds how many different selections of rows a
site answers for one state of its table. Two plans that hold out other rows, take other cells for
missing, read the file in another form or leave out other cells of group and label could differ in
one record, and the difference of their sums would be that record.
"""

import hashlib
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from everymode.clients.gate.announced import (
    NO_MASKS,
    NO_NOISE,
    Problem,
    announced_problems,
    not_answered,
)
from everymode.clients.gate.held import order_missing, rows_held_out
from everymode.clients.gate.ledger import describe_table, open_ledger
from everymode.clients.gate.log import count_releases
from everymode.clients.gate.noise_rules import is_private
from everymode.clients.gate.policy import Policy
from everymode.clients.protocol.announcement import Announcement
from everymode.clients.protocol.messages import EncodeData, Task, to_json
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.refusal import RefusedError, checked_identity
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.portable import lock

APPROVED, WAITING, SELECTIONS = "approved.txt", "waiting", "selections.txt"

NEEDED = ("look", "values", "ranks", "prepare", "train")
"""Questions of every run. A site that does not answer all of them says so at the first."""

MOST_WAITING = 100
"""Plans that are kept for the administrator to look at; a server could send any number."""


def check_permission(
    order: Task,
    plan: str | None,
    run: str,
    site: Site,
    now: datetime | None = None,
    masked: bool = False,
    announced: Announcement | None = None,
) -> None:
    """Refuses a question that the site's policy does not allow, or a run that will ask one.

    Args:
        order: The question; its contents have been checked.
        plan: The plan that it builds on; None before there is one.
        run: The run's name.
        site: Who is asked.
        now: The time; None: of this machine's clock.
        masked: Whether the answer will be masked.
        announced: What the run will ask; None: it says so with another request.

    Raises:
        RefusedError: All keys of the policy that forbid it; keys and question are named.
        StateError: The site's log or its list of selections cannot be read or written.
    """
    policy, kind = site.policy, str(order.order)
    problems = [
        *_questions(policy, order),
        *_columns(policy, order),
        *_protection(policy, masked, is_private(order)),
        *_hours(policy, now or datetime.now()),
        *_releases(policy, run, site),
    ]
    if announced is not None:
        problems += announced_problems(policy, announced, run, site)
    if not problems:
        problems += _plans(policy, order, plan, site)
    if not problems and policy.selections:
        problems += _selections(policy, order, site)
    if problems:
        sentences = (f"policy {key}: '{kind}': {text}" for key, text in problems)
        raise RefusedError(list(dict.fromkeys(sentences)))


def _questions(policy: Policy, order: Task) -> list[Problem]:
    allowed = policy.questions
    if allowed is None:
        return []
    asked = [str(order.order)]
    if isinstance(order, DescribeColumns):
        asked += [name for name in NEEDED if name not in asked]
    if isinstance(order, EncodeData) and order.matching == "moments":
        asked.append("moments")
    return [("questions", not_answered(name)) for name in asked if name not in allowed]


def _columns(policy: Policy, order: Task) -> list[Problem]:
    problems = []
    columns, sensitive = named_columns(order)
    for key, names, allowed, instead in (
        ("columns", columns, policy.columns, "leave them out with data.drop"),
        ("sensitive", sensitive, policy.sensitive, "leave them out of data.sensitive"),
    ):
        if allowed is not None and (others := [n for n in names if n not in allowed]):
            listed = ", ".join(f"'{name[:60]}'" for name in others[:5])
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            problems.append((key, f"columns {listed}{more} are not allowed; {instead}"))
    return problems


def named_columns(order: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a question is about, and those of them that make groups.

    Questions after a plan are held to the plan's columns (`everymode.clients.gate.planned`).
    """
    if isinstance(order, DescribeColumns):
        return order.columns, ()
    if isinstance(order, CollectVocabulary):
        return (*order.drafted.names, *order.identifiers), ()
    if isinstance(order, CountHistograms | KMeansStep | EncodeData):
        schema = Schema.from_json(order.schema)
        conditions = ConditionSpace.from_json(order.conditions)
        codes = (identifier.name for identifier in schema.identifiers)
        return tuple(dict.fromkeys((*schema.names, *codes))), conditions.sensitive
    return (), ()


def _protection(policy: Policy, masked: bool, noised: bool) -> list[Problem]:
    problems = []
    if policy.masking and not masked:
        problems.append(("masking", NO_MASKS))
    if (policy.noise or policy.epsilon is not None) and not noised:
        problems.append(("noise" if policy.noise else "epsilon", NO_NOISE))
    return problems


def _hours(policy: Policy, now: datetime) -> list[Problem]:
    if policy.open_at(now):
        return []
    spans = ", ".join(policy.hours)
    return [("hours", f"this site answers at {spans} of its clock; resume the run then")]


def _releases(policy: Policy, run: str, site: Site) -> list[Problem]:
    problems: list[Problem] = []
    if not (policy.releases or policy.releases_per_run):
        return problems
    of_run, in_all = count_releases(site, run)
    for key, most, count, where in (
        ("releases_per_run", policy.releases_per_run, of_run, "in this run"),
        ("releases", policy.releases, in_all, "in all"),
    ):
        if most and count >= most:
            problems.append((key, f"{most:,} answers have left this site {where}, and no more may"))
    return problems


def _plans(policy: Policy, order: Task, plan: str | None, site: Site) -> list[Problem]:
    name = fingerprint(order) if isinstance(order, EncodeData) else plan
    if name is None or policy.plans == "any" or name in policy.plans:
        return []
    if policy.plans != "ask":
        return [("plans", f"plan {name} is not one that this site answers")]
    if name in approved_plans(site.workspace):
        return []
    if isinstance(order, EncodeData):
        folder = site.workspace / WAITING
        if not folder.is_dir() or len(os.listdir(folder)) < MOST_WAITING:
            write_bytes(folder / f"{name}.json", to_json(order).encode(), private=True)
    return [
        (
            "plans",
            f"plan {name} waits for this site's administrator (everymode site approve "
            f"WORKSPACE {name}); resume the run once it is approved",
        )
    ]


def approved_plans(workspace: Path) -> set[str]:
    """Fingerprints that the administrator approved.

    Raises:
        StateError: The file is there and cannot be read.
    """
    path = workspace / APPROVED
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror or error}") from error
    return {line.partition(" ")[0] for line in lines}


def waiting_plans(workspace: Path) -> list[str]:
    """Fingerprints of plans that were refused until they are approved, newest last."""
    folder = workspace / WAITING
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [path.stem for path in found if path.stem not in approved_plans(workspace)]


def approve_plan(workspace: Path, name: str) -> bool:
    """Approves a plan of this fingerprint; whether it was not approved before.

    Raises:
        RefusedError: It is no fingerprint.
        StateError: The workspace cannot be written to.
    """
    checked_identity(name, "the plan's name")
    if name in approved_plans(workspace):
        return False
    _add_line(workspace / APPROVED, f"{name} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
    return True


def describe_selection(order: Task) -> list[tuple[str, str]]:
    """What decides which rows an answer rests on, each with its name; none after a plan."""
    if not isinstance(
        order, DescribeColumns | CollectVocabulary | CountHistograms | KMeansStep | EncodeData
    ):
        return []
    held = rows_held_out(order)
    rows = [held.share, held.seed if held.share else 0]
    found = [("rows", _digest([rows, list(order_missing(order)), asdict(order.form)]))]
    if isinstance(order, EncodeData):
        conditions = ConditionSpace.from_json(order.conditions)
        # Which strata take part; latent clusters part rows without leaving any out.
        strata = conditions.table.reshape(len(conditions.groups), len(conditions.labels), -1).sum(
            -1
        )
        cells = [
            [list(group), label]
            for group, counts in zip(conditions.groups, strata.tolist(), strict=True)
            for label, rows_of_cell in zip(conditions.labels, counts, strict=True)
            if rows_of_cell
        ]
        kinds = [list(conditions.sensitive), conditions.target, list(conditions.label_edges)]
        constraints = order.schema.get("constraints", [])
        found.append(("cells", _digest([rows, kinds, cells, constraints])))
    return found


def _selections(policy: Policy, order: Task, site: Site) -> list[Problem]:
    path, table = site.workspace / SELECTIONS, describe_table(site)
    for what, digest in describe_selection(order):
        line = f"{table} {what} {digest}"
        try:
            lines = path.read_text(encoding="ascii", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise StateError(f"cannot read {path}: {error.strerror or error}") from error
        if line in lines:
            continue
        before = {known for known in lines if known.startswith(f"{table} {what} ")}
        if len(before) >= policy.selections:
            which = (
                "rows held out, cells without a value or form of the file"
                if what == "rows"
                else "cells of group and label that take part"
            )
            return [
                (
                    "selections",
                    f"other {which} (data.held_out, seed, data.missing, data.floor) than in the "
                    f"{len(before)} selections of rows answered for this table: the difference of "
                    "two answers would be that of their rows; ask with the same",
                )
            ]
        _add_line(path, line + "\n")
    return []


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _add_line(path: Path, line: str) -> None:
    handle = open_ledger(path)
    try:
        lock(handle)
        if os.write(handle, line.encode()) != len(line):
            raise StateError(f"{path}: the disk is full; free space at the site")
        os.fsync(handle)
    finally:
        os.close(handle)
