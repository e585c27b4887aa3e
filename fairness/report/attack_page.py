# ruff: noqa: E501 - markup
"""The page of `everymode attack` as a Jinja template, in the style of the audit's."""

from everymode.fairness.report.page import PAGE

STYLE = PAGE.partition("<style>")[2].partition("</style>")[0]

ATTACK_PAGE = (
    r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ headline }} · EveryMode attack</title>
<style>"""
    + STYLE
    + r"""</style>
</head>
<body>
<main>
{% macro figure(e, digits=3) %}
{{ e.value|number(digits) }}{% set s = e|span(digits) %}{% if s %}<small>{{ s }}</small>{% endif %}
{% endmacro %}
{% macro table(label) %}<div class="table" tabindex="0" role="region" aria-label="{{ label }}">{% endmacro %}
{% macro listed(checks) %}
<ul class="checks">
{% for c in checks %}
<li class="{{ c.verdict }}" aria-label="{{ c.verdict }}: {{ c.subject }}"><b>{{ c.subject }}</b>: {{ c.message }}
<small><code>{{ c.name }}</code>: {{ {"fail": "succeeds", "pass": "does not succeed", "insufficient": "undecided"}[c.verdict] }}{% if c.value.value is not none %}; found {{ c.value.value|number }}{% set s = c.value|span(3) %}{% if s %} ({{ s }}){% endif %}{% endif %}; limit {{ "%g"|format(c.limit) }}</small></li>
{% endfor %}
</ul>
{% endmacro %}
<p class="eyebrow">Attacks on a synthetic table, by EveryMode</p>
<div class="verdict {{ {"pass": "fit", "fail": "fail", "insufficient": "insufficient"}[found.verdict] }}">
<h1><span class="badge" aria-hidden="true">{{ {"pass": "✓", "fail": "✗", "insufficient": "?"}[found.verdict] }}</span><span>{{ headline }}</span></h1>
<ul>{% for text in sentences %}<li>{{ text }}</li>{% endfor %}</ul>
</div>
<dl class="facts">
{% for name, one in best.items() %}
<div><dt>Membership, {{ name }}</dt><dd>{{ one.auc.value|number }}<small>area under the ROC curve, all rows; 0.5 is chance</small></dd></div>
{% endfor %}
<div><dt>Epsilon is at least</dt><dd>{{ found.epsilon|number(2) }}<small>{% if found.claimed_epsilon is not none %}{{ "%g"|format(found.claimed_epsilon) }} is claimed{% else %}nothing is claimed{% endif %}</small></dd></div>
<div><dt>Rows</dt><dd>{{ "{:,}".format(found.rows["synthetic"]) }}<small>synthetic; {{ "{:,}".format(found.rows["members"]) }} trained on, {{ "{:,}".format(found.rows["nonmembers"]) }} not</small></dd></div>
</dl>
<p class="soft small" style="margin-top:.8rem">{{ found.synthetic }}; rows trained on: {{ found.members }}; rows not trained on: {{ found.nonmembers }}.</p>

{% for verdict, title in (("fail", "Attacks that succeed"), ("insufficient", "Undecided"), ("pass", "Attacks that do not succeed")) %}
{% if by_verdict[verdict] %}
<h2>{{ title }}</h2>
<details{% if verdict == "fail" %} open{% endif %}><summary>{{ by_verdict[verdict]|length }}</summary>{{ listed(by_verdict[verdict]) }}</details>
{% endif %}
{% endfor %}

