"""Tables that hardly hold anything, from `init` to rows: each is modelled, or refused in a line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.server.config.files import load
from everymode.server.simulated_sites import create_simulated_sites
from everymode.simulations.starter import start_configuration
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError
from tests.command_line import Call
from tests.simulations.test_cli import TINY, refused

ROWS = 60


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The same in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return call


def made(call: Call, frame: pd.DataFrame, *options: str) -> pd.DataFrame:
    """The synthetic table of a tiny run that `init` has configured."""
    frame.to_csv("t.csv", index=False)
    code, _, err = call("init", "t.csv", "-o", "t.toml", *options)
    assert (code, err) == (0, "")
    code, _, err = call("simulate", "t.toml", *TINY, "-q", "--out", "run")
    assert (code, err) == (0, "")
    found = read_table(Path("run/synthetic.csv"))
    assert len(found) == len(frame) and list(found.columns) == list(frame.columns)
    return found


def words(count: int) -> list[str]:
    """Texts of which no two are alike, without a common pattern."""
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefgh -"), 12)) for _ in range(count)]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"name": words(ROWS), "street": words(2 * ROWS)[ROWS:]}, "'name': identifier"),
        ({"code": [f"P{i}" for i in range(ROWS)], "n": range(ROWS)}, "new codes are made"),
        ({"a": [""] * ROWS, "b": ["NA"] * ROWS}, "'a': no values; 'b': no values"),
    ],
)
def test_a_table_of_which_nothing_can_be_modelled_is_refused_in_one_line(
    call: Call, columns: dict[str, list[str]], what: str
) -> None:
    pd.DataFrame(columns).to_csv("t.csv", index=False)
    refused(call("init", "t.csv", "-o", "t.toml"), "t.csv: no column is left to model (", what)
    assert not Path("t.toml").exists()


def test_cells_between_blanks_are_read_where_that_is_said(call: Call) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal():.3f}   {rng.integers(9)} {rng.integers(2)}" for _ in range(ROWS)]
    Path("t.csv").write_text("\n".join(["mass  kids sex", *rows]) + "\n")
    refused(call("init", "t.csv", "-o", "t.toml"), "say so with --separator ' '")
    code, out, err = call("init", "t.csv", "-o", "t.toml", "--separator", " ")
    assert (code, err) == (0, "") and "mass" in out
    assert len(read_table(Path("t.csv"), form=load("t.toml").data.form).columns) == 3


def test_a_first_line_that_reads_like_the_rows_is_asked_about(call: Call) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"P-{i:04d},{rng.choice(['F', 'M'])},{rng.normal(50, 9):.2f},{rng.integers(18, 90)},"
        f"2024-0{rng.integers(1, 9)}-11"
        for i in range(ROWS)
    ]
    names = "id,sex,pay,age,day"
    for first, asked in (([], True), ([names], False), (["code,M,50.00,2024,when"], True)):
        Path("t.csv").write_text("\n".join([*first, *rows]) + "\n")
        code, out, err = call("init", "t.csv", "-o", "t.toml", "--force")
        assert (code, err) == (0, "")
        assert ("looks like a row, not like headers" in out) == asked, first
    Path("t.csv").write_text("\n".join(rows) + "\n")
    _, out, _ = call("init", "t.csv", "-o", "t.toml", "--force", "--no-header")
    assert "looks like a row" not in out
    # Years and days are names of columns of numbers.
    wide = ["country,2019,2020,2021", *(f"C{i % 7},{i},{2 * i},{3 * i}" for i in range(ROWS))]
    Path("t.csv").write_text("\n".join(wide) + "\n")
    _, out, _ = call("init", "t.csv", "-o", "t.toml", "--force")
    assert "looks like a row" not in out


def test_identifiers_alone_are_refused_by_a_run_too(call: Call) -> None:
    pd.DataFrame({"a": [f"P{i}" for i in range(ROWS)]}).to_csv("t.csv", index=False)
    Path("t.toml").write_text('[data]\npath = "t.csv"\n[data.columns.a]\nkind = "id"\n')
    split = ("--set", "split.by=iid", "--set", "split.sites=2")
    answer = call("simulate", "t.toml", *TINY, *split, "--out", "run")
    refused(answer, "no column is left to model: all are identifiers (a)")


def test_unique_numbers_and_moments_are_modelled(call: Call) -> None:
    rng = np.random.default_rng(0)
    moments = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.permutation(10**7)[:ROWS], unit="s")
    frame = pd.DataFrame(
        {"id": [f"P-{i:05d}" for i in range(ROWS)], "x": rng.normal(size=ROWS), "when": moments}
    )
    found = made(call, frame)
    assert found["id"].is_unique and not set(found["id"]) & set(frame["id"])
    assert found["x"].astype(float).between(-5, 5).all()


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"country": "DE"}, ()),
        ({"n": "0"}, ()),
        ({"country": "DE", "n": "5", "x": "2.50", "day": "2020-01-31"}, ()),
        ({"sex": "F", "n": "5"}, ("--sensitive", "sex")),
        ({"sex": "F", "hired": "yes"}, ("--sensitive", "sex", "--target", "hired")),
    ],
)
def test_constants_come_back_without_a_warning(
    call: Call, columns: dict[str, str], options: tuple[str, ...]
) -> None:
    found = made(call, pd.DataFrame(columns, index=range(ROWS)), *options)
    assert found.drop_duplicates().to_dict("records") == [columns]


@pytest.mark.parametrize(("rows", "sites"), [(20, 1), (20, 4)])
def test_sites_of_twenty_rows(call: Call, rows: int, sites: int) -> None:
    # No group has the rows that second moments need.
    Path("sites").mkdir()
    rng = np.random.default_rng(0)
    for site in range(sites):
        frame = pd.DataFrame(
            {
                "sex": rng.choice(["f", "m"], rows),
                "age": rng.integers(18, 90, rows),
                "town": rng.choice(["Ulm", "Jena"], rows),
            }
        )
        frame.to_csv(f"sites/{site}.csv", index=False)
    code, _, err = call("init", "sites", "--sensitive", "sex", "--target", "town", "-o", "t.toml")
    assert (code, err) == (0, "")
    code, _, err = call("simulate", "t.toml", *TINY, "-q", "--out", "run")
    assert (code, err) == (0, "")
    assert len(read_table(Path("run/synthetic.csv"))) == rows * sites


def test_numbers_of_a_handful_of_rows_are_spread_over_their_range(call: Call) -> None:
    # A training of four rounds leaves them at one end, where no second moment draws them away.
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "x": rng.integers(4, 15, 11),
            "y": rng.normal(7, 2, 11).round(2),
            "gaps": np.where(np.arange(11) < 6, rng.normal(100, 30, 11).round(1), np.nan),
        }
    )
    made(call, frame)
    assert call("sample", "run", "-n", 400, "-o", "more.csv")[0] == 0
    found = read_table(Path("more.csv"))
    for name in frame:
        numbers = found[name].dropna().astype(float)
        assert 0.3 < (numbers > frame[name].median()).mean() < 0.7, name


def as_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def as_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def as_feather(frame: pd.DataFrame, path: Path) -> None:
    frame.to_feather(path)


@pytest.mark.parametrize(
    ("ending", "write"), [("csv", as_csv), ("parquet", as_parquet), ("feather", as_feather)]
)
def test_thousands_of_columns_are_refused_by_the_headers_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    write: Callable[[pd.DataFrame, Path], None],
) -> None:
    path = tmp_path / f"t.{ending}"
    write(pd.DataFrame({f" c{i}": [1, 2] for i in range(5000)}), path)

    def unread(*_: object) -> None:
        raise AssertionError("cells were read")

    monkeypatch.setattr("everymode.simulations.starter.parsed", unread)
    monkeypatch.setattr("everymode.server.simulated_sites.read_table", unread)
    with pytest.raises(DataError, match="has 5,000 columns, and at most 1,024"):
        start_configuration(path, (), None, tmp_path / "t.toml", force=False)
    config = tmp_path / "own.toml"
    for dropped, problem in ((0, "5,000"), (3000, "2,000")):
        names = ", ".join(f'"c{i}"' for i in range(dropped))
        config.write_text(f'[data]\npath = "t.{ending}"\ndrop = [{names}]\n')
        with pytest.raises(DataError, match=f"has {problem} columns"):
            create_simulated_sites(load(config), tmp_path / "sites")
