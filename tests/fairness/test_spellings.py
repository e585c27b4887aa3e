"""Equal values spelled otherwise are the same values, to every figure of an audit."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit
from everymode.fairness.groups.spellings import spelled_alike
from everymode.wgan.data.fit import fit_schema


def table(seed, count=600):
    rng = np.random.default_rng(seed)
    member = rng.integers(0, 2, count)
    site = rng.choice(["7", "9"], count)
    x = rng.normal(size=count).round(3) + member
    y = np.where(x + rng.normal(size=count) > 1, "1", "0")
    return pd.DataFrame({"member": member.astype(str), "site": site, "x": x, "y": y}, dtype=object)


REAL, MADE, HELD = table(0), table(1), table(2)

KINDS = {"member": "category", "site": "category", "y": "category"}


def figures(real, made, held, **more):
    options = {"sensitive_features": ["member"], "kinds": KINDS}
    effort = SamplingLimits(rows=200, modes=4, classified=0)
    found = audit(real, made, holdout=held, effort=effort, **(options | more))
    of_groups = [(g.rows_synthetic, g.standardised_coverage, g.tv, g.copied) for g in found.groups]
    return found, of_groups, found.columns, {(c.name, c.verdict) for c in found.checks}


def as_floats(frame):
    return frame.assign(**{name: frame[name] + ".0" for name in ("member", "site", "y")})


def as_truth(frame):
    words = {"0": "False", "1": "TRUE"}
    return frame.assign(**{name: frame[name].map(words) for name in ("member", "y")})


def typed(frame):
    numbers = {name: frame[name].astype(float) for name in ("member", "site", "y")}
    return frame.assign(**numbers)


def flags(frame):
    return frame.assign(**{name: frame[name] == "1" for name in ("member", "y")})


@pytest.fixture(scope="module")
def plain():
    return list(figures(REAL, MADE, HELD)[1:])


@pytest.mark.parametrize("side", ["real", "made", "held"])
@pytest.mark.parametrize("change", [as_floats, as_truth, typed, flags])
def test_figures_do_not_depend_on_how_a_table_spells_its_values(side, change, plain):
    tables = {"real": REAL, "made": MADE, "held": HELD}
    found, *same = figures(*(tables | {side: change(tables[side])}).values())
    assert same == plain
    assert not [group.name for group in found.groups if group.state != "measured"]
    assert all(figures.get("unseen", 0) == 0 for figures in found.columns.values())


def test_models_learn_the_same_whatever_the_spelling():
    plain, other = (
        figures(REAL, made, HELD, target="y")[0].utility for made in (MADE, as_floats(MADE))
    )
    assert plain == other and plain.predictions


def test_what_was_read_otherwise_is_told():
    found, *_ = figures(REAL, as_floats(MADE), HELD)
    (note,) = (note for note in found.notes if "'member'" in note)
    assert note.startswith("the synthetic table: column 'member' is read as in the real table: ")
    assert "1.0 as 1" in note and "(600 cells)" in note
    assert figures(REAL, MADE, HELD)[0].notes == ()


def test_a_boolean_column_may_come_back_as_numbers():
    real = as_truth(REAL)
    found, *_ = figures(real, as_floats(MADE), HELD, kinds=None)
    assert {g.name for g in found.groups} == {"all rows", "False", "TRUE"}


@pytest.mark.parametrize("change", [as_floats, as_truth])
def test_a_run_s_schema_keeps_its_own_spelling(change):
    schema = fit_schema(REAL, kinds=KINDS)
    found, *_ = figures(REAL, change(MADE), HELD, schema=schema, kinds=None)
    assert {g.name for g in found.groups} == {"all rows", "0", "1"}


def test_spellings_within_one_table_are_one_value():
    mixed = REAL.assign(site=np.where(np.arange(600) % 3 == 0, REAL["site"] + ".0", REAL["site"]))
    assert figures(mixed, MADE, HELD)[2] == figures(REAL, MADE, HELD)[2]


def test_codes_words_and_other_numbers_stay_what_they_are():
    real = pd.DataFrame({"code": ["007", "7", "1.5"], "word": ["true", "yes", "1"]})
    made = pd.DataFrame({"code": ["7", "07", "1.50"], "word": ["1", "no", "TRUE"]})
    kinds = {"code": "category", "word": "category"}
    frames = [("real", real), ("made", made)]
    changed, notes = spelled_alike(frames, ["code", "word"], [], None, kinds)
    assert list(changed[1][1]["code"]) == ["7", "07", "1.5"] and len(notes) == 1
    assert list(changed[1][1]["word"]) == list(made["word"])


def test_columns_of_numbers_are_left_to_be_compared_as_numbers():
    real, made = pd.DataFrame({"n": ["1", "2"]}), pd.DataFrame({"n": ["1.0", "2.5"]})
    changed, notes = spelled_alike([("real", real), ("made", made)], ["n"], [], None)
    assert notes == () and list(changed[1][1]["n"]) == ["1.0", "2.5"]


def test_missing_values_stay_missing():
    real = pd.DataFrame({"a": ["1", "0", None]})
    made = pd.DataFrame({"a": [1.0, None, 0.0]})
    text = pd.DataFrame({"a": ["1.0", None, "0.0"]})
    for frame in (made, text):
        changed, _ = spelled_alike([("real", real), ("made", frame)], ["a"], ["a"], None)
        assert changed[1][1]["a"].isna().tolist() == [False, True, False]
    assert list(changed[1][1]["a"].dropna()) == ["1", "0"]
