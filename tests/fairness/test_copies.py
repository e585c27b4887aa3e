"""Rows next to rows trained on: exact where nothing was learnt, whatever the sizes and the ties."""

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.checks import evaluate_thresholds
from everymode.fairness.audit.copies import Copies, share_closer
from everymode.fairness.audit.copy_metrics import _beyond_luck
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import at_most
from everymode.fairness.audit.tables import Tables
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.metrics.results import Estimate, GroupFinding
from everymode.wgan.data.fit import fit_schema


def normal(rng, *sizes, d=3):
    return [rng.standard_normal((size, d)).astype(np.float32) for size in sizes]


@pytest.mark.parametrize(
    ("n", "h", "m", "grid"),
    [(400, 100, 300, False), (150, 150, 300, False), (600, 60, 200, False), (200, 50, 200, True)],
)
def test_it_is_a_half_where_nothing_was_learnt(n, h, m, grid):
    rng = np.random.default_rng(n)
    found = []
    for _ in range(150):
        points = normal(rng, n, h, m)
        found.append(share_closer(*(np.rint(p) for p in points) if grid else points))
    # What is exact is the plain share of the nearest rows.
    plain = [e.value * n / (e.value * n + (1 - e.value) * h) for e in found]
    error = np.std(plain) / np.sqrt(len(plain))
    assert abs(np.mean(plain) - n / (n + h)) < 4 * error
    assert np.mean([e.low <= 0.5 <= e.high for e in found]) > 0.9
    assert np.mean([e.low > 0.55 or e.high < 0.45 for e in found]) < 0.02


@pytest.mark.parametrize("n", [500, 5000])
def test_noisy_copies_are_found_however_large_the_table(n):
    rng = np.random.default_rng(0)
    real, held = normal(rng, n, 400, d=8)
    made = (real[:300] + rng.normal(0, 0.05, (300, 8))).astype(np.float32)
    assert share_closer(real, held, made).low > 0.8
    # Seen from the held-out rows it is the same turned round.
    assert share_closer(held, real, made).high < 0.2


def test_the_two_kinds_of_rows_swapped_turn_it_round():
    real, held, made = normal(np.random.default_rng(1), 300, 90, 200)
    one, two = share_closer(real, held, made), share_closer(held, real, made)
    assert (one.value, one.low, one.high) == pytest.approx(
        (1 - two.value, 1 - two.high, 1 - two.low)
    )


def test_rows_that_tie_count_by_how_many_there_are():
    spot = np.zeros((1, 2), dtype=np.float32)
    found = share_closer(spot.repeat(30, 0), spot.repeat(10, 0), spot.repeat(7, 0))
    assert found.value == pytest.approx(0.5) and found.low < 0.5 < found.high
    other = np.ones((10, 2), dtype=np.float32)
    assert share_closer(spot.repeat(30, 0), other, spot).value == 1
    assert share_closer(other, spot.repeat(30, 0), spot).value == 0


def test_one_real_row_next_to_all_is_one_draw():
    rng = np.random.default_rng(2)
    real, held, made = normal(rng, 200, 200, 300)
    many = share_closer(real, held, np.repeat(made[:1], 300, axis=0))
    each = share_closer(real, held, made)
    assert many.high - many.low > 0.7 > 0.2 > each.high - each.low


def test_which_rows_come_first_does_not_matter():
    rng = np.random.default_rng(3)
    real, held, made = (np.rint(p) for p in normal(rng, 200, 70, 100))
    found = share_closer(real, held, made)
    other = share_closer(real[::-1], held[::-1], made[::-1])
    assert (found.value, found.low) == pytest.approx((other.value, other.low))


def test_without_rows_nothing_is_known():
    none, some = np.zeros((0, 2), dtype=np.float32), np.zeros((3, 2), dtype=np.float32)
    for tables in ((none, some, some), (some, none, some), (some, some, none)):
        assert share_closer(*tables) == Estimate()


def frame(values):
    return pd.DataFrame({"a": [f"v{value}" for value in values], "b": "same"})


