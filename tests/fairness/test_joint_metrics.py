"""Figures of whole rows in an audit: a faithful table, and one whose columns lost their ties."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit
from everymode.fairness.metrics.results import Estimate, GroupFinding
from tests.fairness.test_audit_pooled import GOOD, HELD, REAL


def audited(synthetic: pd.DataFrame, **more: Any) -> Audit:
    effort = SamplingLimits(rows=600, classified=800)
    return audit(REAL, synthetic, sensitive_features=["sex"], effort=effort, **more)


def shuffled() -> pd.DataFrame:
    """Rows whose columns have their distributions and nothing to do with each other."""
    rng = np.random.default_rng(0)
    mixed = {name: rng.permutation(GOOD[name].to_numpy()) for name in GOOD if name != "sex"}
    return GOOD.assign(**mixed)


@pytest.mark.parametrize("held", [HELD, None])
def test_a_faithful_table_has_the_figures_of_fresh_rows(held: pd.DataFrame | None) -> None:
    for group in audited(GOOD, holdout=held).groups:
        assert group.c2st_trees.value == pytest.approx(0.5, abs=0.07)
        assert group.c2st_logistic.value == pytest.approx(0.5, abs=0.07)
        assert group.tv_pairs == pytest.approx(group.tv_pairs_fresh, rel=0.35)
        assert group.tv_triples == pytest.approx(group.tv_triples_fresh, rel=0.35)
        assert group.alpha_precision is not None and group.alpha_precision > 0.9
        assert group.beta_recall == pytest.approx(0.5, abs=0.07)
        assert group.impossible is not None and group.impossible < 0.03
        assert (group.impossible_held_out is None) == (held is None)


def test_rows_whose_columns_are_independent_differ_in_all_but_the_linear_classifier() -> None:
    found = audited(shuffled(), holdout=HELD)
    for group in found.groups:
        assert group.c2st_trees.low is not None and group.c2st_trees.low > 0.7
        assert group.c2st_logistic.value == pytest.approx(0.5, abs=0.08)
        assert group.tv_pairs is not None and group.tv_pairs_fresh is not None
        assert group.tv_pairs > 2 * group.tv_pairs_fresh
        assert group.beta_recall is not None and group.beta_recall < 0.4
        assert group.impossible is not None and group.impossible_held_out is not None
        assert group.impossible > 0.05 > group.impossible_held_out
    # They are figures: no check judges them.
    assert not {c.name for c in found.checks} & {"c2st_trees", "tv_pairs", "impossible"}


def test_small_groups_have_no_classifiers_and_larger_ones_do() -> None:
    few = GOOD.assign(sex=np.where(np.arange(len(GOOD)) < 150, "f", "m"))
    groups: dict[str, GroupFinding] = {g.name: g for g in audited(few, holdout=HELD).groups}
    assert groups["f"].state == "measured" and groups["f"].c2st_trees == Estimate()
    assert groups["f"].tv_pairs is not None and groups["f"].beta_recall is not None
    assert groups["m"].c2st_trees.value is not None
