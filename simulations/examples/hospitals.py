"""Three hospitals that cannot pool their tables, and a generator that knows all of their patients.

    python simulations/examples/hospitals.py

This simulates the hospitals on one machine: each is a site of its own, and only sums leave it.
"""

import numpy as np
import pandas as pd

import everymode


def patients(rows: int, old: float, seed: int) -> pd.DataFrame:
    """The table of a hospital; `old` is the share of its patients over 65."""
    rng = np.random.default_rng(seed)
    aged = rng.random(rows) < old
    age = np.where(aged, rng.integers(66, 95, rows), rng.integers(18, 66, rows))
    pressure = rng.normal(110 + 0.4 * age, 9).round()
    ill = rng.random(rows) < 1 / (1 + np.exp((150 - pressure) / 8))
    return pd.DataFrame(
        {
            "band": np.where(aged, "66 and over", "up to 65"),
            "age": age,
            "pressure": pressure.astype("int64"),
            "ill": np.where(ill, "yes", "no"),
        }
    )


hospitals = {
    "north": patients(900, old=0.02, seed=0),
    "south": patients(700, old=0.05, seed=1),
    "coast": patients(400, old=0.80, seed=2),
}
model = everymode.fit(
    sites=hospitals, sensitive_features=["band"], target="ill", overrides={"train.rounds": 20}
)
table = model.sample()
pooled = pd.concat(hospitals.values(), ignore_index=True)
for name, rows in (("real", pooled), ("synthetic", table)):
    print(f"{name}: {(rows['band'] == '66 and over').mean():.1%} are over 65")
print(pd.crosstab(table["band"], table["ill"], normalize="index").round(2))
