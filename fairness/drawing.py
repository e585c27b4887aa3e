"""Small SVG pictures for a page that needs no network: text stays text, no library is loaded."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from fairness.findings import GroupFinding

ROW = 24
LEFT = 190
WIDTH = 620
PLOT = WIDTH - LEFT - 20


def coverage_picture(groups: Sequence[GroupFinding], limit: float | None) -> Markup:
    """Standardised coverage by group, worst first, with intervals; too small ones say so."""
    order = sorted(groups, key=lambda g: (g.state == "insufficient", _value(g)))
    top = 1.2
    height = ROW * len(order) + 34
    parts = [_open(height, "Standardised coverage by group with 95 % intervals")]
    marks = [(0.0, "0", "axis"), (0.5, "0.5", "axis"), (1.0, "1 (ideal)", "axis")]
    if limit is not None:
        marks.append((limit, f"limit {limit:g}", "limit"))
    for at, text, kind in marks:
        x = LEFT + PLOT * at / top
        base = height - (22 if kind == "axis" else 8)
        parts.append(
            f'<line class="{kind}" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height - 32}"/>'
            f'<text class="{kind}" x="{x:.1f}" y="{base}" text-anchor="middle">{text}</text>'
        )
    for i, group in enumerate(order):
        y = ROW * i + 16
        cover = group.standardised_coverage
        parts.append(_label(group.name, y))
        if group.state == "insufficient" or cover.value is None:
            parts.append(
                f'<rect class="unknown" x="{LEFT}" y="{y - 8}" width="{PLOT}" height="15"/>'
                f'<text class="note" x="{LEFT + 6}" y="{y + 4}">insufficient: '
                f"{group.rows_real:,} real, {group.rows_synthetic:,} synthetic rows</text>"
            )
            continue
        low, high = cover.low or 0.0, cover.high or 0.0
        ends = [LEFT + PLOT * min(max(v, 0.0), top) / top for v in (low, cover.value, high)]
        bad = limit is not None and high < limit
        kind = "bad" if bad else "good" if limit is None or low >= limit else "open"
        note = "absent from the synthetic table" if group.state == "absent" else ""
        parts.append(
            f'<g class="{kind}"><title>{escape(group.name)}: {cover.value:.3f} '
            f"({low:.3f} to {high:.3f})</title>"
            f'<line x1="{ends[0]:.1f}" y1="{y}" x2="{ends[2]:.1f}" y2="{y}"/>'
            f'<circle cx="{ends[1]:.1f}" cy="{y}" r="4.5"/>'
            f'<text class="note" x="{ends[2] + 8:.1f}" y="{y + 4}">{note}</text></g>'
        )
    return Markup("".join([*parts, "</svg>"]))


def share_picture(groups: Sequence[GroupFinding]) -> Markup:
    """Share of every group in the real and in the synthetic rows."""
    top = max([max(g.share_real, g.share_synthetic) for g in groups] or [1.0]) or 1.0
    height = ROW * len(groups) + 8
    parts = [_open(height, "Shares of groups in the real and the synthetic rows")]
    for i, group in enumerate(groups):
        y = ROW * i + 16
        parts.append(_label(group.name, y))
        for share, kind, shift in (
            (group.share_real, "real", -8),
            (group.share_synthetic, "made", 0),
        ):
            width = (PLOT - 120) * share / top
            parts.append(
                f'<rect class="{kind}" x="{LEFT}" y="{y + shift}" width="{max(width, 0.5):.1f}" '
                f'height="7"><title>{escape(group.name)}, {kind}: {share:.3%}</title></rect>'
            )
        x = LEFT + (PLOT - 120) * max(group.share_real, group.share_synthetic) / top + 6
        parts.append(
            f'<text class="note" x="{x:.1f}" y="{y + 4}">{group.share_real:.2%} / '
            f"{group.share_synthetic:.2%}</text>"
        )
    return Markup("".join([*parts, "</svg>"]))


def curve_picture(lines: Mapping[str, Sequence[tuple[float, float]]], title: str) -> Markup:
    """Lines over rounds; the first is drawn thick."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup("")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    spans = (max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0)
    height = 230
    parts = [_open(height, title)]

    def place(x: float, y: float) -> str:
        across = 50 + (WIDTH - 70) * (x - min(xs)) / spans[0]
        return f"{across:.1f},{height - 30 - (height - 50) * (y - min(ys)) / spans[1]:.1f}"

    for i, (name, line) in reversed(list(enumerate(lines.items()))):
        path = " ".join(place(x, y) for x, y in line)
        kind = "total" if i == 0 else f"line c{i % 6}"
        parts.append(
            f'<polyline class="{kind}" points="{path}"><title>{escape(name)}</title></polyline>'
        )
    parts += [
        f'<text class="axis" x="44" y="{y}" text-anchor="end">{value:.3g}</text>'
        for y, value in ((height - 27, min(ys)), (24, max(ys)))
    ]
    parts += [
        f'<text class="axis" x="50" y="{height - 10}">round {min(xs):.0f}</text>',
        f'<text class="axis" x="{WIDTH - 20}" y="{height - 10}" text-anchor="end">'
        f"{max(xs):.0f}</text>",
    ]
    return Markup("".join([*parts, "</svg>"]))


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
    )


def _label(name: str, y: int) -> str:
    short = name if len(name) <= 30 else name[:29] + "…"
    return (
        f'<text class="name" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(short)}'
        f"<title>{escape(name)}</title></text>"
    )


def _value(group: GroupFinding) -> float:
    return group.standardised_coverage.value or 0.0
