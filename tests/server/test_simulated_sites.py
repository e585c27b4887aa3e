"""Simulated sites: dealt from one table, or the tables of a folder."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from everymode.server.simulated_sites import create_simulated_sites, keys, read_split
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError


def rows_of(frame: pd.DataFrame) -> list[list[Any]]:
    text = frame.astype(object).where(frame.notna(), "").astype(str)
    return sorted(text.to_numpy().tolist())


@pytest.mark.parametrize("strategy", ["everymode", "pooled"])
def test_a_table_is_dealt_out_whole(kit: Any, table: Path, tmp_path: Path, strategy: str) -> None:
    settings = kit.tiny(table, strategy=strategy)
    stage = create_simulated_sites(settings, tmp_path / "sites")
    assert len(stage.sites) == (3 if strategy == "everymode" else 1)
    assert rows_of(stage.frame(settings.data.missing)) == rows_of(read_table(table))
    sizes = [float(len(site.frame(settings.data.missing))) for site in stage.sites]
    assert list(stage.loads) == sizes
    assert stage.columns == tuple(read_table(table).columns)


def test_dealing_is_repeatable_and_depends_on_the_seed(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    def dealt(name: str, seed: int) -> list[bytes]:
        stage = create_simulated_sites(kit.tiny(table, seed=seed), tmp_path / name)
        return [site.table.read_bytes() for site in stage.sites]

    assert dealt("a", 0) == dealt("b", 0) != dealt("c", 1)


def test_tables_that_were_dealt_already_are_kept(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table)
    first = create_simulated_sites(settings, tmp_path / "sites")
    times = [site.table.stat().st_mtime_ns for site in first.sites]
    again = create_simulated_sites(settings, tmp_path / "sites")
    assert again == first
    assert [site.table.stat().st_mtime_ns for site in again.sites] == times


def test_dropped_columns_are_no_columns(kit: Any, table: Path, tmp_path: Path) -> None:
    stage = create_simulated_sites(
        kit.tiny(table, data={"drop": ["age", "constant"]}), tmp_path / "sites"
    )
    assert "age" not in stage.columns
    assert "sex" in stage.columns


def test_the_cells_that_mean_missing_are_missing_at_the_sites(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, data={"missing": ["k"]})
    frame = create_simulated_sites(settings, tmp_path / "sites").frame(settings.data.missing)
    assert frame["constant"].isna().all()
    real = read_table(table, settings.data.missing)
    assert frame["joined"].isna().sum() == real["joined"].isna().sum() > 0


def test_small_groups_live_on_one_site(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table, split={"isolate_below": 0.1, "alpha": 100.0})
    stage = create_simulated_sites(settings, tmp_path / "sites")
    holders = [set(site.frame(settings.data.missing)["group"]) for site in stage.sites]
    assert sum("c" in groups for groups in holders) == 1
    assert sum("a" in groups for groups in holders) == 3


def test_the_split_that_settings_ask_for(kit: Any, table: Path) -> None:
    assert read_split(kit.tiny(table)).columns == ("group", "outcome")
    assert read_split(kit.tiny(table, split={"by": "group"})).columns == ("group",)
    assert read_split(kit.tiny(table, data={"target": "group"})).columns == ("group",)
    other = read_split(kit.tiny(table, split={"column": ["sex"]}))
    assert other.columns == ("sex",)
    # A split by other columns than the groups is fine where no group is to be isolated.
    assert other.group_columns == ()
    isolated = read_split(kit.tiny(table, split={"isolate_below": 0.1}))
    assert (isolated.group_columns, isolated.isolate_below) == (("group",), 0.1)
    assert read_split(kit.tiny(table, strategy="pooled")).sites == 1


def test_a_split_by_another_column_than_the_groups(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table, split={"by": "group", "column": ["sex"], "sites": 2, "minimum": 1})
    stage = create_simulated_sites(settings, tmp_path / "sites")
    assert [len(set(s.frame(())["sex"])) for s in stage.sites] == [1, 1]


def test_keys_are_text_with_empty_for_missing(kit: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"group": ["a", None, "b"], "outcome": [1, 2, 3], "x": [1.5, 2.0, 3.0]})
    found = keys(frame, kit.tiny(tmp_path / "x.csv"))
    assert found.to_dict("list") == {"group": ["a", "", "b"], "outcome": ["1", "2", "3"]}
    none = kit.tiny(tmp_path / "x.csv", data={"sensitive": [], "target": None})
    assert keys(frame, none).shape == (3, 0)


def test_an_unknown_column_to_split_on_names_those_there_are(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"'gruop'.* did you mean 'group'\?"):
        create_simulated_sites(kit.tiny(table, split={"column": ["gruop"]}), tmp_path / "sites")
    assert not (tmp_path / "sites").exists()


@pytest.mark.parametrize("strategy", ["everymode", "pooled"])
def test_the_column_of_sites_is_not_modelled(
    kit: Any, table: Path, tmp_path: Path, strategy: str
) -> None:
    split = {"by": "column", "column": ["sex"], "sites": 7}
    stage = create_simulated_sites(
        kit.tiny(table, strategy=strategy, split=split), tmp_path / "sites"
    )
    real = read_table(table)
    sizes = real["sex"].value_counts().sort_index().tolist()
    assert list(stage.loads) == (sizes if strategy == "everymode" else [len(real)])
    assert "sex" not in stage.columns
    assert list(stage.frame(()).columns) == list(stage.columns)
    assert rows_of(stage.frame(())) == rows_of(real.drop(columns="sex"))


@pytest.mark.parametrize("strategy", ["everymode", "pooled"])
def test_an_unknown_column_of_sites(kit: Any, table: Path, tmp_path: Path, strategy: str) -> None:
    settings = kit.tiny(table, strategy=strategy, split={"by": "column", "column": ["sx"]})
    with pytest.raises(DataError, match=r"split\.column: .* no column 'sx'; did you mean 'sex'\?"):
        create_simulated_sites(settings, tmp_path / "sites")


def test_a_folder_is_taken_as_it_is(kit: Any, tmp_path: Path) -> None:
    folder = tmp_path / "hospitals"
    folder.mkdir()
    for name, rows in (("b.csv", 30), ("a.csv", 50)):
        kit.people(rows).to_csv(folder / name, index=False)
    (folder / "notes.txt").write_text("no table")
    stage = create_simulated_sites(kit.tiny(folder), tmp_path / "sites")
    assert [site.name for site in stage.sites] == ["a", "b"]
    assert stage.loads == (50.0, 30.0)
    assert all(site.table.parent == folder for site in stage.sites)
    assert all(tmp_path / "sites" in site.workspace.parents for site in stage.sites)
    pooled = create_simulated_sites(kit.tiny(folder, strategy="pooled"), tmp_path / "pooled")
    assert pooled.loads == (80.0,)
    assert rows_of(pooled.frame(())) == rows_of(stage.frame(()))


def test_every_site_that_does_not_fit_is_named(kit: Any, tmp_path: Path) -> None:
    folder = tmp_path / "hospitals"
    folder.mkdir()
    good = kit.people(30)
    good.to_csv(folder / "a.csv", index=False)
    good.drop(columns=["age", "sex"]).to_csv(folder / "b.csv", index=False)
    good.assign(extra="1").to_csv(folder / "c.csv", index=False)
    good[list(reversed(good.columns))].to_csv(folder / "d.csv", index=False)
    with pytest.raises(DataError) as caught:
        create_simulated_sites(kit.tiny(folder), tmp_path / "sites")
    first, second = caught.value.problems
    assert "site 'b'" in first
    assert "'age', 'sex'" in first
    assert "site 'c'" in second
    assert "'extra'" in second


def test_a_folder_without_tables(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no table"):
        create_simulated_sites(kit.tiny(tmp_path / "none"), tmp_path / "sites")
