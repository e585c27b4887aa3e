"""How many records the sums of a run give away to whoever reads them: an attack, counted.

    python tests/benchmarks/reconstruction.py [CONFIG] [--seeds 0,1,2] [--set KEY=VALUE]

The attack reads nothing but what sites send: integer counts of coordinates in every level (of
`prepare`) and second moments (of `moments`).

1. A coordinate that one row of a level has: its moments are that row.
2. Subtract: what the coordinates of one one-hot vector leave of their level; what the levels of one
   block leave of all rows; what a coordinate leaves of another that holds it whole.
3. Take the rows that were read out of all sums, and look again.

A record counts as read where group, label and every column that is modelled are known and are those
of a row of the data. Figures are given for the total over sites, which is all that is left to see
under secure summation, and for the sums of single sites, which the server sees without. Each with
every coordinate published and with those that `everymode.fairness.matching.suppression` lets
through, without and with a floor of ten rows at every site (`site.floor`).

With `model.trees` sites also count every pair of codes of two columns (`model.forbidden`). A row
that alone has some code is read off these tables: its code in every other column. Of a number on a
grid of few values that is the value, else its bin of 128. This is a lower bound, since nothing is
subtracted; with a floor of ten rows such counts are withheld.

A last attack follows k-means over its exchanges (`data.clusters`): sums around a centre that
differ by one row between two exchanges are that row.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import EncodeData, Request, SumMoments
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import computed
from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.moments import eligible_strata
from everymode.fairness.matching.suppression import publishable, to_text
from everymode.fairness.weighting.group_weights import group_mass
from everymode.server.config.files import load
from everymode.server.config.recipe import build_recipe
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.synthesis.trees import BINS
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.codec import TableCodec

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST = 5000
"""Rows after which the attack ends: by then it reads more than the data hold."""

CLOSE = 1e-4
"""How near a coordinate must be to 0 or 1 to be read; sums have a resolution of 2^-48."""


@dataclass
class View:
    """What an attacker sees of one sum: of all sites, or of one.

    Attributes:
        counts: Rows of every level that have each coordinate, `(C + 1, W)`.
        moments: Weighted sums of products, `(C + 1, W, W)`.
        known: Which coordinates each level has published, `(C + 1, W)`.
        plan: What everybody knows.
    """

    counts: npt.NDArray[np.int64]
    moments: Floats
    known: Bools
    plan: Plan
    found: dict[tuple[int, ...], Floats] = field(default_factory=dict)

    def candidates(self) -> Iterator[tuple[Floats, Bools]]:
        """Rows that are read, up to a factor, `(W,)`, and which of their entries are known."""
        levels, _ = self.counts.shape
        stops = np.cumsum(self.plan.conditions.blocks)
        starts = stops - self.plan.conditions.blocks
        for level in range(levels):
            own, known, counts = self.moments[level], self.known[level], self.counts[level]
            for i in np.flatnonzero(known & (counts == 1)):
                yield own[i], known
            whole, rows = self._whole(level), int(counts[-self.plan.conditions.width :].max())
            if level == levels - 1:
                rows = int(self.counts[starts[0] : stops[0]].max(1).sum())
            for first, last in self.plan.spans:
                part = np.arange(first, last)[known[first:last]]
                if rows - counts[part].sum() == 1:
                    yield whole - own[part].sum(0), known
            # One coordinate within another, less one row.
            share = np.diagonal(own)
            nested = np.isclose(own, share[:, None], rtol=1e-7) & known & known[:, None]
            fewer = counts[None, :] - counts[:, None] == 1
            for i, j in zip(*np.nonzero(nested & fewer & (counts[:, None] > 0)), strict=True):
                yield own[j] - own[i], known
        for first, last in zip(starts, stops, strict=True):
            if first == last:
                continue
            block = slice(first, last)
            for i in np.flatnonzero(self.known[-1]):
                seen = self.known[block, i]
                if self.counts[-1, i] - self.counts[block, i][seen].sum() != 1:
                    continue
                left = self.moments[-1, i] - self.moments[block, i][seen].sum(0)
                # Entries whose published levels are just these.
                same = (self.known[block][seen].all(0)) & self.known[-1]
                yield left, same

    def _whole(self, level: int) -> Floats:
        """Sum of w z over the level's rows, `(W,)`: the products with a constant."""
        width = self.plan.conditions.width
        start = len(self.plan.choices) - width
        for size in self.plan.conditions.blocks:
            if size and self.known[level, start : start + size].any():
                return np.asarray(self.moments[level, start : start + size].sum(0))
            start += size
        return np.zeros(self.moments.shape[1])

    def read(self, vector: Floats, known: Bools) -> Floats | None:
        """The row that a vector is a multiple of, `(W,)`; None where entries are missing."""
        plan = self.plan
        scale = max(float(np.abs(vector[plan.choices & known]).max(initial=0.0)), 0.0)
        if scale <= 0 or not np.isfinite(vector).all():
            return None
        row = np.where(known, vector / scale, np.nan)
        for first, last in plan.spans:
            part = row[first:last]
            ones = np.abs(part - 1) < CLOSE
            zeros = np.abs(part) < CLOSE
            if ones.sum() == 1 and (zeros | ones | np.isnan(part)).all():
                row[first:last] = ones
            elif np.isnan(part).sum() == 1 and zeros.sum() == len(part) - 1:
                row[first:last] = np.isnan(part)
            else:
                return None
        for block in plan.shape.blocks:
            if block.kind == "value":
                gated = block.gate is not None and row[block.gate] < 0.5
                if gated:
                    row[block.start] = 0.0
                elif np.isnan(row[block.start]):
                    return None
        return row

    def attack(self) -> list[Floats]:
        """Reads rows, takes them out and looks again until nothing is found."""
        rows: list[Floats] = []
        seen: set[bytes] = set()
        while True:
            fresh: dict[bytes, tuple[Floats, float]] = {}
            for vector, known in self.candidates():
                row = self.read(vector, known)
                if row is not None:
                    weight = float(np.abs(vector[self.plan.choices & known]).max())
                    # What is no row of the data, misread, would come again and again.
                    if (key := np.round(row, 4).tobytes()) not in seen:
                        fresh.setdefault(key, (row, weight))
            if not fresh or len(rows) > MOST:
                return rows
            seen |= fresh.keys()
            for row, weight in fresh.values():
                rows.append(row)
                member = np.append(row[-self.plan.conditions.width :], 1.0) > 0.5
                self.moments[member] -= weight * np.outer(row, row)
                self.counts[member] -= row != 0