<h2>Membership: can rows trained on be told from others?</h2>
<p>An attacker ranks real rows by a score. Across: how many rows that were not trained on are taken for such. Upwards: how many that were are found. Both axes are logarithmic; the dashed line is chance. An attack that is sure of a few rows shows on the left.</p>
{% for name, lines in curves.items() %}
<h3>{{ name|capitalize }}</h3>
{{ picture(lines, "ROC curves of " ~ name) }}
<ul class="legend">
{% for group in lines %}{% if loop.index0 <= draw.SERIES %}<li><svg class="key wide" aria-hidden="true"><line class="{{ draw.series(loop.index0) }}" x1="0" x2="100%" y1="50%" y2="50%"/></svg>{{ group }}</li>{% endif %}{% endfor %}
{% if lines|length > draw.SERIES + 1 %}<li class="soft">{{ lines|length - draw.SERIES - 1 }} more, in grey</li>{% endif %}
</ul>
{% endfor %}
{{ table("Membership by group") }}<table>
<thead><tr><th scope="col">group</th><th scope="col">attack</th><th scope="col">trained on</th><th scope="col">others</th><th scope="col">AUC</th>{% for level in levels %}<th scope="col">found at<br>{{ level }}</th>{% endfor %}<th scope="col">epsilon<br>at least</th><th scope="col">the same,<br>one run</th></tr></thead>
<tbody>
{% for one in found.membership %}
<tr><th scope="row">{{ one.group }}{% if one.features %} <span class="soft small">{{ one.features|join(", ") }}</span>{% endif %}</th><td>{{ one.attack }}</td><td>{{ "{:,}".format(one.members) }}</td><td>{{ "{:,}".format(one.nonmembers) }}</td>{% if one.state == "measured" or not one.features %}<td>{{ figure(one.auc) }}</td>{% for level in levels %}<td>{{ figure(one.tpr[level]) if level in one.tpr else "-" }}</td>{% endfor %}{% else %}<td class="state insufficient" colspan="{{ 1 + levels|length }}">too few rows to judge</td>{% endif %}<td>{{ one.epsilon|number(2) }}</td><td>{{ one.epsilon_one_run|number(2) }}</td></tr>
{% endfor %}
</tbody></table></div>

<h2>Attributes, links, single rows</h2>
<p>The same attack on rows trained on and on rows that were not (control); the baseline is a guess. The risk is what is gained over the control, as a share of what could be gained. Small figures are 95 % intervals.</p>
{% for features, rates in by_features.items() %}
<details{% if not features %} open{% endif %}><summary>{{ "By " ~ features if features else "All rows" }} <span class="soft">({{ rates|length }})</span></summary>
{{ table("Rates") }}<table>
<thead><tr><th scope="col">on</th><th scope="col">attack</th>{% if features %}<th scope="col">group</th>{% endif %}<th scope="col">guesses</th><th scope="col">rate</th><th scope="col">control</th><th scope="col">baseline</th><th scope="col">risk</th></tr></thead>
<tbody>
{% for r in rates %}
<tr><th scope="row">{{ r.subject }}</th><td>{{ r.attack }}</td>{% if features %}<td>{{ r.group }}</td>{% endif %}<td>{{ "{:,}".format(r.targets) }}</td>{% if r.state == "measured" %}<td>{{ figure(r.rate) }}</td><td>{{ figure(r.control) }}</td><td>{{ figure(r.baseline) }}</td><td>{{ figure(r.risk) }}</td>{% else %}<td class="state insufficient" colspan="4">too few to judge</td>{% endif %}</tr>
{% endfor %}
</tbody></table></div></details>
{% endfor %}

<h2>How to read it</h2>
<p>An attack succeeds where the whole 95 % interval of its figure is above the limit. That none does is no proof that there is no better attack. The distance to the closest real row is no attack and decides nothing here; what sums tell a curious server is another question.</p>
<details><summary>What the figures mean, and where they are from</summary>
<dl class="terms">
{% for term, definition in legend %}<dt>{{ term }}</dt><dd>{{ definition }}</dd>{% endfor %}
</dl></details>
<details><summary>Settings and versions</summary>
{{ table("Settings") }}<table>
<thead><tr><th scope="col">setting</th><th scope="col">value</th></tr></thead>
<tbody>
{% for key, value in settings %}<tr><th scope="row">{{ key }}</th><td>{{ "off" if value is none else value }}</td></tr>{% endfor %}
{% for package, version in found.versions.items() %}<tr><th scope="row">{{ package }}</th><td>{{ version }}</td></tr>{% endfor %}
<tr><th scope="row">delta</th><td>{{ "%g"|format(found.delta) }}</td></tr>
<tr><th scope="row">seconds</th><td>{{ "%.1f"|format(found.seconds) }}</td></tr>
</tbody></table></div></details>
</main>
</body>
</html>
"""
)
