"""What two hostile sites of ten do to a table, and what each defence leaves of it.

    python tests/benchmarks/hostile_sites.py --work DIR [--cases CASE ...] [--seeds 0 1 2]
        [--rounds 60] [--rows 0] [--regime matching|critic]

A case is `ATTACK/DEFENCE`: `sign/median`, say. Every run is the preset `adult` in this process with
fewer rounds and without the projection, which takes longest; or, as regime `critic`, also without
matching, so that nothing but the critic teaches the generator. The hostile sites
are the two largest of those that are not the only ones with rows of a group (`split.isolate_below`
puts the small groups on one site each; without that site nobody knows them).
`hostile_sites.json` beside this script gets the single figures by case and seed; a case that is
there is not repeated.

What hostile sites do:

- `honest`: nothing.
- `sign`: their updates of the critic point the other way.
- `sign_10`: the same, ten times as long.
- `scaled_1e6`: their updates are 1e6 times as long.
- `labels`: the target of all their rows is flipped. Their sums agree with one another.
- `rows`: every row of theirs is there ten times, its target flipped. Likewise, and they count ten
  times as much.

The defences are the keys of [federation]; `none` is the mean.
"""

import argparse
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from everymode.clients.protocol.messages import Request, Train
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.server.config.files import load
from everymode.server.config.settings import Settings
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.session import Session
from everymode.server.simulated_sites import SimulatedSites, create_simulated_sites
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import EveryModeError

RECORD = Path(__file__).resolve().parent / "hostile_sites.json"

TABLE = RECORD.parents[2] / "simulations" / "data" / "adult-train.csv.gz"

HOSTILE = 2

FACTORS = {"sign": -1.0, "sign_10": -10.0, "scaled_1e6": 1e6}
"""What updates of the critic are multiplied with; its second moments by the size of that."""

COPIES = {"labels": 1, "rows": 10}
"""How often rows with flipped targets are there."""

REGIMES: dict[str, tuple[str, ...]] = {
    "matching": ("model.projection=false",),
    "critic": (
        "model.projection=false",
        "model.matching=0",
        "model.critic_rate=5e-4",
        "model.generator_rate=5e-4",
        "train.generator_steps=4",
    ),
}

DEFENCES: dict[str, tuple[str, ...]] = {
    "none": (),
    "bound": ("federation.update_bound=3",),
    "share": ("federation.largest_share=0.35",),
    **{
        rule: (f"federation.aggregation={rule}", f"federation.hostile_sites={HOSTILE}")
        for rule in ("median", "trimmed_mean", "geometric_median", "krum", "multi_krum")
    },
}


@dataclass
class HostileExchange(InProcess):
    """The exchange in this process, with sites that change their updates before they send them.

    Attributes:
        hostile: Their names.
        factor: What they multiply updates with.
    """

    hostile: tuple[str, ...] = ()
    factor: float = 1.0
    notes: list[str] = field(default_factory=list)

    def _reply(self, request: Request, site: Site, admit: Any) -> SiteSums:
        sums = super()._reply(request, site, admit)
        if site.name not in self.hostile or not isinstance(request.order, Train):
            return sums
        names = {
            name: abs(self.factor) if name.endswith("_second") else self.factor
            for name in request.order.updates()
        }
        return multiplied(sums, names)


def multiplied(sums: SiteSums, factors: dict[str, float]) -> SiteSums:
    """A reply whose named arrays are multiplied, whether sent in the sum or apart."""
    vector, start = sums.vector.copy(), 0
    for entry in sums.layout.fields:
        part = slice(start, start + entry.size)
        start += entry.size
        if entry.name in factors:
            changed = np.rint(vector[part] * factors[entry.name])
            vector[part] = changed.clip(-(2.0**61), 2.0**61).astype(np.int64)
    per_site = {
        site: {name: (a * factors.get(name, 1.0)).astype(np.float32) for name, a in sent.items()}
        for site, sent in sums.per_site.items()
    }
    return replace(sums, vector=vector, per_site=per_site)


