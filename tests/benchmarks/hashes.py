"""Whether a rebuild changed a result: SHA-256 of `synthetic.csv` for one run per mechanism.

    python tests/benchmarks/hashes.py record [NAME ...]     writes hashes.json
    python tests/benchmarks/hashes.py check [NAME ...]      compares; exit code 1 if one differs

Each case is `everymode simulate` as a user calls it, short enough for a few seconds, and together
they take every strategy, switch, penalty and view. A case whose run is refused keeps the text of
its message. `--jobs 2`, before the command, runs two cases at a time. Each runs in a fork of one
process, so that PyTorch is imported once.

A hash holds on the machine, and with the versions, that `hashes.json` names: sums of float32 are
rounded differently by another processor or another PyTorch. Record on the commit before a rebuild,
then check after it, on the same machine.
"""

import argparse
import concurrent.futures
import hashlib
import importlib
import json
import multiprocessing
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

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECORD = HERE / "hashes.json"
FORK = multiprocessing.get_context("fork")


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
    from everymode.server.config.strategies import StrategyName

    for strategy in get_args(StrategyName):
        found[f"strategy-{strategy}"] = _short(f"strategy={strategy}")
    for switch, keys in SWITCHES.items():
        found[switch] = _short(*keys)
    return found


def _short(*keys: str) -> Case:
    """Three rounds of `quick`, without the projection, which takes most of a short run."""
    without = () if PROJECTED in keys else ("model.projection=false",)
    return Case("quick", ("train.rounds=3", *without, *keys))


PROJECTED = "model.projection=true"


