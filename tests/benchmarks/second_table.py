"""The same on a table that nobody tuned on: RAND's health insurance experiment, from statsmodels.

    pip install --target DIR statsmodels --no-deps
    python tests/benchmarks/second_table.py --packages DIR --work DIR [--only NAME ...]

20,190 rows of ten columns: numbers that are mostly a few values (a plan's coinsurance, its
incentive payment, the maximum expenditure), counts of visits with a long tail, and three indicators
of health of which at most one is 1, which pairs of columns say in part only. A fifth of the rows is
held out. All keys are the preset `adult`'s, half its rounds. Rows of one person are in both parts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from indistinguishable import FIGURES, ROWS, audited, failures, made, readme, rows_a_second

HERE = Path(__file__).resolve().parent
RECORD = HERE / "second_table.json"
WANTED = (
    "generator",
    "trees",
    "trees and critics",
    "trees, no critic",
    "trees, no training",
    "cart",
    "local_cart",
)

CONFIG = """
[data]
path = "{work}/train.csv"
holdout = "{work}/held.csv"
sensitive = ["idp", "hlthg"]
target = "hlthf"

[split]
by = "dirichlet"
sites = 10
alpha = 0.3
isolate_below = 0.05

[model]
matching = 0.3
critic_rate = 1e-3
generator_rate = 2e-3
averaging = 0.99

[train]
rounds = 150
critic_steps = 12
generator_steps = 8
batch = 250
"""


def configured(packages: Path, work: Path) -> Path:
    """The table's two parts and the configuration of its runs."""
    config = work / "randhie.toml"
    if not config.exists():
        work.mkdir(parents=True, exist_ok=True)
        rows = pd.read_csv(packages / "statsmodels" / "datasets" / "randhie" / "randhie.csv")
        rows = rows.sample(frac=1, random_state=0)
        held = len(rows) // 5
        rows.iloc[held:].to_csv(work / "train.csv", index=False)
        rows.iloc[:held].to_csv(work / "held.csv", index=False)
        config.write_text(CONFIG.format(work=work.resolve()), encoding="utf-8")
    return config


def main() -> None:
    """Makes and audits what is asked for, and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(WANTED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readme", action="store_true", help="print the table and end")
    arguments = parser.parse_args()
    table: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if arguments.readme:
        print(readme(table))
        return
    if arguments.packages is None or arguments.work is None:
        parser.error("name the packages' folder with --packages and one for the runs with --work")
    config = configured(arguments.packages, arguments.work)
    for name in arguments.only:
        run = made(name, arguments.seed, arguments.work, str(config))
        audit, fast = audited(run), rows_a_second(run)
        found = {figure: read(audit) for figure, (_, read) in FIGURES.items()}
        table[name] = {
            "set": list(ROWS[name]),
            "seeds": [arguments.seed],
            "versions": audit["versions"],
            **{
                figure: {"mean": round(value, 5), "deviation": None, "values": [round(value, 5)]}
                for figure, value in found.items()
                if value is not None
            },
            **({"rows_a_second": {"mean": round(fast, 1)}} if fast else {}),
            "verdicts": [audit["verdict"]],
            "failed": [failures(audit)],
        }
        order = [row for row in ROWS if row in table]
        RECORD.write_text(json.dumps({row: table[row] for row in order}, indent=1) + "\n")
        print(name, {figure: value and round(value, 4) for figure, value in found.items()})


if __name__ == "__main__":
    main()
