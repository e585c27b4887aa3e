"""What parity costs: the gap in the target's rate between groups, against AUC, over levels.

    python tests/benchmarks/parity.py RUN [RUN ...]

Every RUN is a finished run of `adult` (a seed each) whose generator is told group and label: the
level is a mixture of cells, so one training serves all levels. For each level rows are drawn anew,
and both learners are trained on them and tested on the held-out real rows. Then one feature alone
is held to level 0, to see what becomes of the others: gaps in the rows, and demographic parity
differences of models, beside those of the real rows. Results go to `parity.json` and
`.github/images/parity.png`.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from everymode.fairness.metrics.group_utility import group_utility
from everymode.fairness.metrics.utility import train_and_test
from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.config.files import load, resolve
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.generator_file import load_generator
from everymode.wgan.data.frame import read_table

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
RESULTS = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[2] / ".github" / "images" / "parity.png"


def rates(table: pd.DataFrame, feature: str, target: str, positive: str) -> dict[str, float]:
    """Share of the positive class by value of a feature."""
    hits = table[target].astype(str) == positive
    return {str(k): float(v) for k, v in hits.groupby(table[feature].astype(str)).mean().items()}


def measured(run: Path) -> list[dict[str, Any]]:
    """One record a level."""
    folder = RunFolder(run)
    settings = load(folder.config, [])
    data, synthesizer = settings.data, load_generator(folder)
    assert data.target is not None and data.holdout is not None
    holdout, schema = read_table(resolve(data.holdout)), synthesizer.plan.schema
    positive = str(holdout[data.target].value_counts().index[-1])
    found = []
    for level in LEVELS:
        asked = replace(synthesizer, parity=ParityMixture(level))
        table = asked.sample_matching_data(
            int(synthesizer.plan.conditions.table.sum()), settings.seed
        )
        utility = train_and_test(table, holdout, schema, data.target, seed=0)
        record: dict[str, Any] = {"run": run.name, "seed": settings.seed, "level": level}
        for feature in data.sensitive:
            by_value = rates(table, feature, data.target, positive)
            record[feature] = by_value
            record[f"gap_{feature}"] = max(by_value.values()) - min(by_value.values())
        record |= {"logistic": utility.logistic, "boosted_trees": utility.boosted_trees}
        found.append(record)
        print(json.dumps(record))
    return found


def untargeted(run: Path) -> list[dict[str, Any]]:
    """One record a feature that is held to level 0 alone, and one with no parity at all."""
    folder = RunFolder(run)
    settings = load(folder.config, [])
    data, synthesizer = settings.data, load_generator(folder)
    assert data.target is not None and data.holdout is not None
    holdout, schema = read_table(resolve(data.holdout)), synthesizer.plan.schema
    real = read_table(resolve(data.path))
    found = []
    for held in (None, *data.sensitive):
        mixture = None if held is None else ParityMixture(0.0, (held,))
        table = replace(synthesizer, parity=mixture).sample_matching_data(len(real), settings.seed)
        rng = np.random.default_rng(0)
        utility = group_utility(
            real, table, holdout, schema, data.target, data.sensitive, rng, bootstrap=0
        )
        record: dict[str, Any] = {"seed": settings.seed, "held": held}
        for name, gaps in utility.base_rate_difference.items():
            record[f"rows_{name}"] = {feature: gap.value for feature, gap in gaps.items()}
        for prediction in utility.predictions:
            record[f"{prediction.learner}_{prediction.trained_on}"] = {
                feature: figures["demographic_parity_difference"].value
                for feature, figures in prediction.fairness.items()
            }
        found.append(record)
        print(json.dumps(record), flush=True)
    return found


def main() -> None:
    """Measures all runs, writes the results and draws the curve."""
    records = [record for path in sys.argv[1:] for record in measured(Path(path))]
    alone = [record for path in sys.argv[1:] for record in untargeted(Path(path))]
    results = {"levels": LEVELS, "records": records, "untargeted": alone}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, feature in zip(axes, ("sex", "race"), strict=True):
        for learner, colour in (("logistic", "#0969da"), ("boosted_trees", "#bc4c00")):
            points = [
                [[r[f"gap_{feature}"], r[learner]] for r in records if r["level"] == level]
                for level in LEVELS
            ]
            means, spread = np.mean(points, axis=1), np.std(points, axis=1, ddof=1)
            axis.errorbar(
                means[:, 0],
                means[:, 1],
                spread[:, 1],
                spread[:, 0],
                "o-",
                color=colour,
                label=learner.replace("_", " "),
                capsize=2,
            )
        axis.set_xlabel(f"gap in the rate of income > 50K over {feature}")
        axis.set_ylabel("AUC on held-out real rows")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle("Levels of parity, from 0 (left) to the data's own gap (right)")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
