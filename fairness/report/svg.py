"""Small SVG pictures for a page that needs no network: one track a row, and curves.

Positions across are percentages, so a picture takes the width of its place while dots, lines and
text keep their size: a page is as readable on a phone as on a wide screen. Colours are left to the
page's style, by class; what a mark means is told by its shape too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from everymode.fairness.audit.limits import at_least
from everymode.fairness.metrics.results import Estimate, GroupFinding
from everymode.wgan.words import visible

Kind = Literal["pass", "fail", "insufficient", "none", "absent", "unknown", "real", "made"]

Figure = Literal["standardised_coverage", "standardised_recall"]

Line = Sequence[tuple[float, float]]

SHAPES: dict[str, str] = {
    "pass": '<circle r="5"/>',
    "fail": '<path d="M0-7 7 0 0 7-7 0Z"/>',
    "insufficient": '<circle r="4.5"/>',
    "none": '<circle r="5"/>',
    "absent": '<path d="M-5-5 5 5M-5 5 5-5"/>',
    "unknown": '<line x1="-13" x2="13"/>',
    "real": '<circle r="5"/>',
    "made": '<path d="M0-6 6 0 0 6-6 0Z"/>',
}
"""The mark of each kind, around its place."""

EDGE = 2.5
"""Per cent kept free on either side, for marks that sit on an end."""

HIGHEST = 1.2
"""Standardised coverage at the right end; noise lifts it little above 1."""

SERIES = 7
"""Curves with a colour of their own; further ones are grey."""


@dataclass(frozen=True)
class Row:
    """One row of a picture: a name, a track and what the track shows, in figures.

    Attributes:
        name: What the row is of.
        kind: The mark's meaning, `pass` or `absent`, say.
        figure: The figure itself.
        note: Its interval, or why there is none.
        track: The SVG.
    """

    name: str
    kind: Kind
    figure: str
    note: str
    track: Markup


def figure_rows(
    groups: Sequence[GroupFinding], limit: float | None, figure: Figure = "standardised_coverage"
) -> list[Row]:
    """A figure by group, worst first; groups without one last, as such."""
    order = sorted(groups, key=lambda group: _worst_first(group, getattr(group, figure)))
    return [_figure_row(group, getattr(group, figure), limit) for group in order]


def coverage_axis(limit: float | None) -> Markup:
    """The axis of `figure_rows`, the limit above and the numbers below the line."""
    marks = [(at, text, "") for at, text in ((0.0, "0"), (0.5, "0.5"), (1.0, "1, ideal"))]
    if limit is not None:
        marks.append((limit, f"limit {limit:g}", "limit"))
    texts = [
        f'<text class="{kind}" x="{_across(at, HIGHEST):.2f}%" y="{11 if kind else 25}" '
        f'text-anchor="{"start" if at == 0 else "middle"}">{text}</text>'
        for at, text, kind in marks
    ]
    return Markup(f'<svg class="axis" height="28" aria-hidden="true">{"".join(texts)}</svg>')


def pair_row(name: str, real: float | None, made: float | None, top: float, digits: int = 1) -> Row:
    """A share in the real and in the synthetic rows, side by side on one track up to `top`."""
    known = [share for share in (real, made) if share is not None]
    ends = [_across(share, top) for share in known]
    words = (_percent(real, digits), _percent(made, digits))
    parts = []
    if len(ends) == 2:
        parts.append(f'<line class="between" x1="{ends[0]:.2f}%" y1="50%" {_to(ends[1])}/>')
    for kind, share in (("made", made), ("real", real)):
        if share is not None:
            parts.append(_mark(kind, _across(share, top)))
    title = f"{name}: {words[0]} of the real rows, {words[1]} of the synthetic rows"
    figure = f"{words[0]} → {words[1]}"
    ratio = f"{made / real:.2f} times" if real and made is not None else ""
    return Row(name, "none", figure, ratio, _track(title, parts, (0.0,), top))


def mark(kind: Kind) -> Markup:
    """One mark by itself, for a legend."""
    return Markup(f'<svg class="key" aria-hidden="true">{_mark(kind, 50)}</svg>')


def curve_picture(lines: Mapping[str, Line], title: str, height: int = 240) -> Markup:
    """Lines over rounds, the first drawn thick; points that are not finite are left out.

    Args:
        lines: By name: points as (round, value).
        title: What is shown, for readers who do not see it.
        height: In pixels.

    Returns:
        The SVG with its axes; empty where no line has a point.
    """
    kept = {n: [p for p in line if all(map(math.isfinite, p))] for n, line in lines.items()}
    points = [point for line in kept.values() for point in line]
    if not points:
        return Markup("")
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    ticks = _ticks(min(p[1] for p in points), max(p[1] for p in points))
    low, high = ticks[0], ticks[-1]
    wide = right - left or 1.0
    grid, drawn = [], []
    for tick in ticks:
        y = 96 - 84 * (tick - low) / (high - low)
        grid.append(
            f'<line x1="0" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
            f'<text x="0" y="{y:.2f}%" dy="-4">{tick:g}</text>'
        )
    for i, (name, line) in reversed(list(enumerate(kept.items()))):
        path = " ".join(
            f"{1000 * (x - left) / wide:.1f},{1000 - 1000 * (y - low) / (high - low):.1f}"
            for x, y in line
        )
        drawn.append(
            f'<polyline class="{series(i)}" points="{path}"><title>{_safe(name)}</title></polyline>'
        )
    return Markup(
        f'<svg class="curves" height="{height}" role="img" aria-label="{_safe(title)}">'
        f"<title>{_safe(title)}</title>{''.join(grid)}"
        f'<svg x="9%" width="90%" y="12%" height="84%" viewBox="0 0 1000 1000" '
        f'preserveAspectRatio="none">{"".join(drawn)}</svg></svg>'
        f'<div class="rounds"><span>round {left:g}</span><span>round {right:g}</span></div>'
    )


def series(i: int) -> str:
    """The class of the i-th curve: `total`, `line c1` and so on, or `line rest`."""
    return "total" if i == 0 else f"line c{i}" if i <= SERIES else "line rest"


def _figure_row(group: GroupFinding, found: Estimate, limit: float | None) -> Row:
    rows = f"{group.rows_real:,} real"
    rows += f", {group.rows_synthetic:,} synthetic rows"
    marks = [1.0] if limit is None else [1.0, limit]
    if group.state == "absent":
        parts = [_mark("absent", _across(0.0, HIGHEST))]
        title = f"{group.name}: absent from the synthetic table ({rows})"
        return Row(group.name, "absent", "absent", rows, _track(title, parts, marks, HIGHEST))
    if group.state == "insufficient" or found.value is None:
        parts = [f'<line class="unknown" x1="{EDGE}%" y1="50%" {_to(100 - EDGE)}/>']
        title = f"{group.name}: too few rows to say ({rows})"
        return Row(
            group.name, "unknown", "too few rows", rows, _track(title, parts, marks, HIGHEST)
        )
    kind: Kind = "none" if limit is None else at_least(found, limit)
    parts, note = [], "no interval"
    if found.low is not None and found.high is not None:
        note = f"{found.low:.2f} to {found.high:.2f}"
        start, end = _across(found.low, HIGHEST), _across(found.high, HIGHEST)
        parts.append(f'<line class="whisker {kind}" x1="{start:.2f}%" y1="50%" {_to(end)}/>')
        parts += [
            f'<line class="whisker {kind}" x1="{x:.2f}%" x2="{x:.2f}%" y1="32%" y2="68%"/>'
            for x in (start, end)
        ]
    parts.append(_mark(kind, _across(found.value, HIGHEST)))
    word = {"pass": "passes", "fail": "fails", "insufficient": "undecided"}.get(kind, "")
    title = f"{group.name}: {found.value:.3f}, 95 % interval {note} {word}".rstrip()
    note = f"{note} · {word}" if word else note
    return Row(group.name, kind, f"{found.value:.2f}", note, _track(title, parts, marks, HIGHEST))


def _worst_first(group: GroupFinding, found: Estimate) -> tuple[bool, float, str]:
    unknown = group.state == "insufficient" or (group.state == "measured" and found.value is None)
    return unknown, found.value or 0.0, group.name


def _track(title: str, parts: Sequence[str], marks: Sequence[float], top: float) -> Markup:
    """A row's picture: an upright line at each of `marks` (the second is the limit), then parts."""
    lines = [
        f'<line class="{"limit" if i else "grid"}" x1="{_across(at, top):.2f}%" '
        f'x2="{_across(at, top):.2f}%" y1="0" y2="100%"/>'
        for i, at in enumerate(marks)
    ]
    return Markup(
        f'<svg class="track" role="img" aria-label="{_safe(title)}"><title>{_safe(title)}'
        f'</title><line class="base" x1="{EDGE}%" y1="50%" {_to(100 - EDGE)}/>'
        f"{''.join([*lines, *parts])}</svg>"
    )


def _mark(kind: str, x: float) -> str:
    return f'<svg x="{x:.2f}%" y="50%" class="mark {kind}">{SHAPES[kind]}</svg>'


def _safe(text: str) -> Markup:
    """A name as text of the picture: no markup, nothing that is not seen."""
    return escape(visible(text))


def _to(x: float) -> str:
    return f'x2="{x:.2f}%" y2="50%"'


def _across(value: float, top: float) -> float:
    return EDGE + (100 - 2 * EDGE) * min(max(value / (top or 1.0), 0.0), 1.0)


def _percent(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{100 * value:.{digits}f} %"


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that enclose both.

    >>> _ticks(0.3, 9.1)
    [0, 2, 4, 6, 8, 10]
    """
    span = high - low or abs(high) or 1.0
    unit = 10 ** math.floor(math.log10(span / 4))
    step = next(unit * f for f in (1, 2, 5, 10) if span / (unit * f) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