def views(
    agreed: Agreement, settings: Settings, sites: tuple[Site, ...], guarded: bool
) -> tuple[Plan, str, SiteSums, list[tuple[SiteSums, SiteSums]]]:
    """The plan, its name, and the replies of all sites."""
    counts = agreed.conditions.group_counts
    order = EncodeData(
        schema=agreed.schema.to_json(),
        conditions=agreed.conditions.to_json(),
        mass=tuple(group_mass(counts, settings.groups.weights, settings.groups.exponent)),
        recipe=build_recipe(settings).to_json(),
        seed=settings.seed,
        matching="moments",
        marginals=True,
        missing=settings.data.missing,
        bins=settings.model.bins,
    )
    plan, name = Plan.of(order), fingerprint(order)
    # Past the gate, which answers once: the attack is asked twice, guarded and not.
    prepared = [computed(Request(order), [site]) for site in sites]
    total = prepared[0]
    for sums in prepared[1:]:
        total = total + sums
    _, levels = eligible_strata(plan.conditions)
    active = np.append(levels, True)
    known = np.repeat(active[:, None], total["counts"].shape[1], 1)
    if guarded:
        known = publishable(total.units("counts"), active, plan.conditions.blocks, plan.spans)
    asked = Request(SumMoments(name, to_text(known)))
    replies = [(sums, computed(asked, [s])) for sums, s in zip(prepared, sites, strict=True)]
    return plan, name, total, replies


def matrices(sums: Floats, known: Bools) -> Floats:
    """Upper triangles of published coordinates as full matrices, `(C + 1, W, W)`."""
    levels, width = known.shape
    found = np.zeros((levels, width, width))
    start = 0
    for matrix, coordinates in zip(found, known, strict=True):
        place = np.flatnonzero(coordinates)
        upper = np.triu_indices(len(place))
        part = sums[start : start + len(upper[0])]
        matrix[place[upper[0]], place[upper[1]]] = part
        matrix[place[upper[1]], place[upper[0]]] = part
        start += len(upper[0])
    return found


def records(plan: Plan, rows: list[Floats]) -> set[tuple[Any, ...]]:
    """What rows say, column by column, beside their group and label."""
    if not rows:
        return set()
    codec = TableCodec(plan.schema.without(plan.conditions.given))
    table = np.stack(rows)
    frame = codec.decode(table[:, : codec.width].astype(np.float32)).astype(str)
    condition = table[:, -plan.conditions.width :].round().astype(int)
    both = zip(frame.itertuples(index=False), condition, strict=True)
    return {(*values, *told.tolist()) for values, told in both}


