"""Tables that an audit must not pass, at two sizes of the built-in table, and one that it must."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.headline import headline, sentences
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit
from everymode.wgan.data.frame import read_table

DATA = Path(__file__).parents[2] / "simulations" / "data"

NUMBERS = {"age": 1, "fnlwgt": 2000, "hours-per-week": 1}
"""Columns, and how far noise moves their values."""

COLUMNS = [*NUMBERS, "education", "occupation", "race", "sex", "income"]

SIZES = {"small": (1600, 400), "large": (40_000, 8_842)}
"""Rows trained on and held out."""


@pytest.fixture(scope="module")
def rows():
    parts = [read_table(DATA / f"adult-{part}.csv.gz") for part in ("train", "test")]
    frame = pd.concat(parts, ignore_index=True)[COLUMNS]
    return frame.astype(dict.fromkeys(NUMBERS, int)).sample(frac=1, random_state=0)


@pytest.fixture(params=SIZES)
def tables(rows, request):
    """Rows trained on, and rows held out."""
    train, held = SIZES[request.param]
    return (
        rows.iloc[:train].reset_index(drop=True),
        rows.iloc[train : train + held].reset_index(drop=True),
    )


def noisy(frame):
    rng = np.random.default_rng(1)
    moved = {
        name: np.rint(frame[name] + rng.normal(0, size, len(frame))).astype(int)
        for name, size in NUMBERS.items()
    }
    return frame.assign(**moved)


def audited(real, synthetic, holdout=None, rows=300, **more):
    effort = SamplingLimits(rows=rows, modes=4, classified=0)
    return audit(
        real, synthetic, holdout=holdout, sensitive_features=["sex"], effort=effort, **more
    )


def failed(found):
    """Checks that fail on all rows."""
    return {c.name for c in found.checks if c.verdict == "fail" and c.subject == "all rows"}


def undecided(found):
    return {c.name for c in found.checks if c.verdict == "insufficient" and not c.features}


@pytest.mark.parametrize("held_out", [True, False])
def test_one_synthetic_row_fails(tables, held_out):
    real, held = tables
    found = audited(real, real.tail(1), held if held_out else None)
    assert found.verdict == "fail" and failed(found) == {"rows"}
    assert "It has too few rows to judge: all rows." in sentences(found)
    assert found.copies == "not judged" and "(copies: not judged)" in headline(found)


def test_the_real_rows_themselves_fail_without_held_out_rows(tables):
    real, _ = tables
    found = audited(real, real.sample(frac=1, random_state=2))
    assert found.verdict == "fail" and failed(found) == {"copied"}


def test_noisy_copies_are_not_fit_for_release_without_held_out_rows(tables):
    real, _ = tables
    found = audited(real, noisy(real))
    assert not found.fit_for_release and found.copies == "not judged"
    assert "(copies: not judged)" in headline(found)
    assert any("name held-out rows" in text for text in sentences(found))
    (check,) = (
        c for c in found.checks if (c.name, c.subject) == ("closer_to_training", "all rows")
    )
    assert check.verdict == "insufficient"


def test_memorised_rows_with_noise_fail_whatever_the_table_s_size(tables):
    real, held = tables
    found = audited(real, noisy(real), held, rows=1000)
    assert "closer_to_training" in failed(found) and "copied" not in failed(found)
    # Compared with as many rows of either kind, drawn, the share falls as tables grow.
    assert found.groups[0].closer_to_training.low > 0.65
    assert found.copies == "fail" and not found.fit_for_release


@pytest.mark.parametrize("change", [lambda table: table.copy(), noisy])
def test_the_held_out_rows_themselves_fail(tables, change):
    real, held = tables
    found = audited(real, change(held), held)
    assert "closer_to_held_out" in failed(found) and found.verdict == "fail"
    assert ("copied_held_out" in failed(found)) == (change is not noisy)


def test_models_are_not_tested_on_rows_that_the_table_was_made_from(rows):
    real = rows.head(1600).reset_index(drop=True)
    found = audited(real, real.copy(), target="income")
    (check,) = (c for c in found.checks if c.name == "auc_ratio")
    assert check.verdict == "insufficient" and "no rows are held out" in check.message
    assert found.utility.predictions == ()
    # What takes no model is told all the same.
    assert found.utility.base_rates["synthetic"] == found.utility.base_rates["real"]


@pytest.mark.parametrize(("train", "held"), [(2500, 2500), (30_000, 8_842)])
def test_fresh_rows_of_the_same_law_are_fit_for_release(rows, train, held):
    real, held_out = rows.iloc[:train], rows.iloc[train : train + held]
    fresh = rows.iloc[train + held : train + held + 6000]
    found = audited(real, fresh, held_out, rows=2000)
    assert not [c for c in found.checks if c.verdict == "fail"]
    assert found.fit_for_release and found.unjudged == ()
    assert headline(found).startswith("PASS, fit for release: ")
    assert found.groups[0].closer_to_training.low < 0.5 < found.groups[0].closer_to_training.high


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_rows_that_were_trained_on_are_not_taken_for_held_out(rows, share):
    real = rows.head(1600).reset_index(drop=True)
    known = int(400 * share)
    held = pd.concat([real.head(known), rows.iloc[1600 : 2000 - known]])
    found = audited(real, noisy(real), held, target="income")
    assert found.copies == "not judged" and "(copies: not judged)" in headline(found)
    assert any("trained on too" in note for note in found.notes)
    assert found.utility.predictions == ()


def test_copies_of_a_part_of_the_rows_are_found_in_a_group(rows):
    """A group of which all rows are copies fails by itself, the others do not."""
    real, held = rows.iloc[:6000], rows.iloc[6000:9000]
    fresh = rows.iloc[9000:15_000]
    copied = noisy(real[real["sex"] == "Female"])
    found = audited(real, pd.concat([fresh[fresh["sex"] == "Male"], copied]), held)
    names = {(c.name, c.subject) for c in found.checks if c.verdict == "fail"}
    assert ("closer_to_training", "Female") in names
    assert ("closer_to_training", "Male") not in names
