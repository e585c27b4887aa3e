"""Classifier two-sample tests: DeLong's interval by hand, and tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.two_sample import delong, two_sample_area
from everymode.fairness.metrics.utility import Learner
from everymode.wgan.data.fit import fit_schema


def table(rows: int, seed: int, tied: bool = True) -> pd.DataFrame:
    """Two numbers and a category; the numbers have the same sign, or not, where not `tied`."""
    rng = np.random.default_rng(seed)
    x, sign = rng.normal(size=rows), rng.choice([-1.0, 1.0], rows)
    y = np.abs(rng.normal(size=rows)) * (np.sign(x) if tied else sign)
    job = rng.choice(["a", "b", "c"], rows)
    gaps = np.where(rng.random(rows) < 0.1, np.nan, y)
    return pd.DataFrame({"x": x, "y": gaps, "job": np.where(rng.random(rows) < 0.1, None, job)})


REAL = table(1500, 0)
SCHEMA = fit_schema(REAL)


def area(made: pd.DataFrame, learner: Learner, seed: int = 0) -> Estimate:
    return two_sample_area(REAL, made, SCHEMA, learner, np.random.default_rng(seed))


def test_delongs_variance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    up, down = rng.normal(0.5, 1, 40).round(1), rng.normal(size=60).round(1)
    value, variance = delong(up, down)
    truth = np.repeat([1, 0], [40, 60])
    assert value == pytest.approx(roc_auc_score(truth, np.concatenate([up, down])))
    # Equations 2 to 6: psi is 1, 1/2 or 0 for each pair; its means by row and by column.
    psi = (up[:, None] > down[None]) + 0.5 * (up[:, None] == down[None])
    by_up, by_down = psi.mean(axis=1), psi.mean(axis=0)
    assert variance == pytest.approx(by_up.var(ddof=1) / 40 + by_down.var(ddof=1) / 60)


def test_delongs_interval_holds_the_true_area_in_95_of_100_draws() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        value, variance = delong(rng.normal(size=80), rng.normal(size=80))
        held += abs(value - 0.5) <= 1.96 * variance**0.5
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize("learner", ["logistic", "boosted_trees"])
def test_equal_distributions_give_one_half_and_disjoint_ones_one(learner: Learner) -> None:
    same = area(table(1500, 1), learner)
    assert same.low is not None and same.high is not None
    assert same.low <= 0.5 <= same.high and same.high - same.low < 0.05
    # The trees' histograms put the largest of the real values into the bin of the others.
    apart = area(table(1500, 1).assign(x=9.0), learner)
    assert apart.value == pytest.approx(1, abs=0.005) and apart.high == pytest.approx(1, abs=1e-3)


def test_only_trees_see_what_lies_between_columns() -> None:
    """Margins are equal, so that no linear function of the columns tells the tables apart."""
    made = table(1500, 1, tied=False)
    trees, linear = area(made, "boosted_trees"), area(made, "logistic")
    assert trees.low is not None and trees.low > 0.6
    assert linear.value == pytest.approx(0.5, abs=0.04)


def test_a_seed_gives_the_same_figure_and_too_few_rows_none() -> None:
    made = table(200, 1)
    assert area(made, "boosted_trees", 3) == area(made, "boosted_trees", 3)
    rng = np.random.default_rng(0)
    assert two_sample_area(REAL[:9], made, SCHEMA, "logistic", rng) == Estimate()
    nothing = SCHEMA.without(SCHEMA.names)
    assert two_sample_area(REAL, made, nothing, "logistic", rng) == Estimate()
