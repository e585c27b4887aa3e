"""Pictures of a comparison: how quality grew, where it ended, how weights moved."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from everymode.server.outputs.plot_style import GREY, INK, dress, save, short, write
from everymode.server.outputs.plots import Floats
from everymode.simulations.compare.curve import ROWS, read_curve
from everymode.simulations.compare.marks import BOUND, COLOURS, name_ends
from everymode.simulations.compare.moving import weights
from everymode.simulations.compare.plan import Comparison, Run
from everymode.simulations.compare.results import COVERAGE, SCORE

BESIDE = 7
"""Figures in a row of the picture of final figures at most."""

SCORES = ("modes", "classes", "quality", "worst_share")
"""Scores of scenarios that have a curve."""


def draw(comparison: Comparison, report: Mapping[str, Any]) -> list[str]:
    """Draws what there is something to draw of, and returns the pictures' names.

    Args:
        comparison: The runs.
        report: What `compare.json` holds.

    Raises:
        StateError: Where a file cannot be written.
    """
    finished = [run for run in comparison.runs if run.finished]
    pictures = {
        "curves.png": curves(comparison, report, finished),
        "final.png": final(report) if finished else None,
        "weights.png": weights(finished),
    }
    for name, figure in pictures.items():
        if figure is None:
            (comparison.out / name).unlink(missing_ok=True)
        else:
            save(figure, comparison.out / name)
    return [name for name, figure in pictures.items() if figure is not None]


def curves(
    comparison: Comparison, report: Mapping[str, Any], finished: Sequence[Run]
) -> Figure | None:
    """Quality at the checkpoints against rounds, bytes and seconds; None without checkpoints."""
    lines = {
        name: found
        for name in comparison.strategies
        if (found := _points([run for run in finished if run.strategy == name]))
    }
    wanted = {COVERAGE, *(f"{SCORE}{name}" for name in SCORES)}
    shown = [f for f in report["figures"] if f["key"] in wanted]
    keys = [f for f in shown if any(f["key"] in points for points in lines.values())]
    if not keys:
        return None
    size = (13.5, 0.7 + max(2.9 * len(keys), 0.16 * len(lines)))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(len(keys), 3, width_ratios=(1.25, 1, 1))
    axis = (
        ("rounds", "round"),
        ("megabytes", "MB of rounds so far"),
        ("seconds", "seconds of rounds so far"),
    )
    for row, shown_figure in enumerate(keys):
        key, title = shown_figure["key"], shown_figure["title"]
        for column, (across, label) in enumerate(axis):
            panel = figure.add_subplot(grid[row, column])
            text = title[:1].upper() + title[1:]
            dress(panel, text if not column else "")
            for name, points in lines.items():
                if key in points:
                    _band(panel, name, points[across], points[key])
            # No band shall reach below what a figure can be.
            means = [points[key].mean(1) for points in lines.values() if key in points]
            if all(np.nanmin(mean, initial=0.0) >= 0 for mean in means):
                panel.set_ylim(bottom=max(panel.get_ylim()[0], -0.03 * panel.get_ylim()[1]))
            panel.set_xlabel(label if row == len(keys) - 1 else "", fontsize=9, color=INK)
            if across == "megabytes":
                panel.set_xscale("log")
                panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            else:
                panel.set_xlim(left=0)
            if not column:
                panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
                name_ends(panel, {n: p[key][-1].mean() for n, p in lines.items() if key in p})
    seeds = len(comparison.seeds)
    of = f"bands: standard deviation of {seeds} seeds" if seeds > 1 else "one seed: no spread"
    rows = f"averaged generator, tables of at most {ROWS:,} rows; {of}"
    title = figure.suptitle("", fontsize=9, color=GREY, x=0.01, ha="left")
    write([title], [f"{short(comparison.config)}: {rows}"])
    return figure


def final(report: Mapping[str, Any]) -> Figure:
    """Final figures, a strategy a row: seeds pale, mean and spread strong."""
    rows, figures = report["strategies"], report["figures"]
    lines = -(-len(figures) // BESIDE)
    columns = -(-len(figures) // lines)
    size = (1.6 + 1.9 * columns, lines * (1.1 + 0.32 * len(rows)))
    figure = Figure(figsize=size, layout="constrained")
    for place, shown in enumerate(figures):
        axes = figure.add_subplot(lines, columns, place + 1)
        first = place % columns == 0
        better = {True: "higher is better", False: "lower is better", None: "cost"}
        dress(axes, textwrap.fill(shown["title"], 15), pad=16)
        note = better[shown["higher_is_better"]]
        axes.annotate(
            note, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=7.5, color=GREY
        )
        for y, row in enumerate(rows):
            if y % 2 == 0:
                axes.axhspan(y - 0.5, y + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
            _dots(axes, y, row, shown["key"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.yaxis.set_major_locator(FixedLocator([*range(len(rows))]) if first else NullLocator())
        axes.tick_params(axis="y", length=0)
        if first:
            axes.set_yticklabels([row["title"] for row in rows], fontsize=9)
    return figure


def _points(runs: Sequence[Run]) -> dict[str, Floats]:
    """Figures `(rounds, seeds)` at the checkpoints that all seeds have, and what they had cost."""
    read = [(read_curve(run)["points"], _spent(run)) for run in runs]
    common = (
        sorted(set.intersection(*({p["round"] for p in points} for points, _ in read)))
        if read
        else []
    )
    if not common:
        return {}
    found: dict[str, list[list[float]]] = {}
    for points, spent in read:
        by_round = {point["round"]: point for point in points}
        columns: dict[str, list[float]] = {}
        for number in common:
            point = by_round[number]
            values = {COVERAGE: point[COVERAGE]}
            values |= {f"{SCORE}{key}": value for key, value in point["scores"].items()}
            values |= {"rounds": number, **spent.get(number, {})}
            for key, value in values.items():
                columns.setdefault(key, []).append(np.nan if value is None else value)
        for key, column in columns.items():
            found.setdefault(key, []).append(column)
    tables = {key: np.array(columns, dtype=np.float64).T for key, columns in found.items()}
    return {key: table for key, table in tables.items() if np.isfinite(table).any()}


def _spent(run: Run) -> dict[int, dict[str, float]]:
    """MB and seconds up to each round."""
    carried = seconds = 0.0
    found = {}
    for line in run.folder.read_metrics():
        carried += (line.get("bytes_up", 0) + line.get("bytes_down", 0)) / 1e6
        seconds += line.get("seconds", 0.0)
        found[line["round"]] = {"megabytes": carried, "seconds": seconds}
    return found


def _band(axes: Axes, name: str, across: Floats, values: Floats) -> None:
    """A line through the seeds' means, and a band of their standard deviation."""
    x, mean = across.mean(1), values.mean(1)
    look: dict[str, Any] = {"color": COLOURS[name], "linestyle": BOUND.get(name, "-")}
    own = name == "everymode"
    axes.plot(x, mean, linewidth=2.2 if own else 1.5, zorder=4 if own else 3, **look)
    axes.plot(x, mean, "o", markersize=3, color=COLOURS[name], zorder=4)
    if values.shape[1] > 1:
        deviation = values.std(1, ddof=1)
        band: dict[str, Any] = {"alpha": 0.13, "linewidth": 0, "zorder": 2}
        axes.fill_between(x, mean - deviation, mean + deviation, color=COLOURS[name], **band)


def _dots(axes: Axes, y: float, row: Mapping[str, Any], key: str) -> None:
    colour = COLOURS[row["name"]]
    seeds = [run["figures"].get(key) for run in row["runs"]]
    known = [value for value in seeds if value is not None]
    value = row["figures"][key]
    if not known:
        states = {run["status"] for run in row["runs"]} - {"finished"}
        text = next(iter(sorted(states)), "not measured")
        look: dict[str, Any] = {"fontsize": 8, "color": GREY, "style": "italic", "va": "center"}
        axes.text(0.03, y, text, transform=axes.get_yaxis_transform(), **look)
        return
    axes.plot(known, [y] * len(known), "o", markersize=4, color=colour, alpha=0.35, linewidth=0)
    deviation = value["std"] or 0.0
    axes.hlines(
        y, value["mean"] - deviation, value["mean"] + deviation, color=colour, linewidth=1.6
    )
    unsure = key == COVERAGE and row["insufficient"]
    face = "white" if unsure else colour
    axes.plot([value["mean"]], [y], "D", markersize=6, color=colour, markerfacecolor=face)
