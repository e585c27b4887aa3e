"""Pictures of a comparison: how quality grew, where it ended, how weights moved."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from server.pictures import DASHED, GREY, INK, PALETTE, Floats, _dress, _save, _short, _write
from server.strategies import STRATEGIES
from simulations.compare.curve import ROWS, read_curve
from simulations.compare.plan import Comparison, Run
from simulations.compare.results import COVERAGE, SCORE

# Beyond Okabe and Ito's: Tol (2021), muted. Sixteen can be told apart with the names beside them.
MORE = ("#332288", "#882255", "#44AA99", "#999933", "#AA4499", "#117733", "#8C564B", "#7F6D00")
COLOURS = dict(
    zip(
        ["everymode", *(n for n in STRATEGIES if n not in ("everymode", "pooled", "local"))],
        (*PALETTE, *MORE),
        strict=True,
    )
) | {"pooled": INK, "local": GREY}
"""One colour a strategy, whichever of them are compared."""

BOUND = {"pooled": DASHED, "local": (0, (1, 1.2))}
"""Line styles of those that are bounds."""

SCORES = ("modes", "classes", "quality", "worst_share")
"""Scores of scenarios that have a curve."""

ENOUGH = 40
"""Lines of weights in a panel at most: those that move the most."""


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
            _save(figure, comparison.out / name)
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
            _dress(panel, text if not column else "")
            for name, points in lines.items():
                if key in points:
                    _band(panel, name, points[across], points[key])
            panel.set_xlabel(label if row == len(keys) - 1 else "", fontsize=9, color=INK)
            if across == "megabytes":
                panel.set_xscale("log")
                panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            else:
                panel.set_xlim(left=0)
            if not column:
                panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
                _names(panel, {n: p[key][-1].mean() for n, p in lines.items() if key in p})
    seeds = len(comparison.seeds)
    of = f"bands: standard deviation of {seeds} seeds" if seeds > 1 else "one seed: no spread"
    rows = f"averaged generator, tables of at most {ROWS:,} rows; {of}"
    figure.suptitle(f"{comparison.config}: {rows}", fontsize=9, color=GREY, x=0.01, ha="left")
    return figure


def final(report: Mapping[str, Any]) -> Figure:
    """Final figures, a strategy a row: seeds pale, mean and spread strong."""
    rows, figures = report["strategies"], report["figures"]
    width = 1.6 + 1.75 * len(figures)
    figure = Figure(figsize=(width, 1.3 + 0.33 * len(rows)), layout="constrained")
    for column, shown in enumerate(figures):
        axes = figure.add_subplot(1, len(figures), column + 1)
        better = {True: "higher is better", False: "lower is better", None: "cost"}
        _dress(axes, textwrap.fill(shown["title"], 15), pad=16)
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
        axes.yaxis.set_major_locator(
            FixedLocator([*range(len(rows))]) if not column else NullLocator()
        )
        axes.tick_params(axis="y", length=0)
        if not column:
            axes.set_yticklabels([row["title"] for row in rows], fontsize=9)
    return figure


def weights(finished: Sequence[Run]) -> Figure | None:
    """Weights of groups and sites over rounds, where they move; None where none do.

    Each strategy's first seed alone: sites are dealt other rows under another seed.
    """
    panels: list[tuple[str, list[int], dict[str, list[float]]]] = []
    for name in dict.fromkeys(run.strategy for run in finished):
        run = next(run for run in finished if run.strategy == name)
        metrics = run.folder.read_metrics()
        for key, what in (("mass_by_group", "groups"), ("site_weights", "sites")):
            table = _moving([(m["round"], m[key]) for m in metrics if m.get(key)])
            if table is not None:
                title = f"{STRATEGIES[name].title}: weights of {what}, seed {run.seed}"
                panels.append((title, *table))
    if not panels:
        return None
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(6.6 * columns, 3.1 * lines), layout="constrained")
    for place, (title, rounds, values) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, place + 1)
        _dress(axes, title)
        axes.set_xlabel("round", fontsize=9, color=INK)
        axes.set_ylim(0, 1.08 * max(max(line) for line in values.values()))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        turns: dict[str, tuple[str, Any]] = {
            n: (PALETTE[i % 6], ("-", DASHED)[i // 6 % 2]) for i, n in enumerate(values)
        }
        for name, line in values.items():
            colour, style = turns[name]
            axes.plot(rounds, line, color=colour, linestyle=style, linewidth=1.4)
        _beside(axes, {n: (v[-1], turns[n][0], _short(n)) for n, v in values.items()})
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
        carried += (line["bytes_up"] + line["bytes_down"]) / 1e6
        seconds += line["seconds"]
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


def _names(axes: Axes, ends: Mapping[str, float]) -> None:
    _beside(axes, {n: (v, COLOURS[n], STRATEGIES[n].title) for n, v in ends.items()})


def _beside(axes: Axes, ends: Mapping[str, tuple[float, str, str]]) -> None:
    """Names at the right ends of lines, moved apart where they would lie on each other."""
    figure = axes.figure
    height = 72 * figure.get_figheight() * axes.get_position().height  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    known = [(v, c, t) for v, c, t in ends.values() if np.isfinite(v)]
    order = sorted(known, key=lambda end: end[0])
    places = _apart([(end[0] - low) / (high - low) for end in order], 9.5 / height)
    across = blended_transform_factory(axes.transAxes, axes.transAxes)
    for (value, colour, text), place in zip(order, places, strict=True):
        at = (value - low) / (high - low)
        axes.plot(
            [1.0, 1.03], [at, place], color=colour, linewidth=0.7, clip_on=False, transform=across
        )
        label = axes.text(
            1.04, place, "", color=colour, fontsize=8.5, va="center", transform=axes.transAxes
        )
        _write([label], [text])


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved to lie `gap` apart, within 0 and 1 where there is room for all.

    >>> [round(p, 2) for p in _apart([0.0, 0.5, 0.5, 1.0], 0.2)]
    [0.0, 0.4, 0.6, 1.0]
    >>> [round(p, 2) for p in _apart([1.0, 1.0], 0.2)]
    [0.8, 1.0]
    """
    # Blocks of neighbours that touch move as one, around the mean of where they want to be.
    blocks: list[list[float]] = []
    for place in places:
        blocks.append([place])
        while len(blocks) > 1 and _low(blocks[-1], gap) - _high(blocks[-2], gap) < gap - 1e-12:
            last = blocks.pop()
            blocks[-1] += last
    found = [_low(block, gap) + i * gap for block in blocks for i in range(len(block))]
    found = [min(place, 1 - gap * (len(found) - 1 - i)) for i, place in enumerate(found)]
    return [max(place, gap * i) for i, place in enumerate(found)]


def _low(block: Sequence[float], gap: float) -> float:
    return float(np.mean(block)) - gap * (len(block) - 1) / 2


def _high(block: Sequence[float], gap: float) -> float:
    return float(np.mean(block)) + gap * (len(block) - 1) / 2


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


def _moving(
    lines: Sequence[tuple[int, Mapping[str, float]]],
) -> tuple[list[int], dict[str, list[float]]] | None:
    """Rounds and each name's weights, those that moved the most first; None where none moved."""
    if not lines:
        return None
    names = list(dict.fromkeys(name for _, values in lines for name in values))
    table = {n: [float(values.get(n, np.nan)) for _, values in lines] for n in names}
    moved = {n: float(np.nanmax(v) - np.nanmin(v)) for n, v in table.items()}
    if max(moved.values()) < 1e-9:
        return None
    kept = sorted(sorted(names, key=lambda n: -moved[n])[:ENOUGH])
    return [number for number, _ in lines], {n: table[n] for n in kept}