def drawn(stage: SimulatedSites, settings: Settings) -> tuple[str, ...]:
    """The hostile sites, by name."""
    frames = {site.name: read_table(site.table, settings.data.missing) for site in stage.sites}
    keys = list(settings.data.sensitive)
    held = pd.concat([f[keys].drop_duplicates().assign(site=n) for n, f in frames.items()])
    alone = held.groupby(keys)["site"].agg(list)
    needed = {sites[0] for sites in alone if len(sites) == 1}
    able = sorted(set(frames) - needed, key=lambda name: (-len(frames[name]), name))
    return tuple(sorted(able[:HOSTILE]))


def sample(rows: int, work: Path) -> Path:
    """So many rows of the built-in table, the same in every run."""
    path = work / f"adult-{rows}.csv"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        frame = pd.read_csv(TABLE, dtype=str, keep_default_na=False)
        frame.sample(rows, random_state=0).to_csv(path, index=False)
    return path


def flip(table: Path, target: str, labels: list[str], copies: int) -> None:
    """Flips the target of all rows of a table of two labels, and repeats them."""
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    frame[target] = frame[target].map(dict(zip(labels, labels[::-1], strict=True)))
    pd.concat([frame] * copies).to_csv(table, index=False)


def run(case: str, seed: int, rounds: int, regime: str, rows: int, work: Path) -> dict[str, Any]:
    """One run's figures."""
    attack, _, defence = case.partition("/")
    sets = (f"seed={seed}", f"train.rounds={rounds}", "train.on_failure=skip")
    if rows:
        sets = (*sets, f"data.path={sample(rows, work)}")
    settings = load("adult", (*sets, *REGIMES[regime], *DEFENCES[defence]))
    path = work / f"{regime}-{case.replace('/', '-')}-{seed}"
    shutil.rmtree(path, ignore_errors=True)
    folder = RunFolder(path)
    notes: list[str] = []
    with folder.locked():
        folder.create(settings)
        stage = create_simulated_sites(settings, folder.fresh_sites())
        hostile = drawn(stage, settings)
        real, target = stage.frame(settings.data.missing), str(settings.data.target)
        whole = {s.name: len(read_table(s.table)) / len(real) for s in stage.sites}
        for site in stage.sites:
            if attack in COPIES and site.name in hostile:
                flip(site.table, target, sorted(real[target].unique()), COPIES[attack])
        exchange = HostileExchange(
            stage.sites,
            tell=notes.append,
            skip=True,
            largest_share=settings.federation.largest_share,
            hostile=hostile if attack in FACTORS else (),
            factor=FACTORS.get(attack, 1.0),
        )
        session = Session(
            settings=settings,
            folder=folder,
            exchange=exchange,
            columns=stage.columns,
            samples=stage.samples,
            form=stage.form,
            real_rows=lambda: real,
        )
        told: dict[str, Any] = {"hostile": {n: round(whole[n], 4) for n in hostile}}
        try:
            summary = session()
        except EveryModeError as error:
            return {**told, "ended": error.problems[0]}
        finally:
            shutil.rmtree(path, ignore_errors=True)
    named = [text for text in notes if any(f"'{name}'" in text for name in hostile)]
    return {
        **told,
        "coverage_group_min": round(summary["coverage_group_min"], 4),
        "auc": round(summary["utility"]["synthetic"]["boosted_trees"], 4),
        "auc_linear": round(summary["utility"]["synthetic"]["logistic"], 4),
        "tv_mean": round(summary["tv_mean"], 4),
        "named": len(named),
        "megabytes_up": round(summary["bytes_up"] / 1e6, 1),
        "seconds": round(summary["wall_seconds"]),
    }


def main() -> None:
    """Runs what is asked for and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", nargs="*", default=["honest/none"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--rows", type=int, default=0, help="0: all")
    parser.add_argument("--regime", choices=list(REGIMES), default="matching")
    options = parser.parse_args()
    for seed in options.seeds:
        for case in options.cases:
            known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
            name = f"{options.regime}, {options.rounds} rounds, {options.rows or 'all'} rows"
            if str(seed) in known.get(name, {}).get(case, {}):
                continue
            found = run(case, seed, options.rounds, options.regime, options.rows, options.work)
            known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
            known.setdefault(name, {}).setdefault(case, {})[str(seed)] = found
            RECORD.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            print(case, seed, found, flush=True)


if __name__ == "__main__":
    main()
