"""Rows of generators that are told other things than group and label."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.errors import DataError

MODES = ("group", "label", "none")


@pytest.fixture(scope="module", params=[*MODES, "clusters", "clusters alone"])
def made(request: Any, kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What was told, a synthesizer, a run's summary, its synthetic table."""
    folder = tmp_path_factory.mktemp("told")
    kit.people().to_csv(folder / "people.csv", index=False)
    kit.people(200, seed=1).to_csv(folder / "holdout.csv", index=False)
    told = request.param
    data = {"condition": told} if told in MODES else {"clusters": 3}
    if told == "clusters alone":
        data["condition"] = "none"
    settings = kit.tiny(
        folder / "people.csv",
        data={"holdout": str(folder / "holdout.csv"), **data},
        model={"matching": 0.0},
        groups={"weights": "share"},
        seed=3,
    )
    summary = kit.run(settings, folder / "run")
    run = RunFolder(folder / "run")
    return told, load_generator(run), summary, pd.read_csv(run.synthetic)


def test_runs_end_with_all_figures_and_pictures(made: Any) -> None:
    _, synthesizer, summary, table = made
    assert tuple(table.columns) == synthesizer.plan.schema.names
    assert len(table) == summary["rows_synthetic"] == 400
    json.dumps(summary, allow_nan=False)
    shares = [record["share_synthetic"] for record in summary["per_group"].values()]
    assert sum(shares) <= 1 + 1e-9
    counted = table["group"].value_counts()
    for record in summary["per_group"].values():
        name = record["sensitive"]["group"]
        assert record["rows_synthetic"] == counted.get(name, 0)
        assert (record["tv"] is None) == (record["rows_synthetic"] == 0)


def test_what_is_told_is_made_in_exact_numbers(made: Any) -> None:
    told, synthesizer, _, table = made
    conditions = synthesizer.plan.conditions
    exact = {name: table[name].value_counts().to_dict() for name in conditions.given}
    plain = conditions.plain
    if "group" in conditions.given:
        rows = {g[0]: int(n) for g, n in zip(plain.groups, plain.group_counts, strict=True)}
        assert exact["group"] == rows
    if "outcome" in conditions.given:
        rows = dict(zip(plain.labels, plain.table.sum(0).tolist(), strict=True))
        assert exact["outcome"] == rows
    expected = {"group": ("group",), "label": ("outcome",), "clusters": ("group", "outcome")}
    assert conditions.given == expected.get(told, ())


def test_what_is_not_told_is_the_generator_s_own(made: Any) -> None:
    _, synthesizer, _, table = made
    plan = synthesizer.plan
    codec_columns = plan.schema.without(plan.conditions.given).names
    assert set(codec_columns) | set(plan.conditions.given) == set(table.columns)
    assert set(table["group"]) <= {"a", "b", "c"} and set(table["outcome"]) <= {"yes", "no"}
    cells = np.zeros(50, dtype=np.int64)
    assert len(synthesizer.table(cells, 0)) == 50


def test_groups_are_drawn_alike_only_where_they_are_told(made: Any) -> None:
    told, synthesizer, _, _ = made
    if told in ("group", "clusters"):
        drawn = synthesizer.draw(900, 0, groups="uniform")["group"].value_counts(normalize=True)
        assert len(drawn) == len(synthesizer.plan.conditions.groups)
        assert np.abs(drawn - 1 / len(drawn)).max() < 0.08
    else:
        with pytest.raises(DataError, match=r"data.condition = '(label|none)'.*--where"):
            synthesizer.draw(5, 0, groups="uniform")


def test_values_that_are_not_told_are_sought(made: Any) -> None:
    _, synthesizer, _, _ = made
    many = synthesizer.draw(200, 5)
    wanted = {name: str(many[name].mode()[0]) for name in ("group", "outcome")}
    rows = synthesizer.draw(20, 0, where=wanted)
    assert len(rows) == 20
    assert all((rows[name] == value).all() for name, value in wanted.items())
    with pytest.raises(DataError, match=r"--where group=z: the run knows no such value"):
        synthesizer.draw(5, 0, where={"group": "z"})


def test_cells_of_clusters_have_their_exact_counts(made: Any, monkeypatch: Any) -> None:
    told, synthesizer, _, _ = made
    conditions = synthesizer.plan.conditions
    asked: list[Any] = []
    monkeypatch.setattr(
        Synthesizer, "table", lambda self, cells, seed: asked.append(cells) or pd.DataFrame()
    )
    synthesizer.sample_matching_data(int(conditions.table.sum()), 0)
    counts = np.bincount(asked[0], minlength=conditions.table.size)
    np.testing.assert_array_equal(counts, conditions.table.reshape(-1))
    assert conditions.clusters == (3 if told.startswith("clusters") else 1)
