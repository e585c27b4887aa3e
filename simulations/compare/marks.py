"""Colours of strategies, and names at the ends of their lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from everymode.server.outputs.plot_style import DASHED, GREY, INK, PALETTE, write
from everymode.simulations.compare.entries import ENTRIES

# Beyond Okabe and Ito's: Tol (2021), muted. Twenty can be told apart with the names beside them.
MORE = (
    "#332288",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#117733",
    "#8C564B",
    "#7F6D00",
    "#1F4E3D",
    "#C71585",
    "#B8860B",
    "#4682B4",
)
COLOURS = dict(
    zip(
        ["everymode", *(n for n in ENTRIES if n not in ("everymode", "pooled", "local"))],
        (*PALETTE, *MORE),
        strict=True,
    )
) | {"pooled": INK, "local": GREY}
"""One colour a strategy, whichever of them are compared."""

BOUND = {"pooled": DASHED, "local": (0, (1, 1.2))}
"""Line styles of those that are bounds."""


def name_ends(axes: Axes, ends: Mapping[str, float]) -> None:
    """Strategies' names at the values that their lines end with."""
    beside(axes, {n: (v, COLOURS[n], ENTRIES[n].title) for n, v in ends.items()})


def beside(axes: Axes, ends: Mapping[str, tuple[float, str, str]]) -> None:
    """Names at the right ends of lines, moved apart where they would lie on each other."""
    figure = axes.figure
    height = 72 * figure.get_figheight() * axes.get_position().height  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    known = [(v, c, t) for v, c, t in ends.values() if np.isfinite(v)]
    order = sorted(known, key=lambda end: end[0])
    places = _apart([(end[0] - low) / (high - low) for end in order], 9.5 / height)
    for (value, colour, text), place in zip(order, places, strict=True):
        at = (value - low) / (high - low)
        look: dict[str, Any] = {"color": colour, "transform": axes.transAxes}
        axes.plot([1.0, 1.03], [at, place], linewidth=0.7, clip_on=False, **look)
        label = axes.text(1.04, place, "", fontsize=8.5, va="center", **look)
        write([label], [text])


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
