"""Groups, labels, and the condition that both make."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.groups.conditions import (
    MISSING,
    ConditionSpace,
    assign_bins,
    category_labels,
)
from everymode.wgan.data.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("sex", "category", ("f", "m"), missing=True),
        Column("smokes", "boolean", ("FALSE", "True")),
        Column("income", "category", ("high", "low")),
        Column("age", "integer", edges=(0.5, 90.5), cumulative=(0, 1)),
        Column("born", "datetime", form="%d/%m/%Y"),
        Column("code", "category", ("0", "1"), dtype="int64"),
    )
)
CONDITIONS = ConditionSpace(
    sensitive=("sex", "smokes"),
    target="income",
    groups=(("f", "FALSE"), ("m", "True"), (MISSING, "True")),
    labels=("high", "low"),
    label_edges=(),
    counts=((5, 7), (0, 9), (6, 6)),
)
FRAME = pd.DataFrame(
    [
        ["f", "False", "low"],
        ["m", "TRUE", "low"],
        ["m", "true", "high"],  # a cell without rows
        [None, "True", "high"],
        ["f", "True", "high"],  # no such group
        ["f", "FALSE", "middle"],  # no such label
    ],
    columns=["sex", "smokes", "income"],
    dtype=object,
)


def test_rows_find_their_cell_and_unknown_ones_none():
    assert CONDITIONS.group_index(FRAME, SCHEMA, "t").tolist() == [0, 1, 1, 2, -1, 0]
    assert CONDITIONS.label_index(FRAME, SCHEMA, "t").tolist() == [1, 1, 0, 0, 0, -1]
    assert CONDITIONS.cell_index(FRAME, SCHEMA).tolist() == [1, 3, -1, 4, -1, -1]


def test_names_counts_and_columns_that_follow():
    assert CONDITIONS.names == ("f, FALSE", "m, True", "(missing), True")
    assert CONDITIONS.group_counts.tolist() == [12, 9, 12]
    assert CONDITIONS.given == ("sex", "smokes", "income") and CONDITIONS.width == 5


def test_conditions_are_two_one_hot_vectors():
    cells = np.arange(6)
    condition = CONDITIONS.encode(cells)
    assert condition.dtype == np.float32 and condition.shape == (6, 5)
    assert (condition[:, :3].argmax(1) * 2 + condition[:, 3:].argmax(1) == cells).all()
    assert (condition.sum(1) == 2).all() and set(np.unique(condition)) == {0, 1}


def test_decoding_cells_and_looking_them_up_again_is_the_identity():
    cells = np.array([1, 0, 3, 4, 5])
    frame = pd.DataFrame(CONDITIONS.decode(cells, SCHEMA))
    assert (
        frame["smokes"].dtype == bool and frame["sex"].isna().tolist() == [False] * 3 + [True] * 2
    )
    np.testing.assert_array_equal(CONDITIONS.cell_index(frame, SCHEMA), cells)


def test_integer_features_come_back_as_integers():
    conditions = ConditionSpace(
        ("code",), None, (("0",), ("1",), (MISSING,)), ("all",), (), ((5,),) * 3
    )
    decoded = conditions.decode(np.array([1, 0, 2]), SCHEMA)["code"]
    assert decoded.dtype == "Int64" and decoded[:2].tolist() == [1, 0] and decoded.isna()[2]
    assert conditions.decode(np.array([1, 0]), SCHEMA)["code"].dtype == "int64"


def test_without_features_and_target_all_rows_are_one_cell():
    conditions = ConditionSpace((), None, ((),), ("all",), (), ((6,),))
    assert conditions.names == ("all",) and conditions.given == ()
    assert conditions.cell_index(FRAME, SCHEMA).tolist() == [0] * 6
    assert conditions.encode(np.zeros(2, dtype=int)).tolist() == [[1, 1]] * 2
    assert conditions.decode(np.zeros(2, dtype=int), SCHEMA) == {}


def test_numeric_targets_have_bins_and_are_still_generated():
    labels = ("bin 1", "bin 2", "bin 3", MISSING)
    conditions = ConditionSpace((), "age", ((),), labels, (30.0, 60.0), ((1, 1, 1, 1),))
    frame = pd.DataFrame({"age": ["29", "30", "75", None]}, dtype=object)
    assert conditions.label_index(frame, SCHEMA, "t").tolist() == [0, 1, 2, 3]
    assert conditions.given == ()
    # Without a label for missing values, a row without one has no cell (and not the next group's).
    known = ConditionSpace(
        ("sex",), "age", (("f",), ("m",)), labels[:3], (30.0, 60.0), ((1,) * 3,) * 2
    )
    assert known.label_index(frame, SCHEMA, "t").tolist() == [0, 1, 2, -1]
    assert known.cell_index(frame.assign(sex="f"), SCHEMA).tolist() == [0, 1, 2, -1]


def test_a_date_as_target_is_read_in_the_agreed_form():
    day = 86400.0
    conditions = ConditionSpace((), "born", ((),), ("bin 1", "bin 2"), (15 * day,), ((1, 1),))
    # 2 January and 1 February: month first, both would lie in the first days of a month.
    frame = pd.DataFrame({"born": ["02/01/1970", "01/02/1970"]}, dtype=object)
    assert conditions.label_index(frame, SCHEMA, "t").tolist() == [0, 1]


def test_bins_close_below_and_missing_comes_last():
    values = np.array([-np.inf, 0.0, 1.0, 1.5, 2.0, np.inf, np.nan])
    assert assign_bins(values, [0.0, 1.0, 2.0]).tolist() == [0, 1, 2, 2, 3, 3, 4]


def test_text_is_spelled_as_the_schema_says_where_it_is_a_boolean_only():
    texts = pd.Series(["true", "FALSE", None], dtype=object)
    assert category_labels(texts, SCHEMA["smokes"], "t").tolist() == ["True", "FALSE", MISSING]
    assert category_labels(pd.Series([True, False]), SCHEMA["smokes"], "t").tolist() == [
        "True",
        "FALSE",
    ]
    assert category_labels(texts, SCHEMA["sex"], "t").tolist() == ["true", "FALSE", MISSING]


def test_selection_keeps_cells_with_rows_that_agree():
    assert CONDITIONS.select({}).tolist() == [True, True, False, True, True, True]
    assert CONDITIONS.select({"sex": ["m"]}).tolist() == [False, False, False, True, False, False]
    chosen = CONDITIONS.select({"smokes": ["True"], "income": ["high"]})
    assert chosen.tolist() == [False] * 4 + [True, False]
    either = CONDITIONS.select({"sex": ["f", "m"]})
    one, other = (CONDITIONS.select({"sex": [sex]}) for sex in ("f", "m"))
    assert either.tolist() == (one | other).tolist()
    assert CONDITIONS.values("sex") == ("(missing)", "f", "m")
    assert CONDITIONS.values("income") == CONDITIONS.labels


def test_conditions_survive_json():
    text = json.dumps(CONDITIONS.to_json())
    assert ConditionSpace.from_json(json.loads(text)) == CONDITIONS


@pytest.mark.parametrize(
    ("told", "blocks", "given"),
    [
        ("group_and_label", (3, 2, 0), ("sex", "smokes", "income")),
        ("group", (3, 0, 0), ("sex", "smokes")),
        ("label", (0, 2, 0), ("income",)),
        ("none", (0, 0, 0), ()),
    ],
)
def test_what_is_told_is_one_hot_and_what_is_not_is_left_to_the_generator(told, blocks, given):
    conditions = replace(CONDITIONS, conditioned_on=told)
    assert (conditions.blocks, conditions.given) == (blocks, given)
    cells = np.array([1, 0, 3, 4, 5])
    whole = CONDITIONS.encode(cells)
    expected = [whole[:, :3][:, : blocks[0]], whole[:, 3:][:, : blocks[1]]]
    np.testing.assert_array_equal(conditions.encode(cells), np.concatenate(expected, 1))
    assert conditions.width == sum(blocks) == conditions.encode(cells).shape[1]
    assert tuple(conditions.decode(cells, SCHEMA)) == given
    # Weights and reports know all groups and labels in any case.
    assert conditions.cell_index(FRAME, SCHEMA).tolist() == [1, 3, -1, 4, -1, -1]


def test_a_target_that_is_a_sensitive_feature_too():
    both = replace(CONDITIONS, target="smokes", labels=("FALSE", "True"))
    given = {told: replace(both, conditioned_on=told).given for told in ("group", "label", "none")}
    assert given == {"group": ("sex", "smokes"), "label": ("smokes",), "none": ()}
    label = replace(both, conditioned_on="label")
    # Group 0 does not smoke, groups 1 and 2 do.
    assert label.decode(np.array([0, 3, 5]), SCHEMA)["smokes"].tolist() == [False, True, True]


POINTS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
CLUSTERED = CONDITIONS.clustered(
    POINTS, np.array([[5, 0, 0, 0, 4, 3], [0, 0, 0, 9, 0, 0], [2, 2, 2, 6, 0, 0]])
)


def test_clusters_are_a_third_one_hot_vector():
    assert CLUSTERED.clusters == 3 and CLUSTERED.per_group == 6 and CLUSTERED.width == 8
    cells = np.arange(18)
    condition = CLUSTERED.encode(cells)
    parts = [condition[:, :3], condition[:, 3:5], condition[:, 5:]]
    assert all((part.sum(1) == 1).all() for part in parts)
    group, label, cluster = (part.argmax(1) for part in parts)
    np.testing.assert_array_equal((group * 2 + label) * 3 + cluster, cells)
    for one, other in zip(CLUSTERED.split(cells), (group, label, cluster), strict=True):
        np.testing.assert_array_equal(one, other)
    assert replace(CLUSTERED, conditioned_on="none").encode(cells).tolist() == parts[2].tolist()
    # A cluster is no column.
    assert CLUSTERED.given == CONDITIONS.given
    frame = pd.DataFrame(CLUSTERED.decode(np.array([4, 5, 9]), SCHEMA))
    assert frame["income"].tolist() == ["low", "low", "low"]


def test_without_clusters_it_is_as_it_was():
    assert CLUSTERED.plain == CONDITIONS and CONDITIONS.plain == CONDITIONS
    assert CLUSTERED.group_counts.tolist() == CONDITIONS.group_counts.tolist()
    unknown = CONDITIONS.clustered(POINTS)
    # Open is what has rows.
    assert (unknown.table.reshape(6, 3) > 0).all(1).tolist() == [True, True, False] + [True] * 3
    chosen = CLUSTERED.select({"sex": ["f"], "income": ["low"]})
    assert np.flatnonzero(chosen).tolist() == [4, 5]


def test_rows_go_to_the_nearest_cluster_that_their_group_and_label_have():
    codes = np.array([[0, 0], [9, 9], [0, 9], [0, 9], [0, 9], [9, 0]], np.float32)
    # Pairs 1, 3, -1, 4, -1, -1: the first has clusters 1 and 2, the second 0 alone, the fourth all.
    assert CLUSTERED.cell_index(FRAME, SCHEMA, codes=codes).tolist() == [4, 9, -1, 14, -1, -1]
    with pytest.raises(ValueError, match="expected the encoded rows"):
        CLUSTERED.cell_index(FRAME, SCHEMA)


def test_clusters_survive_json_and_files_from_before_them_are_read():
    text = json.dumps(CLUSTERED.to_json())
    assert ConditionSpace.from_json(json.loads(text)) == CLUSTERED
    old = CONDITIONS.to_json()
    del old["told"], old["centres"]
    assert ConditionSpace.from_json(old) == CONDITIONS
