# ruff: noqa: E501 - markup and styles
"""The audit's page as a Jinja template.

A module and no file of its own: a bundle for Flower carries no `.html`, and a run that ends at a
SuperLink writes this page too.
"""

PAGE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ headline }} · EveryMode audit</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #56606b; --paper: #fff; --card: #f5f7f9;
  --line: #d5dbe1; --good: #166c2e; --bad: #c01c28; --open: #805000; --real: #0860c4; --made: #a8440a;
  --bad-wash: #fdf0f0; --good-wash: #eef8f0; --open-wash: #fdf6e7;
  --c1: #0072b2; --c2: #b34a00; --c3: #007a59; --c4: #9b3f79; --c5: #7a6000; --c6: #2f7fb8; --c7: #6b3fb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #a0acb8; --paper: #0e1217;
  --card: #171d24; --line: #333c46; --good: #56c96d; --bad: #ff8078; --open: #e0a93b; --real: #6cb2ff;
  --made: #ffa057; --bad-wash: #2b1618; --good-wash: #12241a; --open-wash: #2a2213;
  --c1: #56b4e9; --c2: #ff9d4d; --c3: #3fcf9f; --c4: #e394c5; --c5: #e6cf4a; --c6: #8fbfff; --c7: #b89cff; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .4rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .4rem 0 .8rem; max-width: 44rem; }
.soft { color: var(--soft); } .small { font-size: .88rem; } code { font-size: .88em; }
h1, h3, p, li, dd, summary { overflow-wrap: anywhere; }
td, th, .name, li b { unicode-bidi: isolate; }
.eyebrow { margin: 0 0 .5rem; color: var(--soft); font-size: .9rem; }
.verdict { padding: 1.1rem 1.2rem .9rem; border: 1px solid var(--line); border-left: .45rem solid var(--open);
  border-radius: .5rem; background: var(--open-wash); }
.verdict.fit { border-left-color: var(--good); background: var(--good-wash); }
.verdict.fail { border-left-color: var(--bad); background: var(--bad-wash); }
.verdict h1 { display: flex; gap: .7rem; align-items: center; margin: 0 0 .6rem; font-size: clamp(1.35rem, 5vw, 1.9rem); }
.verdict ul { margin: 0; padding-left: 1.1rem; } .verdict li { margin: .25rem 0; max-width: 46rem; }
.badge { flex: none; width: 1.4em; height: 1.4em; border-radius: 50%; display: grid; place-items: center;
  color: var(--paper); background: var(--open); font-size: .85em; }