def test_rows_that_equal_another_are_marked():
    real = frame([*range(95), 0, 1, 2, 3, 4])
    held, made = frame([0, *range(200, 299)]), frame([7, 7, 250, 400, *range(500, 596)])
    schema = fit_schema(pd.concat([real, held, made]))
    copies = Copies.of(Tables(schema, real, made, held))
    marked = (copies.synthetic, copies.synthetic_held, copies.holdout, copies.real_held)
    assert [int(each.sum()) for each in marked] == [2, 1, 1, 2]
    assert (int(copies.real_again.sum()), int(copies.synthetic_again.sum())) == (10, 2)
    assert copies.overlap is None
    assert "trained on too" in Copies.of(Tables(schema, real, made, real.tail(50))).overlap


def group(**figures):
    shares = {"rows_real": 500, "rows_synthetic": 500, "share_real": 1, "share_synthetic": 1}
    return GroupFinding("all rows", {}, state="measured", **(shares | figures))


def checks(found):
    audit = Audit(
        verdict="insufficient",
        real="r",
        synthetic="s",
        sensitive_features=("sex",),
        rows_real=500,
        rows_synthetic=500,
        groups=(found,),
        columns={},
        utility=None,
        checks=(),
        coverage_group_min=None,
        coverage_difference=None,
    )
    return {check.name: check for check in evaluate_thresholds(audit, Thresholds(), 30)}


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"copied": 0.2, "copied_expected": 0.0, "rows_holdout": 500}, "fail"),
        # As many held-out rows do: they are coincidences.
        ({"copied": 0.2, "copied_expected": 0.25, "rows_holdout": 5000}, "pass"),
        # Of thirty held-out rows none does; of many, some may.
        ({"copied": 0.03, "copied_expected": 0.0, "rows_holdout": 30}, "insufficient"),
        ({"copied": 0.0, "copied_expected": 0.0, "rows_holdout": 30}, "pass"),
        # Without held-out rows: none is none, and repeats stand for coincidence.
        ({"copied": 0.0, "repeated": 0.01}, "pass"),
        ({"copied": 1.0, "repeated": 0.01}, "fail"),
        ({"copied": 0.3, "repeated": 0.4}, "insufficient"),
        ({}, "insufficient"),
    ],
)
def test_copies_are_judged_beyond_chance(figures, verdict):
    check = checks(group(**figures))["copied"]
    assert check.verdict == verdict


@pytest.mark.parametrize(
    ("value", "training", "held_out"),
    [
        (Estimate(0.5, 0.48, 0.52), "pass", "pass"),
        (Estimate(0.9, 0.8, 0.95), "fail", "pass"),
        (Estimate(0.1, 0.05, 0.2), "pass", "fail"),
        (Estimate(0.5, 0.4, 0.6), "insufficient", "insufficient"),
        (Estimate(), "insufficient", "insufficient"),
    ],
)
def test_nearness_is_judged_both_ways(value, training, held_out):
    found = checks(group(closer_to_training=value))
    verdicts = (found["closer_to_training"].verdict, found["closer_to_held_out"].verdict)
    assert verdicts == (training, held_out)


def by_hand(real, holdout, own):
    """The share of rows trained on next to another one, ties in parts, each without itself."""
    both = np.concatenate([real, holdout]).astype(float)
    total = 0.0
    for i in own:
        distance = ((both - both[i]) ** 2).sum(1)
        distance[i] = np.inf
        nearest = distance == distance.min()
        total += nearest[: len(real)].sum() / nearest.sum()
    q, n, h = total / len(own), len(real) - 1, len(holdout)
    return (q / n) / (q / n + (1 - q) / h)


@pytest.mark.parametrize("kinds", [2, 6, 1000])
def test_rows_trained_on_are_looked_at_without_themselves(kinds):
    rng = np.random.default_rng(kinds)
    real, held = (rng.integers(0, kinds, (size, 2)).astype(np.float32) for size in (60, 25))
    own = np.sort(rng.choice(60, 40, replace=False))
    found = share_closer(real, held, real[own], own)
    assert found.value == pytest.approx(by_hand(real, held, own))
    assert found.low < found.value < found.high


