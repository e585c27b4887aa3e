"""Constraints from the configuration to the table, over sites, under parity and conditions."""

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.site import Site
from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.config.files import commented, parse
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.synthesis import drawing
from everymode.server.synthesis.completion import complete
from everymode.server.synthesis.drawing import Search
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.transport.exchange import InProcess
from everymode.simulations.cli import app
from everymode.wgan.data.constraints import Order
from everymode.wgan.errors import DataError, SettingsError
from tests.federated import RUN, Recorder
from tests.wgan.test_constrained import CONSTRAINTS, breaking, table

SPEC = TableSpec(sensitive=("sex",), target="outcome", missing=("",), constraints=CONSTRAINTS)


def rows(count: int, seed: int) -> pd.DataFrame:
    frame = table(count, seed)
    rng = np.random.default_rng(seed)
    likely = np.where(frame["sex"] == "f", 0.8, 0.3)
    frame = frame.assign(outcome=np.where(rng.random(count) < likely, "yes", "no"))
    # A column that no constraint names.
    return frame.assign(wing=rng.choice(["east", "north", "west"], count, p=[0.45, 0.1, 0.45]))


def agreed(folder: Path, spec: TableSpec, *frames: pd.DataFrame) -> Agreement:
    sites = []
    for i, frame in enumerate(frames):
        path = folder / f"site-{i}.csv"
        frame.to_csv(path, index=False)
        sites.append(Site(f"site-{i}", path, folder / f"work-{i}"))
    return agree(Recorder(sites, [], RUN), list(frames[0].columns), spec)


