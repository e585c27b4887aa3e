"""Membership attacks in the audit: memorised rows fail the checks, fresh rows do not."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.attacks.membership import ATTACKS
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.membership_metrics import ATTACKED, MEMBERSHIP_METRICS
from everymode.fairness.audit.pooled import audit
from tests.fairness.test_audit_pooled import GOOD, HELD, REAL

NAMES = [metric.name for metric in MEMBERSHIP_METRICS]

EFFORT = SamplingLimits(rows=400, classified=0, modes=4)


def audited(synthetic, holdout=HELD, **more):
    return audit(
        REAL, synthetic, holdout=holdout, sensitive_features=["sex"], effort=EFFORT, **more
    )


def checks(found, name):
    return {c.subject: c for c in found.checks if c.name == name}


def test_the_table_names_all_attacks_that_need_nothing_but_rows():
    assert (
        list(ATTACKED) == list(ATTACKS)
        and [f"membership_{short}" for short in ATTACKED.values()] == NAMES
    )


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_memorised_rows_are_found_in_every_group(noise):
    rng = np.random.default_rng(0)
    numbers = ["age", "pay", "hours"]
    made = REAL.assign(**{n: REAL[n] * (1 + noise * rng.normal(size=len(REAL))) for n in numbers})
    found = audited(made)
    for name in NAMES:
        own = checks(found, name)
        assert set(own) == {"all rows", "f", "m"}
        assert {c.verdict for c in own.values()} == {"fail"}
    for group in found.groups:
        assert group.membership_nearest.low > 0.8 and group.membership_density.low > 0.8
        assert group.membership_density_found.low > 0.05


def test_fresh_rows_are_at_chance():
    found = audited(GOOD)
    for name in NAMES:
        for check in checks(found, name).values():
            assert check.verdict != "fail"
            error = (check.value.high - check.value.low) / 4
            assert abs(check.value.value - 0.5) < 3 * error


def test_groups_of_fewer_than_300_rows_and_tables_without_held_out_rows_have_no_figure():
    small = HELD[HELD["sex"] == "f"].head(299)
    rest = HELD[HELD["sex"] == "m"]
    found = audited(GOOD, holdout=pd.concat([small, rest], ignore_index=True))
    assert set(checks(found, NAMES[0])) == {"all rows", "m"}
    few = next(group for group in found.groups if group.name == "f")
    assert few.membership_nearest.value is None
    assert not checks(audited(GOOD, holdout=None), NAMES[0])
    assert not checks(audited(GOOD, holdout=HELD.head(200)), NAMES[0])