def moments_attack(settings: Settings, folder: Path) -> dict[str, Any]:
    """Records read from second moments: of the total and of single sites, guarded and not."""
    stage = create_simulated_sites(settings, folder)
    agreed = agree(
        InProcess(stage.sites), stage.columns, build_table_spec(settings.data), settings.seed
    )
    result: dict[str, Any] = {}
    for guarded in (False, True):
        plan, name, total, replies = views(agreed, settings, stage.sites, guarded)
        _, levels = eligible_strata(plan.conditions)
        known = np.repeat(np.append(levels, True)[:, None], total["counts"].shape[1], 1)
        if guarded:
            known = publishable(
                total.units("counts"), known.any(1), plan.conditions.blocks, plan.spans
            )
        truth: set[tuple[Any, ...]] = set()
        for site in stage.sites:
            joined = plan.joined(
                np.array(site.array(name, "rows"), dtype=np.float32),
                np.array(site.array(name, "cells"), dtype=np.int64),
            )
            truth |= records(plan, list(joined.astype(np.float64)))
        summed = sum(moments["moments"] for _, moments in replies)
        whole = View(total.units("counts").copy(), matrices(np.asarray(summed), known), known, plan)
        found = records(plan, whole.attack()) & truth
        single: set[tuple[Any, ...]] = set()
        for prepared, moments in replies:
            own = View(
                prepared.units("counts").copy(), matrices(moments["moments"], known), known, plan
            )
            single |= records(plan, own.attack()) & truth
        result["suppressed" if guarded else "everything"] = {
            "entries": int((known.sum(1) * (known.sum(1) + 1) // 2).sum()),
            "from_the_total": len(found),
            "from_single_sites": len(single),
        }
    return result


def pairs_attack(settings: Settings, folder: Path) -> dict[str, int]:
    """Rows that alone have some code, in all of the data and at single sites."""
    stage = create_simulated_sites(settings, folder)
    agreed = agree(
        InProcess(stage.sites), stage.columns, build_table_spec(settings.data), settings.seed
    )
    plan, name, _, _ = views(agreed, settings, stage.sites, False)
    coding = Coding.of(plan.codec, plan.conditions, BINS)
    codes = [
        coding.codes(
            np.array(site.array(name, "rows"), dtype=np.float32),
            np.array(site.array(name, "cells"), dtype=np.int64),
        )
        for site in stage.sites
    ]
    return {
        "rows": sum(map(len, codes)),
        "from_the_total": alone(np.concatenate(codes), coding.sizes),
        "from_single_sites": sum(alone(own, coding.sizes) for own in codes),
    }


def alone(codes: Codes, sizes: tuple[int, ...]) -> int:
    """Rows that are the only ones with some code of some column."""
    found = np.zeros(len(codes), dtype=np.bool_)
    for own, size in zip(codes.T, sizes, strict=True):
        found |= np.bincount(own, minlength=size)[own] == 1
    return int(found.sum())


def cluster_attack(settings: Settings, folder: Path) -> int:
    """Rows by which the sums of two exchanges of k-means differ."""
    stage = create_simulated_sites(settings, folder)
    inner = InProcess(stage.sites)
    seen: list[SiteSums] = []

    class Recording:
        traffic = inner.traffic
        names = inner.names

        def __call__(self, request: Request) -> SiteSums:
            sums = inner(request)
            if isinstance(request.order, KMeansStep) and not request.order.cells:
                seen.append(sums)
            return sums

    agree(Recording(), stage.columns, build_table_spec(settings.data), settings.seed)
    found: set[bytes] = set()
    for a, sums in enumerate(seen):
        for other in seen[:a]:
            gap = sums["counts"][:, None] - other["counts"][None, :]
            for i, j in zip(*np.nonzero(np.abs(gap) == 1), strict=True):
                row = (sums["sums"][i] - other["sums"][j]) * gap[i, j]
                square = (sums["squares"][i] - other["squares"][j]) * gap[i, j]
                # Of a single row, squares are those of the sums.
                if np.allclose(square, row**2, atol=1e-4):
                    found.add(np.round(row, 3).tobytes())
        for i in np.flatnonzero(sums["counts"] == 1):
            found.add(np.round(sums["sums"][i], 3).tobytes())
    return len(found)


def main() -> None:
    """Runs the attacks and writes `reconstruction.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="adult")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--clusters", type=int, default=32)
    options = parser.parse_args()
    found: dict[str, Any] = {"config": options.config, "set": options.set, "seeds": {}}
    for seed in options.seeds.split(","):
        per: dict[str, Any] = {}
        for bins, floor in product((8, 0), (0, 10)):
            name = f"bins={bins} floor={floor}"
            overrides = [*options.set, f"seed={seed}", f"model.bins={bins}", f"site.floor={floor}"]
            with tempfile.TemporaryDirectory() as folder:
                per[name] = moments_attack(load(options.config, overrides), Path(folder))
            print(seed, name, per[name], flush=True)
        with tempfile.TemporaryDirectory() as folder:
            own = load(options.config, [*options.set, f"seed={seed}"])
            per["pairs"] = pairs_attack(own, Path(folder))
        print(seed, "pairs", per["pairs"], flush=True)
        overrides = [*options.set, f"seed={seed}", f"data.clusters={options.clusters}"]
        with tempfile.TemporaryDirectory() as folder:
            per["clusters"] = cluster_attack(load(options.config, overrides), Path(folder))
        print(seed, "clusters", per["clusters"], flush=True)
        found["seeds"][seed] = per
    name = f"reconstruction{'' if options.config == 'adult' else '-' + options.config}.json"
    Path(__file__).with_name(name).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
