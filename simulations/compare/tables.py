"""The comparison as a table: on the console, and as `compare.md`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import told
from everymode.simulations.compare.results import COVERAGE, UNEQUAL
from everymode.wgan.words import brief, line

STYLES = {"best": "bold green", "tie": "green"}
GAP = 3
"""Characters between columns on the console."""

_MARKS = frozenset("\\|*_`[]<>&$~")
_FIRST = re.compile(r"\A([0-9]*)([-+#=.)])")

LACKING = "\N{DAGGER}"
"""Marks a worst group's coverage beside which a group could not be judged."""


def shown(report: Mapping[str, Any], width: int) -> list[Table]:
    """The main figures, a strategy a row; several tables where `width` characters are too few."""
    titles = [_title(row) for row in report["strategies"]]
    tables: list[list[tuple[Mapping[str, Any], int]]] = []
    left = 0
    for figure in report["figures"]:
        texts = [_head(figure), *(_cell(row, figure["key"]) for row in report["strategies"])]
        # A column is as wide as its longest word; a spread goes below its mean.
        need = max(len(word) for text in texts for word in text.split())
        if not tables or left < need + GAP:
            tables.append([])
            left = width - GAP - max(map(len, titles))
        left -= need + GAP
        tables[-1].append((figure, need))
    title = f"{report['config']}, {_seeds(report)}: mean (standard deviation)"
    return [_table(report, columns, "" if i else title) for i, columns in enumerate(tables)]


