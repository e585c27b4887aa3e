"""The schema that sites agree on by sums, held against the one read off the pooled rows."""

import numpy as np
import pandas as pd
import pytest

from everymode.clients.datasets.base import held_out
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import MISSING
from everymode.server.schema.agreement import agree
from everymode.server.schema.bins import merged_bins
from everymode.server.schema.table_spec import DeclaredColumn, TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

pytestmark = pytest.mark.usefixtures("sites_without_gate")

ROWS = 1500


def table(seed=0, rows=ROWS):
    """A column of every sort, as text, with missing cells here and there."""
    rng = np.random.default_rng(seed)

    def some_missing(values):
        out = pd.Series(values, dtype=object).astype(str).astype(object)
        out[rng.random(rows) < 0.1] = None
        return out

    gain = np.where(rng.random(rows) < 0.8, 0, rng.lognormal(8, 1, rows)).round()
    born = pd.Timestamp("1990-01-01") + pd.to_timedelta(rng.integers(0, 5000, rows), unit="D")
    return pd.DataFrame(
        {
            "age": some_missing(rng.integers(17, 90, rows)),
            "change": rng.poisson(20, rows) - 20,
            "price": some_missing(rng.gamma(2, 3, rows).round(2)),
            "dense": rng.normal(size=rows),
            "gain": gain.astype(int),
            "rate": np.where(rng.random(rows) < 0.3, 0.5, rng.random(rows)),
            "flag": rng.random(rows) < 0.3,
            "job": some_missing(
                rng.choice(["clerk", "smith", "cook, chef"], rows, p=[0.6, 0.3, 0.1])
            ),
            "born": born.strftime("%Y-%m-%d"),
            "same": "a",
            "seven": 7,
            "sex": rng.choice(["f", "m"], rows, p=[0.35, 0.65]),
            "income": rng.choice(["high", "low"], rows),
        }
    ).astype(object)


def build_sites(frame, owners, folder):
    """One CSV file a site."""
    folder.mkdir(parents=True, exist_ok=True)
    sites = []
    for k in np.unique(owners):
        site = Site(f"site-{k}", folder / f"site-{k}.csv", folder / "work" / f"site-{k}")
        frame.loc[owners == k].to_csv(site.table, index=False)
        sites.append(site)
    return sites


def agreed(frame, owners, folder, **data):
    settings = TableSpec(**data)
    columns = [c for c in frame.columns if c not in settings.drop]
    return agree(InProcess(build_sites(frame, np.asarray(owners), folder)), columns, settings)


