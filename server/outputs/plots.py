"""Plots of a run: training curves, and the figures of every group.

Drawn with `Figure` and the Agg canvas alone, never `pyplot`, because the server draws in a thread.
No text goes through mathtext: a group may be called "$1, $2", and its parser is shared by threads.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from everymode.server.outputs.plot_style import (
    BLUE,
    DASHED,
    GREY,
    INK,
    PALE,
    PALETTE,
    RED,
    dress,
    save,
    short,
    write,
)

Floats = NDArray[np.float64]
Row = Mapping[str, Any]

ALL_GROUPS, WORST_GROUPS, GROUP_ROWS = 12, 9, 100


def curves(metrics: Sequence[Row], path: Path) -> None:
    """Plots the metrics of a training.

    Args:
        metrics: Lines of `metrics.jsonl`, one a round: `round`, `seconds` (of that round),
            `estimate`, `estimate_by_group` (None where not measured), `worst_group`,
            `penalty`, `generator_loss`, `rate` (factor of the learning rates), `bytes_up` and
            `bytes_down` (of that round); `evaluation` with `slopes` (five quantiles) where the
            critic was looked at. Values that are None, not finite or absent leave gaps.
        path: Where the PNG goes; it is replaced at once or not at all.

    Raises:
        StateError: Where the file cannot be written.
    """
    figure = Figure(figsize=(12.5, 7.6), layout="constrained")
    if not metrics:
        figure.text(0.5, 0.5, "No rounds yet", ha="center", color=GREY)
        return save(figure, path)
    rounds = np.array([_number(m.get("round", i + 1)) for i, m in enumerate(metrics)])
    # Two figures in one, so that the legend narrows the upper panel only.
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.8, 1))
    _estimates(parts[0].add_subplot(), rounds, metrics)
    penalty, loss, slopes, traffic, time = (parts[1].add_subplot(1, 5, i) for i in range(1, 6))
    named = ("penalty", "Critic's penalty"), ("generator_loss", "Generator loss")
    for axes, (key, title) in zip((penalty, loss), named, strict=True):
        values = _series(metrics, key)
        dress(axes, title)
        _plot(axes, rounds, values, color=BLUE, alpha=0.3, linewidth=0.8)
        _plot(axes, rounds, _smooth(values), color=BLUE)
        _limit(axes, [values])
    _slopes(slopes, metrics)
    up, down = (np.nancumsum(_series(metrics, key)) for key in ("bytes_up", "bytes_down"))
    unit, factor = _unit(max(up[-1], down[-1]), {"GB": 1e9, "MB": 1e6, "kB": 1e3})
    dress(traffic, f"Traffic so far ({unit})")
    _plot(traffic, rounds, up / factor, color=BLUE, label="up, from sites")
    _plot(traffic, rounds, down / factor, color=RED, linestyle=DASHED, label="down, to sites")
    traffic.legend(loc="upper left", frameon=False, fontsize=8)
    spent = np.nancumsum(_series(metrics, "seconds"))
    unit, factor = _unit(spent[-1] / 2, {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0})
    dress(time, f"Time so far ({unit})")
    _plot(time, rounds, spent / factor, color=BLUE)
    traffic.set_ylim(0, 1.25 * max(traffic.dataLim.y1, 1e-3))
    time.set_ylim(0, 1.25 * max(time.dataLim.y1, 1e-3))
    for axes in (penalty, loss, slopes, traffic, time):
        _rounds(axes, rounds, 5)
    return save(figure, path)


def groups(summary: Mapping[str, Any], path: Path) -> None:
    """Plots the figures of every group, largest group first.

    Args:
        summary: `per_group` maps each group's name to `rows_real`, `rows_synthetic`,
            `share_real`, `share_synthetic`, `tv` and `ks` (distances in [0, 1]), `coverage`
            (standardised) with `coverage_low` and `coverage_high`, and `sites`, the number of
            sites that hold it. A distance or coverage is None where rows do not suffice.
        path: Where the PNG goes; it is replaced at once or not at all.

    Raises:
        StateError: Where the file cannot be written.
    """
    table: Mapping[str, Row] = summary["per_group"]
    order = sorted(table, key=lambda name: -np.nan_to_num(_number(table[name].get("rows_real"))))
    names = order[:GROUP_ROWS]
    rows = [table[name] for name in names]
    figure = Figure(figsize=(13.0, 1.6 + 0.33 * max(len(rows), 2)), layout="constrained")
    if not rows:
        figure.text(0.5, 0.5, "No groups", ha="center", color=GREY)
        return save(figure, path)
    if len(names) < len(order):
        figure.suptitle(f"The {len(names)} largest of {len(order)} groups", fontsize=10, color=INK)
    grid = figure.add_gridspec(1, 4, width_ratios=(1.15, 0.7, 1.25, 1.1), wspace=0.04)
    panels = [figure.add_subplot(grid[0, i]) for i in range(4)]
    titles = ("Share of rows", "Rows", "Standardised coverage", "Distance from real rows")
    for axes, title in zip(panels, titles, strict=True):
        dress(axes, title, pad=22)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        for row in range(0, len(rows), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
    labels = [_note(panels[0], -0.02, y, "", ha="right", fontsize=9) for y in range(len(rows))]
    write(labels, [short(name) for name in names])
    _shares(panels[0], rows)
    _counts(panels[1], rows)
    _coverage(panels[2], rows)
    _distances(panels[3], rows)
    return save(figure, path)


def _slopes(axes: Axes, metrics: Sequence[Row]) -> None:
    """The critic's slopes at the evaluations: median, half and nine tenths of the interpolates."""
    dress(axes, "Critic's slope (target 1)")
    seen = [m for m in metrics if (m.get("evaluation") or {}).get("slopes")]
    if not seen:
        axes.text(0.5, 0.5, "not measured yet", ha="center", color=GREY, transform=axes.transAxes)
        return
    at = np.array([_number(m["round"]) for m in seen])
    table = np.array([[_number(v) for v in m["evaluation"]["slopes"]] for m in seen])
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=DASHED)
    axes.fill_between(at, table[:, 0], table[:, 4], color=BLUE, alpha=0.15, linewidth=0)
    axes.fill_between(at, table[:, 1], table[:, 3], color=BLUE, alpha=0.3, linewidth=0)
    _plot(axes, at, table[:, 2], color=BLUE)
    axes.set_ylim(0, max(2.0, 1.1 * float(np.nanmax(table, initial=0.0))))


