"""Adult under differential privacy: AUC, marginals, C2ST and the worst group by epsilon.

Run: python tests/benchmarks/private.py --epsilon 3 --seed 0 --out private.json
One line a run is added to the results. The privacy seed is left out, so that noise is fresh.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from everymode.server.config.files import load
from everymode.server.in_process import simulate
from everymode.wgan.files import read_json

CONFIG = Path(__file__).with_name("private_adult.toml")


def c2st(made: pd.DataFrame, real: pd.DataFrame, seed: int) -> float:
    """AUC of boosted trees that tell synthetic from held-out rows, 8,000 each; 0.5 is perfect."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    size = min(8000, len(made), len(real))
    both = pd.concat([made.sample(size, random_state=seed), real.sample(size, random_state=seed)])
    codes = np.zeros(both.shape)
    for i, name in enumerate(both.columns):
        numbers = pd.to_numeric(both[name], errors="coerce")
        text = numbers.isna().mean() > 0.5
        codes[:, i] = pd.factorize(both[name])[0] if text else numbers
    label = np.repeat([0, 1], size)
    order = np.random.default_rng(seed).permutation(2 * size)
    train, test = order[:size], order[size:]
    model = HistGradientBoostingClassifier(random_state=seed).fit(codes[train], label[train])
    return float(roc_auc_score(label[test], model.predict_proba(codes[test])[:, 1]))


def rate_error(made: pd.DataFrame) -> float:
    """Largest error of a sex's or a race's rate of incomes above 50K, to training rows'."""
    path = Path(__file__).parents[2] / "simulations/data/adult-train.csv.gz"
    real, found = pd.read_csv(path, dtype=str, keep_default_na=False), []
    for name in ("sex", "race"):
        rates = [(f["income"] == ">50K").groupby(f[name]).mean() for f in (made, real)]
        found.append(float((rates[0].reindex(rates[1].index).fillna(0.0) - rates[1]).abs().max()))
    return max(found)


def measure(epsilon: float, seed: int, overrides: list[str]) -> dict[str, Any]:
    """One run's figures."""
    settings = load(CONFIG, [f"privacy.epsilon={epsilon}", f"seed={seed}", *overrides])
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        run = simulate(settings, Path(folder) / "run")
        ledger = read_json(run.folder.path / "privacy.json")
        made = pd.read_csv(run.folder.synthetic, dtype=str, keep_default_na=False)
    real = pd.read_csv(
        Path(__file__).parents[2] / "simulations/data/adult-test.csv.gz",
        dtype=str,
        keep_default_na=False,
    )[list(made.columns)]
    made, real = (frame.replace("?", "") for frame in (made, real))
    summary = run.summary
    return {
        "epsilon": epsilon,
        "seed": seed,
        "spent": ledger["guarantee"]["epsilon"],
        "site_epsilon": ledger["guarantee"]["site_epsilon"],
        "utility": summary["utility"],
        "tv_mean_from_noisy_sums": summary["tv_mean"],
        "c2st_trees": c2st(made, real, seed),
        "coverage_group_min": summary["coverage_group_min"],
        "income_rate_error": rate_error(made),
        "projection": summary["projection"],
        "critic_trees": summary.get("critic_trees"),
        "groups": summary["groups"],
        "seconds": round(time.perf_counter() - started),
    }


def main() -> None:
    """Runs one setting and adds it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    found = measure(given.epsilon, given.seed, given.set)
    results = json.loads(given.out.read_text()) if given.out.exists() else []
    given.out.write_text(json.dumps([*results, found], indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
