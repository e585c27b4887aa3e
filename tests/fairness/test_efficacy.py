"""Efficacy over all columns: what models of every column are worth."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit
from everymode.fairness.metrics.efficacy import efficacy_of_columns
from everymode.wgan.data.fit import fit_schema


def table(seed, rows=1500, told=True):
    """A number, a category that follows from it, an amount that is 0 mostly, and noise."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, rows).round(1)
    job = np.where(age + rng.normal(0, 3, rows) > 40, "old", "young")
    amount = np.where(rng.random(rows) < 0.8, 0, 100 * (job == "old") + rng.integers(1, 50, rows))
    noise = rng.normal(size=rows).round(2)
    sex = rng.choice(["f", "m"], rows)
    frame = pd.DataFrame({"age": age, "job": job, "amount": amount, "noise": noise, "sex": sex})
    if not told:
        for name in frame:
            frame[name] = rng.permutation(frame[name].to_numpy())
    return frame


REAL, HELD = table(0), table(1)
SCHEMA = fit_schema(REAL)


def scored(made, targets=("age", "job", "amount", "noise", "sex")):
    return efficacy_of_columns(REAL, made, HELD, SCHEMA, targets, 0)


def test_fresh_rows_are_worth_what_real_ones_are():
    found = scored(table(2))
    assert found.synthetic.keys() == found.real.keys() == set(SCHEMA.names)
    assert found.real["job"] > 0.9 and found.real["age"] > 0.75
    assert found.real["noise"] == pytest.approx(0.5, abs=0.05)
    made, real = found.means
    assert made == pytest.approx(real, abs=0.02)
    # The very same rows give the very same models.
    assert scored(REAL).synthetic == found.real


def test_independent_columns_are_worth_nothing():
    made, real = scored(table(2, told=False)).means
    assert made == pytest.approx(0.5, abs=0.04) and real > 0.6


def test_one_tie_that_is_lost_costs_the_columns_of_the_tie_alone():
    own = table(2)
    own["job"] = np.random.default_rng(3).permutation(own["job"].to_numpy())
    found = scored(own)
    assert found.synthetic["job"] < 0.6 < 0.9 < found.real["job"]
    assert found.synthetic["sex"] == pytest.approx(found.real["sex"], abs=0.06)


def test_values_that_rows_lack_and_columns_of_one_value_are_borne():
    made = table(2).assign(job="old", sex=None)
    found = scored(made)
    assert found.synthetic["job"] == found.synthetic["sex"] == 0.5
    flat = HELD.assign(noise=1.0)
    schema = fit_schema(REAL)
    one = efficacy_of_columns(REAL, made, flat.assign(sex="f"), schema, ["sex"], 0)
    assert one.means is None
    alone = efficacy_of_columns(
        REAL[["age"]], REAL[["age"]], HELD[["age"]], fit_schema(REAL[["age"]]), ["age"], 0
    )
    assert alone.means is None


def test_missing_numbers_are_a_class_and_an_input():
    holes = {name: frame.copy() for name, frame in (("real", REAL), ("held", HELD))}
    for frame in holes.values():
        frame.loc[frame["job"] == "old", "noise"] = np.nan
    schema = fit_schema(holes["real"])
    found = efficacy_of_columns(
        holes["real"], holes["real"], holes["held"], schema, ["noise", "job"], 0
    )
    assert found.real["noise"] > 0.6 and found.real["job"] > 0.99


def audited(holdout):
    effort = SamplingLimits(rows=300, classified=0, counted=300)
    return audit(REAL, table(2), sensitive_features=["sex"], holdout=holdout, effort=effort)


def test_the_audit_shows_it_of_all_rows_with_held_out_rows_alone():
    every, women, _ = audited(HELD).groups
    assert 0.55 < every.efficacy < 0.95
    assert every.efficacy == pytest.approx(every.efficacy_real, abs=0.03)
    assert women.efficacy is None
    assert audited(None).groups[0].efficacy is None
    # Rows that were trained on are no test.
    assert audited(REAL.head(800)).groups[0].efficacy is None


def test_no_more_columns_are_predicted_than_the_limit(monkeypatch):
    seen = []

    def count(real, synthetic, test, schema, targets, seed):
        seen.append((len(real), len(synthetic), len(test), tuple(targets)))
        return efficacy_of_columns(real, synthetic, test, schema, [], seed)

    monkeypatch.setattr("everymode.fairness.metrics.efficacy.efficacy_of_columns", count)
    monkeypatch.setattr("everymode.fairness.audit.joint_metrics.MAX_PREDICTED", 2)
    monkeypatch.setattr("everymode.fairness.audit.joint_metrics.MAX_LEARNT", 400)
    found = audited(HELD)
    ((real, made, test, targets),) = seen
    assert (real, made, test) == (400, 400, 400)
    assert len(targets) == 2 and found.groups[0].efficacy is None