def one(cells, folder, **data):
    """The agreement on a table of one column x beside a column that is no trouble."""
    frame = pd.DataFrame({"x": cells, "y": ["a", "b"] * (len(cells) // 2)}, dtype=object)
    return agreed(frame, np.arange(len(cells)) % 3, folder, **data)


def problems(call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    return caught.value.problems


USUAL = {"sensitive": ("sex",), "target": "income"}


def test_it_equals_the_pooled_schema_where_it_should(tmp_path):
    frame = table()
    found = agreed(frame, np.arange(ROWS) % 5, tmp_path, floor=1, **USUAL)
    pooled = fit_schema(frame.astype("str").astype(object).mask(frame.isna(), None))
    assert found.rows == ROWS and found.schema.names == pooled.names
    for column in found.schema.columns:
        expected = pooled[column.name]
        assert column.kind == expected.kind, column.name
        assert set(column.categories) == set(expected.categories)
        assert column.atoms == expected.atoms
        assert (column.missing, column.decimals, column.form) == (
            expected.missing,
            expected.decimals,
            expected.form,
        )
        if column.numeric:
            # A bin is 1.1 % wide where it is sparse.
            slack = 0.011 * max(abs(expected.low), abs(expected.high)) + 1e-9
            assert expected.low - slack <= column.low <= expected.low + 1e-9
            assert expected.high - 1e-9 <= column.high <= expected.high + slack
    for name in ("age", "change"):
        column = found.schema[name]
        assert (column.low, column.high) == (pooled[name].low, pooled[name].high)


@pytest.mark.parametrize("name", ["age", "change", "price", "dense", "gain", "rate", "born"])
def test_ranks_are_exact_at_edges_and_close_between(name, tmp_path):
    frame = table()
    column = agreed(frame, np.arange(ROWS) % 4, tmp_path, floor=1).schema[name]
    texts = frame[name].dropna()
    if name == "born":
        values = (pd.to_datetime(texts) - pd.Timestamp("1970-01-01")).dt.total_seconds().to_numpy()
    else:
        values = texts.astype(float).to_numpy()
    rest = np.sort(values[~np.isin(values, column.atoms)])
    below = np.searchsorted(rest, column.edges) / len(rest)
    np.testing.assert_allclose(column.cumulative, below, atol=1e-12)
    assert column.cumulative[0] == 0 and column.cumulative[-1] == 1
    points = np.linspace(rest[0], rest[-1], 5000)
    exact = (np.searchsorted(rest, points, "left") + np.searchsorted(rest, points, "right")) / (
        2 * len(rest)
    )
    # At most the rows of one value, or of one bin, apart.
    heaviest = max(np.unique(rest, return_counts=True)[1].max() / len(rest), 0.005)
    assert np.abs(np.interp(points, column.edges, column.cumulative) - exact).max() <= heaviest


@pytest.mark.parametrize("name", ["age", "change", "price", "dense", "gain", "rate", "born"])
def test_no_bin_of_the_schema_holds_a_handful_of_rows_and_no_range_is_a_row_s(name, tmp_path):
    frame, floor = table(), 5
    found = agreed(frame, np.arange(ROWS) % 4, tmp_path)
    column, exact = found.schema[name], agreed(frame, np.arange(ROWS) % 4, tmp_path, floor=1)
    texts = frame[name].dropna()
    if name == "born":
        values = (pd.to_datetime(texts) - pd.Timestamp("1970-01-01")).dt.total_seconds().to_numpy()
    else:
        values = texts.astype(float).to_numpy()
    rest = values[~np.isin(values, column.atoms)]
    counts, _ = np.histogram(rest, column.edges)
    shares = np.diff(column.cumulative)
    # Bins of fewer rows count as none, or as `floor` of them.
    held = shares * len(rest)
    assert ((held < 1e-6) | (held > floor - 0.5)).all()
    assert np.abs(shares - counts / len(rest)).max() <= 3 * floor / len(rest)
    if name in ("change", "price", "dense", "gain"):
        # The largest value is one row's; exactly counted, the range ends at it or in its fine bin.
        assert (rest == rest.max()).sum() < floor
        assert abs(column.high - rest.max()) > abs(exact.schema[name].high - rest.max())


def test_numbers_too_few_to_be_told_apart_are_named_with_their_count(tmp_path):
    found = one([str(10 + i % 4) for i in range(57)] + ["99", "98", "7"], tmp_path, atom_share=1.0)
    column = found.schema["x"]
    assert (column.low, column.high) == (10, 13)
    assert found.notes == (
        "column 'x': 3 values too few to be told apart (data.floor = 5) are taken for the nearest "
        "of those from 10 to 13",
    )
    none = one([None] * 58 + ["2.5"] * 2, tmp_path / "few")
    assert none.schema["x"].edges == () and none.schema["x"].missing
    assert "2 numbers beside its point masses are fewer than data.floor = 5" in none.notes[0]


def test_ranges_that_are_rounded_outward_by_much_are_said_in_one_sentence(tmp_path):
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 60, ROWS), unit="D")
    few = np.array([25, 40, 50, 60, 62])
    frame = pd.DataFrame(
        {
            "even": rng.uniform(0, 1, ROWS).round(3).astype(str),
            "tail": np.append(rng.uniform(0, 10, ROWS - 5), few).round(1).astype(str),
            "debt": np.append(rng.uniform(0, 10, ROWS - 5), -few).round(1).astype(str),
            "day": [*days.strftime("%Y-%m-%d")[:-5], *(f"2020-{m:02d}-21" for m in range(6, 11))],
        }
    )
    notes = agreed(frame, np.arange(ROWS) % 3, tmp_path, floor=5).notes
    (said,) = (note for note in notes if note.startswith("ranges"))
    assert said.startswith(
        "ranges that fewer rows decide than data.floor = 5 are rounded outward by 15% or more: "
    )
    assert "'tail' (to 80), 'debt' (from -80), 'day' (to 202" in said
    assert "'even'" not in said


@pytest.mark.parametrize("seed", range(5))
def test_merged_bins_hold_the_floor_and_nearly_all_rows(seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.5, 4, 30], 200)).astype(float)
    edges = np.cumsum(rng.uniform(0.5, 2, 201))
    cut, held = merged_bins(edges, counts, 5, 0.0)
    assert (np.diff(cut) > 0).all() and len(cut) == len(held) + 1
    assert ((held == 0) | (held >= 5)).all()
    for start, stop, rows in zip(cut[1:-2], cut[2:-1], held[1:-1], strict=True):
        inside = counts[(edges[:-1] >= start - 1e-9) & (edges[1:] <= stop + 1e-9)].sum()
        assert abs(inside - rows) <= 4
    assert merged_bins(edges, counts, 1, 0.0)[1].sum() == counts.sum()