def _estimates(axes: Axes, rounds: Floats, metrics: Sequence[Row]) -> None:
    by_group = [m.get("estimate_by_group") or {} for m in metrics]
    lines = {
        name: _smooth(np.array([_number(values.get(name)) for values in by_group]))
        for name in sorted({name for values in by_group for name in values})
    }
    known = {name: [*values[np.isfinite(values)]] for name, values in lines.items()}
    ranked = sorted(lines, key=lambda name: -known[name][-1] if known[name] else np.inf)
    worst = metrics[-1].get("worst_group")
    shown, title = ranked, "Groups, highest at the end first"
    if len(ranked) > ALL_GROUPS:
        shown = ranked[:WORST_GROUPS]
        if worst in ranked and worst not in shown:
            shown = [*shown[:-1], worst]
        title = f"{len(shown)} of {len(ranked)} groups: those highest\nat the end (others pale)"
    width = 2 * (len(rounds) // 100) + 1
    means = f"; lines are means of {width} rounds" if width > 1 else ""
    dress(axes, f"Critic's estimate of the distance (lower is better{means})")
    for name in set(ranked) - set(shown):
        _plot(axes, rounds, lines[name], color=PALE, linewidth=0.9, zorder=1)
    overall = _series(metrics, "estimate")
    _plot(axes, rounds, overall, color=INK, alpha=0.3, linewidth=0.9)
    handles = [_plot(axes, rounds, _smooth(overall), color=INK, linewidth=2.6, zorder=5)]
    texts = ["All rows"]
    # Colours go by name, so that a group keeps its own from one drawing to the next.
    turns = {name: i for i, name in enumerate(sorted(shown))}
    for name in shown:
        color, style = PALETTE[turns[name] % 6], ("-", DASHED)[turns[name] // 6]
        handles.append(_plot(axes, rounds, lines[name], color=color, linestyle=style))
        texts.append(short(name) + ("  \N{LEFTWARDS ARROW} worst" if name == worst else ""))
    drops = [i + 1 for i, (a, b) in enumerate(pairwise(_series(metrics, "rate"))) if b < a]
    # A rate that falls at every round is a schedule, which lines would only hide.
    if 0 < len(drops) <= 8:
        marks = [axes.axvline(rounds[i], color=GREY, linestyle=":", linewidth=1.2) for i in drops]
        handles.append(marks[0])
        texts.append("Learning rate lowered")
    _limit(axes, [overall, *lines.values()])
    _rounds(axes, rounds, 10)
    # Names are set afterwards, because matplotlib leaves out labels that start with "_".
    look: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.03), "title": title}
    look |= {"fontsize": 9, "title_fontsize": 9, "alignment": "left", "frameon": False}
    legend = axes.legend(handles, ["x"] * len(handles), handlelength=2.6, **look)
    write(legend.get_texts(), texts)


