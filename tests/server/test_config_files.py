"""Configurations: read, overridden, refused, written and read back."""

import tomllib
import unicodedata
from pathlib import Path

import pytest
from pydantic import BaseModel

from everymode.server.config.files import commented, keys, load, parse, presets, resolve
from everymode.server.config.settings import Settings
from everymode.simulations.scenarios import find_scenario
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import SettingsError


def problems(source: str | Path, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(source, overrides)
    return list(caught.value.problems)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "mine.toml"
    path.parent.mkdir()
    path.write_text('[data]\npath = "table.csv"\nholdout = "../other.csv"\n', encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_load_and_name_tables_that_exist(name: str) -> None:
    settings = load(name)
    assert settings.data.sensitive
    scenario = find_scenario(settings)
    if scenario is not None:
        assert scenario.name == name
        return
    assert resolve(settings.data.path).is_file()
    assert settings.data.target


def test_there_are_presets() -> None:
    assert {"adult", "quick"} <= set(presets())


def test_all_problems_come_at_once_with_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'seed = -1\n[data]\npath = "x.csv"\n[split]\nby = "skewed"\n'
        '[train]\nrounds = "many"\nrouns = 3\n[modle]\nnoise = 3\n',
        encoding="utf-8",
    )
    found = problems(path)
    assert len(found) == 5
    by_key = {key: p for p in found for key in ("seed", "split.by", "train.rounds") if key in p}
    assert "got -1" in by_key["seed"]
    assert "greater than or equal to 0" in by_key["seed"]
    assert 'got "skewed"' in by_key["split.by"]
    assert "'iid', 'dirichlet', 'group', 'quantity' or 'column'" in by_key["split.by"]
    assert all(str(path) in p for p in found)
    assert any("unknown key train.rouns; did you mean train.rounds?" in p for p in found)
    assert any("unknown key modle; did you mean model?" in p for p in found)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.toml").write_text("seed = 1\n[data]\n", encoding="utf-8")
    assert problems(tmp_path / "no.toml") == [
        f"{tmp_path / 'no.toml'}: data.path is missing; it must be given"
    ]


def test_an_unknown_key_like_no_other_points_to_the_help(file: Path) -> None:
    (problem,) = problems(file, ("zzzzzzzz=1",))
    assert "everymode simulate --help" in problem


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("train.rounds=7", ("train", "rounds"), 7),
        ("model.generator_hidden=[8, 9]", ("model", "generator_hidden"), (8, 9)),
        ("split.by=iid", ("split", "by"), "iid"),
        ('split.by="iid"', ("split", "by"), "iid"),
        ("data.sensitive=['sex', 'race']", ("data", "sensitive"), ("sex", "race")),
        ("data.sensitive=sex", ("data", "sensitive"), ("sex",)),
        ("split.column=sex", ("split", "column"), ("sex",)),
        ("data.holdout=", ("data", "holdout"), None),
        ("data.holdout=''", ("data", "holdout"), None),
        ("data.target=a=b", ("data", "target"), "a=b"),
        ("data.target=with blank", ("data", "target"), "with blank"),
        (" train.rounds = 7 ", ("train", "rounds"), 7),
        ("data.missing=['-']", ("data", "missing"), ("", "-")),
    ],
)
def test_overrides(file: Path, override: str, key: tuple[str, str], expected: object) -> None:
    settings = load(file, (override,))
    assert getattr(getattr(settings, key[0]), key[1]) == expected


def test_overrides_reach_columns_with_dots_and_blanks(file: Path) -> None:
    settings = load(file, ('data.columns."a. b".kind=category', "data.columns.c.kind=float"))
    assert {name: c.kind for name, c in settings.data.columns.items()} == {
        "a. b": "category",
        "c": "float",
    }


def test_later_overrides_win_and_leave_other_keys_alone(file: Path) -> None:
    settings = load(file, ("train.rounds=1", "train.rounds=2", "split.sites=4"))
    assert (settings.train.rounds, settings.split.sites) == (2, 4)
    assert settings.data.path.endswith("table.csv")


@pytest.mark.parametrize("override", ["train.rounds", "=3", ""])
def test_overrides_without_key_or_value(file: Path, override: str) -> None:
    (problem,) = problems(file, (override,))
    assert "expected key=value" in problem


def test_an_error_in_an_override_is_not_blamed_on_the_file(file: Path) -> None:
    (problem,) = problems(file, ("train.rounds=ten",))
    assert problem.startswith("--set: train.rounds: ")
    assert 'got "ten"' in problem
    (problem,) = problems(file, ("train.rouns=10",))
    assert problem.startswith("--set: unknown key train.rouns")


