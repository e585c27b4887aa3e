"""Rates of attacks compared with the package anonymeter, on the same tables.

    pip install anonymeter                     # in an environment of its own: it wants numpy < 1.27
    python tests/benchmarks/anonymeter_rates.py --python OTHER/bin/python

Three tables of 1,000 rows of the built-in table, against 1,000 other rows: fresh rows, copies, and
copies half of whose cells are another row's. anonymeter draws its targets without a seed, so
that all rows are targets; with as many rows of either kind it corrects no numbers. What it breaks
ties by is the order that an unstable sort leaves, so rates agree as far as ties do not decide.
Predicates are drawn at random on both sides. anonymeter 1.1.0 gives its baseline guesses of an
attribute to targets of the same index, which are the rows themselves where a table copies them: its
baselines of attributes cannot be compared.

The script runs itself in the other environment, on CSV files, and writes `anonymeter_rates.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

NUMBERS = ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]

TEXTS = ["workclass", "marital-status", "occupation", "race", "sex", "income"]

SECRETS = ["income", "sex", "occupation", "age", "hours-per-week"]

ROWS = 1000


def of_anonymeter(folder: Path) -> dict[str, Any]:
    """Rates by anonymeter; runs in its environment."""
    import pandas as pd
    from anonymeter.evaluators import (  # type: ignore[import-not-found]
        InferenceEvaluator,
        LinkabilityEvaluator,
        SinglingOutEvaluator,
    )

    warnings.simplefilter("ignore")
    read = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
    members, others = read.pop("members"), read.pop("others")
    halves = (list(members.columns[::2]), list(members.columns[1::2]))
    found: dict[str, Any] = {}
    for name, made in read.items():
        known = {"ori": members, "syn": made, "control": others}
        own = found[name] = {}
        for secret in SECRETS:
            columns = [c for c in members.columns if c != secret]
            one = InferenceEvaluator(
                **known,
                aux_cols=columns,
                secret=secret,
                n_attacks=ROWS,
                regression=secret in NUMBERS,
            )
            own[f"inference, {secret}"] = _plain(one.evaluate(n_jobs=1).results())
        one = LinkabilityEvaluator(**known, aux_cols=halves, n_attacks=ROWS)
        own["linkability"] = _plain(one.evaluate(n_jobs=1).results())
        for mode in ("univariate", "multivariate"):
            one = SinglingOutEvaluator(**known, n_attacks=500, n_cols=3, seed=0)
            one.evaluate(mode=mode)
            result = _plain(one.results())
            own[f"singling out, {mode}"] = result
    return found


def _plain(result: Any) -> dict[str, float]:
    return {
        "attack": result.n_success / result.n_attacks_ori,
        "control": result.n_control / result.n_attacks_control,
        "baseline": result.n_baseline / result.n_attacks_baseline,
        "risk": result.risk().value,
    }


def of_everymode(folder: Path) -> dict[str, Any]:
    """Rates by EveryMode."""
    import numpy as np
    import pandas as pd

    from everymode.fairness.attacks.attributes import infer_attributes
    from everymode.fairness.attacks.gower import coded
    from everymode.fairness.attacks.linkability import halves, link
    from everymode.fairness.attacks.rates import Guesses, risk
    from everymode.fairness.attacks.singling_out import single_out
    from everymode.wgan.data.fit import fit_schema

    def plain(guesses: Guesses) -> dict[str, float | None]:
        return {
            "attack": float(guesses.attack.mean()),
            "control": float(guesses.control.mean()),
            "baseline": float(guesses.baseline.mean()),
            "risk": risk(guesses.attack, guesses.control).value,
            "guesses": len(guesses.attack),
        }

    read = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
    members, others = read.pop("members"), read.pop("others")
    schema = fit_schema(members, kinds=dict.fromkeys(NUMBERS, "integer"))
    found: dict[str, Any] = {}
    for name, made in read.items():
        parts = coded(schema, made, members, others)
        rng = np.random.default_rng(0)
        own = found[name] = {}
        for secret, guesses in infer_attributes(*parts, SECRETS, rng).items():
            own[f"inference, {secret}"] = plain(guesses)
        own["linkability"] = plain(link(*parts, halves(len(schema.names)), rng))
        for mode in ("univariate", "multivariate"):
            guesses = single_out(*parts, mode == "multivariate", 500, rng)
            own[f"singling out, {mode}"] = plain(guesses)
    return found


def make(folder: Path) -> None:
    """The tables as CSV files."""
    import numpy as np

    from everymode.wgan.data.frame import read_table

    data = HERE.parents[1] / "simulations" / "data" / "adult-train.csv.gz"
    frame = read_table(data)[[*NUMBERS, *TEXTS]].dropna()
    frame = frame.drop_duplicates().sample(3 * ROWS, random_state=0).reset_index(drop=True)
    members, others, fresh = (frame[i * ROWS : (i + 1) * ROWS] for i in range(3))
    rng = np.random.default_rng(0)
    mixed = members.reset_index(drop=True)
    for column in mixed.columns:
        moved = rng.random(ROWS) < 0.5
        mixed.loc[moved, column] = rng.permutation(mixed[column].to_numpy())[moved]
    tables = {"members": members, "others": others, "fresh": fresh, "copies": members}
    for name, table in (tables | {"half mixed": mixed}).items():
        table.to_csv(folder / f"{name}.csv", index=False)


def main() -> None:
    """Compares both, and writes `anonymeter_rates.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", help="the interpreter of an environment with anonymeter")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        print(json.dumps(of_anonymeter(options.folder)))
        return
    if options.python is None:
        parser.error("name an interpreter with --python")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        command = [options.python, __file__, "--folder", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        theirs, ours = json.loads(done.stdout), of_everymode(folder)
    version = subprocess.run(
        [options.python, "-c", "import importlib.metadata as m; print(m.version('anonymeter'))"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    table = {
        made: {
            attack: {
                figure: [
                    round(float(own[figure]), 4),
                    round(float(theirs[made][attack][figure]), 4),
                ]
                for figure in ("attack", "control", "baseline", "risk")
            }
            for attack, own in rates.items()
        }
        for made, rates in ours.items()
    }
    record = {"anonymeter": version, "rows": ROWS, "everymode and anonymeter": table}
    (HERE / "anonymeter_rates.json").write_text(json.dumps(record, indent=1) + "\n")
    for made, rates in table.items():
        for attack, figures in rates.items():
            print(made, attack, figures, file=sys.stdout)


if __name__ == "__main__":
    main()