def _shares(axes: Axes, rows: Sequence[Row]) -> None:
    real, made = _series(rows, "share_real"), _series(rows, "share_synthetic")
    positive = np.concatenate([real, made])
    positive = positive[np.nan_to_num(positive) > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    y = np.arange(len(rows))
    if high / low > 50:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, min(high * 1.6, 1.6))
        steps = (1, 3) if high / low < 2000 else (1,)
        ticks = np.array([step * 10.0**power for power in range(-9, 1) for step in steps])
        axes.xaxis.set_major_locator(FixedLocator([*ticks[(ticks >= low / 2) & (ticks <= 1)]]))
        axes.xaxis.set_minor_locator(NullLocator())
        # 0 has no place on a logarithmic axis: an arrow at its edge stands for it.
        for at in y[made == 0]:
            axes.plot(low / 1.9, at, "<", color=RED, markersize=6, clip_on=False)
            axes.hlines(at, low / 2, real[at], color="#A8A8A8", linewidth=1.6)
        made = np.where(made > 0, made, np.nan)
    else:
        axes.set_xlim(0, high * 1.08)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g} %"))
    axes.hlines(y, real, made, color="#A8A8A8", linewidth=1.6)
    dots = axes.plot(real, y, "o", c=INK, mfc="white", markersize=8, markeredgewidth=1.6)
    dots += axes.plot(made, y, "o", markersize=5, color=RED)
    _key(axes, dots, ["real", "synthetic"])


