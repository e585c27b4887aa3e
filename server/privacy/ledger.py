"""Every release of a run with what protects it, from the record of releases.

The ledger is computed from the very record that every accepted reply enters
(`everymode.server.replies.releases`), so that no release is missing from it. Runs without noise
have a ledger, too: it says that what left is exact.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from everymode.clients.gate.noise import NAME, NO_ROWS
from everymode.clients.gate.release import MASKED
from everymode.clients.protocol.accounting import compute_epsilon
from everymode.server.privacy.accounted import spent
from everymode.server.privacy.budget import Budget
from everymode.server.replies.releases import TO, Entry, Releases

Protection = Literal["plain", "no rows", "noised", "masked", "other"]

QUESTIONS: Mapping[str, str] = {
    "look": "how the cells of each column are written, and how many rows there are",
    "values": "which values each column holds, in sketches and coarse histograms",
    "ranks": "how many rows lie in each cell of group and label, and in each bin of a number",
    "cluster": "how rows lie around the centres of clusters",
    "prepare": "encode the table on the site's own disk",
    "moments": "how often pairs of values occur together, by group and label",
    "profile": "how many rows each site holds of each cell and bin",
    "feel": "sums of random features of rows held out",
    "train": "how a round of training at the site changed the networks",
    "measure": "how many rows a step of training takes",
    "leaves": "how many rows lie in each leaf of trees that were grown on synthetic rows",
    "audit": "how many rows lie in each bin of each column, by group",
    "recall": "how many rows lie near synthetic ones, by group",
}
"""What is asked, in plain words, by task."""

LEVEL = "adding or removing one row at one site"

OUTSIDE = (
    "that a site's table does not fit what was declared (its error names no value of a row, but "
    "that there is one depends on rows)",
    "when and how long sites answered",
    "what the run's own user wrote down: the declared columns, and real rows that a simulation "
    "compares its table with (coverage, utility); do not publish these figures as private",
)
"""What no noise covers."""


@dataclass(frozen=True)
class Ledger:
    """A run's releases with their guarantees, as plain values for `privacy.json`.

    Attributes:
        value: The content of the file.
    """

    value: dict[str, Any]

    @staticmethod
    def of(
        releases: Releases, budget: Budget | None, rows: int | None, simulated: bool = True
    ) -> "Ledger":
        """Reads the record of releases.

        Args:
            releases: Every accepted reply.
            budget: What the run may spend; None: no noise is added.
            rows: Rows of all sites, as far as the server knows; None: nobody has said.
            simulated: Whether the sites are simulated.
        """
        delta = None if budget is None else budget.delta
        entries = [_entry(entry, delta, rows) for entry in releases.entries.values()]
        arrays = [a for entry in releases.entries.values() for a in entry.arrays]
        plain = [e for e in entries if e["protection"] == "plain"]
        masked = [e for e in entries if e["protection"] == "masked"]
        totals: dict[str, Any] = {
            "releases": sum(e["count"] for e in entries),
            "numbers": sum(e["count"] * e["numbers"] for e in entries),
            "plain": sum(e["count"] for e in plain),
            "masked": sum(e["count"] for e in masked),
            "noised": sum(e["count"] for e in entries if e["protection"] == "noised"),
            "per_site_arrays": sum(a.form == "per site" for a in arrays),
            "sites": len({s for e in releases.entries.values() for s in e.sites}),
        }
        guarantee = None
        if budget is not None and not plain and not masked and not totals["per_site_arrays"]:
            guarantee = _guarantee(releases, budget)
        return Ledger(
            {
                "guarantee": guarantee,
                "budget": None if budget is None else _budget(budget),
                "simulated": simulated,
                "rows": rows,
                "releases": entries,
                "totals": totals,
                "outside": list(OUTSIDE),
            }
        )


def site_spent(releases: Releases) -> float:
    """ZCDP that a site has spent against the server, the largest over sites.

    Of a masked answer the server sees the total alone, under the noise of all sites.
    """
    sites: dict[str, float] = {}
    for entry in releases.entries.values():
        stated = [json.loads(text) for text in entry.mechanisms]
        seen = "rho" if any(each["name"] == MASKED for each in stated) else "site_rho"
        for each in stated:
            if each["name"] == NAME:
                for site in entry.sites:
                    sites[site] = sites.get(site, 0.0) + float(each[seen])
    return max(sites.values(), default=0.0)


def _guarantee(releases: Releases, budget: Budget) -> dict[str, Any]:
    rho, site_rho = spent(releases), site_spent(releases)
    return {
        "level": LEVEL,
        "delta": budget.delta,
        "rho": rho,
        "epsilon": compute_epsilon(rho, budget.delta),
        "site_rho": site_rho,
        "site_epsilon": compute_epsilon(site_rho, budget.delta),
        "adders": budget.adders,
        "known_seed": budget.seed is not None,
    }


def _budget(budget: Budget) -> dict[str, Any]:
    return {
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "rho": budget.rho,
        "shares": dict(budget.shares),
        "adders": budget.adders,
        "sites": budget.sites,
    }


def _entry(entry: Entry, delta: float | None, rows: int | None) -> dict[str, Any]:
    stated = [json.loads(text) for text in entry.mechanisms]
    names = [each["name"] for each in stated]
    noise = next((each for each in stated if each["name"] == NAME), None)
    protection: Protection = "plain"
    if noise is not None:
        protection = "noised"
    elif NO_ROWS in names:
        protection = "no rows"
    elif names == [MASKED]:
        protection = "masked"
    elif names:
        protection = "other"
    numbers = 0
    for array in entry.arrays:
        size = 1
        for length in array.shape:
            size *= length
        numbers += size
    question = QUESTIONS.get(entry.task, entry.task)
    if entry.task == "prepare" and protection != "no rows":
        question += ", and sum up how many rows hold each value"
    found: dict[str, Any] = {
        "task": entry.task,
        "question": question,
        "to": TO,
        "count": entry.numbers.count,
        "sites": len(entry.sites),
        "numbers": numbers,
        "rows": 0 if protection == "no rows" else rows,
        "protection": protection,
        "mechanisms": names,
        "sensitivity": None,
        "why": None,
        "deviation": None,
        "rho": None,
        "epsilon": None,
        "site_epsilon": None,
    }
    if noise is not None:
        found |= {name: noise[name] for name in ("sensitivity", "why", "deviation", "rho")}
    if noise is not None and delta is not None:
        rho = float(noise["rho"])
        site_rho = rho if MASKED in names else float(noise["site_rho"])
        found["epsilon"] = compute_epsilon(rho, delta)
        found["site_epsilon"] = compute_epsilon(site_rho, delta)
    return found