.fit .badge { background: var(--good); } .fail .badge { background: var(--bad); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: .8rem 0 0; padding: 0; }
.facts div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.2rem; font-weight: 650; }
.facts small { font-weight: 400; font-size: .82rem; color: var(--soft); display: block; }
.checks { list-style: none; margin: .2rem 0 0; padding: 0; }
.checks li { padding: .5rem 0 .5rem 1.6rem; border-bottom: 1px solid var(--line); position: relative; }
.checks li::before { position: absolute; left: .15rem; font-weight: 700; }
.checks .fail::before { content: "✗"; color: var(--bad); } .checks .pass::before { content: "✓"; color: var(--good); }
.checks .insufficient::before { content: "?"; color: var(--open); } .checks .given::before { content: "="; color: var(--soft); }
.checks small { display: block; color: var(--soft); font-size: .85rem; }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: .5rem; padding: 0 .9rem; }
details[open] { padding-bottom: .7rem; } details details { margin: .6rem 0 0; }
summary { cursor: pointer; font-weight: 600; padding: .6rem 0; }
summary:focus-visible, .table:focus-visible { outline: 2px solid var(--real); outline-offset: 2px; }
.table { overflow-x: auto; max-width: 100%; margin: .4rem 0; }
table { border-collapse: collapse; font-size: .88rem; min-width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .2rem 0 .4rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td.text { text-align: left; white-space: normal; overflow-wrap: break-word; }
th:first-child { position: sticky; left: 0; background: var(--paper); padding-left: 0; min-width: 7rem; max-width: 13rem; }
tbody th { font-weight: 500; } td small { display: block; color: var(--soft); }
.state { text-align: left; } .state.absent { color: var(--bad); font-weight: 600; } .state.insufficient { color: var(--open); }
.rows { list-style: none; margin: .3rem 0; padding: 0; }
.rows li { display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: .8rem; align-items: center; font-size: .9rem; }
.rows .track-cell { grid-column: 1 / -1; grid-row: 2; height: 1.6rem; }
.rows .value { text-align: right; font-variant-numeric: tabular-nums; } .rows .value small { color: var(--soft); }
.rows .fail .value b, .rows .absent .value b { color: var(--bad); }
.rows .pass .value b { color: var(--good); } .rows .insufficient .value b, .rows .unknown .value b { color: var(--open); }
.rows .value b { margin-right: .3rem; }
@media (min-width: 46rem) {
  .rows li { grid-template-columns: 13.5rem minmax(0, 1fr) 14.5rem; min-height: 1.7rem; }
  .rows .name { grid-column: 1; } .rows .track-cell { grid-column: 2; grid-row: 1; height: 1.7rem; }
  .rows .value { grid-column: 3; text-align: left; }
}
svg { display: block; overflow: visible; } svg.track { width: 100%; height: 100%; } svg.axis, svg.curves { width: 100%; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--soft); }
svg line { stroke: var(--line); } svg .base { stroke-width: 1; }
svg .grid { stroke: var(--soft); stroke-width: 1; } svg .limit { stroke: var(--bad); stroke-dasharray: 4 3; stroke-width: 1.5; }
svg text.limit { fill: var(--bad); stroke: none; }
svg .between { stroke: var(--soft); stroke-width: 2; }
svg line.whisker { stroke-width: 2; } .pass { --mark: var(--good); } .fail, .absent { --mark: var(--bad); }
.insufficient { --mark: var(--open); } .none { --mark: var(--ink); } svg .whisker { stroke: var(--mark); }
svg .mark { stroke: var(--mark); fill: var(--mark); stroke-width: 2; }
svg .mark.insufficient { fill: var(--paper); } svg .mark.absent { stroke-width: 3; }
svg line.unknown, svg .mark.unknown line { stroke: var(--soft); stroke-width: 11; stroke-dasharray: 2 4; opacity: .55; }
svg .mark.real { fill: var(--real); stroke: var(--real); } svg .mark.made { fill: var(--paper); stroke: var(--made); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .3rem 0 .6rem; padding: 0; list-style: none; font-size: .85rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .45rem; } svg.key { width: 18px; height: 18px; flex: none; }
svg.key.wide { width: 26px; } i.dash { display: inline-block; width: 1.4rem; border-top: 2px dashed var(--bad); }
svg.curves { margin-top: .6rem; } svg polyline { fill: none; vector-effect: non-scaling-stroke; stroke-width: 1.6; }
svg .total { stroke: var(--ink); stroke-width: 2.6; } svg .rest { stroke: var(--soft); opacity: .35; stroke-width: 1; }
svg .c1 { stroke: var(--c1); } svg .c2 { stroke: var(--c2); stroke-dasharray: 6 3; } svg .c3 { stroke: var(--c3); stroke-dasharray: 2 3; }
svg .c4 { stroke: var(--c4); stroke-dasharray: 9 3 2 3; } svg .c5 { stroke: var(--c5); stroke-dasharray: 12 4; } svg .c6 { stroke: var(--c6); stroke-dasharray: 4 2; }
svg .c7 { stroke: var(--c7); stroke-dasharray: 1 2; } svg.key line { stroke-width: 2.5; }
.rounds { display: flex; justify-content: space-between; padding-left: 9%; color: var(--soft); font-size: .8rem; }
dl.terms { margin: .6rem 0; font-size: .92rem; } .terms dt { font-weight: 600; margin-top: .6rem; } .terms dd { margin: 0; color: var(--soft); max-width: 46rem; }
pre { overflow-x: auto; font-size: .85rem; }
@media print { details > * { display: block; } }
</style>
</head>
<body>
<main>
{% macro figure(e, digits=3) %}
{% if e %}{{ e.value|number(digits) }}{% set s = e|span %}{% if s %}<small>{{ s }}</small>{% endif %}{% else %}-{% endif %}
{% endmacro %}
{% macro listed(topics) %}
{% for title, checks in topics %}
<h3>{{ title }} <span class="soft">({{ checks|length }})</span></h3>
<ul class="checks">
{% for c in checks %}
<li class="{{ c.verdict }}" aria-label="{{ c.verdict }}: {{ c.subject }}"><b>{{ c.subject }}</b>: {{ c.message }}
<small><code>{{ c.name }}</code>: {{ c.verdict }}{% if c.value.value is not none %}; found {{ c.value.value|number }}{% set s = c.value|span %}{% if s %} ({{ s }}){% endif %}{% endif %}; limit {{ "%g"|format(c.limit) }}</small></li>
{% endfor %}
</ul>
{% endfor %}
{% endmacro %}
{% macro picture(rows) %}
<ul class="rows">
{% for r in rows %}
<li class="{{ r.kind }}"><span class="name">{{ r.name }}</span><span class="track-cell">{{ r.track }}</span><span class="value"><b>{{ r.figure }}</b><small>{{ r.note }}</small></span></li>
{% endfor %}
</ul>
{% endmacro %}
{% macro folded(rows, most=40) %}
{{ picture(rows[:most]) }}
{% if rows|length > most %}<details><summary>{{ rows|length - most }} more</summary>{{ picture(rows[most:]) }}</details>{% endif %}
{% endmacro %}
{% macro curve_legend(lines) %}
<ul class="legend">
{% for name in lines %}{% if loop.index0 <= draw.SERIES %}<li><svg class="key wide" aria-hidden="true"><line class="{{ draw.series(loop.index0) }}" x1="0" x2="100%" y1="50%" y2="50%"/></svg>{{ name }}</li>{% endif %}{% endfor %}
{% if lines|length > draw.SERIES + 1 %}<li class="soft">{{ lines|length - draw.SERIES - 1 }} more, in grey</li>{% endif %}
</ul>
{% endmacro %}
{% macro table(label) %}<div class="table" tabindex="0" role="region" aria-label="{{ label }}">{% endmacro %}