def _counts(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_axis_off()
    columns = {"rows_real": (0.32, "real"), "rows_synthetic": (0.74, "synthetic")}
    for key, (at, title) in (columns | {"sites": (0.98, "sites")}).items():
        header = axes.annotate(title, (at, 1), (0, 7), "axes fraction", "offset points", ha="right")
        header.set(fontsize=8.5, color=INK)
        for y, value in enumerate(_series(rows, key)):
            _note(axes, at, y, "" if np.isnan(value) else f"{value:,.0f}", ha="right")


def _coverage(axes: Axes, rows: Sequence[Row]) -> None:
    value = _series(rows, "coverage")
    low = np.fmin(_series(rows, "coverage_low"), value)
    high = np.fmax(_series(rows, "coverage_high"), value)
    y = np.arange(len(rows))
    axes.axvline(1, color=INK, linewidth=1.1, zorder=1)
    handles = []
    for mask, color, shape in ((~(high < 1), BLUE, "o"), (high < 1, RED, "D")):
        axes.hlines(y[mask], low[mask], high[mask], color=color, linewidth=1.8)
        axes.plot(value[mask], y[mask], shape, color=color, markersize=6)
        handles.append(Line2D([], [], color=color, marker=shape, markersize=5))
    # Dots, unlike bars, need no zero: the axis starts where it tells groups apart.
    left = max(0.0, np.floor(10 * float(np.nanmin([0.9, *low])) - 0.5) / 10)
    axes.set_xlim(left, 1.03 * float(np.nanmax([1.05, *high])))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    for at in y[np.isnan(value)]:
        _note(axes, 0.03, at, "insufficient", color=GREY, style="italic")
    _key(axes, handles, ["interval reaches 1", "interval below 1"])


def _distances(axes: Axes, rows: Sequence[Row]) -> None:
    tv, ks = _series(rows, "tv"), _series(rows, "ks")
    y = np.arange(len(rows))
    axes.hlines(y, tv, ks, color="#A8A8A8", linewidth=1.6)
    dots = axes.plot(tv, y, "s", color=BLUE, markersize=5.5)
    dots += axes.plot(ks, y, "^", color=RED, markersize=6)
    axes.set_xlim(0, 1.08 * float(np.nanmax([0.1, *tv, *ks])))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    for at in y[np.isnan(tv) & np.isnan(ks)]:
        _note(axes, 0.03, at, "insufficient", color=GREY, style="italic")
    _key(axes, dots, ["TV, categories", "KS, numbers"])


def _note(axes: Axes, x: float, y: float, text: str, **look: Any) -> Text:
    """Text in row `y` of the table, `x` in widths of the panel."""
    look = {"fontsize": 8.5, "color": INK, "va": "center_baseline", **look}
    return axes.text(x, y, text, transform=axes.get_yaxis_transform(), **look)


def _key(axes: Axes, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
    """A legend in one line between the panel and its title."""
    look: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "fontsize": 8.5}
    look |= {"borderaxespad": 0, "borderpad": 0.2, "handletextpad": 0.4, "columnspacing": 1.2}
    axes.legend(handles, labels, ncols=2, frameon=False, **look)


def _rounds(axes: Axes, rounds: Floats, ticks: int) -> None:
    first, last = float(np.nanmin(rounds)), float(np.nanmax(rounds))
    margin = max(0.01 * (last - first), 0.5)
    axes.set_xlim(first - margin, last + margin)
    locator = MaxNLocator(nbins=ticks, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
    axes.xaxis.set_major_locator(locator)
    axes.set_xlabel("Round", fontsize=9, color=INK)


def _plot(axes: Axes, x: Floats, y: Floats, **look: Any) -> Line2D:
    """A line; a value without neighbours is a dot, as it would not be seen otherwise."""
    known = np.isfinite(y)
    lonely = known & ~np.append(known[1:], False) & ~np.append(False, known[:-1])
    (line,) = axes.plot(x, y, **{"linewidth": 1.7, **look})
    (dots,) = axes.plot(x[lonely], y[lonely], "o", markersize=4, color=line.get_color())
    dots.set(alpha=line.get_alpha(), zorder=line.get_zorder())
    return line


def _limit(axes: Axes, lines: Sequence[Floats]) -> None:
    """Keeps a few extreme rounds from flattening all the rest, and says so."""
    values = np.concatenate(lines)[np.isfinite(np.concatenate(lines))]
    if len(values) < 60:
        return
    low, high = np.quantile(values, (0.01, 0.99), method="nearest")
    if np.ptp(values) <= 1.6 * (high - low) or low == high:
        return
    margin = 0.15 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    outside = int(np.sum((values < low - margin) | (values > high + margin)))
    if outside:
        # Within the axes: beside a title there is no room.
        axes.annotate(
            f"points off the scale: {outside}",
            (0.98, 0.95),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=7.5,
            color=GREY,
            style="italic",
        )


def _series(metrics: Sequence[Row], key: str) -> Floats:
    return np.array([_number(m.get(key)) for m in metrics])


def _number(value: Any) -> float:
    number = float("nan") if value is None else float(value)
    return number if np.isfinite(number) else float("nan")


def _smooth(values: Floats) -> Floats:
    """The mean over about 2 % of rounds around each one, of those that are known.

    >>> _smooth(np.array([1.0, np.nan, 3.0])).tolist()
    [1.0, nan, 3.0]
    """
    window, known = np.ones(2 * (len(values) // 100) + 1), np.isfinite(values)
    count = np.convolve(known, window, mode="same")
    total = np.convolve(np.where(known, values, 0.0), window, mode="same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _unit(size: float, units: Mapping[str, float]) -> tuple[str, float]:
    return next((unit for unit in units.items() if size >= unit[1]), [*units.items()][-1])
