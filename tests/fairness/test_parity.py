"""Parity: what rows to ask for, and the penalty where the generator makes group or label itself."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.fairness.matching.moments import LevelMoments, MomentMatching
from everymode.fairness.parity.adversary import GroupAdversarySpec
from everymode.fairness.parity.membership import build_memberships
from everymode.fairness.parity.mixture import ParityMixture, parity_counts, parity_gaps
from everymode.fairness.parity.penalty import RIDGE, ParityPenalty
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.penalties import GeneratorStep

NAMES = ("sex", "race")
GROUPS = (("f", "x"), ("f", "y"), ("m", "x"), ("m", "y"))
COUNTS = ((90, 10), (45, 5), (60, 40), (20, 30))
SCHEMA = Schema(
    (
        Column("a", "float", edges=(0.0, 1.0), cumulative=(0, 1)),
        Column("sex", "category", ("f", "m")),
        Column("b", "category", ("p", "q")),
        Column("race", "category", ("x", "y")),
        Column("income", "category", ("low", "high")),
    )
)
CONDITIONS = ConditionSpace(NAMES, "income", GROUPS, ("low", "high"), (), COUNTS)
TOLD = ("group_and_label", "group", "label", "none")


# Rows to ask for -------------------------------------------------------------------------------


def test_at_level_0_no_feature_and_no_intersection_has_a_gap():
    asked = parity_counts(COUNTS, GROUPS, 0.0)
    assert parity_gaps(COUNTS, GROUPS, NAMES)["sex"] > 0.3
    assert max(parity_gaps(asked, GROUPS, NAMES).values()) < 1e-12
    np.testing.assert_allclose(asked.sum(1), np.sum(COUNTS, 1))
    np.testing.assert_allclose(asked.sum(0), np.sum(COUNTS, 0))


@pytest.mark.parametrize("level", [0.0, 0.2, 0.7, 1.0])
def test_each_gap_is_its_share_of_the_data_s_and_keeps_its_sign(level):
    table = np.array(COUNTS, dtype=float)
    overall, rate = table.sum(0) / table.sum(), table / table.sum(1, keepdims=True)
    asked = parity_counts(COUNTS, GROUPS, level)
    found = asked / asked.sum(1, keepdims=True)
    np.testing.assert_allclose(found - overall, level * (rate - overall), atol=1e-12)
    real = parity_gaps(COUNTS, GROUPS, NAMES)
    for name, gap in parity_gaps(asked, GROUPS, NAMES).items():
        assert gap == pytest.approx(level * real[name], abs=1e-12)


def test_the_data_s_own_level_changes_nothing():
    assert parity_counts(COUNTS, GROUPS, 1.0).tolist() == np.array(COUNTS, float).tolist()


@given(
    st.integers(2, 5),
    st.lists(st.lists(st.integers(1, 10**5), min_size=5, max_size=5), min_size=4, max_size=4),
    st.floats(0, 1),
)
def test_many_labels_lie_between_none_and_the_data_s(labels, rows, level):
    table = np.array(rows)[:, :labels]
    asked = parity_counts(table, GROUPS, level)
    np.testing.assert_allclose(asked.sum(1), table.sum(1), rtol=1e-9)
    rate, found = (t / t.sum(1, keepdims=True) for t in (table, asked))
    overall = table.sum(0) / table.sum()
    assert (np.abs(found - overall) <= np.abs(rate - overall) + 1e-9).all()
    assert ((found - overall) * (rate - overall) >= -1e-12).all()


def test_one_feature_alone_leaves_the_odds_of_the_other():
    asked = parity_counts(COUNTS, GROUPS, 0.0, [0])
    gaps = parity_gaps(asked, GROUPS, NAMES)
    assert gaps["sex"] < 1e-9
    assert gaps["sex x race"] > 0.1
    np.testing.assert_allclose(asked.sum(1), np.sum(COUNTS, 1))

    def odds(t, s):
        return t[s, 0] * t[s + 1, 1] / (t[s, 1] * t[s + 1, 0])

    for s in (0, 2):
        assert odds(asked, s) == pytest.approx(odds(np.array(COUNTS), s))


def test_a_label_that_a_group_has_never_had_is_not_asked_for():
    table = [[50, 0, 50], [40, 20, 40], [0, 0, 0]]
    groups = [("a",), ("b",), ("c",)]
    asked = parity_counts(table, groups, 0.0)
    assert asked[0, 1] == 0
    np.testing.assert_allclose(asked.sum(1), [100, 100, 0])
    # Of the shares .45, .1, .45 it has what it can: halves.
    np.testing.assert_allclose(asked[0], [50, 0, 50])
    assert parity_gaps(asked, groups, ["g"])["g"] == pytest.approx(0.1)
    lone = parity_counts([[7, 0], [1, 9]], [("a",), ("b",)], 0.0)
    np.testing.assert_allclose(lone[0], [7, 0])


def test_others_make_up_for_a_group_that_lacks_a_label_within_each_feature():
    table = [[90, 10], [5, 0], [60, 40], [20, 30]]
    asked = parity_counts(table, GROUPS, 0.0)
    assert asked[1].tolist() == [5, 0]
    np.testing.assert_allclose(asked.sum(1), np.sum(table, 1))
    gaps = parity_gaps(asked, GROUPS, NAMES)
    assert max(gaps["sex"], gaps["race"]) < 1e-9
    # The others stay near each other.
    rate = asked[:, 1] / asked.sum(1)
    assert np.ptp(rate[[0, 2, 3]]) < 0.08
    for level in (0.3, 0.8):
        found = parity_gaps(parity_counts(table, GROUPS, level), GROUPS, NAMES)
        real = parity_gaps(table, GROUPS, NAMES)
        for name in NAMES:
            assert found[name] == pytest.approx(level * real[name], abs=1e-9)


def test_nobody_makes_up_for_others_beyond_the_gap_it_has_itself():
    """Half of one race lacks the label: the other half could only balance it by a gap of its own.

    Sexes are balanced by the many of the other race all the same.
    """
    table = [[400, 200], [8, 0], [450, 350], [5, 4]]
    asked = parity_counts(table, GROUPS, 0.0)
    gaps = parity_gaps(asked, GROUPS, NAMES)
    assert gaps["sex"] < 1e-9
    overall = np.sum(table, 0)[1] / np.sum(table)
    assert asked[3, 1] / 9 == pytest.approx(overall, abs=0.02)
    assert 0.1 < gaps["race"] < 0.2


@pytest.mark.parametrize("table", [[[0, 0]], [[3, 1]], [[5], [7]], [[4, 0], [0, 4]], [[1, 0]]])
@pytest.mark.parametrize("features", [(), (0,)])
def test_tables_with_nothing_to_move(table, features):
    groups = [("a",), ("b",)][: len(table)]
    asked = parity_counts(table, groups, 0.0, features)
    np.testing.assert_allclose(asked, table)
    assert parity_counts(table, [()] * len(table), 0.0).shape == np.shape(table)


def test_labels_that_cannot_be_fitted_end_with_whole_groups():
    table = [[50, 0], [0, 50], [10, 90], [90, 10]]
    asked = parity_counts(table, GROUPS, 0.0, [0])
    np.testing.assert_allclose(asked.sum(1), np.sum(table, 1))
    assert asked[0, 1] == asked[1, 0] == 0


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_levels_lie_between_0_and_1(level):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        parity_counts(COUNTS, GROUPS, level)


def test_a_mixture_keeps_the_shares_of_clusters_and_is_written_and_read():
    counts = np.array(COUNTS).repeat(2, axis=1)
    counts[:, ::2] *= 3
    clustered = replace(
        CONDITIONS, centres=((0.0,), (1.0,)), counts=tuple(map(tuple, counts.tolist()))
    )
    mixture = ParityMixture(0.25, ("race",))
    assert ParityMixture.from_json(mixture.to_json()) == mixture
    asked = mixture.counts(clustered).reshape(4, 2, 2)
    np.testing.assert_allclose(asked[..., 0], 3 * asked[..., 1])
    np.testing.assert_allclose(asked.sum(2), 4 * mixture.counts(CONDITIONS))


# The penalty -----------------------------------------------------------------------------------


def drawn(told, count, rates, seed=0, mass=None, slope=0.0):
    """Hard rows `(B, D)` with their conditions and cells; each group has its rate of "high"."""
    rng = np.random.default_rng(seed)
    conditions = replace(CONDITIONS, conditioned_on=told)
    codec = TableCodec(SCHEMA.without(conditions.given))
    mass = np.sum(COUNTS, 1) / np.sum(COUNTS) if mass is None else np.array(mass)
    group = rng.choice(4, count, p=mass)
    label = (rng.random(count) < np.array(rates)[group]).astype(int)
    rows = np.zeros((count, codec.width))
    rows[:, codec.span("a")] = (label + slope * (group >= 2) + rng.normal(size=count))[:, None]
    hits = {"b": rng.integers(0, 2, count), "sex": group // 2, "race": group % 2, "income": label}
    for name, index in hits.items():
        if name not in conditions.given:
            rows[np.arange(count), codec.span(name).start + index] = 1
    condition = conditions.encode(group * 2 + label)
    step = GeneratorStep(
        torch.tensor(rows, dtype=torch.float32), torch.tensor(condition, dtype=torch.float32)
    )
    return conditions, step, group, label


def gaps_by_hand(rates, level=0.0):
    """Squared gaps of every value of each feature and of the groups, mean within each, summed."""
    table = np.array(COUNTS, dtype=float)
    size = table.sum(1)
    own = table[:, 1] / size
    total = 0.0
    for sets in ([[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0], [1], [2], [3]]):
        gaps = []
        for part in sets:
            made, real = (
                np.average(r[part], weights=size[part]) - np.average(r, weights=size)
                for r in (np.array(rates), own)
            )
            gaps.append((made - level * real) ** 2)
        total += np.mean(gaps)
    return total


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_on_many_rows_it_is_the_formula_whoever_makes_group_and_label(told, level):
    rates = (0.1, 0.2, 0.5, 0.3)
    conditions, step, *_ = drawn(told, 60_000, rates)
    penalty = ParityPenalty.of(conditions, SCHEMA, 1.0, level)
    value = penalty(step)
    assert value.shape == (60_000,)
    assert float(value.mean()) == pytest.approx(gaps_by_hand(rates, level), abs=2e-3)


@pytest.mark.parametrize("told", TOLD)
def test_the_data_s_own_gap_costs_nothing_at_level_1_and_parity_at_level_0(told):
    table = np.array(COUNTS)
    own = table[:, 1] / table.sum(1)
    for level, rates in ((1.0, own), (0.0, [0.3] * 4)):
        conditions, step, *_ = drawn(told, 60_000, rates)
        for shape in ("squared", "absolute"):
            penalty = ParityPenalty.of(conditions, SCHEMA, 1.0, level, shape=shape)
            assert float(penalty(step).mean()) == pytest.approx(0, abs={"squared": 3e-4}.get(
                shape, 0.05))  # fmt: skip


def test_groups_count_for_their_share_in_the_data_however_often_they_are_asked_for():
    rates = (0.1, 0.6, 0.5, 0.3)
    found = []
    for mass in (None, [0.1, 0.2, 0.3, 0.4]):
        conditions, step, *_ = drawn("group", 60_000, rates, mass=mass)
        found.append(float(ParityPenalty.of(conditions, SCHEMA, 1.0)(step)[0]))
    assert found[0] == pytest.approx(found[1], abs=3e-3)
    assert found[0] == pytest.approx(gaps_by_hand(rates), abs=3e-3)


def test_squared_gaps_of_small_batches_are_unbiased_and_absolute_ones_are_not():
    rates = (0.2, 0.2, 0.2, 0.2)
    means = {}
    for shape in ("squared", "absolute"):
        values = []
        for seed in range(600):
            conditions, step, *_ = drawn("group", 40, rates, seed, mass=[0.25] * 4)
            values.append(float(ParityPenalty.of(conditions, SCHEMA, 1.0, shape=shape)(step)[0]))
        means[shape] = np.mean(values), np.std(values) / np.sqrt(len(values))
    assert abs(means["squared"][0]) < 4 * means["squared"][1]
    assert means["absolute"][0] > 10 * means["absolute"][1]


@pytest.mark.parametrize("shape", ["squared", "absolute"])
@pytest.mark.parametrize("told", ["group", "none"])
@pytest.mark.parametrize("start", [(0.1, 0.1, 0.6, 0.6), (0.6, 0.6, 0.1, 0.1)])
def test_descent_ends_at_the_level_from_either_side(told, shape, start):
    """Probabilities that are free per group: parity at level 0, the data's gap at level 1."""
    for level in (0.0, 1.0):
        conditions, step, group, _ = drawn(told, 400, start, mass=[0.25] * 4)
        penalty = ParityPenalty.of(conditions, SCHEMA, 1.0, level, ("sex",), shape)
        codec = TableCodec(SCHEMA.without(conditions.given))
        logit = torch.logit(torch.tensor(start)).requires_grad_(True)
        optimizer = torch.optim.Adam([logit], 0.05)
        for _ in range(120):
            made = torch.sigmoid(logit)[group]
            span = codec.span("income")
            rows = torch.cat(
                [step.fake[:, : span.start], torch.stack([1 - made, made], 1)], 1
            )  # "income" stands last
            optimizer.zero_grad()
            penalty(GeneratorStep(rows, step.condition)).mean().backward()
            optimizer.step()
        size = np.sum(COUNTS, 1) if told == "group" else np.bincount(group, minlength=4)
        rate = torch.sigmoid(logit).detach().numpy()
        women, men = (np.average(rate[p], weights=size[p]) for p in ([0, 1], [2, 3]))
        assert men - women == pytest.approx(level * (70 / 150 - 15 / 150), abs=0.03)


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("label", [None, "high"])
@pytest.mark.parametrize("shape", ["squared", "absolute"])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_small_batches_have_finite_gradients(told, label, shape, count):
    for rates in ((0.0,) * 4, (1.0,) * 4, (0.5,) * 4):
        conditions, step, *_ = drawn(told, count, rates)
        rows = step.fake.clone().requires_grad_(True)
        penalty = ParityPenalty.of(conditions, SCHEMA, 1.0, shape=shape, label=label)
        values = penalty(GeneratorStep(rows, step.condition))
        assert values.shape == (count,)
        assert torch.isfinite(values).all()
        (gradient,) = torch.autograd.grad(values.mean(), rows, allow_unused=True)
        assert gradient is None or torch.isfinite(gradient).all()


