"""Modes: lost ones are found in small groups, and chance alone fails none."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.limits import SamplingLimits, at_least, at_most
from everymode.fairness.audit.pooled import audit
from everymode.fairness.metrics.modes import Modes, find_modes, ratios
from everymode.fairness.metrics.results import Estimate

JOBS = ("north", "east", "south", "west")


def people(rng, count, jobs=(0.4, 0.3, 0.2, 0.1), sex="f"):
    """Rows in four modes: numbers follow from the job."""
    job = rng.choice(4, count, p=jobs)
    return pd.DataFrame(
        {
            "sex": sex,
            "job": np.array(JOBS)[job],
            "age": rng.normal(30 + 12 * job, 2, count).round(1),
            "pay": rng.normal(100 - 25 * job, 4, count).round(1),
        }
    )


def verdict(found):
    estimate = Estimate(
        found.covered / found.real, found.sure / found.real, 1 - found.lost / found.real
    )
    return at_least(estimate, 0.9)


def points(rng, count, lost=False):
    """Five clusters on a line; the second is lost where asked for."""
    centre = rng.choice([0, 2, 3, 4] if lost else 5, count)
    return (centre[:, None] * 10 + rng.normal(size=(count, 3))).astype(np.float32)


def test_ratios_hold_the_true_one_in_19_draws_of_20():
    rng = np.random.default_rng(0)
    n, m = rng.poisson(12, 4000), rng.poisson(12 * 0.5, 4000)
    low, high = ratios(n[n > 0], m[n > 0])
    assert np.mean((low <= 0.5) & (high >= 0.5)) > 0.95
    assert np.mean(high < 0.5) < 0.03 and np.mean(low > 0.5) < 0.03


@pytest.mark.parametrize("rows", [46, 93, 135, 400])
def test_fresh_rows_never_fail_and_pass_where_there_are_rows(rows):
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        modes = find_modes(points(rng, rows), points(rng, 2 * rows), 32, seed)
        assert modes is not None
        found.append(verdict(modes))
    assert "fail" not in found
    assert found.count("pass") >= (38 if rows > 100 else 30)


@pytest.mark.parametrize(("rows", "caught"), [(135, 36), (400, 38)])
def test_a_lost_mode_of_a_small_group_fails(rows, caught):
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        modes = find_modes(points(rng, rows), points(rng, 2 * rows, lost=True), 32, seed)
        assert modes is not None
        found.append(verdict(modes))
    assert found.count("fail") >= caught and "pass" not in found


def test_few_rows_neither_pass_nor_fail():
    """Of 40 held-out rows, 7 are of a mode that is lost: as many synthetic rows cannot tell."""
    held, made = np.array([33, 7]), np.array([40, 0])
    assert Modes.of(held, made) == Modes(2, 1, 1, 0)
    assert verdict(Modes.of(held, made)) == "insufficient"
    # Five times as many can.
    assert verdict(Modes.of(held, 5 * made)) == "fail"


def test_a_cell_that_chance_alone_left_thin_is_no_failure():
    """One of six cells with 5 real rows and none of as many synthetic ones: once a failure."""
    held = np.array([30, 30, 25, 25, 20, 5])
    assert verdict(Modes.of(held, np.array([31, 29, 27, 26, 22, 0]))) == "insufficient"


def test_no_modes_are_told_apart_with_too_few_rows():
    rng = np.random.default_rng(0)
    assert find_modes(points(rng, 39), points(rng, 400), 32, 0) is None
    assert find_modes(np.ones((400, 3), np.float32), points(rng, 400), 32, 0) is None


def checks_of(audited, name, subject="f"):
    return [c for c in audited.checks if (c.name, c.subject) == (name, subject)]


def tables(seed, jobs_made=(0.4, 0.3, 0.2, 0.1)):
    """270 and 135 real rows of a small group, beside a large one; and synthetic rows."""
    rng = np.random.default_rng(seed)
    real = pd.concat([people(rng, 270), people(rng, 900, sex="m")])
    held = pd.concat([people(rng, 135), people(rng, 450, sex="m")])
    made = pd.concat([people(rng, 270, jobs_made), people(rng, 900, sex="m")])
    return real, held, made


def audited(real, held, made):
    effort = SamplingLimits(rows=400, classified=0, counted=500)
    return audit(real, made, sensitive_features=["sex"], holdout=held, effort=effort)


def test_an_audit_of_fresh_rows_fails_in_no_check_of_a_small_group():
    for seed in range(3):
        found = audited(*tables(seed))
        assert [c for c in found.checks if c.verdict == "fail"] == []
        (check,) = checks_of(found, "modes")
        assert check.verdict in ("pass", "insufficient") and "modes of its rows" in check.message


def test_an_audit_finds_the_lost_mode_of_a_small_group():
    real, held, made = tables(0, (0.5, 0.5, 0.0, 0.0))
    found = audited(real, held, made)
    (check,) = checks_of(found, "modes")
    assert check.verdict == "fail" and "lost beyond chance" in check.message
    (other,) = checks_of(found, "modes", "m")
    assert other.verdict != "fail"


def test_memorised_rows_of_a_small_group_are_found():
    """Rows of a group of 270 are copied with noise; those of the other group are fresh."""
    real, held, made = tables(1)
    rng = np.random.default_rng(2)
    own = real[real["sex"] == "f"].copy()
    own["age"] += rng.choice([-0.1, 0.1], len(own))
    found = audited(real, held, pd.concat([own, made[made["sex"] == "m"]]))
    (check,) = checks_of(found, "closer_to_training")
    assert check.verdict == "fail"
    assert checks_of(found, "closer_to_training", "m")[0].verdict != "fail"


def test_a_group_too_small_for_modes_says_so():
    rng = np.random.default_rng(0)
    real, held, made = tables(0)
    held = pd.concat([people(rng, 35), held[held["sex"] == "m"]])
    (check,) = checks_of(audited(real, held, made), "modes")
    assert check.verdict == "insufficient" and "too few rows to tell modes apart" in check.message


def test_distances_of_a_group_are_less_the_noise_of_its_held_out_rows():
    real, held, made = tables(0)
    few = pd.concat([held[held["sex"] == "f"].head(40), held[held["sex"] == "m"]])
    (many,) = checks_of(audited(real, held, made), "ks")
    (fewer,) = checks_of(audited(real, few, made), "ks")
    widths = [c.value.value - c.value.low for c in (many, fewer)]
    assert widths[0] == pytest.approx(0.869 * (1 / 135 + 1 / 270) ** 0.5)
    assert widths[1] == pytest.approx(0.869 * (1 / 40 + 1 / 270) ** 0.5)


def test_the_check_on_nearness_holds_its_rate_of_errors_in_a_small_group():
    """Rows trained on, held out and fresh, of one distribution: fewer than one in twenty fails."""
    from everymode.fairness.audit.copies import share_closer

    failed, off = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = share_closer(points(rng, 109), points(rng, 46), points(rng, 109))
        failed += at_most(found, 0.55) == "fail"
        off += not (found.low <= 0.5 <= found.high)
    assert failed <= 3 and off <= 6


def test_a_sample_looks_at_more_synthetic_rows_than_reference_rows(monkeypatch):
    seen = []

    def count(real, synthetic, most, seed):
        seen.append((len(real), len(synthetic)))
        return Modes(2, 2, 2, 0)

    monkeypatch.setattr("everymode.fairness.audit.group_sample.find_modes", count)
    audited(*tables(0))
    assert (135, 270) in seen
