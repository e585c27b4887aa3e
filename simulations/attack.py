"""Attacks a synthetic table, to see whether rows trained on are found, for `everymode attack`."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from everymode.fairness.attacks.findings import ALL, Attacks, MembershipFinding
from everymode.fairness.attacks.limits import AttackEffort, AttackLimits
from everymode.fairness.attacks.suite import Critic, attack
from everymode.fairness.audit.copies import Copies
from everymode.fairness.audit.pooled import GROUPS, prepared
from everymode.fairness.audit.tables import Tables
from everymode.fairness.groups.strata import keys
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.report.attack_report import headline, write_attacks
from everymode.server.config.files import load
from everymode.server.config.settings import settings_digest
from everymode.server.evaluation.critic import load_critic
from everymode.server.outputs.privacy_file import read_claim
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal, assembled, named, say, told
from everymode.simulations.audit import UNDECIDED, find_marks, find_tables, modelled, read_tables
from everymode.simulations.limits import parse_limits
from everymode.simulations.options import joined_names
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.spreadsheets import guessed_marks, table_read_back
from everymode.wgan.errors import DataError, SettingsError, suggest
from everymode.wgan.words import brief

STYLES = {"pass": "green", "fail": "bold red", "insufficient": "yellow"}

DELTA = 1e-5
"""Delta of a promise, where neither the run nor an option says another."""

SHOWN = 8
"""Successful attacks that the terminal lists; the page has them all."""


@dataclass(frozen=True)
class Sources:
    """Where the tables of an attack are, and what is known of them.

    Attributes:
        members: The rows trained on.
        nonmembers: Others.
        synthetic: The synthetic rows.
        sensitive: The sensitive features.
        schema: The columns as a run has agreed on them; None: read off the rows.
        missing: What stands for a missing value in the real tables.
        form: How they are written.
        marks: Columns and headers of the synthetic table with apostrophes; None: not known.
        seed: Of what is drawn.
        critic: The run's critic; None: there is none.
        notes: Why there is none.
        claim: Epsilon and delta that the run guarantees; None: it guarantees none.
    """

    members: Path
    nonmembers: Path
    synthetic: Path
    sensitive: tuple[str, ...]
    schema: Schema | None = None
    missing: tuple[str, ...] = MISSING
    form: FileForm = RECOGNISED
    marks: tuple[list[str], list[str]] | None = None
    seed: int = 0
    critic: Critic | None = None
    notes: tuple[str, ...] = ()
    claim: tuple[float, float] | None = None


def attack_table(
    run: Path | None,
    *,
    members: Path | None,
    nonmembers: Path | None,
    synthetic: Path | None,
    out: Path | None,
    sensitive: list[str],
    secret: list[str],
    drop: list[str],
    overrides: list[str],
    claimed_epsilon: float | None,
    delta: float | None,
    minimum: int,
    rows: int,
    seed: int | None,
    quiet: bool,
) -> int:
    """Attacks a table, writes `attack.json` and `attack.html`, and prints a summary.

    What the arguments mean: `everymode.simulations.commands.attack`.

    Returns:
        0 where no attack succeeds, 1 where one does, 3 where none does but there were too few rows
        to judge membership by.

    Raises:
        EveryModeError: Tables or options that cannot be used as they are.
    """
    limits = parse_limits(AttackLimits, overrides)
    if claimed_epsilon is not None and claimed_epsilon <= 0:
        raise SettingsError(f"--claimed-epsilon {claimed_epsilon:g}: expected more than 0")
    if delta is not None and not 0 <= delta < 1:
        raise SettingsError(f"--delta {delta:g}: expected at least 0 and less than 1, say 1e-5")
    out = out or (run / "attack" if run is not None else Path("attack"))
    if out.is_file():
        raise SettingsError(f"--out {out}: is a file; name a folder")
    found_in = sources(run, members, nonmembers, synthetic, sensitive)
    promised, at = found_in.claim or (None, DELTA)
    claimed_epsilon = promised if claimed_epsilon is None else claimed_epsilon
    delta = at if delta is None else delta
    console = Terminal(stderr=True, quiet=quiet)
    with console.status("reading tables") as status:
        tables, notes = read(found_in, secret, drop)
        assert tables.holdout is not None
        found = attack(
            tables.schema,
            tables.real,
            tables.holdout,
            tables.synthetic,
            sensitive_features=found_in.sensitive,
            secrets=secret or None,
            critic=found_in.critic,
            limits=limits,
            effort=AttackEffort(rows=rows, minimum=minimum),
            claimed_epsilon=claimed_epsilon,
            delta=delta,
            seed=found_in.seed if seed is None else seed,
            names=(str(found_in.members), str(found_in.nonmembers), str(found_in.synthetic)),
            notes=(*found_in.notes, *notes),
            progress=lambda text: status.update(told(f"attacking: {text}")),
        )
    written = write_attacks(found, out)
    if not quiet:
        show(found, Terminal())
        say("wrote " + ", ".join(map(str, written)))
    return {"fail": 1, "pass": 0, "insufficient": UNDECIDED}[found.verdict]


def sources(
    run: Path | None,
    members: Path | None,
    nonmembers: Path | None,
    synthetic: Path | None,
    sensitive: list[str],
) -> Sources:
    """The tables of a run, unless others are named.

    Raises:
        SettingsError: A table is not named, or there is no finished run.
    """
    if run is None:
        named_tables = {
            "--members": members,
            "--nonmembers": nonmembers,
            "--synthetic": synthetic,
        }
        lacking = [option for option, path in named_tables.items() if path is None]
        if lacking:
            raise SettingsError(
                f"name a run directory, everymode attack RUN, or a file with {option} FILE"
                for option in lacking
            )
        assert members is not None and nonmembers is not None and synthetic is not None
        return Sources(members, nonmembers, synthetic, tuple(sensitive))
    folder = RunFolder(run)
    if (run / "synthetic.npz").exists():
        raise SettingsError(f"{run}: its sites hold samples, and attacks are on rows of a table")
    if not folder.config.exists() or not (synthetic or folder.synthetic).exists():
        raise SettingsError(
            f"{run}: no finished run there (config.toml and synthetic.csv); let it finish with: "
            f"{folder.resume}"
        )
    settings = load(folder.config, [])
    members, nonmembers = find_tables(settings, members, nonmembers, "--members")
    if nonmembers is None:
        raise SettingsError(
            f"{run}: its configuration names no held-out rows (data.holdout); name real rows that "
            "were not trained on with --nonmembers FILE"
        )
    schema = Schema.from_json(folder.read_plan()[0].schema)
    critic, why = (None, "another table is attacked")
    if synthetic is None:
        critic, why = load_critic(folder, settings_digest(settings))
    return Sources(
        members,
        nonmembers,
        synthetic or folder.synthetic,
        tuple(sensitive or settings.data.sensitive),
        schema,
        settings.data.missing,
        settings.data.form,
        None if synthetic is not None else find_marks(folder),
        settings.seed,
        critic,
        (f"the critic's score is not attacked: {why}",) if critic is None else (),
        # Of another table the run has promised nothing.
        read_claim(run) if synthetic is None else None,
    )


def read(found_in: Sources, secret: list[str], drop: list[str]) -> tuple[Tables, tuple[str, ...]]:
    """The three tables, parsed, and what was changed in them.

    Raises:
        DataError: They cannot be compared, or the non-members are members.
        SettingsError: An option names a column that there is not.
    """
    paths = (found_in.members, found_in.synthetic, found_in.nonmembers)
    frames = read_tables(*paths, found_in.missing, found_in.form)
    columns, headers = found_in.marks or guessed_marks(frames[1], frames[0])
    if columns or headers:
        frames[1] = table_read_back(frames[1], columns, headers)
    frames = [modelled(frame, found_in.schema) for frame in frames]
    _check_names(frames[0], found_in.sensitive, secret, drop)
    tables, notes = prepared(
        frames[0],
        frames[1],
        frames[2],
        found_in.schema,
        None,
        tuple(drop),
        found_in.sensitive,
        tuple(map(str, paths)),
    )
    if overlap := Copies.of(tables).overlap:
        raise DataError(f"--nonmembers {found_in.nonmembers}: {overlap}")
    count = keys(tables.real, tables.schema, found_in.sensitive, "").nunique()
    if count > GROUPS:
        raise DataError(
            f"sensitive features {', '.join(found_in.sensitive)}: {count:,} groups are more than "
            f"{GROUPS}; group their values first, or name fewer features"
        )
    return tables, notes


def _check_names(
    frame: pd.DataFrame, sensitive: tuple[str, ...], secret: list[str], drop: list[str]
) -> None:
    options = {"--sensitive": [*sensitive], "--secret": secret, "--drop": drop}
    known = [str(name) for name in frame.columns]
    joined = joined_names(options, known)
    problems = list(joined.values())
    for option in ("--sensitive", "--secret"):
        for name in options[option]:
            if name not in known and (option, name) not in joined:
                hint = suggest(name, known, "")
                problems.append(
                    f"{option} {name}: the rows trained on have no such column"
                    f"{'; ' + hint if hint else ''}"
                )
            elif name in drop:
                problems.append(f"{option} {name}: is left out by --drop; name it in one of them")
    if problems:
        raise SettingsError(problems)


def show(found: Attacks, console: Console) -> None:
    """Membership by group, other attacks, what succeeds and the verdict, for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, title="membership", title_justify="left")
    table.add_column("group", overflow="fold")
    table.add_column("attack", no_wrap=True)
    for heading in ("rows", "AUC", "95 %", "found at .01"):
        table.add_column(heading, justify="right", no_wrap=True)
    before: tuple[str, tuple[str, ...]] | None = None
    for one in sorted_by_group(found):
        group = (one.group, one.features)
        cells = [f"{min(one.members, one.nonmembers):,}", _number(one.auc.value)]
        cells += [_ends(one.auc), _number(one.tpr.get("0.01", Estimate()).value)]
        if one.state == "insufficient" and one.features:
            cells = [cells[0], "too few", "", ""]
        table.add_row(named("" if group == before else one.group), one.attack, *cells)
        before = group
    console.print(table)
    table = Table(box=box.SIMPLE_HEAD, title="other attacks, all rows", title_justify="left")
    table.add_column("attack", max_width=12)
    table.add_column("on", min_width=14, overflow="fold")
    for heading in ("rate", "control", "baseline", "risk", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    last = ""
    for rate in found.rates:
        if rate.group == ALL and not rate.features:
            figures = (rate.rate, rate.control, rate.baseline)
            shown = [_number(figure.value) for figure in figures]
            risk = (_number(rate.risk.value), _ends(rate.risk))
            attack = "" if rate.attack == last else rate.attack
            table.add_row(attack, named(rate.subject), *shown, *risk)
            last = rate.attack
    console.print(table)
    failed = [check for check in found.checks if check.verdict == "fail"]
    for check in failed[:SHOWN]:
        said = f" {brief(check.subject)}: {check.message}"
        console.print(assembled(("succeeds ", STYLES["fail"]), (check.name, "bold"), said))
    if len(failed) > SHOWN:
        console.print(f"and {len(failed) - SHOWN} more")
    console.print(told(headline(found), STYLES[found.verdict]))
    for note in found.notes:
        console.print(told(f"note: {note}"))


def sorted_by_group(found: Attacks) -> list[MembershipFinding]:
    """Membership findings group after group, all attacks of a group together."""
    groups = list(dict.fromkeys((one.group, one.features) for one in found.membership))
    place = {group: i for i, group in enumerate(groups)}
    return sorted(found.membership, key=lambda one: place[one.group, one.features])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ends(found: Estimate) -> str:
    known = found.low is not None and found.high is not None
    return f"{found.low:.2f}-{found.high:.2f}" if known else ""
