"""The picture of weights that move while training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from everymode.server.outputs.plot_style import DASHED, INK, PALETTE, dress, short
from everymode.simulations.compare.entries import ENTRIES
from everymode.simulations.compare.marks import beside
from everymode.simulations.compare.plan import Run

ENOUGH = 40
"""Lines of weights in a panel at most: those that move the most."""


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
                title = f"{ENTRIES[name].title}: weights of {what}, seed {run.seed}"
                panels.append((title, *table))
    if not panels:
        return None
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(6.6 * columns, 3.1 * lines), layout="constrained")
    for place, (title, rounds, values) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, place + 1)
        dress(axes, title)
        axes.set_xlabel("round", fontsize=9, color=INK)
        axes.set_ylim(0, 1.08 * max(max(line) for line in values.values()))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        turns: dict[str, tuple[str, Any]] = {
            n: (PALETTE[i % 6], ("-", DASHED)[i // 6 % 2]) for i, n in enumerate(values)
        }
        for name, line in values.items():
            colour, style = turns[name]
            axes.plot(rounds, line, color=colour, linestyle=style, linewidth=1.4)
        beside(axes, {n: (v[-1], turns[n][0], short(n)) for n, v in values.items()})
    return figure


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
