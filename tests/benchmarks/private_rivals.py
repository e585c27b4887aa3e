"""AIM and MST on the pooled rows of Adult, measured as `private.py` measures the product's tables.

    python tests/benchmarks/private_rivals.py make --model aim --epsilon 3 --seed 0 --out aim.csv
    python tests/benchmarks/private_rivals.py measure aim.csv --model aim --epsilon 3 --seed 0

`make` needs `dpmm` (0.1.9), in an environment of its own: it asks for an older pandas. The columns
are those of `private_adult.toml`, numbers cut into 20 bins of equal width of the declared range, so
that no budget is spent on that. `--size` bounds the graphical model, in MB; AIM's authors recommend
80 for comparisons, which takes hours: with less, figures are lower bounds of what AIM can do.
"""

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "simulations" / "data"
RECORD = HERE / "private_rivals.json"
BINS = 20
DELTA = 1e-5


def declared() -> dict[str, dict[str, Any]]:
    """Columns as the product's configuration declares them."""
    config = tomllib.loads((HERE / "private_adult.toml").read_text())
    return dict(config["data"]["columns"])


def make(model: str, epsilon: float, seed: int, size: float, out: Path) -> None:
    """Fits a model on pooled rows and writes as many synthetic ones."""
    from dpmm.pipelines.aim import AIMPipeline
    from dpmm.pipelines.mst import MSTPipeline

    columns = declared()
    frame = pd.read_csv(DATA / "adult-train.csv.gz", dtype=str, keep_default_na=False)
    frame = frame[[name for name in frame.columns if name in columns]]
    domain: dict[str, dict[str, Any]] = {}
    for name, column in columns.items():
        if column["kind"] == "integer":
            frame[name] = frame[name].astype(int)
            domain[name] = {"lower": column["low"], "upper": column["high"]}
        else:
            frame[name] = frame[name].replace("?", "missing")
            values = [*column["categories"], *(["missing"] if column.get("missing") else [])]
            frame[name] = pd.Categorical(frame[name], categories=values)
            domain[name] = {"categories": values}
    pipeline = {"aim": AIMPipeline, "mst": MSTPipeline}[model](
        epsilon=epsilon,
        delta=DELTA,
        proc_epsilon=None,
        n_bins=BINS,
        n_jobs=1,
        max_model_size=size if model == "aim" else None,
    )
    started = time.process_time()
    pipeline.fit(frame, domain, random_state=seed)
    made = pipeline.generate(n_records=len(frame), random_state=seed)
    for name, column in columns.items():
        if column["kind"] == "integer":
            made[name] = made[name].astype(float).round().clip(column["low"], column["high"])
            made[name] = made[name].astype(int)
        else:
            made[name] = made[name].astype(str).replace("missing", "?")
    made.to_csv(out, index=False)
    print(f"{out}: {time.process_time() - started:.0f} CPU seconds")


def measure(table: Path, seed: int) -> dict[str, Any]:
    """AUC, C2ST, coverage and income rates of a table, as `private.py` has them of a run's."""
    from private import c2st, rate_error

    from everymode.fairness.audit.limits import SamplingLimits
    from everymode.fairness.audit.strata import coverage_summary, strata, stratum_coverage
    from everymode.fairness.audit.tables import Tables
    from everymode.fairness.metrics.utility import train_and_test
    from everymode.wgan.data.fit import fit_schema
    from everymode.wgan.data.frame import read_table

    names = list(declared())
    train, test = (read_table(DATA / f"adult-{part}.csv.gz")[names] for part in ("train", "test"))
    made = read_table(table)[names]
    schema = fit_schema(train)
    tables = Tables(schema, train, made, test)
    found = [
        stratum_coverage(tables, features, SamplingLimits(), seed)
        for features in strata(("sex", "race"))[1:]
    ]
    utility = train_and_test(made, test, schema, "income", seed)
    plain = [pd.read_csv(p, dtype=str, keep_default_na=False).replace("?", "") for p in
             (table, DATA / "adult-test.csv.gz")]  # fmt: skip
    return {
        "logistic": utility.logistic,
        "boosted_trees": utility.boosted_trees,
        "c2st_trees": c2st(plain[0][names], plain[1][names], seed),
        "coverage_group_min": coverage_summary([g for groups in found for g in groups])[0],
        "income_rate_error": rate_error(plain[0]),
    }


def main() -> None:
    """Makes a table, or measures one and adds a line to the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["make", "measure"])
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("--model", choices=["aim", "mst"], required=True)
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "make":
        make(given.model, given.epsilon, given.seed, given.size, given.out)
        return
    found = {name: getattr(given, name) for name in ("model", "epsilon", "seed", "size")}
    found |= measure(given.table, given.seed)
    results = json.loads(RECORD.read_text()) if RECORD.exists() else []
    RECORD.write_text(json.dumps([*results, found], indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
