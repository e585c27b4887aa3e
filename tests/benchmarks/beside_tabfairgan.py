"""TabFairGAN 0.1.0 beside ours: AUC at equal gap, the worst group's coverage, seconds.

    pip install tqdm && pip install --no-deps tabfairgan==0.1.0   # in an environment of its own
    python tests/benchmarks/beside_tabfairgan.py OUT [--only SETTING] [--ours RUN ...]

TabFairGAN is trained on all rows of Adult in one place, on one thread, with the settings of its own
README and with a longer first phase, whose fairness phase is looked at along its way: its penalty
is signed and pushes past parity for as long as it lasts, so that the best setting is one of the
moments before its end. What is in OUT already is kept. Ours are finished runs of
`everymode simulate adult` over ten sites. Each is compared with ours at the level of parity that
leaves the same gap between the sexes, or the data's own where theirs exceeds it. Rows are judged by
the same code against the same held-out rows. Results: `beside_tabfairgan.json`.
"""

import argparse
import json
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from everymode.fairness.metrics.utility import train_and_test
from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.config.files import load, resolve
from everymode.server.evaluation.figures import compute_coverage
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.generator_file import load_generator
from everymode.wgan.data.frame import read_table

SEEDS = (0, 1, 2)
SETTINGS: dict[str, dict[str, Any]] = {
    # The second example of its README.
    "readme": {"epochs": 200, "fair_epochs": 50, "lamda": 0.5},
    "searched": {"epochs": 230, "fair_epochs": 30, "lamda": 0.5},
}
LOOKS = {"readme": (50,), "searched": (0, 5, 10, 20, 30)}
"""Epochs of the fairness phase after which a table is made; the last is the setting's own end."""
RESULTS = Path(__file__).with_suffix(".json")
SEX, WOMEN, INCOME, RICH = "sex", "Female", "income", ">50K"


def train(
    table: pd.DataFrame,
    setting: dict[str, Any],
    seed: int,
    looks: Collection[int],
    keep: Callable[[int, pd.DataFrame, float], None],
) -> None:
    """Trains theirs and hands `keep` every look: epochs of fairness, its table, the seconds so far.

    A look takes nothing from the training's own random numbers, nor from its seconds.
    """
    from tabfairgan import TFG, main
    from tqdm import tqdm

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - it splits its rows by the global state
    fair = {
        **{key: setting[key] for key in ("fair_epochs", "lamda")},
        **{"S": SEX, "Y": INCOME, "S_under": WOMEN, "Y_desire": RICH},
    }
    # Whole numbers come as fractions; rounded they are as theirs are meant, and ours are.
    whole = [name for name in table.columns if pd.api.types.is_integer_dtype(table[name])]
    model = TFG(table, setting["epochs"], 256, "cpu", fair)
    begun, aside = time.perf_counter(), 0.0

    class Watched(tqdm):
        """Their progress bar, the only thing that hears of the end of an epoch."""

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal aside
            shown = super().update(n)
            fairness = int(self.n) - (setting["epochs"] - setting["fair_epochs"])
            if fairness in looks:
                stopped = time.perf_counter()
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    made = model.generate_fake_df(len(table))
                made = made.assign(**made[whole].round().astype("int64"))
                keep(fairness, made, stopped - begun - aside)
                aside += time.perf_counter() - stopped
            return shown

    main.tqdm = Watched
    model.train()


def judged(made: pd.DataFrame, run: Path) -> dict[str, Any]:
    """AUC of both learners, the gap between the sexes, the worst group's coverage."""
    folder = RunFolder(run)
    settings, plan = load(folder.config, []), load_generator(folder).plan
    holdout = read_table(resolve(str(settings.data.holdout)))
    utility = train_and_test(made, holdout, plan.schema, INCOME, seed=0)
    rates = (made[INCOME].astype(str) == RICH).groupby(made[SEX].astype(str)).mean()
    coverage = compute_coverage(plan, holdout, made, 0, "the held-out rows")
    return {
        "logistic": utility.logistic,
        "boosted_trees": utility.boosted_trees,
        "rate_women": float(rates["Female"]),
        "rate_men": float(rates["Male"]),
        "coverage_group_min": coverage and coverage["coverage_group_min"],
    }


def file_of(out: Path, name: str, seed: int, look: int) -> Path:
    """The table of one look."""
    return out / f"{name}-{seed}-{look}.csv.gz"


def level_of(gap: float, own: float) -> float:
    """The level of parity at which ours leaves a gap as theirs: unsigned, at most the data's."""
    return min(abs(gap) / own, 1.0)


def main() -> None:
    """Trains what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", choices=sorted(SETTINGS))
    parser.add_argument("--ours", nargs="*", type=Path, default=[])
    parser.add_argument("--collect", action="store_true", help="train nothing, judge what is there")
    options = parser.parse_args()
    real = read_table(resolve("builtin:adult-train.csv.gz"))
    typed = pd.read_csv(resolve("builtin:adult-train.csv.gz"), keep_default_na=False)
    texts = [name for name in typed.columns if not pd.api.types.is_numeric_dtype(typed[name])]
    typed = typed.astype(dict.fromkeys(texts, object))
    assert list(real.columns) == list(typed.columns)
    for name in [] if options.collect else options.only or SETTINGS:
        for seed in SEEDS:
            last = file_of(options.out, name, seed, LOOKS[name][-1])
            if last.exists():
                continue

            def keep(look: int, made: pd.DataFrame, seconds: float, key=(name, seed)) -> None:
                path = file_of(options.out, *key, look)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_suffix(".json").write_text(json.dumps({"seconds": seconds}))
                made.to_csv(path, index=False)
                print(*key, look, f"{seconds:.0f} s", flush=True)

            train(typed, SETTINGS[name], seed, LOOKS[name], keep)
    if not options.ours:
        return
    records: list[dict[str, Any]] = []
    rates = (real[INCOME] == RICH).groupby(real[SEX]).mean()
    own = float(rates["Male"] - rates["Female"])
    for name, setting in SETTINGS.items():
        for (seed, run), look in product(zip(SEEDS, options.ours, strict=True), LOOKS[name]):
            path = file_of(options.out, name, seed, look)
            if not path.exists():
                continue
            theirs = judged(read_table(path), run)
            theirs |= json.loads(path.with_suffix(".json").read_text())
            gap = theirs["rate_men"] - theirs["rate_women"]
            level = level_of(gap, own)
            synthesizer = replace(
                load_generator(RunFolder(run)), parity=ParityMixture(level, (SEX,))
            )
            ours = judged(synthesizer.sample_matching_data(len(real), seed), run)
            summary = json.loads((run / "summary.json").read_text())
            ours |= {"level": level, "seconds": summary["wall_seconds"]}
            records.append(
                {
                    **{"setting": name, **setting, "look": look, "seed": seed},
                    **{"theirs": theirs, "ours": ours},
                }
            )
            print(json.dumps(records[-1]), flush=True)
    RESULTS.write_text(json.dumps({"gap_real": own, "records": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