def test_weights_of_rows_do_not_change_the_mean():
    conditions, step, *_ = drawn("group", 200, (0.1, 0.2, 0.5, 0.3))
    values = ParityPenalty.of(conditions, SCHEMA, 1.0)(step)
    weights = torch.rand(200, generator=torch.Generator().manual_seed(0))
    assert float((weights * values).sum() / weights.sum()) == pytest.approx(float(values[0]))


def test_readers_find_missing_values_booleans_and_columns_of_one_value():
    schema = Schema(
        (
            Column("sex", "category", ("f", "m"), missing=True),
            Column("smokes", "boolean", ("FALSE", "True")),
            Column("one", "category", ("k",)),
            Column("income", "category", ("high", "low"), missing=True),
        )
    )
    groups = (("f", "FALSE", "k"), (MISSING, "True", "k"))
    counts = ((5, 7, 1), (9, 9, 1))
    conditions = ConditionSpace(
        ("sex", "smokes", "one"), "income", groups, ("high", "low", MISSING), (), counts, "none"
    )
    group, label = build_memberships(conditions, schema)
    row = torch.tensor([[0.1, 0.2, 0.7, 0.4, 0.6, 0.3, 0.5, 0.2, 1.0]])
    torch.testing.assert_close(group(row), torch.tensor([[0.04, 0.42]]))
    torch.testing.assert_close(label(row), torch.tensor([[0.3, 0.5, 0.2]]))


