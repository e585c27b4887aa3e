"""Whether a site with flipped labels can be told from honest ones by its shares of categories.

    python tests/benchmarks/hostile_shares.py --work DIR [--seeds 0 1 2] [--rows 8000]

The sites of `hostile_sites.py`, asked for all that comes before training, with honest tables and
with flipped ones (`labels`). Of every group and label with 30 rows of a site, the total variation
between the site's shares of each column's categories and the median of all such sites, less what
chance makes of so many rows; the mean by rows. `hostile_shares.json` beside this script gets it by
seed, attack and site; `hostile_sites.json` names the hostile ones.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import hostile_sites
import numpy as np

from everymode.clients.protocol.messages import EncodeData, Request, Train
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site

RECORD = Path(__file__).resolve().parent / "hostile_shares.json"

FEW = 30
"""Rows of a level below which a site's shares say nothing."""


class BeforeTraining(Exception):
    """All that comes before training has been asked."""


class Listening(hostile_sites.HostileExchange):
    """Keeps what sites said when they encoded their tables."""

    def _reply(self, request: Request, site: Site, admit: Any) -> SiteSums:
        if isinstance(request.order, Train):
            raise BeforeTraining
        sums = super()._reply(request, site, admit)
        if isinstance(request.order, EncodeData):
            HEARD[site.name] = sums
            PLANS[:] = [Plan.of(request.order)]
        return sums


HEARD: dict[str, SiteSums] = {}
PLANS: list[Plan] = []


def differences() -> dict[str, float]:
    """How far each site's shares lie from the median of all."""
    names, (plan,) = sorted(HEARD), PLANS
    counts = np.stack([HEARD[name].units("counts") for name in names])
    found = np.stack([HEARD[name]["marginals"] for name in names])
    gap, rows = np.zeros(len(names)), np.zeros(len(names))
    first, last = plan.spans[0]
    for level in range(found.shape[1]):
        own = counts[:, level, first:last].sum(1)
        told = own >= FEW
        if told.sum() < 4:
            continue
        shares = found[told, level, :-1] / found[told, level, -1:]
        for start, stop in plan.spans:
            part = shares[:, start:stop]
            middle = np.median(part, axis=0)
            chance = 0.4 * np.sqrt(middle * (1 - middle)).sum() / np.sqrt(own[told])
            apart = 0.5 * np.abs(part - middle).sum(1)
            gap[told] += own[told] * np.maximum(apart - chance, 0)
            rows[told] += own[told]
    mean = gap / np.maximum(rows, 1)
    return dict(zip(names, mean.round(4).tolist(), strict=True))


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=8000)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    hostile_sites.HostileExchange = Listening  # type: ignore[misc]
    for seed in options.seeds:
        for attack in ("honest", "labels"):
            try:
                hostile_sites.run(f"{attack}/none", seed, 5, "matching", options.rows, options.work)
            except BeforeTraining:
                found.setdefault(str(seed), {})[attack] = differences()
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