NOTHING = ("data.condition=none", "groups.weights=share", "model.matching=0")
LABEL = ("data.condition=label", "groups.weights=share")
SITES = "federation.generator=sites"
SWITCHES: Mapping[str, tuple[str, ...]] = {
    "parity-mixture": (PROJECTED, "fairness.parity=demographic"),
    "parity-penalty": (PROJECTED, "fairness.parity=equal_opportunity"),
    "parity-penalty-demographic": (*NOTHING, "fairness.parity=demographic"),
    "parity-absolute": ("fairness.parity=equal_opportunity", "fairness.parity_shape=absolute"),
    "bias-head": (*NOTHING, "fairness.bias_head=1"),
    "bias-head-label": (*LABEL, "fairness.bias_head=1"),
    "clusters": (PROJECTED, "data.clusters=4"),
    "clusters-alone": (*NOTHING, "data.clusters=4"),
    "condition-group": ("data.condition=group",),
    "condition-label": LABEL,
    "condition-none": NOTHING,
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
    "no-marginals": (PROJECTED, "model.marginals=false"),
    "no-bins": (PROJECTED, "model.bins=0"),
    "clipping": ("model.lipschitz=clipping", "model.optimizer=rmsprop", "model.critic_rate=5e-5"),
    "spectral-norm": ("model.lipschitz=spectral_norm",),
    "jensen-shannon": ("model.objective=jensen_shannon", "model.lipschitz=none"),
    "penalty-manifold": ("model.penalty_points=manifold",),
    "penalty-real": ("model.penalty_points=real", "model.penalty_one_sided=true"),
    "penalty-by-class": ("model.penalty_by_class=true", "model.penalty_every=2"),
    "condition-penalty": ("model.condition_penalty=1", "model.drift=1e-3"),
    "batch-norm": ("model.norm=batch", "model.objective=hinge", "model.lipschitz=none"),
    "layer-norm": ("model.norm=layer",),
    "projection-critic": ("model.conditioning=projection",),
    "committee": ("model.committee=3",),
    "multipliers": ("model.multipliers=true",),
    "pack": ("model.pack=4",),
    "sites-generator": (SITES,),
    "sites-generator-frozen": (SITES, "federation.statistics=frozen", "federation.warmup=1"),
    "sites-generator-private": (SITES, "federation.statistics=private"),
    "sites-generator-proximal": (SITES, "federation.proximal=0.1"),
    "own-critics-odds": (
        "federation.critic=own",
        "federation.mixture=odds",
        "model.objective=jensen_shannon",
    ),
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
    "away": ("federation.away=['site-01:2-2']",),
    "rows-weights": ("federation.weights=rows", "federation.draw=rows"),
    "equal-weights": ("federation.weights=equal",),
    "exact-batch": ("train.exact_batch=true",),
    "site-floor": ("site.floor=30", "train.site_minimum=30"),
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
    backend = ["--backend", case.backend]
    status, words = _run([case.preset, *sets, *backend, "--out", str(folder)], folder)
    if case.resume_after and not status:
        for later in (folder / "checkpoints").iterdir():
            if int("".join(filter(str.isdigit, later.stem)) or 0) > case.resume_after:
                later.unlink()
        (folder / "synthetic.csv").unlink()
        status, words = _run(["--resume", str(folder), *backend], folder)
    if status == 2:
        return "refused: " + " ".join(
            words.replace(f"{ROOT}/", "").replace(str(folder), "").split()
        )
    if status:
        return f"exit code {status}: {words}"
    found = hashlib.sha256((folder / "synthetic.csv").read_bytes()).hexdigest()
    shutil.rmtree(folder)
    return found


def _run(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and messages of `everymode simulate -q`; Ray wants a process of its own."""
    command = ["everymode", "simulate", "-q", *arguments]
    log = folder.with_suffix(".log")
    with log.open("w", encoding="utf-8") as out:
        if "ray" in arguments:
            run = [sys.executable, "-m", "everymode.simulations.cli", *command[1:]]
            status = subprocess.run(run, cwd=ROOT, stdout=out, stderr=out).returncode
        else:
            child = FORK.Process(target=_command_line, args=(command, out.fileno()))
            child.start()
            child.join()
            status = child.exitcode or 0
    return status, log.read_text(encoding="utf-8")


def _command_line(command: list[str], out: int) -> None:
    from everymode.simulations.cli import main as everymode

    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = command
    everymode()


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
    if (
        os.environ.get("PYTHONPATH") != str(ROOT / ".src")
        or os.environ.get("OMP_NUM_THREADS") != "1"
    ):
        # One thread, and the packages of this tree: both are read once, at the start.
        values = {"OMP_NUM_THREADS": "1", "COLUMNS": "10000", "PYTHONPATH": str(ROOT / ".src")}
        environment = {**os.environ, **values}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
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
    importlib.import_module("everymode.simulations.inline")
    importlib.import_module("everymode.server.session")
    chosen = {name: cases[name] for name in arguments.names or cases}
    before = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known: dict[str, str] = before.get("sha256", {})
    if arguments.command == "check" and before.get("machine") != machine():
        print(f"recorded on {before.get('machine')}, this is {machine()}: hashes may differ")
    differing = []
    with (
        tempfile.TemporaryDirectory(prefix="hashes-") as work,
        concurrent.futures.ProcessPoolExecutor(arguments.jobs, FORK) as pool,
    ):
        digests = {pool.submit(digest, c, Path(work) / name): name for name, c in chosen.items()}
        for future in concurrent.futures.as_completed(digests):
            name, found = digests[future], future.result()
            if arguments.command == "record":
                known[name] = found
                print(f"{name:28} {found}", flush=True)
                ordered = {name: known[name] for name in cases if name in known}
                text = json.dumps({"machine": machine(), "sha256": ordered}, indent=2)
                RECORD.write_text(text + "\n", encoding="utf-8")
            else:
                same = known.get(name) == found
                print(f"{name:28} {'same' if same else f'DIFFERS: {found[:300]}'}", flush=True)
                differing += [] if same else [name]
    if differing:
        raise SystemExit(f"{len(differing)} of {len(chosen)} differ: {', '.join(differing)}")


if __name__ == "__main__":
    main()