def _table(
    report: Mapping[str, Any], columns: Sequence[tuple[Mapping[str, Any], int]], title: str
) -> Table:
    table = Table(title=told(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    for figure, need in columns:
        table.add_column(_head(figure), justify="right", min_width=need)
    for row in report["strategies"]:
        keys = [figure["key"] for figure, _ in columns]
        cells = [told(_cell(row, key), STYLES.get(_mark(row, key), "")) for key in keys]
        table.add_row(told(_title(row)), *cells)
    return table


def notes(report: Mapping[str, Any]) -> list[str]:
    """What has to be said beside the table."""
    return [*_legend(report), *report["notes"], *_troubles(report)]


def page(report: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The comparison as Markdown, with its pictures beside it.

    Args:
        report: What `compare.json` holds.
        pictures: Names of the pictures that were drawn.
    """
    data = report["data"]
    lines = [
        f"# {_plain(report['config'])}: {len(report['strategies'])} strategies, {_seeds(report)}",
        "",
        f"Data: {_plain(data['path'])}"
        + (f", {data['rows']:,} rows, {len(data['groups'])} groups" if "rows" in data else "")
        + (f"; coverage of {data['coverage_reference']}" if data.get("coverage_reference") else "")
        + ".",
        f"{budget_line(report['budget'])}",
        "",
        "Mean (standard deviation over seeds).",
        "",
        *_markdown(report, "figures"),
        "",
        *(f"- {_plain(note)}" for note in notes(report)),
        "",
        "## Budgets",
        "",
        "| strategy | exchanges | generator steps | critic rows | of the first |",
        "|---|---:|---:|---:|---:|",
        *map(_budget_row, report["strategies"]),
        "",
    ]
    if any("to_pooled" in row for row in report["strategies"]):
        lines += [
            "## As a multiple of pooled",
            "",
            "Seed by seed: runs of one seed share the data.",
            "",
            *_markdown(report, "to_pooled"),
            "",
        ]
    lines += ["## Strategies", "", *map(_about, report["strategies"]), ""]
    lines += [line for name in pictures for line in (f"![{name}]({name})", "")]
    return "\n".join(lines)


def budget_line(budget: Mapping[str, int]) -> str:
    """What every strategy may spend, in words."""
    return (
        f"Budget of every run: {budget['exchanges']:,} exchanges, "
        f"{budget['generator_steps']:,} generator steps, {budget['critic_steps']:,} critic steps, "
        f"{budget['critic_rows']:,} critic rows."
    )


def _markdown(report: Mapping[str, Any], part: str) -> Iterator[str]:
    figures = report["figures"]
    if not figures:
        return
    yield f"| strategy | {' | '.join(_head(figure) for figure in figures)} |"
    yield f"|---|{'---:|' * len(figures)}"
    for row in report["strategies"]:
        cells = [
            f"**{text}**" if _mark(row, figure["key"], part) == "best" else text
            for figure in figures
            for text in (_cell(row, figure["key"], part),)
        ]
        yield f"| {_plain(_title(row))} | {' | '.join(cells)} |"


def _head(figure: Mapping[str, Any]) -> str:
    arrow = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}
    return f"{figure['title']}{arrow[figure['higher_is_better']]}"


def _cell(row: Mapping[str, Any], key: str, part: str = "figures") -> str:
    value = row[part].get(key) or {"n": 0}
    if not value["n"]:
        return _fate(row) if key == COVERAGE else "-"
    digits = _digits(value["mean"])
    text = f"{value['mean']:,.{digits}f}"
    if value["std"] is not None:
        text += f" ({value['std']:,.{digits}f})"
    if value["n"] < len(row["runs"]):
        text += f" n={value['n']}"
    text += "=" if _mark(row, key, part) == "tie" else ""
    lacking = part == "figures" and key == COVERAGE and row["insufficient"]
    return text + (LACKING if lacking else "")


def _fate(row: Mapping[str, Any]) -> str:
    """Why a strategy has no figures, in the first column."""
    ended = {run["status"]: run["round"] for run in reversed(row["runs"])}
    for status in ("diverged", "failed"):
        if status in ended:
            return f"{status} at round {ended[status]}"
    return "-"


def _title(row: Mapping[str, Any]) -> str:
    budget = row["budget"]
    return f"{row['title']} ({budget['factor']:.2f}x rows)" if budget["unequal"] else row["title"]


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3


def _mark(row: Mapping[str, Any], key: str, part: str = "figures") -> str:
    return (row[part].get(key) or {}).get("mark") or ""


def _seeds(report: Mapping[str, Any]) -> str:
    seeds = report["seeds"]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _legend(report: Mapping[str, Any]) -> Iterator[str]:
    marked = {_mark(row, f["key"]) for row in report["strategies"] for f in report["figures"]}
    if "best" in marked:
        yield (
            "bold: best of the federated strategies (pooled, local only and CART are bounds); "
            "=: within one spread of it, so not worse"
        )


def _troubles(report: Mapping[str, Any]) -> Iterator[str]:
    for row in report["strategies"]:
        budget = row["budget"]
        if budget["unequal"]:
            yield (
                f"{row['title']}: drew {budget['factor']:.2f} times the critic rows of the first "
                f"strategy, more than {UNEQUAL:.0%} apart: not the same budget"
            )
        for run in row["runs"]:
            if run["status"] == "diverged":
                yield f"{row['title']}, seed {run['seed']}: diverged at round {run['round']}"
            elif run["status"] == "failed":
                yield (
                    f"{row['title']}, seed {run['seed']}: failed at round {run['round']}: "
                    f"{run['error']}"
                )
            elif run["status"] == "unfinished":
                yield f"{row['title']}, seed {run['seed']}: not finished yet"
        for groups in dict.fromkeys(tuple(entry["groups"]) for entry in row["insufficient"]):
            seeds = [e["seed"] for e in row["insufficient"] if tuple(e["groups"]) == groups]
            yield (
                f"{LACKING} {row['title']}, {_seeds({'seeds': seeds})}: insufficient rows to judge "
                f"{', '.join(map(brief, groups))}, which other strategies made enough of: its "
                "worst group is not known"
            )
    everywhere = _unjudged(report)
    if everywhere:
        yield f"insufficient rows to judge in every run: {', '.join(map(brief, everywhere))}"


def _unjudged(report: Mapping[str, Any]) -> list[str]:
    runs = [run for row in report["strategies"] for run in row["runs"]]
    judged = {name for run in runs for name in run["judged"]}
    return [n for n in dict.fromkeys(n for run in runs for n in run["groups"]) if n not in judged]


def _budget_row(row: Mapping[str, Any]) -> str:
    budget = row["budget"]
    rows, factor = budget["critic_rows"], budget["factor"]
    return (
        f"| {_plain(row['title'])} | {budget['exchanges']:,} | {budget['generator_steps']:,} | "
        f"{'-' if rows is None else f'{rows:,.0f}'} | "
        f"{'-' if factor is None else f'{factor:.2f}'}{' (unequal)' if budget['unequal'] else ''} |"
    )


def _about(row: Mapping[str, Any]) -> str:
    paper = f" ({_plain(row['paper'])})" if row["paper"] else ""
    return f"- **{_plain(row['title'])}**{paper}: {_plain(row['note'])}"


def _plain(text: str) -> str:
    """Text that Markdown, GitHub's too, shows as it is, on one line."""
    shown = "".join(f"\\{c}" if c in _MARKS else c for c in line(text))
    # At its beginning: headings, lists, quotes, rulers.
    return _FIRST.sub(r"\1\\\2", shown)
