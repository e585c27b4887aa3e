"""Utility per group: against fairlearn and scikit-learn, and tables that must come out worse."""

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from everymode.fairness.metrics import group_utility as module
from everymode.fairness.metrics.bootstrap import calibration_error
from everymode.fairness.metrics.group_utility import group_utility
from everymode.fairness.metrics.utility import train_and_test
from everymode.wgan.data.fit import fit_schema


def table(count, seed, lift=1.0):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], count)
    race = rng.choice(["a", "b"], count, p=[0.7, 0.3])
    x = rng.normal(size=count).round(4)
    y = np.where(x + lift * (sex == "m") + 0.5 * rng.normal(size=count) > 1, "yes", "no")
    return pd.DataFrame({"sex": sex, "race": race, "x": x, "y": y})


REAL, MADE, TEST = table(1500, 0), table(1500, 1), table(1500, 2)
SCHEMA = fit_schema(REAL)


def found(made=MADE, test=TEST, target="y", **more):
    options = {"bootstrap": 40, "learners": ("logistic",)}
    features = more.pop("features", ["sex", "race"])
    return group_utility(REAL, made, test, SCHEMA, target, features, 0, **(options | more))


def test_figures_of_equal_laws_agree_and_intervals_hold_them():
    utility = found()
    assert utility.positive == "yes" and utility.insufficient == ()
    made, real = utility.predictions
    assert (made.trained_on, real.trained_on) == ("synthetic", "real")
    assert made.overall["auc"].value == pytest.approx(real.overall["auc"].value, abs=0.01)
    assert made.by_group.keys() == made.fairness.keys() == {"sex", "race", "sex, race"}
    for figures in (made.overall, *made.by_group["sex"].values(), *made.fairness.values()):
        for estimate in figures.values():
            assert estimate.low <= estimate.value <= estimate.high
    assert utility.base_rates["real"]["sex"]["m"] > utility.base_rates["real"]["sex"]["f"]
    gap = utility.base_rate_difference["synthetic"]["sex"]
    rates = utility.base_rates["synthetic"]["sex"]
    assert gap.value == pytest.approx(rates["m"] - rates["f"])


def test_differences_and_ratios_are_fairlearns(monkeypatch):
    """Of the scores that the report's own learner gives, by fairlearn's own functions."""
    seen = []
    real = module.fit_and_predict

    def predicted(*arguments):
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "fit_and_predict", predicted)
    utility = found()
    truth = (TEST["y"] == "yes").to_numpy().astype(int)
    for (scores, classes), prediction in zip(seen, utility.predictions, strict=True):
        chosen = (scores[:, list(classes).index("yes")] >= 0.5).astype(int)
        for feature in ("sex", "race"):
            for notion in ("demographic_parity", "equalized_odds", "equal_opportunity"):
                for kind in ("difference", "ratio"):
                    name = f"{notion}_{kind}"
                    oracle = getattr(fairlearn, name)(
                        truth, chosen, sensitive_features=TEST[feature]
                    )
                    figure = prediction.fairness[feature][name]
                    assert figure.value == pytest.approx(oracle)
                    assert figure.low <= oracle <= figure.high


def test_resampled_figures_are_scikit_learns_weighted_ones():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 100)
    score = (0.3 * truth + rng.random(100)).round(1) / 1.3
    draws = rng.multinomial(100, np.full(100, 0.01), size=10).astype(np.int32)
    found = module._resampled(truth, score, draws)
    for i, weights in enumerate(draws):
        oracles = {
            "auc": roc_auc_score(truth, score, sample_weight=weights),
            "accuracy": accuracy_score(truth, score >= 0.5, sample_weight=weights),
            "f1": f1_score(truth, score >= 0.5, sample_weight=weights),
            "selection_rate": np.average(score >= 0.5, weights=weights),
        }
        for name, oracle in oracles.items():
            assert found[name][i] == pytest.approx(oracle), name


def test_calibrated_scores_have_a_small_error():
    rng = np.random.default_rng(5)
    score = rng.random(20_000)
    truth = (rng.random(20_000) < score).astype(np.int64)
    assert calibration_error(truth, score) < 0.02
    assert calibration_error(truth, score**4) > 0.2


def test_labels_permuted_within_a_group_lower_that_groups_area():
    made = MADE.copy()
    hit = (made["sex"] == "m").to_numpy()
    made.loc[hit, "y"] = np.random.default_rng(0).permutation(made.loc[hit, "y"].to_numpy())
    spoiled = found(made, learners=("boosted_trees",), features=["sex"]).predictions[0]
    groups = spoiled.by_group["sex"]
    assert groups["m"]["auc"].high < groups["f"]["auc"].low


def test_small_groups_and_those_of_one_class_are_insufficient():
    few = TEST.head(10).assign(race="c")
    one = TEST[TEST["y"] == "no"].head(50).assign(race="d")
    utility = found(test=pd.concat([TEST, few, one], ignore_index=True), features=["race"])
    assert utility.insufficient == ("race: c", "race: d")
    groups = utility.predictions[0].by_group["race"]
    assert groups["c"] == groups["d"] == {} and groups["a"]


def test_more_classes_have_areas_but_no_fairness():
    rng = np.random.default_rng(0)
    frames = [t.assign(y=rng.choice(["p", "q", "r"], len(t))) for t in (REAL, MADE, TEST)]
    schema = fit_schema(frames[0])
    utility = group_utility(*frames, schema, "y", ["sex"], 0, learners=("logistic",))
    assert utility.positive is None and utility.base_rates == {}
    assert utility.predictions[0].overall.keys() == {"auc", "accuracy"}


def test_what_cannot_be_measured_says_why():
    assert "is a number" in found(target="x").reason
    assert "synthetic rows hold fewer" in found(MADE.assign(y="no")).reason


@pytest.mark.parametrize("labels", [("no", "yes"), ("yes", "no"), ("a", "b")])
def test_the_summary_and_the_audit_have_one_area(labels):
    """Whichever class is the rarer one, and comes first by name: equal to the last digit."""
    renamed = {"no": labels[0], "yes": labels[1]}
    frames = [frame.assign(y=frame["y"].map(renamed)) for frame in (REAL, MADE, TEST)]
    schema = fit_schema(frames[0])
    audit = group_utility(*frames, schema, "y", ["sex"], 5, bootstrap=0)
    areas = {(p.trained_on, p.learner): p.overall["auc"].value for p in audit.predictions}
    for name, train in (("real", frames[0]), ("synthetic", frames[1])):
        summary = train_and_test(train, frames[2], schema, "y", 5)
        assert summary.logistic == areas[name, "logistic"]
        assert summary.boosted_trees == areas[name, "boosted_trees"]


def test_the_same_generator_gives_the_same_figures():
    assert found() == found()
