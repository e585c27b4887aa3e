"""The claims on one page that needs nothing but itself, and all their pictures on one sheet."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from matplotlib.figure import Figure
from matplotlib.image import imread

from everymode.simulations.claims.claim import Claim, Result
from everymode.wgan.files import write_bytes, write_whole
from everymode.wgan.words import visible

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7f7f7f"
"""Colours told apart with any colour vision (Okabe and Ito, 2008)."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": f"cycler('color', {[BLUE, ORANGE, GREEN, RED, '#CC79A7', GREY]})",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

WORDS = {True: "holds", False: "fails", None: ""}
COLUMNS = 3
"""Pictures beside one another on the sheet."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EveryMode: claims</title>
<style>
:root { color-scheme: light; --line: #d9dde3; --soft: #f5f6f8; --good: #00745a; --bad: #b3400a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; color: #1b1f24;
       font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; }
h2 { margin: 0; font-size: 1.1rem; }
.lead { margin: 0 0 1.25rem; color: #4a525c; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
         vertical-align: top; overflow-wrap: anywhere; }
th { color: #4a525c; font-weight: 600; overflow-wrap: normal; }
.number { white-space: nowrap; }
a { color: inherit; }
.holds { color: var(--good); font-weight: 600; white-space: nowrap; }
.fails { color: var(--bad); font-weight: 600; white-space: nowrap; }
section { margin-top: 2.25rem; padding-top: 1rem; border-top: 2px solid var(--line); }
section header { display: flex; gap: 1rem; justify-content: space-between; align-items: baseline; }
.source, .error { font-size: .9rem; color: #4a525c; }
.error { color: var(--bad); }
img { display: block; width: 100%; height: auto; margin: .75rem 0; }
@media (max-width: 40rem) { .wide { display: none; } body { font-size: 15px; } }
</style>
</head>
<body>
<h1>What the theory says, measured</h1>
<p class="lead">{{ holding }} of {{ entries|length }} claims hold as stated. Figures in brackets are
standard deviations over seeds. Made by <code>everymode claims</code>.</p>
<table>
<thead><tr><th>#</th><th>claim</th><th class="wide">seeds</th><th class="wide">seconds</th>
<th>verdict</th></tr></thead>
<tbody>
{% for claim, result, picture in entries %}
<tr><td class="number">{{ claim.number }}</td>
<td><a href="#{{ claim.name }}">{{ claim.statement }}</a></td>
<td class="wide number">{{ result.seeds }}</td><td class="wide number">{{ result.seconds }}</td>
<td class="{{ result.verdict }}">{{ result.verdict }}</td></tr>
{% endfor %}
</tbody>
</table>
{% for claim, result, picture in entries %}
<section id="{{ claim.name }}">
<header><h2>{{ claim.number }}. {{ claim.name.replace("_", " ") }}</h2>
<span class="{{ result.verdict }}">{{ result.verdict }}</span></header>
<p>{{ claim.statement }}<br><span class="source">{{ claim.source }}</span></p>
{% if result.error %}<p class="error">{{ result.error }}</p>{% endif %}
{% if picture %}<img loading="lazy" alt="Picture of claim {{ claim.number }}: {{ claim.statement }}"
src="data:image/png;base64,{{ picture }}">{% endif %}
<table>
<thead><tr><th>measured</th><th>expected</th><th>found</th><th></th></tr></thead>
<tbody>
{% for check in result.checks %}
<tr><td>{{ check.what }}</td><td>{{ check.expected }}</td><td>{{ check.measured }}</td>
<td class="{{ words[check.holds] }}">{{ words[check.holds] }}</td>
</tr>
{% endfor %}
</tbody>
</table>
</section>
{% endfor %}
</body>
</html>
"""


def write_page(path: Path, results: Sequence[tuple[Claim, Result]], pictures: Path) -> None:
    """Writes the page whole, with the pictures `NAME.png` of the folder `pictures` inside."""
    entries = [(claim, result, _picture(pictures, claim.name)) for claim, result in results]
    holding = sum(result.verdict == "holds" for _, result in results)
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        # What an error says may hold anything.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    template = environment.from_string(TEMPLATE)
    write_bytes(path, template.render(entries=entries, holding=holding, words=WORDS).encode())


def write_sheet(path: Path, results: Sequence[tuple[Claim, Result]], pictures: Path) -> None:
    """Writes all pictures side by side, each under its number, name and verdict."""
    shown = [(c, r, pictures / f"{c.name}.png") for c, r in results]
    shown = [(claim, result, file) for claim, result, file in shown if file.is_file()]
    if not shown:
        return
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(6.0 * COLUMNS, 2.55 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, (claim, result, file) in zip(panels, shown, strict=False):
        axes.imshow(imread(file), interpolation="antialiased")
        axes.set_title(
            f"{claim.number}. {claim.name.replace('_', ' ')}: {result.verdict}",
            fontsize=13,
            color=GREEN if result.verdict == "holds" else RED,
            loc="left",
        )
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _picture(folder: Path, name: str) -> str:
    path = folder / f"{name}.png"
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
