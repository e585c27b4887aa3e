"""`privacy.json` and `privacy.html`: every release of a run and what protects it."""

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from everymode.server.outputs.records import PRIVACY_VERSION, PrivacyRecord
from everymode.server.privacy.ledger import Ledger
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, write_bytes, write_json

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#56606b;--line:#d5dbe1;--back:#fff;
--good:#eef8f0;--open:#fdf6e7}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#a0acb8;--line:#333c46;--back:#0e1217;
--good:#12241a;--open:#2a2213}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:62rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin:2rem 0 .4rem}
.verdict{padding:1rem 1.2rem;border:1px solid var(--line);border-radius:.5rem;
background:var(--open)}
.verdict.private{background:var(--good)}.soft{color:var(--soft)}p,li{max-width:46rem}
.table{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;min-width:100%}
th,td{text-align:left;vertical-align:top;padding:.35rem .7rem .35rem 0;
border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
small{display:block;color:var(--soft)}
"""


def write_privacy(folder: Path, ledger: Ledger) -> None:
    """Writes both files.

    Raises:
        StateError: The disk refused.
    """
    record = PrivacyRecord.model_validate({"version": PRIVACY_VERSION, **ledger.value})
    value = record.model_dump(mode="json")
    write_json(folder / "privacy.json", value)
    write_bytes(folder / "privacy.html", privacy_page(value).encode())


def privacy_page(value: dict[str, Any]) -> str:
    """The page of a ledger, without script or any other file."""
    title, paragraphs = _verdict(value)
    given = value["guarantee"]
    kind = "private" if given and not given["known_seed"] else "plain"
    parts = [
        Markup("<h1>What left the sites, and what protects it</h1>"),
        Markup('<div class="verdict {}"><p><b>{}</b></p>{}</div>').format(
            kind, title, Markup("").join(Markup("<p>{}</p>").format(p) for p in paragraphs)
        ),
        Markup("<h2>Every release</h2>"),
        Markup('<p class="soft">{}</p>').format(
            "A release is an answer of every site to one question. All of them go to the server, "
            "which adds them up over the sites; sites send one another nothing."
        ),
        _table(value),
    ]
    if given:
        covered = (Markup("<li>{}</li>").format(text) for text in value["outside"])
        parts.append(
            Markup("<h2>What this does not cover</h2><ul>{}</ul>").format(Markup("").join(covered))
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Privacy: {escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"{Markup('').join(parts)}</main></body></html>\n"
    )


def _verdict(value: dict[str, Any]) -> tuple[str, list[str]]:
    """What is said first, and in which words it is explained."""
    given, totals = value["guarantee"], value["totals"]
    counted = (
        f"{totals['sites']:,} sites answered {totals['releases']:,} "
        f"question{'s' * (totals['releases'] != 1)} with {totals['numbers']:,} numbers each."
    )
    if not given:
        lines = [
            counted,
            f"{totals['plain'] + totals['masked']:,} of them are exact sums: no noise was added, "
            "and there is no bound on what they tell of a row. They hold no row, and are sums over "
            "all rows of a site.",
        ]
        if totals["masked"]:
            lines.append(
                f"{totals['masked']:,} of these were masked: the server learnt the totals over "
                "sites, and of no site its own sums."
            )
        if totals["per_site_arrays"]:
            lines.append(
                f"{totals['per_site_arrays']:,} arrays are no sums: the server keeps them apart "
                "by site."
            )
        if value["budget"]:
            lines.append(
                "A budget was set, and releases without noise are among these: there is no "
                "guarantee."
            )
        return "No differential privacy", lines
    epsilon, delta = given["epsilon"], given["delta"]
    lines = [
        f"The synthetic table, the generator and all figures from sums change with one row of one "
        f"site so little that nobody who sees them can tell by a factor of e^{epsilon:.3g} or more "
        f"whether the row was there, except with probability {delta:g} ({given['level']}).",
        counted,
        (
            "The sites masked their sums: the server learnt the totals alone, and this epsilon "
            "holds against it too."
            if given["site_rho"] == given["rho"] and given["adders"] > 1
            else f"The server itself receives each site's sums, under that site's own share of the "
            f"noise alone. Against the server epsilon is {given['site_epsilon']:.3g}. Where sites "
            f"mask their sums (secure.summation = 'masked'), {epsilon:.3g} holds against it too."
        ),
        f"The noise of the total rests on {given['adders']:,} "
        f"site{'s' * (given['adders'] != 1)} that add their share.",
    ]
    if given["known_seed"]:
        return "For tests only: the noise derives from a seed that is known", [
            "Whoever knows privacy.seed can take the noise off. Nothing is guaranteed. What would "
            "hold with noise from secrets:",
            *lines,
        ]
    return f"Differential privacy with epsilon {epsilon:.3g} and delta {delta:g}", lines


def _table(value: dict[str, Any]) -> Markup:
    names = ("asked", "answers", "numbers", "rows", "protection", "epsilon", "to the server")
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(
            Markup(' class="n"') if name not in ("asked", "protection") else Markup(""), name
        )
        for name in names
    )
    rows = [_row(entry) for entry in value["releases"]]
    return Markup(
        '<div class="table" tabindex="0" role="region" aria-label="Releases"><table><thead><tr>'
        "{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(head, Markup("").join(rows))


def _row(entry: dict[str, Any]) -> Markup:
    told = {
        "plain": "none: exact",
        "no rows": "holds nothing of any row",
        "masked": "masked: exact, and the server learns the total over sites alone",
        "other": ", ".join(entry["mechanisms"]),
    }.get(entry["protection"], "")
    if entry["protection"] == "noised":
        told = f"noise, standard deviation {entry['deviation']:,.3g} rows"
    about = Markup("<small>{}</small>").format(entry["why"]) if entry["why"] else Markup("")
    rows = "" if entry["rows"] is None else f"{entry['rows']:,}"
    return Markup(
        '<tr><th scope="row">{}<small>{}</small></th><td class="n">{}</td><td class="n">{}</td>'
        '<td class="n">{}</td><td>{}{}</td><td class="n">{}</td><td class="n">{}</td></tr>'
    ).format(
        entry["question"],
        entry["task"],
        f"{entry['count']:,} from {entry['sites']:,} sites",
        f"{entry['numbers']:,}",
        rows,
        told,
        about,
        _shown(entry["epsilon"], entry["protection"]),
        _shown(entry["site_epsilon"], entry["protection"]),
    )


def _shown(epsilon: float | None, protection: str) -> str:
    if epsilon is not None:
        return f"{epsilon:.3g}"
    return "0" if protection == "no rows" else "no bound"


def read_claim(folder: Path) -> tuple[float, float] | None:
    """Epsilon and delta that a run directory's `privacy.json` guarantees; None: nothing.

    Raises:
        StateError: The file is there and cannot be read, or is not what a run writes.
    """
    path = folder / "privacy.json"
    if not path.exists():
        return None
    given = read_json(path).get("guarantee")
    if given is None:
        return None
    try:
        epsilon, delta = float(given["epsilon"]), float(given["delta"])
        if not (0 < epsilon < math.inf and 0 <= delta < 1):
            raise ValueError("out of range")
    except (KeyError, TypeError, ValueError):
        raise StateError(
            f"{path}: its guarantee has no epsilon and delta; put the file back as the run wrote it"
        ) from None
    return epsilon, delta
