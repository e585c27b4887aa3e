"""`init`: what is dropped, what is refused, and that the file says all there is to set."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from everymode.server.config.files import load
from everymode.simulations.starter import start_configuration
from everymode.wgan.errors import DataError, SettingsError, StateError


def start(frame: pd.DataFrame, folder: Path, *sensitive: str, target: str | None = None) -> Any:
    path = folder / "t.csv"
    frame.to_csv(path, index=False)
    table, _ = start_configuration(path, sensitive, target, folder / "t.toml", force=True)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return load(folder / "t.toml"), capture.get()


def uses(shown: str) -> dict[str, str]:
    rows = [line.strip("│ ").split("│") for line in shown.splitlines() if line.startswith("│")]
    return {row[0].strip(): row[-1].strip() for row in rows}


def test_what_is_modelled_and_what_is_dropped(kit: Any, tmp_path: Path) -> None:
    frame = kit.people(700).assign(
        number=range(1000, 1700),
        code=[f"P{i}" for i in range(700)],
        empty="",
        essay=["word " * 40] * 350 + ["x"] * 350,
        money=[str(3 * i) for i in range(700)],
    )
    frame["[/odd]"] = "a"
    settings, shown = start(frame, tmp_path, "group", target="outcome")
    found = uses(shown)
    assert found["number"] == found["code"] == "identifier: new codes are made"
    assert found["empty"] == "dropped: no values"
    assert found["essay"] == "dropped: long text"
    assert found["money"] == "modelled; an identifier? drop it"
    assert found["[/odd]"] == found["age"] == "modelled"
    assert (found["group"], found["outcome"]) == ("sensitive feature", "target")
    assert settings.data.drop == ("empty", "essay")
    assert {n for n, c in settings.data.columns.items() if c.kind == "id"} == {"number", "code"}
    assert settings.data.sensitive == ("group",)
    assert settings.data.target == "outcome"


def test_names_without_a_pattern_are_dropped_and_few_codes_are_made_anew(
    kit: Any, tmp_path: Path
) -> None:
    words = ["Ada", "Bo", "Cleo", "Di-Ann", "E.", "Franz Xaver", "G"]
    frame = kit.people(100).assign(
        code=[f"P{i}" for i in range(100)],
        name=[f"{words[i % 7]} {words[i // 7 % 7]}{'x' * (i // 49)}" for i in range(100)],
    )
    data = start(frame, tmp_path)[0].data
    assert data.drop == ("name",) and list(data.columns) == ["code"]


def test_years_of_a_time_series_are_no_codes(tmp_path: Path) -> None:
    # New codes would continue beyond the last year.
    frame = pd.DataFrame({"year": range(1956, 2011), "customer": range(3001, 3056)})
    settings, shown = start(frame.assign(miles=[3.5 * i for i in range(55)]), tmp_path)
    assert uses(shown)["year"] == "modelled as years; an identifier? drop it"
    assert list(settings.data.columns) == ["customer"]


@pytest.mark.parametrize(
    ("rows", "options", "by", "sites"),
    [(15, (), "iid", 1), (100, (), "iid", 5), (500, ("group",), "dirichlet", 10)],
)
def test_the_split_fits_the_table(
    kit: Any, tmp_path: Path, rows: int, options: tuple[str, ...], by: str, sites: int
) -> None:
    settings, _ = start(kit.people(rows), tmp_path, *options)
    assert (settings.split.by, settings.split.sites) == (by, sites)


def test_the_path_is_relative_to_the_configuration(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "t.csv"
    kit.people(50).to_csv(path, index=False)
    output = tmp_path / "conf" / "t.toml"
    start_configuration(path, (), None, output, force=False)
    assert 'path = "../data/t.csv"' in output.read_text()
    assert load(output).data.path == str(path)


def test_a_folder_of_sites(kit: Any, tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    for i in range(2):
        kit.people(50, i).to_csv(tmp_path / "sites" / f"{i}.csv", index=False)
    table, _ = start_configuration(tmp_path / "sites", ("sex",), None, tmp_path / "t.toml", False)
    assert str(table.title).endswith("100 rows")
    assert load(tmp_path / "t.toml").data.path == str(tmp_path / "sites")


def test_what_simulate_would_refuse_is_refused_at_once(kit: Any, tmp_path: Path) -> None:
    frame = kit.people(300).assign(empty="", many=[f"c{i % 60}" for i in range(300)])
    for sensitive, target, problem in [
        (("weight kg",), None, "--sensitive weight kg"),
        (("joined",), None, "--sensitive joined"),
        (("age",), None, "column of bands"),
        (("empty",), None, "column 'empty' has no values"),
        ((), "empty", "column 'empty' has no values"),
        ((), "many", "--target many: has 60 classes"),
        (("gruop",), None, "did you mean 'group'"),
    ]:
        with pytest.raises(DataError) as caught:
            start(frame, tmp_path, *sensitive, target=target)
        assert len(caught.value.problems) == 1
        assert problem in str(caught.value)
    assert not (tmp_path / "t.toml").exists()
    with pytest.raises(DataError) as caught:
        start(frame, tmp_path, "age", "joined", target="many")
    assert len(caught.value.problems) == 3
    with pytest.raises(SettingsError, match="names group twice"):
        start(frame, tmp_path, "group", "group")
    assert not (tmp_path / "t.toml").exists()


def test_a_file_is_not_replaced_unasked(kit: Any, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.toml"
    output.write_text("precious")
    with pytest.raises(StateError, match="--force"):
        start_configuration(table, (), None, output, force=False)
    assert output.read_text() == "precious"


def test_a_column_of_rare_values_alone_is_dropped(tmp_path: Path) -> None:
    # All of it would be written "(other)".
    frame = pd.DataFrame({"city": ["Bonn", "Köln", "Jena", "Ulm"] * 3, "n": [1, 2] * 6})
    settings, shown = start(frame, tmp_path)
    assert uses(shown)["city"] == "dropped: no value in 5 rows"
    assert settings.data.drop == ("city",)
    assert start(frame, tmp_path, target="city")[0].data.drop == ()
