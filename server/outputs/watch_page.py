"""`watch.html`: one page that shows where a run stands, without a server or a script.

While the run goes on the page asks the browser to load it again every few seconds.
"""

import time

from markupsafe import Markup, escape

from everymode.fairness.report.svg import curve_picture
from everymode.server.outputs.status import Curve, Status, duration, size
from everymode.wgan.words import brief, visible

FILE = "watch.html"

REFRESH = 5
"""Seconds after which a browser loads the page of a running run again."""

GROUPS = 40
"""Groups with a row of their own: those with the largest estimates."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#667;--line:#d5d9de;--back:#fff;--blue:#1f6feb;
--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ad;--line:#3a4048;--back:#15181c;
--blue:#6ea8fe;--bad:#ff8a7a}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.soft{color:var(--soft)}.failed{color:var(--bad)}.figures{display:flex;flex-wrap:wrap;
gap:1rem 2.5rem;
margin:1rem 0}.figures div span{display:block;color:var(--soft);font-size:.85rem}
.figures div{font-size:1.2rem}progress{width:100%;height:1rem}table{border-collapse:collapse;
width:100%}th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg.curves{width:100%}
svg.curves line{stroke:var(--line)}svg.curves text{font-size:12px;fill:var(--soft)}
polyline{fill:none;stroke:var(--blue);stroke-width:2;vector-effect:non-scaling-stroke}
.rounds{display:flex;justify-content:space-between;color:var(--soft);font-size:.85rem}
svg.spark{width:10rem;height:1.6rem;display:block}li{overflow-wrap:anywhere}
"""


def watch_page(status: Status) -> str:
    """The page of a run."""
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">' if _going(status) else ""
    share = f"{status.done} of {status.total}" if status.total else "not begun"
    figures = [
        ("rounds", share),
        ("training time left", duration(status.seconds_left) if _going(status) else "none"),
        ("time per round", _round_time(status.round_seconds)),
        ("down to sites", size(status.bytes_down)),
        ("up from sites", size(status.bytes_up)),
    ]
    shown = "".join(f"<div><span>{name}</span>{value}</div>" for name, value in figures)
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_safe(status.run)}: {status.state}</title><style>{_STYLE}</style></head><body>"
    )
    parts = [
        head,
        f'<h1>{_safe(status.run)}: <span class="{status.state}">{status.state}</span></h1>',
        f'<p class="soft">{_safe(status.activity)} · written {_clock(status.updated)}</p>',
        f'<progress max="{max(status.total, 1)}" value="{status.done}">{share}</progress>',
        f'<div class="figures">{shown}</div>',
    ]
    if status.error:
        parts.append(f'<p class="failed">{_safe(status.error, 2000)}</p>')
    parts += [_notes(status), _sites(status), _estimates(status), "</body></html>\n"]
    return "".join(parts)


def sparkline(points: Curve) -> Markup:
    """A small line without axes; empty below two points."""
    if len(points) < 2:
        return Markup("")
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    first, wide, tall = points[0][0], points[-1][0] - points[0][0] or 1, high - low or 1.0
    path = " ".join(
        f"{100 * (x - first) / wide:.1f},{19 - 18 * (y - low) / tall:.1f}" for x, y in points
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{path}"/></svg>'
    )


def largest(status: Status, most: int = GROUPS) -> list[tuple[str, Curve]]:
    """Groups that have an estimate, the largest first."""
    known = [(name, curve) for name, curve in status.estimate_by_group.items() if curve]
    return sorted(known, key=lambda item: (-item[1][-1][1], item[0]))[:most]


def _notes(status: Status) -> str:
    if not status.notes:
        return ""
    items = "".join(f"<li>{_safe(note, 1000)}</li>" for note in reversed(status.notes))
    more = f" (the last {len(status.notes)} of {status.notes_total})"
    told = more if status.notes_total > len(status.notes) else ""
    return f"<h2>Notes and failures{told}</h2><ul>{items}</ul>"


def _sites(status: Status) -> str:
    if not status.last_seen:
        return ""
    rows = "".join(
        f'<tr><td>{_safe(name)}</td><td class="n">{_clock(when)}</td>'
        f'<td class="n">{duration(max(status.updated - when, 0.0))}</td></tr>'
        for name, when in sorted(status.last_seen.items(), key=lambda item: (item[1], item[0]))
    )
    return (
        '<h2>Sites</h2><table><tr><th>Site</th><th class="n">Last accepted reply</th>'
        f'<th class="n">Before this page was written</th></tr>{rows}</table>'
    )


def _estimates(status: Status) -> str:
    if not status.estimate:
        return ""
    picture = curve_picture({"all groups": status.estimate}, "The critic's estimate by round")
    rows = "".join(
        f'<tr><td>{_safe(name)}</td><td>{sparkline(curve)}</td><td class="n">{curve[-1][1]:.4g}'
        "</td></tr>"
        for name, curve in largest(status)
    )
    hidden = sum(1 for curve in status.estimate_by_group.values() if curve) - GROUPS
    more = f'<p class="soft">{hidden} groups with smaller estimates are not shown.</p>'
    return (
        f"<h2>The critic's estimate</h2>{picture}"
        '<h2>By group</h2><table><tr><th>Group</th><th>Over rounds</th><th class="n">Now</th></tr>'
        f"{rows}</table>{more if hidden > 0 else ''}"
    )


def _round_time(seconds: float | None) -> str:
    """Rounds of a simulation take a part of a second."""
    return f"{seconds:.2f} s" if seconds is not None and seconds < 10 else duration(seconds)


def _going(status: Status) -> bool:
    return status.state == "running"


def _safe(text: str, most: int = 200) -> Markup:
    return escape(visible(brief(text, most)))


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
