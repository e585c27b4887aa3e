"""The plan of a private run, shown on a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from everymode.server.config.files import load
from everymode.server.config.privacy_plan import PrivacyPlan, count_sites, plan_privacy
from everymode.server.config.settings import Settings
from everymode.server.outputs.terminal import Terminal, say
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError, SettingsError
from everymode.wgan.words import json_text


def print_plan(
    config: str,
    overrides: Sequence[str],
    sites: int | None,
    rows: int | None,
    counts: Path | None,
    as_json: bool = False,
) -> bool:
    """Prints the plan of a configuration; returns whether the run would not be refused.

    Raises:
        SettingsError: The configuration is wrong, or has no budget.
        DataError: The counts cannot be read.
    """
    settings = load(config, overrides)
    sites = sites or count_sites(settings)
    if sites is None:
        raise SettingsError(
            f"{config}: how many sites there are is known from their tables alone; write --sites N"
        )
    known = None if counts is None else read_counts(counts, settings)
    plan = plan_privacy(settings, sites, known, rows)
    if as_json:
        for line in json_text(plan.to_json(), indent=2).splitlines():
            say(line)
    else:
        _show(plan)
    return not plan.problems


def read_counts(path: Path, settings: Settings) -> dict[tuple[str, ...], int]:
    """Rows by the values of the sensitive features and of the target.

    Raises:
        DataError: A column is missing, or a number of rows is none.
    """
    frame = read_table(path)
    data = settings.data
    names = [*data.sensitive, *([data.target] if data.target else [])]
    if lacking := [name for name in (*names, "rows") if name not in frame.columns]:
        raise DataError(
            f"{path}: no column {', '.join(map(repr, lacking))}; expected "
            f"{', '.join(map(repr, (*names, 'rows')))}"
        )
    found: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(frame.to_dict("records"), 2):
        text = str(row["rows"])
        if not text.isdigit():
            raise DataError(f"{path}, line {number}, column 'rows': {text!r} is no number of rows")
        key = tuple(str(row[str(name)]) for name in names)
        found[key] = found.get(key, 0) + int(text)
    return found


def _show(plan: PrivacyPlan) -> None:
    table = Table("part", "share", "epsilon alone", "sensitivity", "noise", "needs")
    for part in plan.parts:
        table.add_row(
            part.part,
            f"{part.share:.0%}",
            f"{part.epsilon:.3g}",
            f"{part.sensitivity:.3g}",
            f"{part.deviation:,.3g} rows",
            f"{part.survives:,} rows",
        )
    Terminal().print(table)
    for part in plan.parts:
        say(f"{part.part}: {part.question}; {part.why}; {part.mechanism}")
    say(
        f"all together: epsilon {plan.epsilon:g}, delta {plan.delta:g} ({plan.rho:.3g} zCDP), "
        "against whoever sees sums over all sites, the generator or the table"
    )
    say(
        f"against the server, which sees each site's sums with a share of the noise (1 of "
        f"{plan.adders}): epsilon {plan.site_epsilon:.3g}; privacy.trusted_sites = 1 has every "
        "site add all of it"
    )
    if plan.too_small is None:
        say("which groups survive is not known beforehand: give --counts FILE")
    elif plan.too_small:
        small = ", ".join(f"{name} ({n:,} rows)" for name, n in plan.too_small.items())
        say(f"too small for this noise, and matched with all rows alone: {small}")
    else:
        say("every group and label is large enough for this noise")
    for problem in plan.problems:
        say(f"refused: {problem}")
