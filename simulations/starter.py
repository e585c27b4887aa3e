"""`everymode init`: looks at a table and writes a configuration for it."""

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from everymode.clients.parsed import counted, parsed
from everymode.clients.protocol.sketch import BYTES, CAPACITY, LARGEST_SKETCH, capacity
from everymode.clients.site import sites_in
from everymode.server.config.files import commented, parse, resolve
from everymode.server.config.sections import SplitSettings
from everymode.server.config.settings import Settings
from everymode.server.outputs.leftovers import Scratch
from everymode.server.outputs.terminal import named, told
from everymode.server.schema.agreement import Agreement, check_names
from everymode.server.schema.cells import LABEL_CLASSES, SENSITIVE_VALUES
from everymode.server.schema.drafts import ALIKE
from everymode.server.schema.table_spec import TableSpec
from everymode.server.simulated_sites import check_count
from everymode.server.trial import trial_site, try_agreement
from everymode.simulations.options import joined_names
from everymode.simulations.proposals import propose_constraints
from everymode.wgan.data.constraints import Constraint
from everymode.wgan.data.database_source import anchored, is_database, parse_source
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.frame import is_delimited, read_headers
from everymode.wgan.data.identifiers import find_patterns, pattern_problem
from everymode.wgan.data.readings import Reading, read_counts
from everymode.wgan.data.schema import Column
from everymode.wgan.data.threads import in_threads
from everymode.wgan.data.values import count_cells, count_values, describe, parse_distinct
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.words import visible

CODES = "identifier: new codes are made"

FLOOR = TableSpec().floor

PATTERNED = 4
"""Patterns of a column of codes; what has more is text."""

YEARS = 1600, 2100
"""Whole numbers in this range that count up are years of a time series, rather than codes."""

SHOWN = 8
"""Columns that an error lists."""

LOOKED_AT = 50
"""Headers that are compared with their cells."""

ALL_DIFFER = 100
"""Whole numbers of which more than so many never repeat may be identifiers, rarely by chance."""


def start_configuration(
    file: str | Path,
    sensitive: tuple[str, ...],
    target: str | None,
    output: Path,
    force: bool,
    missing: tuple[str, ...] = (),
    form: FileForm = RECOGNISED,
) -> tuple[Table, tuple[str, ...]]:
    """Writes a commented configuration that runs, and returns a table of what was seen and notes.

    Columns without values and text or identifiers go to `data.drop`.

    Args:
        file: A table, a folder of sites' tables, or a table in a database.
        sensitive: The sensitive features.
        target: The column to be predicted.
        output: The file to write.
        force: Whether to replace it.
        missing: What stands for no value beside what usually does.
        form: How CSV and TSV are declared to be written.

    Raises:
        DataError: The table cannot be read, or lacks a named column.
        SettingsError: What was named makes no configuration that could be run.
        StateError: `output` exists and `force` is not given.
    """
    if output.exists() and not force:
        raise StateError(f"-o {output}: exists; name another file or replace it with --force")
    with Scratch() as work:
        content, seen, notes = _looked(str(file), sensitive, target, output, missing, form, work)
    write_bytes(output, content)
    return seen, notes


def source_path(file: str) -> Path:
    """Where the rows of a table lie: of one in a database in a copy."""
    return resolve(file) if is_database(file) else Path(file)