<p class="eyebrow">Audit of a synthetic table, by EveryMode</p>
{# Green is for what may be released: a pass that leaves copies open has the undecided's colour. #}
<div class="verdict {{ "fit" if audit.fit_for_release else audit.verdict }}">
<h1><span class="badge" aria-hidden="true">{{ "✓" if audit.fit_for_release else "✗" if audit.verdict == "fail" else "?" }}</span><span>{{ headline }}</span></h1>
<ul>{% for text in sentences %}<li>{{ text }}</li>{% endfor %}</ul>
</div>
<dl class="facts">
<div><dt>Checks</dt><dd>{{ by_verdict["fail"]|length }} failed<small>{{ by_verdict["insufficient"]|length }} undecided, {{ by_verdict["pass"]|length }} passed{% if by_verdict["given"] %}, {{ by_verdict["given"]|length }} given{% endif %}</small></dd></div>
<div><dt>Copies of real rows</dt><dd>{{ {"pass": "none found", "fail": "found", "insufficient": "undecided"}[audit.copies] if audit.copies in ("pass", "fail", "insufficient") else "not judged" }}<small>{% if audit.copies == "not judged" %}{{ why_no_copies }}{% else %}looked for among all real rows{% endif %}</small></dd></div>
<div><dt>{% if grouped %}Worst group's {{ "recall" if sums else "coverage" }}{% else %}{{ "Recall" if sums else "Coverage" }} of all rows{% endif %}</dt><dd>{{ worst|number(2) }}<small>1 is ideal{% if limit is not none %}; limit {{ "%g"|format(limit) }}{% endif %}</small></dd></div>
{% if grouped and not sums %}<div><dt>Best less worst</dt><dd>{{ audit.coverage_difference|number(2) }}<small>0 is ideal</small></dd></div>{% endif %}
<div><dt>Rows</dt><dd>{{ "{:,}".format(audit.rows_synthetic) }}<small>synthetic, against {{ "{:,}".format(audit.rows_real) }} real</small></dd></div>
</dl>
<p class="soft small" style="margin-top:.8rem">{{ audit.synthetic }} compared with {{ audit.real }}; {% if grouped %}groups by {{ audit.sensitive_features|join(" and ") }}{% else %}all rows are one group, for no sensitive feature is named{% endif %}.</p>

{% if by_verdict["fail"] %}
<h2 id="failed">What failed</h2>
{{ listed(by_topic["fail"]) }}
{% endif %}
{% if by_verdict["insufficient"] %}
<h2 id="undecided">What cannot be said</h2>
<p>The rows there are do not decide these, one way or the other. None of them is a pass.</p>
<details><summary>{{ by_verdict["insufficient"]|length }} undecided {{ "check" if by_verdict["insufficient"]|length == 1 else "checks" }}</summary>{{ listed(by_topic["insufficient"]) }}</details>
{% endif %}

<h2 id="coverage">{{ "How well each group is covered" if grouped else "How well the real rows are covered" }}</h2>
{% if sums %}
<p>How many {{ "of a group's real rows lie near its synthetic ones" if grouped else "real rows lie near synthetic ones" }} (recall), over how many fresh synthetic rows do: 1 is ideal, 0 means that {{ "the group is forgotten" if grouped else "none does" }}. The line is the 95 % interval.{{ " Worst first." if grouped }} From counts that the sites added up; no row left its site.</p>
{% else %}
<p>How many {{ "of a group's real rows" if grouped else "real rows" }} have a synthetic row close by, over how many fresh real rows would: 1 is ideal, 0 means that {{ "the group is forgotten" if grouped else "none has" }}. The line is the 95 % interval.{{ " Worst first." if grouped }}</p>
{% endif %}
<ul class="legend">
{% if limit is not none %}<li>{{ draw.mark("fail") }}fails</li><li>{{ draw.mark("insufficient") }}undecided</li><li>{{ draw.mark("pass") }}passes</li>{% endif %}
<li>{{ draw.mark("absent") }}absent</li><li>{{ draw.mark("unknown") }}too few rows</li>
{% if limit is not none %}<li><i class="dash"></i>limit {{ "%g"|format(limit) }}</li>{% endif %}
</ul>
{% for features, groups in pictured %}
<h3>{{ "By " ~ features if features else "The whole table" }}</h3>
<ul class="rows" aria-hidden="true"><li><span class="track-cell">{{ draw.coverage_axis(limit) }}</span></li></ul>
{{ folded(draw.figure_rows(groups, limit, figure_of)) }}
{% endfor %}

{% set sized = strata|selectattr(0)|list %}
{% if sized %}
<h2 id="shares">How large each group is</h2>
<ul class="legend"><li>{{ draw.mark("real") }}share of the real rows</li><li>{{ draw.mark("made") }}share of the synthetic rows</li></ul>
{% for features, groups in sized %}
{% set tops = (groups|map(attribute="share_real")|list + groups|map(attribute="share_synthetic")|list) %}
<h3>By {{ features }}</h3>
{% set rows = [] %}
{% for g in groups %}{% set _ = rows.append(draw.pair_row(g.name, g.share_real, g.share_synthetic, tops|max)) %}{% endfor %}
{{ folded(rows) }}
{% endfor %}
{% endif %}

<h2 id="groups">{{ "Every group in figures" if grouped else "All rows in figures" }}</h2>
{% for features, groups in strata %}
<details><summary>{{ "By " ~ features if features else "The whole table" }} <span class="soft">({{ groups|length }})</span></summary>
{{ table("Figures of groups by " ~ features if features else "Figures of all rows") }}<table>
<thead><tr><th scope="col">group</th><th scope="col">real<br>rows</th><th scope="col">synthetic<br>rows</th>{% for m in table_of_metrics %}<th scope="col">{% for line in m.column.heading.splitlines() %}{{ line }}{% if not loop.last %}<br>{% endif %}{% endfor %}</th>{% endfor %}</tr></thead>
<tbody>
{% for g in groups %}
<tr><th scope="row">{{ g.name }}</th><td>{{ "{:,}".format(g.rows_real) }}</td><td>{{ "{:,}".format(g.rows_synthetic) }}</td>
{% if g.state != "measured" %}
<td class="state {{ g.state }}" colspan="{{ table_of_metrics|length }}">{{ "absent from the synthetic table" if g.state == "absent" else "too few rows to say" }}</td>
{% else %}
{% for m in table_of_metrics %}{% set text, small = cell(m, g) %}<td>{{ text }}{% for line in small %}<small>{{ line }}</small>{% endfor %}</td>{% endfor %}

{% endif %}
</tr>
{% endfor %}
</tbody></table></div>
{% for g in groups if g.missing_categories.values()|select|list or g.range_lost.values()|select("gt", 0.05)|list %}
<p class="small"><b>{{ g.name }}</b>:
{% for column, values in g.missing_categories.items() if values %}no {{ column }} of {{ values[:8]|join(", ") }}{% if values|length > 8 %} and {{ values|length - 8 }} more{% endif %}; {% endfor %}
{% for column, share in g.range_lost.items() if share > 0.05 %}{{ "%.0f"|format(100 * share) }} % of the range of {{ column }} never reached; {% endfor %}</p>
{% endfor %}
</details>
{% endfor %}

<h2 id="columns">Columns</h2>
<p>How far each column's values are from the real ones, over all rows; the farthest first. 0 is equal, 1 is nothing in common.</p>
<details{% if columns|length <= 20 %} open{% endif %}><summary>{{ columns|length }} columns</summary>
{{ table("Columns") }}<table>
<thead><tr><th scope="col">column</th><th scope="col">TV<br>(categories)</th><th scope="col">KS<br>(numbers)</th><th scope="col">missing values,<br>difference</th><th scope="col">rows with an<br>unseen category</th><th scope="col">real rows of<br>a lost category</th></tr></thead>
<tbody>
{% for name, c in columns %}
<tr><th scope="row">{{ name }}</th><td>{{ c.get("tv")|number }}</td><td>{{ c.get("ks")|number }}</td><td>{{ c.get("missing")|number }}</td><td>{{ c.get("unseen")|number }}</td><td>{{ c.get("rare")|number }}</td></tr>
{% endfor %}
</tbody></table></div></details>

{% if audit.utility %}
{% set u = audit.utility %}
<h2 id="utility">What models learn from it: {{ u.target }}</h2>
{% if u.reason %}
<p>Not measured: {{ u.reason }}.</p>
{% endif %}
{% if u.predictions %}
<p>The same models, trained on the synthetic rows and on the real ones, both tested on real rows that neither saw.{% if u.positive is not none %} A row counts as selected if “{{ u.positive }}” is predicted.{% endif %} Small figures are 95 % intervals.</p>
{{ table("Models") }}<table>
<thead><tr><th scope="col">model</th><th scope="col">trained on</th>{% for words in metrics.values() %}<th scope="col">{{ words }}</th>{% endfor %}</tr></thead>
<tbody>
{% for learner, tables in by_learner.items() %}{% for trained in ("synthetic", "real") if trained in tables %}
<tr><th scope="row">{{ learner|replace("_", " ") }}</th><td>{{ trained }} rows</td>{% for m in metrics %}<td>{{ figure(tables[trained].overall.get(m)) }}</td>{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody></table></div>
{% endif %}
{% set rates = u.base_rates.get("real", {}) %}
{% set made_rates = u.base_rates.get("synthetic", {}) %}
{% set widths = u.base_rate_difference %}
{% if rates %}
<h3>How often the target is “{{ u.positive }}”, by group</h3>
<ul class="legend"><li>{{ draw.mark("real") }}in the real rows</li><li>{{ draw.mark("made") }}in the synthetic rows</li></ul>
{% endif %}
{% for feature, real_rates in rates.items() %}
{% set rows = [] %}
{% set tops = real_rates.values()|list + made_rates.get(feature, {}).values()|list %}
{% for value in real_rates %}{% set _ = rows.append(draw.pair_row(value, real_rates[value], made_rates.get(feature, {}).get(value), tops|max)) %}{% endfor %}
<h3>By {{ feature }}</h3>
{% set one, two = widths.get("synthetic", {}).get(feature), widths.get("real", {}).get(feature) %}
{% if one and two %}<p class="small soft">Largest less smallest: {{ one.value|number }} ({{ one|span }}) in the synthetic rows, {{ two.value|number }} ({{ two|span }}) in the real ones.</p>{% endif %}
{{ folded(rows) }}
{% endfor %}
{% set fair_features = [] %}
{% for tables in by_learner.values() %}{% for p in tables.values() %}{% for f in p.fairness if f not in fair_features %}{% set _ = fair_features.append(f) %}{% endfor %}{% endfor %}{% endfor %}
{% if fair_features %}
<h3>How unequally the models treat groups</h3>
<p class="small soft">Differences: 0 is equal. Ratios: 1 is equal.</p>
{% for feature in fair_features %}
<details><summary>By {{ feature }}</summary>
{{ table("Fairness by " ~ feature) }}<table>
<thead><tr><th scope="col">figure</th><th scope="col">model</th><th scope="col">trained on<br>synthetic rows</th><th scope="col">trained on<br>real rows</th></tr></thead>
<tbody>
{% for m in fairness_metrics %}{% for learner, tables in by_learner.items() %}
<tr><th scope="row">{{ m|replace("_", " ") }}</th><td>{{ learner|replace("_", " ") }}</td>{% for trained in ("synthetic", "real") %}<td>{% if trained in tables %}{{ figure(tables[trained].fairness.get(feature, {}).get(m)) }}{% else %}-{% endif %}</td>{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody></table></div>
{% set values = [] %}
{% for tables in by_learner.values() %}{% for p in tables.values() %}{% for v in p.by_group.get(feature, {}) if v not in values %}{% set _ = values.append(v) %}{% endfor %}{% endfor %}{% endfor %}
{% if values %}
{{ table("Models by group of " ~ feature) }}<table>
<thead><tr><th scope="col">group</th><th scope="col">model</th><th scope="col">trained on</th>{% for words in metrics.values() %}<th scope="col">{{ words }}</th>{% endfor %}</tr></thead>
<tbody>
{% for v in values %}{% for learner, tables in by_learner.items() %}{% for trained in ("synthetic", "real") if trained in tables %}
<tr><th scope="row">{{ v }}</th><td>{{ learner|replace("_", " ") }}</td><td>{{ trained }} rows</td>{% for m in metrics %}<td>{{ figure(tables[trained].by_group.get(feature, {}).get(v, {}).get(m)) }}</td>{% endfor %}</tr>
{% endfor %}{% endfor %}{% endfor %}
</tbody></table></div>
{% endif %}
</details>
{% endfor %}
{% endif %}
{% if u.insufficient %}<p class="soft small">Too few test rows to judge: {{ u.insufficient|join("; ") }}.</p>{% endif %}
{% endif %}

{% if audit.federated %}
<h2 id="sites">What the sites' sums say</h2>
<p>Counts added up over sites; no row left its site.</p>
{% if sums_by_group %}
{{ table("Sums over sites") }}<table>
<thead><tr><th scope="col">group</th><th scope="col">rows</th><th scope="col">recall,<br>standardised</th><th scope="col">recall</th><th scope="col">outside the<br>codebook</th><th scope="col">codebook,<br>TV</th></tr></thead>
<tbody>
{% for name, r in audit.federated.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ "{:,}".format(r["rows"]) }}</td><td>{{ r.get("value")|number }}{% set s = r|span %}{% if s %}<small>{{ s }}</small>{% endif %}</td><td>{{ r.get("recall")|number }}</td><td>{{ r.get("outside")|number }}</td><td>{{ r.get("cells")|number }}</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}
<details><summary>Sums</summary><pre>{{ federated }}</pre></details>
{% endif %}
{% endif %}

{% if audit.training %}
<h2 id="training">Training</h2>
<p>The critic's estimate of how far apart real and synthetic rows are, over the rounds of training; groups that end farthest come first.</p>
{{ draw.curve_picture(estimates, "The critic's estimate over rounds, overall and by group") }}
{{ curve_legend(estimates) }}
{% if others %}
<details><summary>{{ others|join(", ")|capitalize }}</summary>
{% for words, lines in others.items() %}<h3>{{ words|capitalize }}</h3>{{ draw.curve_picture(lines, words ~ " over rounds", 180) }}{% if lines|length > 1 %}{{ curve_legend(lines) }}{% endif %}{% endfor %}
</details>
{% endif %}
{% endif %}

{% if by_verdict["pass"] %}
<h2 id="passed">What passed</h2>
<details><summary>{{ by_verdict["pass"]|length }} passed {{ "check" if by_verdict["pass"]|length == 1 else "checks" }}</summary>{{ listed(by_topic["pass"]) }}</details>
{% endif %}

{% if by_verdict["given"] %}
<h2 id="given">What was given</h2>
<p>The generator is conditioned on these, so that they can hardly come out wrong. They count neither as passed nor as undecided.</p>
<details><summary>{{ by_verdict["given"]|length }} given {{ "check" if by_verdict["given"]|length == 1 else "checks" }}, not judged</summary>{{ listed(by_topic["given"]) }}</details>
{% endif %}

<h2 id="reading">How to read it</h2>
<p>A check passes where the whole 95 % interval of its figure is on the good side of the limit, fails where all of it is on the bad side, and is undecided in between: no group passes by being small.{% if sums %} Coverage, precision, ties between columns, copies and utility take rows side by side: whoever may see rows measures them with <code>everymode audit --run</code>.{% elif not audit.settings.get("rows_holdout") %} No held-out rows were named: coverage is of rows that were trained on, near copies cannot be told, and models are not tested.{% endif %} A pass needs decided checks of coverage{{ " and of the groups' sizes at every level" if grouped }}; a table fit for release needs a decided check on copies besides.</p>
<details><summary>What the figures mean, and where they are from</summary>
<dl class="terms">
{% for term, definition in legend %}
<dt>{{ term }}</dt><dd>{{ definition }}</dd>
{% endfor %}
</dl></details>
<details><summary>Settings and versions</summary>
{{ table("Settings") }}<table>
<thead><tr><th scope="col">setting</th><th scope="col">value</th></tr></thead>
<tbody>
{% for key, value in settings %}
<tr><th scope="row">{{ key }}</th><td>{{ "off" if value is none and key.startswith("thresholds.") else "-" if value is none else value }}</td></tr>
{% endfor %}
{% for package, version in audit.versions.items() %}
<tr><th scope="row">{{ package }}</th><td>{{ version }}</td></tr>
{% endfor %}
<tr><th scope="row">seconds</th><td>{{ "%.1f"|format(audit.seconds) }}</td></tr>
</tbody></table></div></details>
</main>
</body>
</html>
"""