def test_rows_held_out_are_in_nothing_that_is_agreed_on(tmp_path):
    frame = table()
    share = 0.2
    found = agreed(frame, np.arange(ROWS) % 3, tmp_path, held_out=share, **USUAL)
    kept = []
    for k in range(3):
        part = frame[np.arange(ROWS) % 3 == k]
        kept.append(part[~held_out(len(part), share, 0, f"site-{k}")])
    alone = pd.concat(kept)
    other = agree(
        InProcess(build_sites(alone, np.zeros(len(alone), dtype=int), tmp_path / "alone")),
        [*frame.columns],
        TableSpec(**USUAL),
    )
    assert found.schema == other.schema and found.conditions == other.conditions
    assert (found.rows, found.conditions.table.sum()) == (ROWS, len(alone))
    assert found.schema != agreed(frame, np.arange(ROWS) % 3, tmp_path / "all", **USUAL).schema


def splits(rows):
    rng = np.random.default_rng(1)
    return {
        "three": rng.integers(0, 3, rows),
        "seven": rng.integers(0, 7, rows),
        "sorted": np.arange(rows) * 7 // rows,
        "uneven": np.repeat([0, 1, 2], [20, 30, rows - 50]),
        "tiny": np.append(np.arange(rows // 4) // 20, np.full(rows - rows // 4, 99)),
    }


@pytest.mark.parametrize("data", [USUAL, {"sensitive": ("sex", "flag"), "target": "price"}])
def test_it_does_not_depend_on_the_split(data, tmp_path):
    # In the sorted split, what one site has most of is nowhere else.
    frame = table().sort_values("gain", kind="stable", ignore_index=True)
    whole = agreed(frame, np.zeros(ROWS, dtype=int), tmp_path / "whole", **data)
    for name, owners in splits(ROWS).items():
        parts = agreed(frame, owners, tmp_path / name, **data)
        assert parts.schema.to_json() == whole.schema.to_json(), name
        assert parts.conditions == whole.conditions, name


def test_an_atom_is_found_though_no_site_holds_five_rows_of_it(tmp_path):
    # 8 of 140 rows, one or two at each of seven sites.
    x = np.random.default_rng(0).normal(size=140)
    x[::18] = 0.25
    frame = pd.DataFrame({"x": x, "y": "a"}, dtype=object)
    for k in (1, 7):
        assert agreed(frame, np.arange(140) % k, tmp_path / str(k)).schema["x"].atoms == (0.25,)


def test_zero_among_dense_numbers_is_zero_again(tmp_path):
    # It was a number such as 6.7e-11, or below zero.
    dense = [repr(float(x)) for x in np.random.default_rng(0).gamma(2, size=112)]
    schema = one(["0.0"] * 8 + dense, tmp_path, atom_share=0.5).schema
    codec, rng = TableCodec(Schema((schema["x"],))), np.random.default_rng(0)
    cells = pd.DataFrame({"x": ["0.0"] * 8 + dense})
    found = codec.decode(codec.encode(cells, rng))["x"]
    assert (found == 0).sum() == 8 and (found >= 0).all() and found[found > 0].min() > 1e-3


def test_no_atom_rests_on_fewer_rows_than_the_floor(tmp_path):
    # Of 20 rows, two are more than the share that makes an atom.
    column = one([str(i) for i in range(18)] + ["7", "7"], tmp_path).schema["x"]
    assert column.atoms == () and (column.low, column.high) == (0, 20)


def test_a_candidate_that_is_too_rare_is_no_atom_and_keeps_its_rank(tmp_path):
    # Exactly 5 % of the rows, all at one site: its cells are crowded enough to be counted.
    x = np.append(np.full(50, 3.0), np.linspace(0, 10, 950))
    frame = pd.DataFrame({"x": x, "y": "a"}, dtype=object)
    column = agreed(frame, np.repeat([0, 1], [50, 950]), tmp_path).schema["x"]
    assert column.atoms == ()
    below = [(x < edge).mean() for edge in column.edges]
    np.testing.assert_allclose(column.cumulative, below, atol=1e-12)


def test_a_site_may_have_few_rows_lack_a_group_and_hold_the_only_category(tmp_path):
    frame = table()
    owners = np.where(frame["sex"] == "f", 1, 2)
    owners[:20] = 0
    frame.loc[np.flatnonzero(owners == 0)[:6], "job"] = "diver"
    found = agreed(frame, owners, tmp_path, **USUAL)
    assert "diver" in found.schema["job"].categories
    assert found.conditions.groups == (("f",), ("m",))
    counts = frame.groupby(["sex", "income"]).size().unstack()
    assert found.conditions.table.tolist() == counts.to_numpy().tolist()


def test_what_has_fewer_rows_than_the_floor_is_dropped(tmp_path):
    frame = table()
    frame.loc[:3, "job"] = "diver"
    frame.loc[:4, "same"] = "b"
    frame.loc[:3, ["sex", "income"]] = "x", "low"
    frame.loc[4:7, "income"] = "odd"
    found = agreed(frame, np.arange(ROWS) % 3, tmp_path, **USUAL)
    assert "diver" not in found.schema["job"].categories
    assert set(found.schema["same"].categories) == {"a", "b"}
    assert found.conditions.groups == (("f",), ("m",))
    assert set(found.conditions.labels) == {"high", "low"}
    lower = agreed(frame, np.arange(ROWS) % 3, tmp_path, floor=4, **USUAL)
    assert "diver" in lower.schema["job"].categories and ("x",) in lower.conditions.groups


def test_the_most_frequent_category_comes_first(tmp_path):
    # It is what an unknown value is encoded as.
    column = one(["b"] * 30 + ["a"] * 10 + ["c"] * 20, tmp_path).schema["x"]
    assert column.categories == ("b", "c", "a")


@pytest.mark.parametrize(
    "cells, kind, atoms, missing",
    [
        (["7"] * 60, "integer", (7.0,), False),
        (["7"] * 55 + ["8"] * 5, "integer", (7.0, 8.0), False),
        (["-0.0"] * 30 + ["0"] * 30, "float", (0.0,), False),
        ([None] * 54 + ["2.5"] * 6, "float", (2.5,), True),
    ],
)
def test_columns_with_hardly_any_value(cells, kind, atoms, missing, tmp_path):
    column = one(cells, tmp_path).schema["x"]
    assert (column.kind, column.atoms, column.missing) == (kind, atoms, missing)
    present = [float(c) for c in cells if c is not None]
    assert column.low == pytest.approx(min(present), abs=1e-9)
    assert column.high == pytest.approx(max(present), abs=1e-9)


def test_kinds_of_sites_are_united_and_booleans_have_one_spelling(tmp_path):
    frame = pd.DataFrame(
        {
            "number": ["1"] * 30 + ["2.5"] * 30,
            "mixed": ["1"] * 30 + ["2021-01-01"] * 30,
            "flag": ["TRUE", "false"] * 15 + ["True", "False"] * 10 + ["True"] * 10,
            "day": ["03/04/2021"] * 30 + ["25/04/2021"] * 30,
        },
        dtype=object,
    )
    found = agreed(frame, np.arange(60) // 30, tmp_path, target="flag")
    assert [c.kind for c in found.schema.columns] == ["float", "category", "boolean", "datetime"]
    assert found.schema["number"].decimals == 1
    assert found.schema["day"].form == "%d/%m/%Y"
    assert found.schema["flag"].categories == ("True", "false")
    # No spelling's rows are lost.
    assert found.conditions.table.tolist() == [[35, 25]]


def test_declared_kinds_and_categories_are_taken_as_they_are(tmp_path):
    frame = table()
    columns = {
        "age": DeclaredColumn(kind="category"),
        "seven": DeclaredColumn(kind="float"),
        "job": DeclaredColumn(categories=("smith", "clerk", "nobody")),
        "change": DeclaredColumn(categories=("0", "1")),
    }
    schema = agreed(frame, np.arange(ROWS) % 3, tmp_path, columns=columns).schema
    assert schema["age"].kind == "category" and "17" in schema["age"].categories
    assert schema["seven"].kind == "float"
    assert schema["job"].categories == ("smith", "clerk", "nobody")
    assert (schema["change"].kind, schema["change"].categories) == ("category", ("0", "1"))


def test_a_numeric_target_has_bins_of_about_a_quarter_each(tmp_path):
    found = agreed(table(), np.arange(ROWS) % 3, tmp_path, target="price")
    assert found.conditions.labels == ("bin 1", "bin 2", "bin 3", "bin 4", MISSING)
    counts = found.conditions.table[0]
    present = table()["price"].notna().sum()
    assert counts.sum() == ROWS and counts[:4].sum() == present
    np.testing.assert_allclose(counts[:4] / present, 0.25, atol=0.03)
    flat = agreed(table(), np.arange(ROWS) % 3, tmp_path, target="seven").conditions
    assert flat.table.sum() == ROWS and flat.label_edges


def test_without_target_and_sensitive_features_there_is_one_cell(tmp_path):
    conditions = agreed(table(), np.arange(ROWS) % 3, tmp_path).conditions
    assert (conditions.groups, conditions.labels) == (((),), ("all",))
    assert conditions.table.tolist() == [[ROWS]]


def test_sensitive_features_that_are_integers_booleans_or_missing(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"code": rng.integers(0, 2, 200), "flag": rng.random(200) < 0.5})
    frame = frame.astype(object)
    frame.loc[:19, "code"] = None
    found = agreed(frame, np.arange(200) % 3, tmp_path, sensitive=("code", "flag"))
    column = found.schema["code"]
    assert (column.kind, column.dtype) == ("category", "int64")
    spelled = frame["code"].map(lambda v: MISSING if v is None else str(v))
    counts = pd.crosstab(spelled, frame["flag"].astype(str)).stack()
    shown = dict(zip(found.conditions.groups, found.conditions.group_counts, strict=True))
    assert shown == counts.to_dict() and len(shown) == 6
    cells = np.flatnonzero(found.conditions.table.reshape(-1))
    decoded = pd.DataFrame(found.conditions.decode(cells, found.schema))
    np.testing.assert_array_equal(found.conditions.cell_index(decoded, found.schema), cells)


def test_typed_and_text_tables_agree(tmp_path):
    frame = pd.DataFrame({"n": np.arange(60), "b": [True, False, True] * 20})
    text, typed = tmp_path / "a.csv", tmp_path / "b.parquet"
    frame[:30].replace({True: "TRUE", False: "FALSE"}).to_csv(text, index=False)
    frame[30:].to_parquet(typed)
    sites = [Site(p.stem, p, tmp_path) for p in (text, typed)]
    found = agree(InProcess(sites), ["n", "b"], TableSpec(sensitive=("b",)))
    assert [c.kind for c in found.schema.columns] == ["integer", "boolean"]
    assert sorted(found.conditions.group_counts.tolist()) == [20, 40]


# What is wrong with tables or configuration, in words


def test_unknown_columns_in_the_configuration(tmp_path):
    told = problems(
        agreed,
        table(),
        np.zeros(ROWS),
        tmp_path,
        sensitive=("Sex", "race"),
        target="incom",
        columns={"ages": DeclaredColumn(kind="float")},
    )
    assert told == (
        "data.sensitive: the tables have no column 'Sex'; did you mean 'sex'?",
        told[1],
        "data.target: the tables have no column 'incom'; did you mean 'income'?",
        "data.columns.ages: the tables have no column 'ages'; did you mean 'age'?",
    )
    assert told[1].startswith("data.sensitive: the tables have no column 'race'; ")


def test_columns_without_any_value_are_named_all_at_once(tmp_path):
    frame = table()
    frame["age"] = frame["job"] = None
    age, job, born = problems(
        agreed, frame, np.arange(ROWS) % 3, tmp_path, sensitive=("born",), target="income"
    )
    assert age.startswith("column 'age': every value is missing") and 'data.drop = ["age"]' in age
    assert 'data.drop = ["job"]' in job
    assert born.startswith("data.sensitive: 'born' holds datetime values") and "bands" in born


def test_a_declared_column_without_any_value_is_no_trouble(tmp_path):
    frame = table()
    frame["age"] = frame["job"] = None
    columns = {"age": DeclaredColumn(kind="float"), "job": DeclaredColumn(kind="category")}
    found = agreed(frame, np.arange(ROWS) % 3, tmp_path, columns=columns, sensitive=("job",))
    assert found.schema["age"].edges == () and found.schema["age"].missing
    assert found.conditions.groups == ((MISSING,),)


def test_sites_with_other_columns_are_all_told_of_all_differences(tmp_path):
    frame = table()[["age", "job", "sex"]]
    sites = build_sites(frame, np.arange(ROWS) % 3, tmp_path)
    frame.rename(columns={"job": "jobs", "sex": "gender"}).to_csv(sites[1].table, index=False)
    frame.drop(columns="age").to_csv(sites[2].table, index=False)
    told = problems(agree, InProcess(sites), list(frame.columns), TableSpec())
    assert len(told) == 3
    one_lacks, one_has, two_lacks = told
    assert f"site 'site-1' ({sites[1].table}): lacks the columns 'job', 'sex'" in one_lacks
    assert "has the columns 'jobs', 'gender'" in one_has and "data.drop" in one_has
    assert f"site 'site-2' ({sites[2].table}): lacks the column 'age'" in two_lacks


def test_columns_to_drop_may_be_anywhere(tmp_path):
    frame = table()[["age", "job", "sex"]]
    sites = build_sites(frame, np.arange(ROWS) % 2, tmp_path)
    frame.drop(columns="job").to_csv(sites[1].table, index=False)
    data = TableSpec(drop=("job",))
    assert agree(InProcess(sites), ["age", "sex"], data).schema.names == ("age", "sex")


@pytest.mark.parametrize("numbers", [np.arange(3000), np.random.default_rng(0).normal(size=3000)])
def test_a_number_with_thousands_of_values_makes_no_groups(numbers, tmp_path):
    (told,) = problems(one, numbers, tmp_path, sensitive=("x",))
    assert told.startswith("data.sensitive: 'x' holds") and "column of bands" in told


def test_a_number_of_few_values_makes_groups(tmp_path):
    # pandas writes a column of 1 and 2 with gaps, or scaled, as such numbers.
    cells = ["0.050680", "-0.044642", ""] * 40
    found = one(cells, tmp_path, sensitive=("x",))
    assert {group for (group,) in found.conditions.groups} == {"0.050680", "-0.044642", MISSING}


def test_a_feature_with_hundreds_of_values_makes_no_groups(tmp_path):
    (told,) = problems(one, np.arange(300) % 60, tmp_path, sensitive=("x",))
    assert "more than 50 different values" in told and "'x'" in told


def test_values_that_do_not_fit_are_told_with_site_column_and_row(tmp_path):
    frame = table()
    frame.loc[4, "price"] = "inf"
    frame.loc[7, "dense"] = "-Infinity"
    told = problems(agreed, frame, np.arange(ROWS) % 2, tmp_path)
    # Of both sites, though the first has trouble enough.
    assert len(told) == 2
    price, dense = told
    assert "site-0.csv: column 'price' is infinite" in price and "row 3" in price
    assert "site-1.csv: column 'dense'" in dense and "row 4" in dense


def test_too_many_categories(tmp_path, monkeypatch):
    monkeypatch.setattr("everymode.clients.protocol.sketch.LARGEST_SKETCH", 512)
    names = [f"person {i}" for i in range(1500)]
    (told,) = problems(one, [*names, "x", "y"], tmp_path)
    assert "column 'x'" in told and 'data.drop = ["x"]' in told and "categories" in told
    declared = {"x": DeclaredColumn(categories=("person 1", "x"))}
    assert one([*names, "x", "y"], tmp_path, columns=declared).schema["x"].categories[1] == "x"


def test_a_target_with_many_classes(tmp_path):
    (told,) = problems(one, [f"c{i % 60}" for i in range(300)], tmp_path, target="x")
    assert told.startswith("data.target: 'x' has 60 classes, more than 50")


def test_many_features_make_too_many_groups(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({c: rng.integers(0, 20, 600) for c in "abc"}).astype(object)
    (told,) = problems(agreed, frame, np.arange(600) % 2, tmp_path, sensitive=("a", "b", "c"))
    assert "data.sensitive: a, b, c make 8000 groups, more than 4096" in told


def test_a_table_of_fewer_rows_than_the_floor_is_no_matter_of_groups(tmp_path):
    (told,) = problems(one, ["1", "2", "3", "4"], tmp_path)
    assert told.startswith("the sites hold 4 rows to learn from, fewer than data.floor = 5")


def test_no_group_with_enough_rows(tmp_path):
    (told,) = problems(agreed, table(), np.arange(ROWS) % 2, tmp_path, floor=1400, **USUAL)
    assert "no group holds 1400 rows (data.floor)" in told and "lower data.floor" in told


def test_linear_numbers_have_a_range_and_no_atoms(tmp_path):
    cells = [f"{n % 40 / 10:.1f}" for n in range(300)] + ["0.0"] * 300
    column = one(cells, tmp_path / "linear", numbers="linear").schema["x"]
    assert (column.scale, column.atoms) == ("linear", ())
    assert (column.low, column.high) == pytest.approx((0.0, 3.9))
    ranked = one(cells, tmp_path / "ranks").schema["x"]
    assert (ranked.scale, ranked.atoms) == ("ranks", (0.0,))


@pytest.mark.parametrize("cell", ["7", "-2.5", "0"])
def test_one_linear_value_takes_no_room(tmp_path, cell):
    agreement = one([cell] * 60, tmp_path / "same", numbers="linear")
    column = agreement.schema["x"]
    assert column.edges == ()
    codec = TableCodec(Schema((column,)))
    assert codec.width == 0
    made = codec.decode(np.zeros((3, 0)))["x"]
    assert made.tolist() == [float(cell)] * 3


def test_a_declared_group_that_no_site_holds_is_refused(tmp_path):
    frame = pd.DataFrame({"sex": ["f", "m"] * 20, "x": range(40)})
    site = Site("a", tmp_path / "a.csv", tmp_path / "work")
    frame.to_csv(site.table, index=False)
    declared = {"sex": DeclaredColumn(categories=("f", "m", "x"))}
    data = TableSpec(sensitive=("sex",), columns=declared)
    with pytest.raises(DataError, match="no site holds a row of 'x'"):
        agree(InProcess([site]), ("sex", "x"), data)