@pytest.fixture(scope="module")
def run(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of two sites that trains for one round: nothing is owed to training."""
    folder = tmp_path_factory.mktemp("constraints")
    frame = rows(600, 0)
    frame.loc[:2, "age"] = 90
    frame.to_csv(folder / "t.csv", index=False)
    fields = [{k: v for k, v in vars(c).items() if v is not None} for c in CONSTRAINTS]
    settings = kit.tiny(
        folder / "t.csv",
        data={"sensitive": ["sex"], "target": "outcome", "constraints": fields},
        split={"sites": 2},
        train={"rounds": 1},
    )
    reporter = kit.Recorder()
    kit.run(settings, folder / "run", reporter=reporter)
    return folder / "run", reporter.told


@pytest.fixture
def synthesizer(run: tuple[Path, list[str]]) -> Synthesizer:
    return load_generator(RunFolder(run[0]))


def test_every_row_of_the_written_table_fulfils_them(
    run: tuple[Path, list[str]], synthesizer: Synthesizer
) -> None:
    made = pd.read_csv(run[0] / "synthetic.csv")
    assert list(made.columns) == list(rows(9, 0).columns)
    assert breaking(made, synthesizer.plan.schema) == {}
    assert any("(20 <= age <= 80.5): 3 of 600 rows (0.5%) break it" in note for note in run[1])


def test_the_audit_counts_rows_that_break_them(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)

    def audited() -> dict[str, dict[str, Any]]:
        out = str(tmp_path / "audit")
        found = CliRunner().invoke(app, ["audit", "--run", str(folder), "--out", out, "-q"])
        assert found.exit_code in (1, 3), found.output
        checks = json.loads((tmp_path / "audit" / "audit.json").read_text())["checks"]
        return {c["subject"]: c for c in checks if c["name"] == "broken_constraints"}

    whole = audited()
    assert set(whole) == {constraint.words for constraint in CONSTRAINTS}
    assert {check["verdict"] for check in whole.values()} == {"pass"}
    # The table has 3 rows of 600 whose age is out of range, none of which is made.
    assert whole["20 <= age <= 80.5"]["message"].endswith("0.50% of the real ones")
    made = pd.read_csv(folder / "synthetic.csv", dtype=str, keep_default_na=False)
    made.loc[:5, "country"] = np.where(made.loc[:5, "city"].isin(["Paris", "Lyon"]), "DE", "FR")
    made.loc[:2, "start"] = "2023-01-01"
    made.to_csv(folder / "synthetic.csv", index=False)
    failed = {name for name, check in audited().items() if check["verdict"] == "fail"}
    assert failed == {"start <= end", "known combinations of city and country"}


@pytest.mark.parametrize("parity", [None, ParityMixture(0.0)])
def test_every_row_drawn_fulfils_them(
    synthesizer: Synthesizer, parity: ParityMixture | None
) -> None:
    made = replace(synthesizer, parity=parity)
    assert breaking(made.draw(5000, 1), made.plan.schema) == {}
    # Columns that constraints determine may be asked for like all others.
    where = {"gross": (50, 120), "country": ["DE"], "end": ("2020-06-01", "2021-12-31")}
    drawn = made.draw(800, 2, where=where)
    assert breaking(drawn, made.plan.schema) == {}
    assert drawn["gross"].between(50, 120).all() and (drawn["country"] == "DE").all()
    assert drawn["end"].between("2020-06-01", "2021-12-31").all() and len(drawn) == 800
    if parity is not None:
        rate = (
            made.sample_matching_data(2000, 0)
            .groupby("sex")["outcome"]
            .apply(lambda own: (own == "yes").mean())
        )
        assert abs(rate["f"] - rate["m"]) < 0.01


def test_rare_rows_are_found_without_decoding_all_others(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = synthesizer.plan.schema
    assert drawing._untouched(schema) - {*synthesizer.plan.conditions.given} == {"wing"}
    sizes: list[int] = []
    real = drawing.choose_modality

    def counting(own: Any) -> Any:
        modality = real(own)

        class Counting:
            def decode(self, plan: Any, rows: Any, cells: Any, draws: Any) -> Any:
                sizes.append(len(rows))
                return modality.decode(plan, rows, cells, draws)

        return Counting()

    monkeypatch.setattr(drawing, "choose_modality", counting)
    drawn = synthesizer.draw(200, 2, where={"wing": ["north"], "gross": (50, 120)})
    assert (drawn["wing"] == "north").all() and drawn["gross"].between(50, 120).all()
    assert breaking(drawn, schema) == {}
    # Of the first piece only what fits was decoded.
    assert sizes and max(sizes) < drawing.FIRST


def test_completed_rows_fulfil_them_and_keep_what_was_given(synthesizer: Synthesizer) -> None:
    given = pd.DataFrame(
        {"sex": ["m", "f", "m"], "country": ["DE", None, "FR"], "gross": [None, "80.5", "99.12"]},
        dtype=object,
    )
    # However busy the machine is.
    patient = Search(patience=3600)
    found = complete(synthesizer, given, 0, search=patient).rows
    assert breaking(found, synthesizer.plan.schema) == {}
    assert found["gross"].tolist()[1:] == [80.5, 99.12]
    assert found["sex"].tolist() == ["m", "f", "m"]


@pytest.mark.parametrize(
    "cells",
    [
        {"red": "True", "green": "True", "blue": "False"},
        {"red": "True", "blue": "True"},
        {"city": "Paris", "country": "DE"},
        {"start": "2020-02-03", "end": "2020-02-02"},
        {"net": "10.5", "tax": "2.5", "gross": "14"},
        {"sex": "m", "weeks": "12"},
    ],
)
def test_partial_rows_that_no_row_can_complete_are_refused_before_any_is_drawn(
    synthesizer: Synthesizer, cells: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = pd.DataFrame([{}, cells], columns=[*cells], dtype=object)
    given = given.where(given.notna(), None)
    monkeypatch.setattr(Synthesizer, "encoded", None)
    with pytest.raises(DataError, match=r"row 2: no row with these cells fulfils") as error:
        complete(synthesizer, given, 0)
    assert len(error.value.problems) == 1


def test_what_is_agreed_does_not_depend_on_how_rows_are_spread(tmp_path: Path) -> None:
    frame = rows(400, 1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = agreed(tmp_path / "a", SPEC, frame)
    two = agreed(tmp_path / "b", SPEC, frame[:90], frame[90:])
    assert one.schema == two.schema
    gap = one.schema.hidden[0]
    assert gap.kind == "integer" and (gap.low, gap.high) == (0, 39)
    assert one.notes == two.notes and not any("constraint" in note for note in one.notes)


def test_a_table_of_which_many_rows_break_one_is_refused_unless_forced(tmp_path: Path) -> None:
    frame = rows(200, 2)
    frame.loc[:19, "end"] = "2019-01-01"
    with pytest.raises(DataError, match=r"\(start <= end\): 20 of 200 rows \(10.0%\) break it"):
        agreed(tmp_path, SPEC, frame)
    forced = replace(SPEC, constraints=(Order("start", "end", force=True),))
    (tmp_path / "forced").mkdir()
    notes = agreed(tmp_path / "forced", forced, frame).notes
    assert any("20 of 200 rows (10.0%) break it; they are trained on" in n for n in notes)


def test_a_target_is_never_computed_and_that_is_said(tmp_path: Path) -> None:
    spec = replace(SPEC, target="gross")
    found = agreed(tmp_path, spec, rows(300, 3))
    assert "gross" in found.codec.schema.names  # type: ignore[attr-defined]
    assert any("met by moving rows" in note and "gross" in note for note in found.notes)


def test_combinations_too_rare_to_be_told_apart_do_not_occur(tmp_path: Path) -> None:
    frame = rows(300, 4)
    frame.loc[:1, ["city", "country"]] = ["Nice", "FR"]
    found = agreed(tmp_path, SPEC, frame)
    assert any("2 of 300 rows (0.7%) have a combination with fewer" in n for n in found.notes)
    known = next(c for c in found.schema.hidden if c.kind == "category" and "[" in c.categories[0])
    assert len(known.categories) == 4 and not any("Nice" in c for c in known.categories)


def test_a_site_answers_no_constraint_that_does_not_follow(tmp_path: Path) -> None:
    frame = rows(100, 5)
    frame.to_csv(tmp_path / "t.csv", index=False)
    exchange = Recorder([Site("one", tmp_path / "t.csv", tmp_path / "w")], [], RUN)
    agree(exchange, list(frame.columns), SPEC)
    look, values, ranks = (request.order for request in exchange.requests[:3])
    strict = InProcess([Site("one", tmp_path / "t.csv", tmp_path / "v")])
    strict(Request(look))
    fewer = replace(values, constraints=values.constraints[1:])
    with pytest.raises((RefusedError, DataError), match=r"hidden columns|columns"):
        strict(Request(fewer))
    strict(Request(values))
    changed = {**ranks.schema, "constraints": ranks.schema["constraints"][:1]}
    with pytest.raises((RefusedError, DataError)):
        strict(Request(replace(ranks, schema=changed)))
    strict(Request(ranks))


def test_a_bound_may_be_a_date_of_toml_and_an_identifier_stays(kit: Any, tmp_path: Path) -> None:
    frame = rows(200, 6).assign(code=[f"P-{i:04d}" for i in range(200)])
    frame.to_csv(tmp_path / "t.csv", index=False)
    fields = tomllib.loads('kind = "range"\ncolumn = "start"\nlow = 2020-01-01')
    settings = kit.tiny(
        tmp_path / "t.csv",
        data={
            "path": str(tmp_path / "t.csv"),
            "sensitive": ["sex"],
            "columns": {"code": {"kind": "id"}},
            "constraints": [fields, {"kind": "order", "low": "start", "high": "end"}],
        },
        train={"rounds": 1},
    )
    assert settings.data.constraints[0].words == "2020-01-01 <= start"
    kit.run(settings, tmp_path / "run")
    synthesizer = load_generator(RunFolder(tmp_path / "run"))
    assert (synthesizer.draw(500, 0)["start"] >= "2020-01-01").all()
    found = synthesizer.draw(300, 0, where={"end": ("2020-06-01", "2021-06-01")})
    assert found["code"].nunique() == 300 and list(found.columns) == list(frame.columns)
    given = pd.DataFrame({"end": ["2020-03-04", "2021-03-04"]}, dtype=object)
    done = complete(synthesizer, given, 0).rows
    assert list(done.columns) == list(frame.columns) and (done["start"] <= done["end"]).all()


def test_a_written_configuration_reads_its_constraints_back(tmp_path: Path) -> None:
    fields = [{k: v for k, v in vars(c).items() if v is not None} for c in CONSTRAINTS]
    settings = parse({"data": {"path": "t.csv", "constraints": fields}})
    text = commented(settings)
    assert '[[data.constraints]]\n# gross = net + tax.\nkind = "sum"\n' in text
    assert parse(tomllib.loads(text)).data.constraints == CONSTRAINTS


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"kind": "order", "low": "a"}, "high"),
        ({"kind": "order", "low": "a", "high": "b", "than": 1}, "than"),
        ({"kind": "larger", "low": "a"}, "order"),
        ({"kind": "range", "column": "a"}, "without bounds"),
    ],
)
def test_a_constraint_that_is_none_is_one_clear_error(wrong: dict[str, Any], error: str) -> None:
    with pytest.raises(SettingsError, match=error) as caught:
        parse({"data": {"path": "t.csv", "constraints": [wrong]}})
    assert len(caught.value.problems) == 1
    assert "data.constraints.0" in str(caught.value)
