"""Groups, labels, and the condition that both make."""

import json

import numpy as np
import pandas as pd
import pytest

from fairness.groups import MISSING, Conditions, bin_of, spelled
from wgan.data.schema import Column, Schema
from wgan.errors import DataError

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
CONDITIONS = Conditions(
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
    conditions = Conditions(
        ("code",), None, (("0",), ("1",), (MISSING,)), ("all",), (), ((5,),) * 3
    )
    decoded = conditions.decode(np.array([1, 0, 2]), SCHEMA)["code"]
    assert decoded.dtype == "Int64" and decoded[:2].tolist() == [1, 0] and decoded.isna()[2]
    assert conditions.decode(np.array([1, 0]), SCHEMA)["code"].dtype == "int64"


def test_without_features_and_target_all_rows_are_one_cell():
    conditions = Conditions((), None, ((),), ("all",), (), ((6,),))
    assert conditions.names == ("all",) and conditions.given == ()
    assert conditions.cell_index(FRAME, SCHEMA).tolist() == [0] * 6
    assert conditions.encode(np.zeros(2, dtype=int)).tolist() == [[1, 1]] * 2
    assert conditions.decode(np.zeros(2, dtype=int), SCHEMA) == {}


def test_numeric_targets_have_bins_and_are_still_generated():
    labels = ("bin 1", "bin 2", "bin 3", MISSING)
    conditions = Conditions((), "age", ((),), labels, (30.0, 60.0), ((1, 1, 1, 1),))
    frame = pd.DataFrame({"age": ["29", "30", "75", None]}, dtype=object)
    assert conditions.label_index(frame, SCHEMA, "t").tolist() == [0, 1, 2, 3]
    assert conditions.given == ()
    # Without a label for missing values, a row without one has no cell (and not the next group's).
    known = Conditions(("sex",), "age", (("f",), ("m",)), labels[:3], (30.0, 60.0), ((1,) * 3,) * 2)
    assert known.label_index(frame, SCHEMA, "t").tolist() == [0, 1, 2, -1]
    assert known.cell_index(frame.assign(sex="f"), SCHEMA).tolist() == [0, 1, 2, -1]


def test_a_date_as_target_is_read_in_the_agreed_form():
    day = 86400.0
    conditions = Conditions((), "born", ((),), ("bin 1", "bin 2"), (15 * day,), ((1, 1),))
    # 2 January and 1 February: month first, both would lie in the first days of a month.
    frame = pd.DataFrame({"born": ["02/01/1970", "01/02/1970"]}, dtype=object)
    assert conditions.label_index(frame, SCHEMA, "t").tolist() == [0, 1]


def test_bins_close_below_and_missing_comes_last():
    values = np.array([-np.inf, 0.0, 1.0, 1.5, 2.0, np.inf, np.nan])
    assert bin_of(values, [0.0, 1.0, 2.0]).tolist() == [0, 1, 2, 2, 3, 3, 4]


def test_text_is_spelled_as_the_schema_says_where_it_is_a_boolean_only():
    texts = pd.Series(["true", "FALSE", None], dtype=object)
    assert spelled(texts, SCHEMA["smokes"], "t").tolist() == ["True", "FALSE", MISSING]
    assert spelled(pd.Series([True, False]), SCHEMA["smokes"], "t").tolist() == ["True", "FALSE"]
    assert spelled(texts, SCHEMA["sex"], "t").tolist() == ["true", "FALSE", MISSING]


def test_selection_keeps_cells_with_rows_that_agree():
    assert CONDITIONS.select({}).tolist() == [True, True, False, True, True, True]
    assert CONDITIONS.select({"sex": "m"}).tolist() == [False, False, False, True, False, False]
    chosen = CONDITIONS.select({"smokes": "True", "income": "high"})
    assert chosen.tolist() == [False] * 4 + [True, False]
    with pytest.raises(DataError, match=r"--where sex=x: .*write one of \(missing\), f, m"):
        CONDITIONS.select({"sex": "x"})


def test_conditions_survive_json():
    text = json.dumps(CONDITIONS.to_json())
    assert Conditions.from_json(json.loads(text)) == CONDITIONS
