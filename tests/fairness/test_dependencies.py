"""Columns that follow from another: found in the sums, filled in rows, and not seen in chance."""

import numpy as np
import pandas as pd
import pytest
import torch

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.binning import Binning
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.postprocessing.dependencies import find_dependencies, impute_dependents
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.fit import fit_schema

BINS = 8


def table(count: int = 4000, seed: int = 0) -> pd.DataFrame:
    """A label, its code (one value an atom, some missing), its region, and columns of their own."""
    rng = np.random.default_rng(seed)
    label = rng.choice(list("abcdefgh"), count, p=[0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02])
    code = pd.Series(label).map(dict(zip("abcdefgh", [3, 7, 1, 2, 4, 5, 6, None], strict=True)))
    return pd.DataFrame(
        {
            "free": rng.normal(size=count).round(3),
            "label": label,
            "code": code.astype("Int64"),
            "region": pd.Series(label).map(lambda x: "north" if x < "d" else "south"),
            "other": rng.choice(["x", "y"], count),
            "small": rng.integers(1, 6, count),
        }
    )


NOTHING = ConditionSpace((), None, ((),), ("all",), (), ((1,),), "label")


def found(frame, bins=BINS, conditions=NOTHING):
    """What follows in a table, beside its codec, encoded rows and conditions."""
    schema = fit_schema(frame)
    codec = TableCodec(schema.without(conditions.given))
    binning = Binning.of(codec, bins)
    coded = torch.from_numpy(codec.encode(frame, np.random.default_rng(1)))
    cells = conditions.group_index(frame, schema, "t") * len(conditions.labels)
    told = conditions.encode(cells + conditions.label_index(frame, schema, "t"))
    weights = np.full(len(told), 1 / len(frame))
    choices = np.ones(codec.width + binning.width, dtype=bool)
    moments = LevelMoments.of_rows(binning(coded).numpy(), told, weights, choices)
    ties = find_dependencies(codec, binning, moments, len(frame), conditions)
    return codec, coded, ties, torch.from_numpy(told)


def test_what_follows_is_found_and_filled_in():
    frame = table()
    codec, coded, ties, told = found(frame)
    assert set(ties) == {("label", "code"), ("label", "region")}
    # Rows whose entries were drawn apart: the label stays, what follows is as in the data.
    mixed = torch.stack([coded[torch.randperm(len(coded))] for _ in range(2)])[0].clone()
    span = codec.span("label")
    mixed[:, span] = coded[:, span]
    before = codec.decode(mixed.numpy())
    after = codec.decode(impute_dependents(tuple(ties.values()), mixed, told).numpy())
    for name in ("code", "region"):
        assert not before[name].equals(codec.decode(coded.numpy())[name])
        pd.testing.assert_series_equal(after[name], codec.decode(coded.numpy())[name])
    for name in ("free", "label", "other", "small"):
        pd.testing.assert_series_equal(after[name], before[name])


def test_one_row_that_does_not_fit_is_enough_for_none():
    frame = table()
    frame.loc[frame.index[frame["label"] == "a"][0], "region"] = "south"
    frame.loc[frame.index[frame["label"] == "b"][0], "code"] = 6
    assert not found(frame)[2]


def test_without_a_bin_for_each_value_only_categories_follow():
    assert set(found(table(), bins=3)[2]) == {("label", "region")}


def test_a_category_of_too_few_rows_says_nothing():
    # Of an identifier every value has one row, and each goes with one of everything.
    frame = table(300)
    frame["id"] = [f"p{i}" for i in range(len(frame))]
    ties = found(frame)[2]
    assert not any(source == "id" for source, _ in ties)
    assert ("label", "region") in ties


def test_a_rare_category_follows_where_the_others_do():
    frame = table()
    rare = pd.DataFrame(frame.iloc[:3]).assign(label="z", code=7, region="east")
    whole = pd.concat([frame, rare], ignore_index=True)
    codec, coded, ties, told = found(whole)
    assert set(ties) == {("label", "code"), ("label", "region")}
    last = coded[-3:].clone()
    last[:, codec.span("region")] = coded[:3, codec.span("region")]
    assert set(
        codec.decode(impute_dependents(tuple(ties.values()), last, told[-3:]).numpy())["region"]
    ) == {"east"}


def test_of_two_that_follow_from_each_other_one_leads():
    frame = table()
    frame["same"] = frame["label"].str.upper()
    ties = found(frame)[2]
    assert ("label", "same") in ties and not any(source == "same" for source, _ in ties)


@pytest.mark.parametrize("constant", ["x", None])
def test_a_column_with_one_value_follows_from_nothing(constant):
    frame = table().drop(columns=["code", "region"]).assign(other=constant)
    frame.loc[0, "other"] = "y"
    assert not found(frame)[2]


@pytest.mark.parametrize("told", ["group_and_label", "group", "label"])
def test_columns_follow_from_what_the_generator_is_told(told):
    """A ward follows from the region alone, whatever the sex, and a flag from the outcome."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], 3000), "free": rng.normal(size=3000)})
    frame["region"] = rng.choice(["north", "south", "west"], 3000, p=[0.5, 0.4, 0.1])
    frame["outcome"] = rng.choice(["no", "yes"], 3000)
    frame["ward"] = frame["region"].map({"north": "n", "south": "s", "west": "s"})
    frame["flag"] = frame["outcome"].map({"no": 1, "yes": 7})
    groups = tuple((s, r) for s in ("f", "m") for r in ("west", "north", "south"))
    counts = tuple((1, 1) for _ in groups)
    conditions = ConditionSpace(
        ("sex", "region"), "outcome", groups, ("no", "yes"), (), counts, told
    )
    codec, coded, ties, condition = found(frame, conditions=conditions)
    assert set(ties) == {("region", "ward"), ("outcome", "flag")}
    mixed = coded[torch.randperm(3000, generator=torch.Generator().manual_seed(0))]
    # What is not told is made: the sources keep the rows' own values.
    for name in {"region", "outcome"} & set(codec.schema.names):
        mixed[:, codec.span(name)] = coded[:, codec.span(name)]
    made = codec.decode(impute_dependents(tuple(ties.values()), mixed, condition).numpy())
    assert made["ward"].equals(frame["ward"].astype("str")) and made["flag"].equals(frame["flag"])
    assert not made["free"].round(3).equals(frame["free"].round(3))


def test_a_group_of_a_few_rows_has_what_its_feature_s_value_has_elsewhere():
    frame = pd.DataFrame(
        {"sex": ["f", "m"] * 500, "region": ["north", "north", "south"] * 333 + ["north"]}
    )
    frame = pd.concat([frame, pd.DataFrame({"sex": ["x"] * 3, "region": ["south"] * 3})])
    frame = frame.reset_index(drop=True).assign(ward=frame["region"].str.upper().to_numpy())
    groups = tuple((s, r) for s in ("f", "m", "x") for r in ("north", "south"))
    counts = tuple((1,) for _ in groups)
    conditions = ConditionSpace(("sex", "region"), None, groups, ("all",), (), counts)
    codec, coded, ties, told = found(frame, conditions=conditions)
    assert set(ties) == {("region", "ward")}
    last = coded[-3:].flip(1)
    made = codec.decode(impute_dependents(tuple(ties.values()), last, told[-3:]).numpy())
    assert set(made["ward"]) == {"SOUTH"}
