"""Whether a rebuild changed a result: SHA-256 of `synthetic.csv` for one run per mechanism.

    python tests/benchmarks/hashes.py record [NAME ...]     writes hashes.json
    python tests/benchmarks/hashes.py check [NAME ...]      compares; exit code 1 if one differs

Each case is `everymode simulate` as a user calls it, short enough for a few seconds, and together
they take every strategy, switch, penalty and view. A case whose run is refused keeps the digest of
its message. `--jobs 2` runs two cases at a time, which changes no result.

A hash holds on the machine, and with the versions, that `hashes.json` names: sums of float32 are
rounded differently by another processor or another PyTorch. Record on the commit before a rebuild,
then check after it, on the same machine.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from server.config.strategies import StrategyName

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECORD = HERE / "hashes.json"


@dataclass(frozen=True)
class Case:
    """One run: a preset and keys that differ from it."""

    preset: str
    keys: tuple[str, ...] = ()
    backend: str = "inline"
    resume_after: int = 0


def _cases() -> dict[str, Case]:
    found = {
        "quick-ray": Case("quick", backend="ray"),
        "quick-inline": Case("quick"),
        "adult": Case("adult", ("train.rounds=6",)),
        "resume": Case("quick", ("train.rounds=6", "output.checkpoint_every=3"), resume_after=3),
        "resume-minimax": Case(
            "quick",
            (
                "train.rounds=6",
                "output.checkpoint_every=3",
                "groups.weights=minimax",
                "groups.minimax_every=1",
                "data.held_out=0.2",
                "views.use=table",
                "views.rule=adaptive",
                "federation.sites_per_round=2",
                "federation.optimizer=adam",
                "federation.rate=0.01",
            ),
            resume_after=3,
        ),
    }
    for scenario in ("grid", "ring", "lines", "lost-class", "digits-class", "digits-style"):
        found[scenario] = Case(scenario, ("train.rounds=3",))
    for strategy in get_args(StrategyName):
        found[f"strategy-{strategy}"] = _short(f"strategy={strategy}")
    for switch, keys in SWITCHES.items():
        found[switch] = _short(*keys)
    return found


def _short(*keys: str) -> Case:
    return Case("quick", ("train.rounds=3", *keys))


SITES = "federation.generator=sites"
SWITCHES: Mapping[str, tuple[str, ...]] = {
    "parity-mixture": ("fairness.parity=demographic",),
    "parity-penalty": ("fairness.parity=equal_opportunity",),
    "parity-penalty-demographic": ("fairness.parity=demographic", "data.condition=none"),
    "parity-absolute": ("fairness.parity=equal_opportunity", "fairness.parity_shape=absolute"),
    "bias-head": ("fairness.bias_head=1", "data.condition=none"),
    "bias-head-told": ("fairness.bias_head=1", "data.condition=label"),
    "clusters": ("data.clusters=4",),
    "clusters-alone": ("data.clusters=4", "data.condition=none"),
    "condition-group": ("data.condition=group",),
    "condition-label": ("data.condition=label",),
    "condition-none": ("data.condition=none",),
    "linear-numbers": ("data.numbers=linear",),
    "weights-share": ("groups.weights=share",),
    "weights-uniform": ("groups.weights=uniform",),
    "weights-minimax": (
        "groups.weights=minimax",
        "groups.minimax_every=1",
        "data.held_out=0.2",
    ),
    "views-noise-constant": ("views.use=noise", "views.rule=constant"),
    "views-diffusion-decay": ("views.use=diffusion", "views.rule=decay"),
    "views-table-adaptive": ("views.use=table", "views.rule=adaptive", "data.held_out=0.2"),
    "views-table-adaptive-sign": (
        "views.use=table",
        "views.rule=adaptive",
        "views.statistic=sign",
        "model.objective=hinge",
    ),
    "matching-kernel": ("model.matching_by=kernel",),
    "matching-sliced": ("model.matching_by=sliced",),
    "matching-none": ("model.matching=0",),
    "no-projection": ("model.projection=false",),
    "no-marginals": ("model.marginals=false",),
    "no-bins": ("model.bins=0",),
    "clipping": ("model.lipschitz=clipping", "model.optimizer=rmsprop", "model.critic_rate=5e-5"),
    "spectral-norm": ("model.lipschitz=spectral_norm",),
    "jensen-shannon": ("model.objective=jensen_shannon", "model.lipschitz=none"),
    "penalty-manifold": ("model.penalty_points=manifold",),
    "penalty-real": ("model.penalty_points=real", "model.penalty_one_sided=true"),
    "penalty-by-class": ("model.penalty_by_class=true", "model.penalty_every=2"),
    "condition-penalty": ("model.condition_penalty=1", "model.drift=1e-3"),
    "batch-norm": ("model.norm=batch", "model.objective=hinge", "model.lipschitz=spectral_norm"),
    "layer-norm": ("model.norm=layer",),
    "projection-critic": ("model.conditioning=projection",),
    "committee": ("model.committee=3",),
    "multipliers": ("model.multipliers=true",),
    "pack": ("model.pack=4",),
    "sites-generator": (SITES,),
    "sites-generator-frozen": (SITES, "federation.statistics=frozen", "federation.warmup=1"),
    "sites-generator-private": (SITES, "federation.statistics=private"),
    "sites-generator-proximal": (SITES, "federation.proximal=0.1"),
    "own-critics-odds": ("federation.critic=own", "federation.mixture=odds"),
    "own-critics-swap": ("federation.critic=own", "federation.swap_every=1"),
    "own-generators": ("federation.generator=own", "federation.critic=own"),
    "control-variates": ("federation.control_variates=true",),
    "statistics-frozen": ("federation.statistics=frozen", "federation.warmup=1"),
    "statistics-private": ("federation.statistics=private",),
    "proximal": ("federation.proximal=0.1",),
    "server-momentum": ("federation.optimizer=momentum", "federation.rate=0.5"),
    "server-adam": ("federation.optimizer=adam", "federation.rate=0.001"),
    "glide": ("federation.glide=true",),
    "partial-participation": ("federation.sites_per_round=2",),
    "balanced-participation": ("federation.sites_per_round=2", "federation.selection=balanced"),
    "away": ("federation.away=site-01:2-2",),
    "rows-weights": ("federation.weights=rows", "federation.draw=rows"),
    "equal-weights": ("federation.weights=equal",),
    "exact-batch": ("train.exact_batch=true",),
    "site-floor": ("site.floor=30",),
    "split-iid": ("split.by=iid",),
    "split-group": ("split.by=group",),
    "split-quantity": ("split.by=quantity", "split.largest=0.6"),
    "split-column": ("split.by=column", "split.column=relationship"),
    "cosine": ("train.decay=cosine",),
    "patience": ("train.patience=1", "train.evaluate_every=1"),
    "held-out": ("data.held_out=0.2",),
}
"""Keys of each short run of `quick`; the names say what it takes."""


def digest(case: Case, folder: Path) -> str:
    """SHA-256 of the table that a run makes, or of the message that refuses it."""
    shutil.rmtree(folder, ignore_errors=True)
    sets = [part for key in case.keys for part in ("--set", key)]
    everymode = [sys.executable, "-m", "simulations.cli", "simulate", "-q"]
    done = _run([*everymode, case.preset, *sets, "--backend", case.backend, "--out", str(folder)])
    if case.resume_after and not done.returncode:
        for later in (folder / "checkpoints").iterdir():
            if int("".join(filter(str.isdigit, later.stem)) or 0) > case.resume_after:
                later.unlink()
        (folder / "synthetic.csv").unlink()
        done = _run([*everymode, "--resume", str(folder), "--backend", case.backend])
    if done.returncode == 2:
        words = " ".join(done.stderr.split()).replace(str(folder), "DIR")
        return f"refused: {words}"
    if done.returncode:
        raise SystemExit(f"{folder.name}: exit code {done.returncode}\n{done.stderr}")
    found = hashlib.sha256((folder / "synthetic.csv").read_bytes()).hexdigest()
    shutil.rmtree(folder)
    return found


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "10000"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def machine() -> dict[str, str]:
    """What a hash depends on besides the code."""
    names = ("torch", "numpy", "pandas", "scipy", "flwr")
    return {"processor": _processor(), **{name: version(name) for name in names}}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def main() -> None:
    """Records or checks the cases that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=("record", "check", "list"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    arguments = parser.parse_args()
    cases = _cases()
    if arguments.command == "list":
        print("\n".join(cases))
        return
    if unknown := set(arguments.names) - set(cases):
        raise SystemExit(f"no case {sorted(unknown)}; `list` shows them")
    chosen = {name: cases[name] for name in arguments.names or cases}
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known: dict[str, str] = before.get("sha256", {})
    if arguments.command == "check" and before.get("machine") != machine():
        print(f"recorded on {before.get('machine')}, this is {machine()}: hashes may differ")
    differing = []
    with (
        tempfile.TemporaryDirectory(prefix="hashes-") as work,
        concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool,
    ):
        digests = {name: pool.submit(digest, c, Path(work) / name) for name, c in chosen.items()}
        for name, future in digests.items():
            found = future.result()
            if arguments.command == "record":
                known[name] = found
                print(f"{name:28} {found[:100]}", flush=True)
            else:
                same = known.get(name) == found
                print(f"{name:28} {'same' if same else f'DIFFERS: {found[:300]}'}", flush=True)
                differing += [] if same else [name]
    if arguments.command == "record":
        ordered = {name: known[name] for name in cases if name in known}
        text = json.dumps({"machine": machine(), "sha256": ordered}, indent=2)
        RECORD.write_text(text + "\n", encoding="utf-8")
    elif differing:
        raise SystemExit(f"{len(differing)} of {len(chosen)} differ: {', '.join(differing)}")


if __name__ == "__main__":
    main()
