"""What a single site answers to the three questions behind the schema."""

import numpy as np
import pandas as pd
import pytest

from everymode.clients.datasets.tables import check_columns
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
)
from everymode.clients.protocol.sketch import frequent, log_bin, peel
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.date_forms import READING_FORMS
from everymode.wgan.data.readings import read_counts
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.errors import DataError

FRAME = pd.DataFrame(
    {
        "n": ["1", "2", "2", None, "-7"],
        "x": ["0.25", "0.5", "0.25", "1e-3", None],
        "flag": ["True", "FALSE", "TRUE", "true", None],
        "job": ["clerk", "smith", "clerk", None, "clerk"],
        "day": ["03/04/2021", "05/06/2021", "07/08/2021", None, None],
        "none": [None] * 5,
    },
    dtype=object,
)
KIND = ("integer", "float", "boolean", "category", "datetime", "category")
NAMES = tuple(FRAME.columns)


@pytest.fixture
def site(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    return Site("a", tmp_path / "a.csv", tmp_path / "work")


def answered(order, site):
    """What leaves the site, with no mechanism."""
    return handle_at_site(order, {}, site)


def test_a_look_counts_cells_by_how_they_are_written(site):
    order = DescribeColumns(NAMES, missing=("",))
    answer = answered(order, site)
    assert answer["rows"].tolist() == [5]
    counts = [CellCounts(answer.units(f"cells.{i}")) for i in range(6)]
    for name, kind, own in zip(NAMES, KIND, counts, strict=True):
        assert read_counts(own).kind == (None if name == "none" else kind)
        assert own["missing"] + own["present"] == 5
        assert own["missing"] == FRAME[name].isna().sum()
    assert counts[1]["needed"][0].nonzero()[0].max() == 3
    fitting = [READING_FORMS[i] for i in counts[4]["dates"].nonzero()[0]]
    assert fitting == ["%d/%m/%Y", "%m/%d/%Y"]


def test_counts_of_parts_add_up_to_those_of_the_whole(site, tmp_path):
    names = NAMES[:-1]
    parts = []
    for k, part in enumerate((FRAME.iloc[:2], FRAME.iloc[2:])):
        table = tmp_path / f"part-{k}.csv"
        part.to_csv(table, index=False)
        own = Site(f"part-{k}", table, tmp_path / "work")
        parts.append(answered(DescribeColumns(names, drop=("none",)), own))
    whole = answered(DescribeColumns(names, drop=("none",)), site)
    for i in range(len(names)):
        # Which forms are tried depends on a site's sample; whatever is counted of plain ones adds.
        for name in ("missing", "present", "boolean", "numbers", "written", "needed"):
            sums = sum(np.asarray(CellCounts(p.units(f"cells.{i}"))[name]) for p in parts)
            assert (sums == CellCounts(whole.units(f"cells.{i}"))[name]).all(), (names[i], name)


def test_an_answer_has_the_length_of_its_layout_whatever_the_table_holds(site, tmp_path):
    other = Site("b", tmp_path / "b.csv", tmp_path)
    pd.concat([FRAME] * 7).to_csv(other.table, index=False)
    for order in (DescribeColumns(NAMES), CollectVocabulary(NAMES, KIND, ("",) * 6)):
        sizes = {len(answered(order, s).vector) for s in (site, other)}
        assert sizes == {order.layout().size}


def test_values_are_sketches_votes_and_histograms(site):
    order = CollectVocabulary(NAMES, KIND, ("", "", "", "", "%m/%d/%Y", ""))
    answer = answered(order, site)
    assert peel(answer.units("sketch.3"), "job") == {"clerk": 3, "smith": 1}
    assert peel(answer.units("sketch.2"), "flag") == {"True": 1, "FALSE": 1, "TRUE": 1, "true": 1}
    assert peel(answer.units("sketch.5"), "none") == {}
    assert frequent(answer.units("vote.0"), 1) == (2.0,)
    assert frequent(answer.units("vote.1"), 1) == (0.25,)
    numbers = np.array([1.0, 2, 2, -7])
    np.testing.assert_array_equal(
        answer["histogram.0"], np.bincount(log_bin(numbers), minlength=len(answer["histogram.0"]))
    )
    # March, not April.
    march = pd.Timestamp("2021-03-04").timestamp()
    assert answer["histogram.4"][log_bin(np.array([march]))[0]] > 0
    assert answer["histogram.4"].sum() == 3


def test_ranks_count_categories_atoms_bins_and_cells(site):
    schema = Schema(
        (
            Column("n", "integer", atoms=(2.0,), edges=(-7.5, 0.5, 1.5, 9.5)),
            Column("flag", "boolean", ("FALSE", "True")),
            Column("job", "category", ("smith", "clerk", "cook"), missing=True),
            Column("x", "float"),
        )
    )
    conditions = ConditionSpace(
        ("job",), "flag", (("clerk",), ("smith",)), ("FALSE", "True"), (), ((0, 0), (0, 0))
    )
    answer = answered(CountHistograms(schema.to_json(), conditions.to_json()), site)
    assert answer["atoms.0"].tolist() == [2]
    assert answer["bins.0"].tolist() == [1, 1, 0]
    assert answer["categories.1"].tolist() == [1, 3]
    assert answer["categories.2"].tolist() == [1, 3, 0]
    assert answer["bins.3"].tolist() == answer["atoms.3"].tolist() == []
    # The row without a job and that without a flag are in no cell.
    assert answer["cells"].tolist() == [[0, 2], [1, 0]]


def test_a_value_on_an_edge_counts_above_it_and_beyond_the_edges_in_the_last_bin(tmp_path):
    site = Site("a", tmp_path / "a.csv", tmp_path)
    pd.DataFrame({"x": [-5.0, 0.0, 1.0, 2.0, 2.5]}).to_csv(site.table, index=False)
    schema = Schema((Column("x", "float", edges=(0.0, 1.0, 2.0)),))
    conditions = ConditionSpace((), None, ((),), ("all",), (), ((0,),))
    answer = answered(CountHistograms(schema.to_json(), conditions.to_json()), site)
    assert answer["bins.0"].tolist() == [2, 3]
    assert answer["cells"].tolist() == [[5]]


def test_all_columns_with_trouble_are_told_at_once_without_their_cells(site):
    kinds = ("boolean", "float", "boolean", "integer", "datetime", "category")
    with pytest.raises(DataError) as caught:
        answered(CollectVocabulary(NAMES, kinds, ("",) * 6), site)
    n, job = caught.value.problems
    assert n.startswith(f"{site.table}: column 'n' of kind boolean does not parse in rows 1, 2, 3")
    assert "column 'job' of kind integer" in job and 'data.columns.job.kind = "category"' in job
    assert "clerk" not in job


def test_columns_are_checked_both_ways(site):
    check_columns(FRAME, ("x", "n"), ("flag", "job", "day", "none"), site)
    with pytest.raises(DataError) as caught:
        check_columns(FRAME, ("n", "y", "z"), ("flag", "job", "day", "unheard"), site)
    lacks, has = caught.value.problems
    assert lacks.startswith(f"site 'a' ({site.table}): lacks the columns 'y', 'z' that the other")
    assert has.startswith(f"site 'a' ({site.table}): has the columns 'x', 'none' that the other")
