"""Dealing rows to sites: every row once, as asked for, the same each time."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.server.partition import Split, assign, minimum_note, site_table, write_sites
from everymode.wgan.errors import DataError, StateError

SEX = ("Female", "Male")
RACE = ("White", "Black", "Asian", "Amer-Indian", "Other")


def adult_like(rows=8000, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": rng.choice(SEX, rows, p=(0.33, 0.67)),
            "race": rng.choice(RACE, rows, p=(0.85, 0.096, 0.032, 0.012, 0.01)),
            "income": rng.choice(("<=50K", ">50K"), rows, p=(0.76, 0.24)),
        }
    )


KEYS = adult_like()
PRESET = Split(
    "dirichlet",
    sites=10,
    columns=("sex", "race", "income"),
    group_columns=("sex", "race"),
    isolate_below=0.05,
)


def sizes(sites, count):
    return np.bincount(sites, minlength=count)


@given(
    by=st.sampled_from(["iid", "quantity", "dirichlet", "group"]),
    values=st.lists(st.sampled_from(["a", "b", "c", "d", ""]), min_size=1, max_size=120),
    count=st.integers(1, 30),
    alpha=st.sampled_from([5e-324, 1e-3, 0.3, 1e4, 1e308]),
    minimum=st.integers(0, 40),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_every_row_is_dealt_once_and_no_site_is_empty(by, values, count, alpha, minimum, seed):
    count = min(count, len(values))
    keys = pd.DataFrame({"v": values})
    split = Split(by, count, alpha, ("v",), minimum)
    sites = assign(keys, split, seed)
    assert sites.shape == (len(values),)
    assert sites.dtype == np.int64
    assert set(sites) == set(range(count))
    assert sizes(sites, count).min() >= min(minimum, len(values) // count)
    np.testing.assert_array_equal(sites, assign(keys, split, seed))


@pytest.mark.parametrize("by", ["iid", "quantity", "dirichlet", "group"])
def test_seeds_change_the_split_and_the_index_does_not(by):
    split = replace(PRESET, by=by)
    sites = assign(KEYS, split, 1)
    assert (sites != assign(KEYS, split, 2)).any()
    moved = KEYS.set_axis(np.arange(len(KEYS))[::-1] + 7)
    np.testing.assert_array_equal(sites, assign(moved, split, 1))


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assign(KEYS, PRESET, 0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_iid_sites_have_equal_sizes_and_equal_shares():
    sites = assign(KEYS[[]], Split("iid", 7), 0)
    assert np.ptp(sizes(sites, 7)) <= 1
    table = site_table(KEYS[["sex"]], sites)
    share = table["Female"] / table.sum(axis=1)
    assert share.between(0.28, 0.38).all()


def test_quantity_makes_sizes_differ_and_nothing_else():
    sites = assign(KEYS, Split("quantity", 10, alpha=0.3, minimum=200), 0)
    counts = sizes(sites, 10)
    assert counts.min() >= 200
    assert counts.max() > 5 * counts.min()
    table = site_table(KEYS[["sex"]], sites)
    assert (table["Female"] / table.sum(axis=1)).between(0.2, 0.46).all()


def test_one_site_holds_most_and_the_others_are_alike():
    split = Split("quantity", 10, alpha=0.01, largest=0.6)
    found = [sizes(assign(KEYS, split, seed), 10) for seed in range(5)]
    for counts in found:
        assert counts.max() == pytest.approx(0.6 * len(KEYS), rel=0.05)
        rest = np.sort(counts)[:-1]
        np.testing.assert_allclose(rest, 0.4 / 9 * len(KEYS), rtol=0.25)
    # Which one it is depends on the seed.
    assert len({int(counts.argmax()) for counts in found}) > 1
    assert sizes(assign(KEYS, replace(split, sites=1), 0), 1) == [len(KEYS)]


def test_a_column_says_whose_a_row_is():
    keys = pd.DataFrame({"h": ["b", "", "a", "b"], "ward": ["1", "1", "1", "2"]})
    split = Split("column", sites=99, columns=("h",), minimum=50)
    for seed in (0, 1):
        assert assign(keys, split, seed).tolist() == [2, 0, 1, 2]
    both = replace(split, columns=("h", "ward"))
    assert assign(keys, both, 0).tolist() == [2, 0, 1, 3]


def test_a_column_of_identifiers_is_no_column_of_sites():
    keys = pd.DataFrame({"id": [f"{n}" for n in range(1001)]})
    with pytest.raises(DataError, match=r"split\.column = id: 1001 different values.*at most 1000"):
        assign(keys, Split("column", 1, columns=("id",)), 0)
    assert assign(keys.head(1000), Split("column", 1, columns=("id",)), 0).max() == 999


def spread(sites, count):
    """Mean total variation between the cells of a site and those of the table."""
    table = site_table(KEYS, sites).to_numpy().astype(float)
    shares = table / table.sum(axis=1, keepdims=True)
    return float(np.abs(shares - table.sum(axis=0) / table.sum()).sum(axis=1).mean() / 2)


def test_a_smaller_alpha_makes_sites_more_different():
    split = replace(PRESET, isolate_below=0.0)
    found = [spread(assign(KEYS, replace(split, alpha=a), 0), 10) for a in (0.05, 0.5, 5, 1e6)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.5
    iid = spread(assign(KEYS, Split("iid", 10), 0), 10)
    # The limit of a large concentration is the iid split, to sampling error.
    assert found[3] == pytest.approx(iid, abs=0.02)


def test_dirichlet_shares_have_the_variance_of_the_distribution():
    keys = pd.DataFrame({"v": np.repeat([f"{i:03d}" for i in range(400)], 200)})
    count, alpha = 4, 0.5
    sites = assign(keys, Split("dirichlet", count, alpha, ("v",), minimum=0), 3)
    shares = site_table(keys, sites).to_numpy() / 200
    mean = 1 / count
    between = mean * (1 - mean) / (count * alpha + 1)
    # Law of total variance: the multinomial draw adds E[p (1 - p)] / n.
    expected = between + (mean * (1 - mean) - between) / 200
    np.testing.assert_allclose(shares.mean(axis=1), mean, atol=0.04)
    assert shares.var() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_preset_keeps_small_groups_on_one_site_each(seed):
    sites = assign(KEYS, PRESET, seed)
    table = site_table(KEYS[["sex", "race"]], sites)
    small = table.columns[table.sum() < 0.05 * len(KEYS)]
    assert len(small) == 7
    homes = (table > 0).sum()
    assert (homes[small] == 1).all()
    assert (homes.drop(small) > 1).all()
    # Spread: seven small groups over ten sites share none.
    assert table[small].to_numpy().argmax(axis=0).tolist() == list(
        dict.fromkeys(table[small].to_numpy().argmax(axis=0).tolist())
    )
    assert sizes(sites, 10).min() >= PRESET.minimum


def test_without_the_rule_small_groups_are_not_alone():
    sites = assign(KEYS, replace(PRESET, isolate_below=0.0), 0)
    homes = (site_table(KEYS[["sex", "race"]], sites) > 0).sum()
    assert (homes > 1).all()


def test_isolation_beats_the_minimum_where_both_cannot_hold():
    keys = pd.DataFrame({"g": [str(i) for i in range(9) for _ in range(5)] + ["big"] * 55})
    split = Split("dirichlet", 9, 0.3, ("g",), 20, ("g",), 0.1)
    sites = assign(keys, split, 0)
    homes = (site_table(keys, sites) > 0).sum()
    assert (homes.drop("big") == 1).all()
    assert sizes(sites, 9).min() >= 5
    with pytest.raises(DataError, match=r"isolate_below = 0\.9 leaves 10 of 20 sites without rows"):
        assign(keys, replace(split, sites=20, isolate_below=0.9, group_columns=("g",)), 0)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_with_more_values_than_sites_each_value_lives_on_one(count):
    split = Split("group", count, columns=("sex", "race"), minimum=1)
    sites = assign(KEYS, split, 0)
    table = site_table(KEYS[["sex", "race"]], sites)
    assert ((table > 0).sum() == 1).all()
    # Largest first into the emptiest: no site exceeds the largest value and the mean together.
    assert sizes(sites, count).max() <= max(table.sum().max(), 4 / 3 * len(KEYS) / count + 1)


def test_with_fewer_values_than_sites_each_site_has_one_value():
    keys = pd.DataFrame({"v": ["a"] * 700 + ["b"] * 290 + ["c"] * 2})
    sites = assign(keys, Split("group", 10, columns=("v",), minimum=1), 0)
    table = site_table(keys, sites)
    assert ((table > 0).sum(axis=1) == 1).all()
    assert (table > 0).sum().to_dict() == {"a": 6, "b": 3, "c": 1}
    for value in "abc":
        own = sites[keys["v"] == value]
        # Contiguous: the site changes once between shares and never comes back.
        assert (np.diff(own) != 0).sum() == len(set(own)) - 1
        assert np.ptp(np.unique(own, return_counts=True)[1]) <= 1


def test_small_sites_are_topped_up_from_the_largest():
    keys = pd.DataFrame({"v": ["a"] * 500 + ["b"] * 300 + ["c"] * 3})
    split = Split("group", 3, columns=("v",), minimum=20)
    table = site_table(keys, assign(keys, split, 0))
    assert sorted(table.sum(axis=1)) == [20, 300, 483]
    row = table.loc[table["c"] > 0].iloc[0]
    assert row.to_dict() == {"a": 17, "b": 0, "c": 3}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split("iid", 50), r"split\.sites = 50 but the table has 20 rows; at most 20"),
        (Split("iid", 0), r"split\.sites = 0; use 1 or more"),
        (Split("iid", 2, minimum=-1), r"split\.minimum = -1"),
        (Split("even", 2), "split.by = 'even' is unknown; use one of iid, dirichlet"),
        (Split("quantity", 2, alpha=0.0), r"split\.alpha = 0\.0; use a number above 0"),
        (
            Split("quantity", 2, largest=1.0),
            r"split\.largest = 1\.0; use a share from 0 to below 1",
        ),
        (Split("column", 2), r"split\.by = 'column' needs the column.*set split\.column"),
        (Split("column", 2, columns=("sx",)), r"'sx'.*did you mean 'sex'\?"),
        (Split("dirichlet", 2, alpha=float("nan"), columns=("sex",)), r"split\.alpha = nan"),
        (Split("dirichlet", 2), r"set split\.column, data\.sensitive or data\.target"),
        (Split("group", 2), r"set split\.column, data\.sensitive or data\.target"),
        (
            Split("group", 2, columns=("Sexx",)),
            "'Sexx', .* did you mean 'sex'\\? columns: sex, race",
        ),
        (Split("group", 2, columns=("zzz",)), "'zzz', which the table does not have; columns: sex"),
        (replace(PRESET, sites=2, isolate_below=1.0), r"isolate_below = 1\.0; use a share from 0"),
        (replace(PRESET, sites=2, group_columns=()), "needs groups: set data.sensitive"),
        (replace(PRESET, sites=2, group_columns=("age",)), "'age' is not among the columns"),
    ],
)
def test_what_does_not_fit_is_named(split, message):
    with pytest.raises(DataError, match=message):
        assign(KEYS.head(20), split, 0)


def test_all_problems_come_at_once():
    with pytest.raises(DataError) as caught:
        assign(KEYS.head(3), Split("dirichlet", 5, -1.0, ("a", "b"), -2), 0)
    assert len(caught.value.problems) == 5


def test_settings_of_other_splits_are_ignored():
    split = replace(PRESET, by="iid", alpha=-1.0, columns=("none",), isolate_below=7.0)
    np.testing.assert_array_equal(assign(KEYS, split, 0), assign(KEYS, Split("iid", 10), 0))


CELLS = [
    "007",
    " padded ",
    "1.50",
    "NA",
    'quo"ted',
    "a,b",
    "line\nbreak",
    "return\r",
    "Größe 東京",
    None,
]


def text_table():
    return pd.DataFrame({"a,1": CELLS, "b": CELLS[::-1]}, dtype="str")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_hold_every_cell_as_it_was(suffix, tmp_path):
    frame = text_table()
    sites = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 2])
    paths = write_sites(frame, sites, tmp_path / "new" / "sites", suffix)
    assert [p.name for p in paths] == [f"site-0{i}{suffix}" for i in range(3)]
    assert sorted((tmp_path / "new").rglob("*")) == [tmp_path / "new" / "sites", *paths]
    for site, path in enumerate(paths):
        if suffix == ".csv":
            read = pd.read_csv(path, dtype="str", keep_default_na=False, na_values=[""])
        else:
            read = pd.read_parquet(path)
        pd.testing.assert_frame_equal(read, frame[sites == site].reset_index(drop=True))


def test_a_missing_cell_is_written_empty(tmp_path):
    frame = pd.DataFrame({"a": ["x", None], "b": [None, "y"]}, dtype="str")
    (path,) = write_sites(frame, np.zeros(2, dtype=np.int64), tmp_path / "s")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows == [["a", "b"], ["x", ""], ["", "y"]]


def test_file_names_sort_like_sites(tmp_path):
    frame = pd.DataFrame({"a": np.arange(120)})
    paths = write_sites(frame, np.arange(120), tmp_path / "s")
    assert paths[7].name == "site-007.csv"
    assert paths == sorted(paths)
    assert pd.read_csv(io.StringIO(paths[7].read_text()))["a"].tolist() == [7]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    frame, sites = pd.DataFrame({"a": ["x"]}), np.array([0])
    (tmp_path / "empty").mkdir()
    assert write_sites(frame, sites, tmp_path / "empty")[0].exists()
    with pytest.raises(StateError, match="empty is not empty; name a new folder"):
        write_sites(frame, sites, tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StateError, match="file is not a folder"):
        write_sites(frame, sites, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_nothing(tmp_path, monkeypatch, kit):
    kit.full_disk(monkeypatch, "site-01")
    with pytest.raises(StateError, match="sites cannot be written: No space left on device"):
        write_sites(pd.DataFrame({"a": [1, 2]}), np.array([0, 1]), tmp_path / "sites")
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_of_file_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'\.xlsx'; use '\.csv' or '\.parquet'"):
        write_sites(pd.DataFrame({"a": [1]}), np.array([0]), tmp_path / "s", ".xlsx")
    with pytest.raises(ValueError, match="2 sites for 1 rows"):
        write_sites(pd.DataFrame({"a": [1]}), np.array([0, 0]), tmp_path / "s")


def test_the_table_counts_every_row_and_names_missing_values():
    keys = pd.DataFrame(
        {"sex": ["f", "", "f", "m"], "race": ["w", "w", "w", ""]}, index=[3, 3, 1, 0]
    )
    table = site_table(keys, np.array([0, 2, 2, 0]))
    assert table.columns.tolist() == ["f, w", "(missing), w", "m, (missing)"]
    assert table.to_numpy().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert site_table(KEYS[[]], assign(KEYS, PRESET, 0))["rows"].sum() == len(KEYS)


def test_a_minimum_that_cannot_be_kept_is_said():
    sites = assign(KEYS.iloc[:50][[]], Split("iid", 5, minimum=20), 0)
    assert minimum_note(sites, Split("iid", 5, minimum=20)) == (
        "every site holds fewer rows than the minimum of 20: the smallest holds 10, of 50 rows in "
        "all; use fewer sites or a smaller minimum"
    )
    assert minimum_note(sites, Split("iid", 5, minimum=10)) == ""
    two = np.array([0] * 30 + [1] * 3)
    said = minimum_note(two, Split("column", 99, columns=("h",), minimum=20))
    assert said.startswith("1 of 2 sites hold fewer rows than the minimum of 20: the smallest")