def _looked(
    given: str,
    sensitive: tuple[str, ...],
    target: str | None,
    output: Path,
    missing: tuple[str, ...],
    form: FileForm,
    work: Path,
) -> tuple[bytes, Table, tuple[str, ...]]:
    """The configuration, what was seen, and notes."""
    file, database = source_path(given), is_database(given)
    title = str(parse_source(given)) if database else given
    gaps = (*MISSING, *(m for m in missing if m not in MISSING))
    site = None
    if file.is_dir():
        frame = pd.concat([s.frame(gaps, form) for s in sites_in(file, work)], ignore_index=True)
    else:
        # By the headers alone: to read cells of thousands of columns takes a while.
        check_count(len(read_headers(file, form)), title)
        # Parsed once: the trial below takes the same rows.
        site = trial_site(resolve(str(file)), work)
        frame = parsed(site, gaps, form)
    check_count(len(frame.columns), title)
    _check_columns([str(name) for name in frame.columns], sensitive, target)
    seen = Table(title=told(f"{title}: {len(frame):,} rows"), title_justify="left")
    for heading in ("column", "kind", "missing", "distinct", "use"):
        seen.add_column(heading, justify="right" if heading in ("missing", "distinct") else "left")
    dropped: list[str] = []
    codes: list[str] = []
    looks: dict[str, tuple[str, int]] = {}
    readings: dict[str, Reading] = {}
    uses: dict[str, str] = {}

    def look(name: str) -> tuple[Reading, str, int, str]:
        alone = count_cells(frame[name]) if site is None else counted(site, name, gaps, form)
        found = read_counts(alone)
        return found, *_look(frame[name], found)

    for name, alone in zip(frame.columns, in_threads(look, frame.columns), strict=True):
        readings[name], kind, distinct, use = alone
        if name in sensitive:
            use = "sensitive feature"
        elif name == target:
            use = "target"
        elif use.startswith("dropped"):
            dropped.append(name)
        elif use == CODES:
            codes.append(name)
        gaps_share = f"{frame[name].isna().mean():.1%}"
        seen.add_row(named(name), kind, gaps_share, f"{distinct:,}", use)
        looks[name] = kind.partition(" ")[0], distinct
        uses[name] = use
    modelled = [n for n in frame.columns if n not in dropped and n not in codes]
    if not modelled:
        raise DataError(_nothing_left(title, uses))
    _check_use(looks, sensitive, target)
    if database:
        path = anchored(given, Path.cwd())
    else:
        path = os.path.relpath(file.resolve(), output.resolve().parent)
    data: dict[str, Any] = {
        "path": path,
        "sensitive": sensitive,
        "target": target,
        "drop": tuple(dropped),
    }
    if missing:
        data["missing"] = gaps
    # What is not declared is written as it is by default.
    data |= asdict(form)
    if codes:
        data["columns"] = {name: {"kind": "id"} for name in codes}
    usual = SplitSettings()
    sites = min(usual.sites, max(1, len(frame) // usual.minimum))
    # Without groups and labels there is nothing that a Dirichlet distribution could spread.
    split = {"by": usual.by if sensitive or target else "iid", "sites": sites}
    if len(frame) < usual.minimum:
        split["minimum"] = len(frame)
    values = {"data": data, "split": split}
    proposed = _propose(frame[modelled], readings, sensitive, target)
    settings, agreed = _agreed(values, proposed, file, work)
    whose = title if database else file.name
    head = (
        f"# Configuration for {visible(whose)}, written by everymode init.\n"
        "# Relative paths are relative to this file. Run: everymode simulate "
        f"{visible(shlex.quote(output.name))}\n\n"
    )
    notes = (*_listed(settings.data.constraints), *agreed.notes)
    if form.header and is_delimited(file) and _looks_like_row(frame, readings):
        notes = (f"{title}: {_ROW}", *notes)
    return (head + commented(settings)).encode(), seen, notes


def _nothing_left(title: str, uses: Mapping[str, str]) -> str:
    """That a table has no column to model, and what each one is, in a sentence."""
    shown = [f"'{name}': {use.removeprefix('dropped: ')}" for name, use in uses.items()]
    more = f"; and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    name = next(iter(uses), "")
    blanks = len(uses) == 1 and len(name.split()) > 1
    return (
        f"{title}: no column is left to model ({'; '.join(shown[:SHOWN])}{more}); expected at "
        "least one of numbers or dates, or of values that repeat"
        f"{_BLANKS if blanks else ''}"
    )


_ROW = "its first line looks like a row, not like headers; if it is one, use --no-header"


def _looks_like_row(frame: pd.DataFrame, readings: Mapping[str, Reading]) -> bool:
    """Whether most headers read like the cells below them: `F` in a column of `F` and `M`.

    Whole numbers alone say nothing: they are names of years, or of questions.
    """
    like, telling, names = 0, False, frame.columns[:LOOKED_AT]
    for name in names:
        kind = readings[name].kind
        if kind in ("category", "boolean"):
            fits, tells = name in count_values(frame[name]), True
        else:
            own = describe(pd.Series([name], dtype=object)).kind
            fits = own == kind or {own, kind} == {"integer", "float"}
            tells = own != "integer"
        like += fits
        telling = telling or (fits and tells)
    return telling and 2 * like >= len(names)


_BLANKS = "; if blanks separate its cells, say so with --separator ' '"


def _check_columns(known: list[str], sensitive: tuple[str, ...], target: str | None) -> None:
    """Raises `DataError` where columns are named that are not there, all of them at once."""
    options = {"--sensitive": sensitive, "--target": (target,) if target else ()}
    joined = joined_names(options, known)
    problems = list(joined.values())
    spec = TableSpec(
        sensitive=tuple(n for n in sensitive if ("--sensitive", n) not in joined),
        target=target if ("--target", target) not in joined else None,
    )
    try:
        check_names(known, spec)
    except DataError as error:
        problems += error.problems
    if problems:
        raise DataError(problems)


def _propose(
    frame: pd.DataFrame,
    readings: Mapping[str, Reading],
    sensitive: tuple[str, ...],
    target: str | None,
) -> tuple[Constraint, ...]:
    """Constraints that every row of the modelled columns fulfils."""
    columns = []
    for name in frame.columns:
        found = readings[name]
        kind = found.kind or "category"
        if name in sensitive and kind != "boolean":
            kind = "category"
        decimals = found.decimals if kind == "float" else 0
        columns.append(
            Column(str(name), kind, missing=found.missing, decimals=decimals, form=found.form)
        )
        if found.strays:
            columns[-1] = replace(columns[-1], lenient=True)
    fixed = (*sensitive, *([target] if target and target not in sensitive else []))
    # What does not parse is said by the agreement, with what helps.
    with contextlib.suppress(DataError):
        return propose_constraints(frame, columns, fixed, TableSpec().floor)
    return ()


def _agreed(
    values: dict[str, Any], proposed: tuple[Constraint, ...], file: Path, work: Path
) -> tuple[Settings, Agreement]:
    """The settings with what is proposed, unless a run would refuse just that."""
    plain = parse(values, str(file))
    if proposed:
        settings = plain.model_copy(
            update={"data": plain.data.model_copy(update={"constraints": proposed})}
        )
        with contextlib.suppress(DataError):
            return settings, try_agreement(placed(settings, file), work)
        # What a site was asked in one folder it is not asked again.
        work = work / "again"
        work.mkdir()
    return plain, try_agreement(placed(plain, file), work)


def _listed(constraints: tuple[Constraint, ...]) -> list[str]:
    """What is said of constraints that were found."""
    if not constraints:
        return []
    shown = "; ".join(constraint.words for constraint in constraints)
    count = len(constraints)
    return [
        f"every row fulfils {'this constraint' if count == 1 else f'these {count} constraints'}, "
        f"and every synthetic row will: {shown}. Take a [[data.constraints]] that holds by chance "
        "out of the configuration"
    ]


def placed(settings: Settings, file: Path) -> Settings:
    """The settings with the file's own path: that of the configuration is relative to its file."""
    data = settings.data.model_copy(update={"path": str(file)})
    return settings.model_copy(update={"data": data})


def _look(series: "pd.Series[Any]", found: Reading) -> tuple[str, int, str]:
    """Kind, distinct values and use of a column, as one reads it alone."""
    if found.kind is None:
        return "none", 0, "dropped: no values"
    kind, shown = found.kind, f"{found.kind} {found.form}".rstrip()
    if kind in ("category", "boolean"):
        distinct, use = _look_at_texts(count_values(series), kind, len(series))
        if use.startswith("dropped") and found.alike >= ALIKE:
            use += f"; {found.alike:.0%} of its cells look like numbers or dates"
        return shown, distinct, use
    column = Column(str(series.name), kind, form=found.form, lenient=found.readable)
    numbers, rows = parse_distinct(series, column, "")
    distinct, size = len(numbers), int(rows.sum())
    counts_up = kind == "integer" and size and numbers[-1] - numbers[0] == distinct - 1
    unique = distinct == size > 20
    if counts_up and unique and YEARS[0] <= numbers[0] <= numbers[-1] <= YEARS[1]:
        return shown, distinct, "modelled as years; an identifier? drop it"
    if counts_up and unique:
        return shown, distinct, CODES
    if kind == "integer" and distinct == size > ALL_DIFFER:
        return shown, distinct, "modelled; an identifier? drop it"
    return shown, distinct, "modelled"


def _look_at_texts(values: Mapping[str, int], kind: str, size: int) -> tuple[int, str]:
    """Distinct values and use of a column of texts, each with its rows, in a table of `size`."""
    distinct, present = len(values), sum(values.values())
    if kind == "boolean":
        return distinct, "modelled"
    if distinct > capacity(LARGEST_SKETCH):
        return distinct, "dropped: text or identifier"
    if max(len(v.encode()) for v in values) > BYTES:
        return distinct, "dropped: long text"
    often = max(values.values())
    if distinct == present > 20 and _patterned(list(values)):
        return distinct, CODES
    if distinct > CAPACITY and often < FLOOR:
        return distinct, "dropped: text or identifier"
    if distinct > 0.9 * size > 20:
        return distinct, "dropped: identifier"
    if often < min(FLOOR, present):
        return distinct, f"dropped: no value in {FLOOR} rows"
    return distinct, "modelled"


def _patterned(codes: list[str]) -> bool:
    """Whether codes have so few patterns that new ones can be made."""
    patterns = find_patterns(codes)
    fitting = [p for p in patterns if pattern_problem(p) is None]
    return len(fitting) <= PATTERNED and sum(patterns[p] for p in fitting) >= 0.99 * len(codes)


def _check_use(
    looks: dict[str, tuple[str, int]], sensitive: tuple[str, ...], target: str | None
) -> None:
    """Raises `DataError` where `simulate` would refuse what is asked for."""
    problems = []
    for name in sensitive:
        kind, distinct = looks[name]
        if kind == "datetime" or distinct > SENSITIVE_VALUES:
            problems.append(
                f"--sensitive {name}: holds {distinct:,} different values of kind {kind}, and each "
                "would be a group of its own; add a column of bands (age 18-29, 30-44, ...) to "
                "the table and name that one"
            )
    if target and looks[target][0] == "category" and looks[target][1] > LABEL_CLASSES:
        problems.append(
            f"--target {target}: has {looks[target][1]:,} classes, more than {LABEL_CLASSES}; "
            "name another column or none"
        )
    named = (*sensitive, *([target] if target else []))
    problems += [
        f"column '{n}' has no values; name another one" for n in named if looks[n][0] == "none"
    ]
    if problems:
        raise DataError(problems)