def test_relative_paths(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load(file)
    assert settings.data.path == str(tmp_path / "conf" / "table.csv")
    assert settings.data.holdout == str(tmp_path / "other.csv")
    settings = load(file, ("data.path=near.csv",))
    assert settings.data.path == str(tmp_path / "elsewhere" / "near.csv")


@pytest.mark.parametrize("sizes", ["[]", "[0]"])
def test_layers_without_units(file: Path, sizes: str) -> None:
    (problem,) = problems(file, (f"model.critic_hidden={sizes}",))
    assert "expected one size or more" in problem


def test_no_such_file_or_preset() -> None:
    (problem,) = problems("aduld")
    assert "aduld: no such configuration file" in problem
    assert ", ".join(presets()) in problem


def test_bad_toml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("seed = 1\ntrain = [\n", encoding="utf-8")
    (problem,) = problems(tmp_path / "x.toml")
    assert "x.toml: not valid TOML" in problem
    (tmp_path / "y.toml").write_bytes(b"seed = \xff")
    assert "cannot be read" in problems(tmp_path / "y.toml")[0]
    assert "cannot be read" in problems(tmp_path)[0]


def test_a_byte_order_mark_is_no_error(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(file).data.path.endswith("table.csv")


@pytest.mark.parametrize("name", ["people.csv", "people.parquet", "people.csv.gz"])
def test_a_table_in_place_of_a_configuration_points_to_init(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a\n1\n")
    (problem,) = problems(tmp_path / name)
    assert "everymode init" in problem
    assert "-o people.toml" in problem


def full() -> Settings:
    return Settings.model_validate(
        {
            "seed": 3,
            "strategy": "pooled",
            "data": {
                "path": '/tmp/a "quoted"\\path.csv',
                "sensitive": ["sex", "city, \n東京"],
                "target": "in'come",
                "drop": ["id"],
                "missing": ["", "?", "\t"],
                "columns": {
                    "zip. code": {"kind": "category"},
                    "size": {"kind": "category", "categories": ["s", 'm"', "l"]},
                },
            },
            "model": {"generator_rate": 1e-7, "generator_hidden": [1, 2, 3]},
            "train": {"timeout": 1e9},
        }
    )


@pytest.mark.parametrize("settings", [full(), load("quick"), load("adult")])
def test_a_written_configuration_reads_back(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(commented(settings), encoding="utf-8")
    assert load(path) == settings


def test_every_key_of_a_written_configuration_has_a_comment() -> None:
    lines = commented(load("quick")).splitlines()
    assert max(map(len, lines)) <= 100
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            _explained(lines, name)
            continue
        start = lines.index(f"[{name}]")
        assert lines[start - 1].startswith("# ")
        for key in section.model_fields:
            if key == "columns":
                assert any("[data.columns.NAME]" in line for line in lines)
            elif key == "constraints":
                assert any("[[data.constraints]]" in line for line in lines)
            else:
                _explained(lines[start:], key)


def _explained(lines: list[str], key: str) -> None:
    at = next(i for i, line in enumerate(lines) if line.startswith((f"{key} =", f"# {key} =")))
    assert lines[at - 1].startswith("# ")
    assert not lines[at - 1].endswith("=")


def test_keys_lists_every_key_with_a_meaning() -> None:
    listed = {name: (default, meaning) for name, default, meaning in keys()}
    count = 0
    for name, info in Settings.model_fields.items():
        section = info.annotation
        inner = [name]
        if isinstance(section, type) and issubclass(section, BaseModel):
            inner = [f"{name}.{key}" for key in section.model_fields]
        count += len(inner)
        assert set(inner) <= set(listed)
    assert count == len(listed)
    assert all(meaning for _, meaning in listed.values())
    assert listed["train.rounds"][0] == "300"


def test_built_in_tables() -> None:
    assert len(read_table(resolve("builtin:adult-test.csv.gz"))) == 16281
    assert resolve("/some/where.csv") == Path("/some/where.csv")
    with pytest.raises(SettingsError, match=r"no such built-in table .*adult-train.csv.gz"):
        resolve("builtin:adlut.csv.gz")


def test_paths_of_built_in_tables_are_not_anchored(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('[data]\npath = "builtin:x.csv"\n', encoding="utf-8")
    assert load(tmp_path / "b.toml").data.path == "builtin:x.csv"


def test_settings_are_frozen_values() -> None:
    settings = parse({"data": {"path": "x.csv"}}, "here")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]
    assert settings.data.missing[0] == ""


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("model.objective=wgan", "'hinge'"),
        ("model.lipschitz=clip", "'spectral_norm'"),
        ("model.penalty_points=between", "'manifold'"),
        ("model.pack=0", "greater than or equal to 1"),
        ("views.use=blur", "'diffusion'"),
        ("views.strength=1.5", "less than or equal to 1"),
        ("data.held_out=0.6", "less than or equal to 0.5"),
        ("train.evaluate_every=0", "greater than or equal to 1"),
        ("federation.away=['site-01']", "a site and its first and last round away"),
    ],
)
def test_values_that_no_part_has(file: Path, override: str, allowed: str) -> None:
    (problem,) = problems(file, (override,))
    assert problem.startswith(f"--set: {override.partition('=')[0]}")
    assert allowed in problem


def test_hostile_names_are_read_back_from_a_written_configuration_and_hide_nothing() -> None:
    hostile = 'a"\x7f\x9b\u202e\u2028\n[model]\U000e0001'
    data = {
        "path": "t\x1b\u2028.csv",
        "sensitive": [hostile],
        "columns": {hostile: {"categories": ["x\ny", "\x7f", "\u2028"]}, "b": {"kind": "float"}},
    }
    settings = parse({"data": data}, "here")
    text = commented(settings)
    assert parse(tomllib.loads(text), "there") == settings
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl")]