def test_rows_trained_on_are_next_to_each_other_by_chance_alone():
    values, holds = [], 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        real, held = rng.normal(size=(90, 3)), rng.normal(size=(45, 3))
        found = share_closer(real, held, real, np.arange(90))
        values.append(found.value)
        holds += found.low <= 0.5 <= found.high
    assert np.mean(values) == pytest.approx(0.5, abs=0.02) and holds >= 72
    assert share_closer(real[:1], held, real[:1], np.arange(1)) == Estimate()


def group_with(closer, fresh):
    return GroupFinding(
        "g",
        {},
        100,
        100,
        1.0,
        1.0,
        "measured",
        closer_to_training=Estimate(*closer),
        closer_to_training_fresh=Estimate(*fresh),
    )


def test_the_luck_of_held_out_rows_is_taken_off_and_nothing_else():
    """A held-out sample that lies apart from the rows trained on raises both figures."""
    lucky = _beyond_luck(group_with((0.66, 0.56, 0.75), (0.57, 0.47, 0.66)))
    assert lucky.value == pytest.approx(0.59)
    assert lucky.low == pytest.approx(0.59 - (0.1**2 + 0.09**2) ** 0.5)
    # Beyond chance it is no luck, and hides no memorised rows.
    repeats = _beyond_luck(group_with((0.9, 0.85, 0.95), (0.95, 0.9, 0.99)))
    assert repeats == Estimate(0.9, 0.85, 0.95)
    # An unlucky sample the other way raises the figure.
    assert _beyond_luck(group_with((0.6, 0.55, 0.65), (0.47, 0.4, 0.54))).value > 0.6
    assert _beyond_luck(group_with((1.0, 0.99, 1.0), (0.45, 0.4, 0.51))).high == 1.0
    assert _beyond_luck(group_with((0.6, 0.55, 0.65), (None, None, None))).value == 0.6


def test_rows_that_repeat_each_other_hide_no_memorised_ones():
    """Every row trained on comes twice, as a person who is seen twice; held-out rows do not."""
    rng = np.random.default_rng(0)
    once = rng.normal(size=(150, 3)).astype(np.float32)
    real = np.concatenate([once, once + rng.normal(0, 1e-3, once.shape).astype(np.float32)])
    held = rng.normal(size=(150, 3)).astype(np.float32)
    made = once + rng.normal(0, 1e-2, once.shape).astype(np.float32)
    closer = share_closer(real, held, made)
    fresh = share_closer(real, held, real, np.arange(300))
    assert fresh.low > 0.5
    judged = _beyond_luck(group_with(*((e.value, e.low, e.high) for e in (closer, fresh))))
    assert at_most(judged, 0.55) == "fail"


def test_a_group_fails_if_it_fails_without_the_luck_as_well():
    def verdicts(closer, fresh):
        found = checks(
            group(closer_to_training=Estimate(*closer), closer_to_training_fresh=Estimate(*fresh))
        )
        return found["closer_to_training"].verdict, found["closer_to_held_out"].verdict

    lucky, even = (0.57, 0.46, 0.67), (0.5, 0.45, 0.55)
    # Group "Male, Other" of a run with trees: 162 rows trained on, 89 held out.
    assert verdicts((0.658, 0.551, 0.751), even) == ("insufficient", "pass")
    assert verdicts((0.7, 0.65, 0.75), even) == ("fail", "pass")
    assert verdicts((0.7, 0.65, 0.75), lucky) == ("insufficient", "pass")
    assert verdicts((0.95, 0.9, 0.98), lucky) == ("fail", "pass")
    # What passes by itself passes, however few rows the luck rests on.
    assert verdicts((0.5, 0.46, 0.54), (0.5, 0.3, 0.7)) == ("pass", "pass")
    # The other way round: rows of the held-out sample.
    assert verdicts((0.1, 0.05, 0.2), even) == ("pass", "fail")
    assert verdicts((0.4, 0.3, 0.44), (0.42, 0.33, 0.51)) == ("pass", "insufficient")