def numeric(column, edges, told="group", missing=False):
    """A schema of sex, race and a target that is a number, and conditions over its bins."""
    labels = tuple(f"bin {i + 1}" for i in range(len(edges) + 1)) + ((MISSING,) if missing else ())
    counts = tuple((4 + i,) * len(labels) for i in range(4))
    return (
        Schema((SCHEMA["sex"], column, SCHEMA["race"])),
        ConditionSpace(NAMES, column.name, GROUPS, labels, edges, counts, told),
    )


@pytest.mark.parametrize(
    ("column", "edges", "values"),
    [
        (
            Column("n", "integer", low=0, high=60, edges=(0, 20, 60), cumulative=(0, 0.5, 1)),
            (7.0, 20.0, 33.5),
            range(61),
        ),
        (
            Column("n", "float", low=0, high=9, decimals=1, edges=(0, 9), cumulative=(0, 1)),
            (2.5, 4.05),
            np.arange(91) / 10,
        ),
        (
            Column(
                "n", "float", atoms=(0.0, 5.0), low=0, high=9, missing=True, edges=(0, 9),
                cumulative=(0, 1), scale="linear",
            ),
            (1.0, 5.0),
            [0.0, 5.0, None, *np.linspace(0.01, 8.99, 50)],
        ),
        (Column("n", "integer", atoms=(1.0, 2.0, 3.0), low=1, high=3), (2.0,), [1, 2, 3]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("told", ["group", "none"])
def test_a_made_number_is_in_the_bin_that_its_value_in_the_table_is_in(column, edges, values, told):
    schema, conditions = numeric(column, edges, told, column.missing)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": pd.Series(rng.choice(np.array(values, dtype=float), 3000))})
    frame["sex"], frame["race"] = rng.choice(["f", "m"], 3000), rng.choice(["x", "y"], 3000)
    codec = TableCodec(schema.without(conditions.given))
    rows = torch.from_numpy(codec.encode(frame, rng))
    group = conditions.group_index(frame, schema, "the table")
    label = conditions.label_index(frame, schema, "the table")
    condition = torch.tensor(conditions.encode(group * len(conditions.labels) + label))
    of_group, of_label = build_memberships(conditions, schema)
    joined = torch.cat([rows, condition, torch.ones(3000, 1)], 1)
    np.testing.assert_array_equal(of_group(joined).numpy(), np.eye(4)[group])
    read = of_label(joined).numpy()
    np.testing.assert_allclose(read, np.eye(len(conditions.labels))[label], atol=1e-6)


def test_a_soft_state_is_in_the_bins_of_its_parts_and_the_number_moves_them():
    column = Column("n", "float", atoms=(0.0,), low=0, high=9, missing=True, edges=(0, 9),
                    cumulative=(0, 1))  # fmt: skip
    schema, conditions = numeric(column, (4.5,), missing=True)
    _, of_label = build_memberships(conditions, schema)
    # The head multiplies a number with the share of its state: .03 / .5 lies above the middle.
    row = torch.tensor([[0.03, 0.5, 0.3, 0.2]], requires_grad=True)
    read = of_label(row)
    torch.testing.assert_close(read, torch.tensor([[0.3, 0.5, 0.2]]))
    (gradient,) = torch.autograd.grad(read[0, 1], row)
    assert gradient[0, 0] > 0
    none = torch.tensor([[0.0, 0.0, 1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(of_label(none)[0, 1], none)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("start", [(-0.4, 0.4), (0.4, -0.4)])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_descent_moves_a_made_number_to_the_level(start, level):
    """Each sex draws its number about a mean of its own: parity, or the data's own gap."""
    column = Column("n", "float", low=0, high=9, edges=(0, 9), cumulative=(0, 1))
    schema, conditions = numeric(column, (4.5,))
    conditions = replace(conditions, counts=((8, 2), (8, 2), (3, 7), (3, 7)))
    penalty = ParityPenalty.of(conditions, schema, 1.0, level, ("sex",))
    mean = torch.tensor(start, requires_grad=True)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([mean], 0.02)
    group = torch.arange(800) % 4
    condition = torch.tensor(conditions.encode(np.arange(800) % 4 * 2))
    for _ in range(150):
        made = mean[group // 2] + 0.5 * torch.randn(800, generator=rng)
        optimizer.zero_grad()
        penalty(GeneratorStep(made[:, None], condition)).mean().backward()
        optimizer.step()
    rate = torch.special.ndtr(2 * mean.detach())
    assert float(rate[1] - rate[0]) == pytest.approx(level * 0.5, abs=0.05)


def test_the_data_s_gap_in_a_score_of_a_made_number_s_bin_is_refused():
    column = Column("n", "float", low=0, high=9, edges=(0, 9), cumulative=(0, 1))
    schema, conditions = numeric(column, (4.5,))
    ParityPenalty.of(conditions, schema, 1.0, label="bin 2")
    with pytest.raises(ValueError, match="'n' is a number that the generator makes"):
        ParityPenalty.of(conditions, schema, 1.0, 0.5, label="bin 2")


# Equal opportunity -----------------------------------------------------------------------------


@pytest.mark.parametrize("told", TOLD)
def test_the_score_is_ridge_regression_s_and_the_gap_that_among_the_advantaged(told):
    conditions, step, group, label = drawn(told, 5000, (0.3, 0.4, 0.5, 0.6), slope=1.0)
    penalty = ParityPenalty.of(
        conditions, SCHEMA, 1.0, features=("sex",), shape="absolute", label="high"
    )
    codec = TableCodec(SCHEMA.without(conditions.given))
    held = [*range(*codec.span("a").indices(99)), *range(*codec.span("b").indices(99))]
    assert penalty.inputs.tolist() == held
    x = step.fake[:, held].double().numpy()
    counts = np.bincount(group, minlength=4)
    even = conditions.blocks[0]
    high = np.array(COUNTS)[:, 1] / np.sum(COUNTS, 0)[1]
    weights = (high / counts)[group] if even else np.full(len(x), 1 / len(x))
    weights = weights / weights.sum()
    variance = np.mean(weights @ (x - weights @ x) ** 2)
    score = Ridge(RIDGE * variance + 1e-6).fit(x, label, sample_weight=weights).predict(x)
    shares = high if even else np.bincount(group[label == 1], minlength=4) / label.sum()
    means = np.array([score[(group == g) & (label == 1)].mean() for g in range(4)])
    gaps = [
        np.average(means[part], weights=shares[part]) - np.average(means, weights=shares)
        for part in ([0, 1], [2, 3])
    ]
    assert float(penalty(step)[0]) == pytest.approx(np.mean(np.abs(gaps)), abs=1e-4)
    assert float(penalty(step)[0]) > 0.03


def test_no_effect_of_the_group_on_the_score_costs_nothing():
    conditions, step, *_ = drawn("group_and_label", 60_000, (0.3, 0.4, 0.5, 0.6))
    assert abs(float(ParityPenalty.of(conditions, SCHEMA, 1.0, label="high")(step)[0])) < 1e-4


def test_the_data_s_own_gap_in_the_score_is_read_from_second_moments():
    rates = np.array(COUNTS)[:, 1] / np.sum(COUNTS, 1)
    for told in ("group_and_label", "group"):
        conditions, step, group, _ = drawn(told, 60_000, rates, slope=1.0)
        rows = step.fake.numpy()
        choices = np.zeros(rows.shape[1], bool)
        codec = TableCodec(SCHEMA.without(conditions.given))
        for block in codec.blocks:
            choices[block.start : block.stop] = block.kind == "choice"
        weights = np.full(len(group), 1 / len(group))
        found = LevelMoments.of_rows(rows, step.condition.numpy(), weights, choices)
        matching = MomentMatching.of(found, 1.0)
        values = [
            float(
                ParityPenalty.of(conditions, SCHEMA, 1.0, level, label="high", matching=matching)(
                    step
                )[0]
            )
            for level in (0.0, 0.5, 1.0)
        ]
        assert values[0] > 0.004
        assert values[1] == pytest.approx(values[0] / 4, rel=0.1)
        assert abs(values[2]) < 1e-4
    with pytest.raises(ValueError, match="moments of told groups"):
        ParityPenalty.of(conditions, SCHEMA, 1.0, 0.5, label="high")


def test_descent_closes_the_gap_in_the_score():
    conditions, step, group, _ = drawn("group_and_label", 2000, (0.3, 0.4, 0.5, 0.6), slope=1.0)
    penalty = ParityPenalty.of(conditions, SCHEMA, 1.0, label="high")
    shift = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([shift], 0.05)
    seen = []
    for _ in range(150):
        rows = step.fake.clone()
        rows[:, 0] = rows[:, 0] + shift[group]
        optimizer.zero_grad()
        value = penalty(GeneratorStep(rows, step.condition)).mean()
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    assert seen[-1] < 0.02 * seen[0]
    assert float((shift[0] - shift[2]).detach()) == pytest.approx(1.0, abs=0.3)


def test_a_curve_over_levels_is_monotone():
    gaps = [
        parity_gaps(parity_counts(COUNTS, GROUPS, level), GROUPS, NAMES)["sex"]
        for level in np.linspace(0, 1, 11)
    ]
    assert all(b > a for a, b in pairwise(gaps))


# The bias head ---------------------------------------------------------------------------------


def told_apart(minority, spec, told="none", count=4000, steps=300):
    """What a head that has learned pays for rows whose column "b" is q in 20 % or 80 %."""
    conditions = ConditionSpace(
        ("sex",), None, (("f",), ("m",)), ("all",), (), ((500,), (500,)), told
    )
    schema = Schema((SCHEMA["sex"], SCHEMA["b"]))
    few = round(count * minority)
    group = np.r_[np.zeros(count - few, int), np.ones(few, int)]
    q = np.zeros(count, int)
    q[: (count - few) // 5] = 1
    q[count - few : count - few + 4 * few // 5] = 1
    made = np.concatenate([np.eye(2)[group], np.eye(2)[q]], 1)
    condition = np.zeros((count, 0))
    if told == "group":
        made, condition = made[:, 2:], made[:, :2]
    step = GeneratorStep(*(torch.tensor(t, dtype=torch.float32) for t in (made, condition)))
    head = spec.build(conditions, schema, 0)
    for _ in range(steps):
        values = head(step)
    return values


def entropy(p):
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def test_unweighted_the_head_rewards_dropping_the_minority_and_reweighted_it_does_not():
    plain = GroupAdversarySpec(hidden=(), rate=0.1, reweighted=False)
    even = GroupAdversarySpec(hidden=(), rate=0.1)
    shares = (0.5, 0.2, 0.05)
    paid = {
        spec.reweighted: [float(told_apart(s, spec).mean()) for s in shares]
        for spec in (plain, even)
    }
    # I(g; q) = H(q) - H(q | g), with q in 20 % of one group and 80 % of the other.
    information = [entropy(0.2 + 0.6 * s) - entropy(0.2) for s in shares]
    np.testing.assert_allclose(paid[False], information, atol=2e-3)
    assert paid[False][0] > 1.3 * paid[False][1] > 3 * paid[False][2]
    np.testing.assert_allclose(paid[True], [information[0]] * 3, atol=2e-3)
    # Dropped altogether, it is free in one and costs the most there is in the other.
    assert float(told_apart(0.0, plain).mean()) == pytest.approx(0.0, abs=2e-3)
    assert float(told_apart(0.0, even, steps=900).mean()) == pytest.approx(np.log(2), abs=5e-3)


def test_told_groups_are_read_from_the_condition():
    spec = GroupAdversarySpec(hidden=(8,), rate=0.03)
    values = told_apart(0.3, spec, "group")
    assert values.shape == (4000,)
    assert float(values.mean()) == pytest.approx(entropy(0.5) - entropy(0.2), abs=5e-3)


@pytest.mark.parametrize("reweighted", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_a_head_of_few_rows_has_finite_gradients(reweighted, count):
    conditions, step, *_ = drawn("none", count, (0.5,) * 4)
    head = GroupAdversarySpec(reweighted=reweighted).build(conditions, SCHEMA, 0)
    rows = step.fake.clone().requires_grad_(True)
    values = head(GeneratorStep(rows, step.condition))
    (gradient,) = torch.autograd.grad(values.mean(), rows)
    assert values.shape == (count,)
    assert torch.isfinite(gradient).all() and float(gradient.abs().max()) > 0


def test_a_head_goes_on_bit_for_bit_and_does_not_touch_the_rows():
    conditions, step, *_ = drawn("none", 50, (0.1, 0.2, 0.5, 0.3))
    spec = GroupAdversarySpec(hidden=(6,))
    whole, first, second = (spec.build(conditions, SCHEMA, seed) for seed in (1, 1, 2))
    before = step.fake.clone()
    for _ in range(4):
        expected = whole(step)
    for _ in range(2):
        first(step)
    second.load(first.tensors())
    for _ in range(2):
        found = second(step)
    assert torch.equal(expected, found)
    assert all(torch.equal(whole.tensors()[n], t) for n, t in second.tensors().items())
    assert torch.equal(step.fake, before)
    codec = TableCodec(SCHEMA)
    changed = before.clone()
    changed[:, codec.span("b")] = changed[:, codec.span("b")].flip(1)
    blind = spec.build(conditions, SCHEMA, 3)
    assert not torch.equal(blind(GeneratorStep(changed, step.condition)), blind(step))


def test_a_head_without_groups_or_columns_is_refused():
    one = ConditionSpace(("sex",), None, (("f",),), ("all",), (), ((3,),), "none")
    two = ConditionSpace(("sex",), None, (("f",), ("m",)), ("all",), (), ((3,), (4,)), "none")
    with pytest.raises(ValueError, match="two groups or more"):
        GroupAdversarySpec().build(one, SCHEMA, 0)
    with pytest.raises(ValueError, match="a column to tell them from"):
        GroupAdversarySpec().build(two, Schema((SCHEMA["sex"],)), 0)
