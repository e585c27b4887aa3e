"""What the commands of `everymode site` do."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from everymode.clients.database_copy import locate_table
from everymode.clients.gate.log import NAME, read_head, verify_log
from everymode.clients.gate.permission import WAITING, approve_plan, waiting_plans
from everymode.clients.gate.policy import DEFAULT, Policy, load_policy
from everymode.clients.gate.spending import read_spent
from everymode.clients.protocol.accounting import compute_epsilon
from everymode.clients.protocol.messages import EncodeData, Request
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.server.config.files import load
from everymode.server.config.settings import Settings
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal, say
from everymode.server.session import Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.formats import split_sheet
from everymode.wgan.errors import DataError, EveryModeError, SettingsError, StateError
from everymode.wgan.files import make_folder
from everymode.wgan.words import brief

EXAMPLES = 3
"""Entries of an answer that a preview shows."""

NO_ROWS = ("sites", "group_sites", "taking", "magnitude", "distinct")
"""Fields of an answer that count no rows."""


def show_log(workspace: Path, as_json: bool) -> bool:
    """Prints the log of a workspace and whether its chain holds; returns that.

    Raises:
        StateError: There is none, or it cannot be read.
    """
    path = workspace / NAME
    try:
        found = verify_log(path.read_bytes(), read_head(path))
    except FileNotFoundError:
        inside = sorted(p.parent.name for p in workspace.glob(f"*/{NAME}"))
        hint = f"; name one of its sites: {', '.join(inside[:5])}" if inside else ""
        raise StateError(f"{path}: no such log; nothing has left this site{hint}") from None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror or error}") from error
    if as_json:
        value = {
            "entries": found.entries,
            "intact": found.broken is None,
            "broken": found.broken,
            "reason": found.reason,
            "cut": bool(found.fragments),
            "last": found.last,
        }
        say(json.dumps(value))
        return found.broken is None
    table = Table("#", "time", "run", "plan", "question", "round", "rows", "numbers", "mechanism")
    for entry in found.entries:
        shapes = [*entry["fields"].values(), *entry["per_site"].values()]
        numbers = sum(_size(shape) for shape in shapes)
        rows = "-" if entry["rows"] is None else f"{entry['rows']:,}"
        table.add_row(
            *(str(entry["number"]), entry["time"], entry["run"], entry["plan"] or "-"),
            *(entry["question"], str(entry["round"] or "-"), rows, f"{numbers:,}"),
            "masked" if entry["masked"] else entry["mechanism"],
        )
    Terminal().print(table)
    if found.fragments:
        say("a crash cut the last line short; what it stands for never left this site")
    if found.broken is None:
        say(f"{len(found.entries):,} lines, chain intact; last hash {found.last}")
        return True
    say(f"line {found.broken} {found.reason}; the lines before it are intact")
    return False


def show_spent(workspace: Path, delta: float, as_json: bool) -> None:
    """Prints what answers with noise have spent of a site's privacy, over all runs.

    Raises:
        SettingsError: delta is no probability.
        StateError: There is no such workspace, or its ledger cannot be read.
    """
    if not 0 < delta < 1:
        raise SettingsError(f"--delta {delta:g}: expected more than 0 and less than 1, say 1e-5")
    if not workspace.is_dir():
        raise StateError(f"{workspace}: no such folder; name the site's workspace")
    spent = read_spent(workspace)
    total = math.fsum(each.rho for each in spent)
    epsilon = compute_epsilon(total, delta)
    if as_json:
        answers = [asdict(each) for each in spent]
        say(json.dumps({"answers": answers, "rho": total, "delta": delta, "epsilon": epsilon}))
        return
    table = Table("run or plan", "question", "rho", "epsilon alone", "masked")
    for each in spent:
        alone = f"{compute_epsilon(each.rho, delta):.3g}"
        table.add_row(
            each.scope, each.task, f"{each.rho:.3g}", alone, "yes" if each.masked else "no"
        )
    Terminal().print(table)
    say(
        f"{len(spent):,} answers with noise; together epsilon {epsilon:.3g} at a delta of "
        f"{delta:g}, of what coordinators saw"
    )


def _size(shape: Any) -> int:
    """Numbers of an array; a line whose hash holds may still name nonsense."""
    whole = isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    return int(np.prod(shape, dtype=object)) if whole else 0


def approve_or_list(workspace: Path, name: str | None) -> None:
    """Approves a plan, or lists those that wait.

    Raises:
        EveryModeError: No such workspace, or no fingerprint.
    """
    if not workspace.is_dir():
        raise StateError(f"{workspace}: no such folder; name the site's workspace")
    if name is None:
        waiting = waiting_plans(workspace)
        for plan in waiting:
            say(f"{plan}: {workspace / WAITING / plan}.json")
        say(f"{len(waiting)} plans wait" if waiting else "no plan waits")
        return
    new = approve_plan(workspace, name)
    say(f"plan {name} is approved{'' if new else ' already'}")


def check_policy(file: Path, as_json: bool) -> None:
    """Reads a policy and prints what holds.

    Raises:
        SettingsError: All that is wrong with it.
    """
    policy = load_policy(file)
    values = policy.model_dump(mode="json")
    if as_json:
        say(json.dumps(values))
        return
    for key, value in values.items():
        default = "" if key in policy.model_fields_set else " (default)"
        shown = "all" if value is None else json.dumps(value)
        say(f"{key} = {shown}{default}")
    if policy.masking:
        say("note: masking = true refuses questions without secure.summation = 'masked'")
    if policy.noise:
        say("note: noise = true refuses questions without noise ([privacy] epsilon)")


@dataclass
class _Preview:
    """An exchange with one site that keeps what would have left it."""

    inner: InProcess
    answers: list[dict[str, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, request: Request) -> SiteSums:
        sums = self.inner(request)
        self.answers.append(_described(request, sums))
        return sums


def show_preview(
    config: str, data: str, policy: Path | None, floor: int, overrides: list[str], as_json: bool
) -> bool:
    """Prints what would leave a site; whether its policy lets all of it pass.

    Raises:
        EveryModeError: Configuration, policy or table cannot be used.
    """
    rules = DEFAULT if policy is None else load_policy(policy)
    # One site alone waits for nobody.
    with tempfile.TemporaryDirectory(prefix="everymode-preview-") as folder:
        table = locate_table(data, Path(folder) / "copy", True)
        # A coordinator's file may name sites and columns; the preview asks this table alone.
        alone = ["deployment.sites=[]", "deployment.columns=[]", "train.rounds=1"]
        asked = load(config, overrides)
        if asked.secure.summation == "masked":
            # What the site itself computes is shown, before masks hide it.
            alone += ["secure.summation=none", "federation.sums_only=false"]
            rules = rules.model_copy(update={"masking": False})
        settings = load(config, [*overrides, *alone, f"data.path={json.dumps(str(table))}"])
        answers, refusal = _ask(settings, table, rules, floor, Path(folder))
    if as_json:
        say(json.dumps({"answers": answers, "refused": refusal}))
        return not refusal
    shown = Table("question", "rows", "numbers", "smallest count", "examples")
    for answer in answers:
        least, rows = answer["smallest_count"], answer["rows"]
        shown.add_row(
            answer["question"],
            "-" if rows is None else f"{rows:,}",
            f"{answer['numbers']:,}",
            "-" if least is None else f"{least:,}",
            ", ".join(f"{name} {value:g}" for name, value in answer["examples"]),
        )
    Terminal().print(shown)
    say(f"'train' is asked {asked.train.rounds:,} times (train.rounds); here it was asked once")
    for problem in refusal:
        say(f"refused: {problem}")
    say("nothing was sent")
    return not refusal


def _ask(
    settings: Settings, data: Path, policy: Policy, floor: int, folder: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """What one site would answer in a run of one round, and what it refuses."""
    file = split_sheet(data)[0]
    if not file.is_file():
        raise DataError(f"{data}: no such table; name the site's file")
    tables = folder / "tables"
    make_folder(tables, private=True)
    os.symlink(file.resolve(), tables / file.name)
    settings = settings.model_copy(
        update={"data": settings.data.model_copy(update={"path": str(tables)})}
    )
    run = RunFolder(folder / "run")
    run.create(settings)
    made = create_simulated_sites(settings, folder / "sites")
    # Whether a plan may be answered, and when, is for the run itself.
    applied = policy.model_copy(
        update={"plans": "any", "hours": (), "releases": 0, "releases_per_run": 0}
    )
    least = max(floor, policy.min_rows)
    site: Site = replace(made.sites[0], simulated=False, durable=False, floor=least, policy=applied)
    preview = _Preview(InProcess([site]))
    refusal: list[str] = []
    session = Session(
        settings=settings,
        folder=run,
        exchange=preview,
        columns=made.columns,
        samples=made.samples,
        form=made.form,
    )
    try:
        session()
    except EveryModeError as error:
        refusal = [p for p in error.problems if " refuses: " in p]
        if not refusal:
            raise
    return _with_rows(preview.answers, site), refusal


def _described(request: Request, sums: SiteSums) -> dict[str, Any]:
    """What a person wants to know of an answer."""
    layout, order = sums.layout, request.order
    counted = (f for f in layout.fields if not (f.bits or f.wrapping))
    counts = [sums.units(f.name) for f in counted if f.name.partition(".")[0] not in NO_ROWS]
    positive = [int(c[c > 0].min()) for c in counts if (c > 0).any()]
    return {
        "question": order.order,
        "plan": fingerprint(order) if isinstance(order, EncodeData) else None,
        "rows": None,
        "numbers": layout.size + sum(f.size for f in layout.per_site),
        "smallest_count": min(positive) if positive else None,
        "examples": list(_examples(sums)),
    }


def _examples(sums: SiteSums) -> Iterator[tuple[str, float]]:
    """The first entry that is not 0 of each of the first fields."""
    found = 0
    for described in sums.layout.fields:
        if described.wrapping or found == EXAMPLES:
            continue
        values = sums[described.name].reshape(-1)
        if (places := np.flatnonzero(values)).size:
            found += 1
            yield f"{brief(described.name)}[{places[0]}]", float(values[places[0]])


def _with_rows(answers: list[dict[str, Any]], site: Site) -> list[dict[str, Any]]:
    """The answers with the rows that the site's own log names, line by line."""
    path = site.workspace / NAME
    entries = verify_log(path.read_bytes(), read_head(path)).entries if path.exists() else ()
    return [
        {**answer, "rows": entry["rows"]} for answer, entry in zip(answers, entries, strict=False)
    ]
