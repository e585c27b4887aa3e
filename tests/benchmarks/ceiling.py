"""How much of the worst group's coverage is chance: ours beside the real rows' own.

    python tests/benchmarks/ceiling.py RUN [RUN ...]

The smallest groups of Adult have some 70 held-out rows, so the least of ten groups' standardised
coverages is below 1 by chance alone. The real training rows are measured as a synthetic table
would be, several times (which rows are compared is drawn); so are several tables of every run.
Results: `ceiling.json`, beside what is there of other runs.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from everymode.server.config.files import load, resolve
from everymode.server.evaluation.figures import compute_coverage
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.generator_file import load_generator
from everymode.wgan.data.frame import read_table

DRAWS = 8
RESULTS = Path(__file__).with_suffix(".json")


def summary(values: list[float]) -> dict[str, Any]:
    """Mean, spread and the values."""
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    return {"mean": mean, "std": std, "values": values}


def main() -> None:
    """Measures all runs and writes the results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for path in map(Path, sys.argv[1:]):
        folder = RunFolder(path)
        settings, synthesizer = load(folder.config, []), load_generator(folder)
        plan = synthesizer.plan
        holdout = read_table(resolve(str(settings.data.holdout)))
        real = read_table(resolve(settings.data.path))

        def worst(table: Any, seed: int, plan: Any = plan, held: Any = holdout) -> float:
            found = compute_coverage(plan, held, table, seed, "the held-out rows")[
                "coverage_group_min"
            ]
            return float(found)

        spread = "" if settings.strategy == "pooled" else f" by {settings.split.by}"
        rounds = settings.train.rounds
        name = f"{settings.strategy}{spread}, {rounds} exchanges, seed {settings.seed}"
        drawn = [synthesizer.sample_matching_data(len(real), 1000 + seed) for seed in range(DRAWS)]
        results[name] = summary([worst(table, seed) for seed, table in enumerate(drawn)])
        if "real rows" not in results:
            results["real rows"] = summary([worst(real, seed) for seed in range(DRAWS)])
        print(name, json.dumps(results[name]), flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
