"""Records of a run: what is written fits the JSON Schemas that are shipped."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from everymode.server.outputs.records import (
    NAMES,
    SCHEMAS,
    Name,
    SummaryRecord,
    json_schema,
    schema_text,
)
from everymode.server.outputs.run_directory import RunFolder
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, write_json

OF_RUNS = tuple(name for name in NAMES if name != "attack")
"""Records that a run writes; those of attacks are checked in `tests/simulations/test_attack.py`."""

pytestmark = pytest.mark.usefixtures("few_rows")

Finished = tuple[RunFolder, dict[str, Any]]


def records(run: Path, name: Name) -> list[Any]:
    if name == "metrics":
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [read_json(run / f"{name}.json")]


def check(run: Path) -> None:
    """Fails where a file of a run does not fit the schema that is shipped."""
    for name in OF_RUNS:
        validator = jsonschema.Draft202012Validator(json_schema(name))
        for record in records(run, name):
            problems = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(record)]
            assert problems == [], name


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_that_are_shipped_are_those_of_the_types(name: Name) -> None:
    """Fails after a change of a type; `python -m everymode.server.outputs.records` writes them."""
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    path = SCHEMAS / f"{name}.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(name)
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{n}.schema.json" for n in NAMES}


def test_what_a_run_writes_fits_its_schemas(finished: Finished) -> None:
    run, summary = finished
    check(run.path)
    assert SummaryRecord.of(summary).to_json() == summary


def test_what_a_run_with_every_optional_record_writes_fits_too(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    """Parity, weights that move, a floor at the sites: entries that most runs lack."""
    settings = kit.tiny(
        table,
        data={"sensitive": ["group", "sex"], "held_out": 0.2},
        fairness={"parity": "demographic"},
        groups={"weights": "minimax", "minimax_every": 1},
        site={"floor": 2},
        train={"rounds": 2, "evaluate_every": 1},
    )
    summary = kit.run(settings, tmp_path / "run")
    check(tmp_path / "run")
    lines = records(tmp_path / "run", "metrics")
    assert summary["parity"]["gaps_asked"] and lines[0]["mass_by_group"]
    assert lines[0]["evaluation"] and lines[0]["slope_by_group"]


@pytest.mark.parametrize("name", OF_RUNS)
def test_the_schemas_refuse_records_with_a_wrong_entry(finished: Finished, name: Name) -> None:
    """The control: a schema that admits everything would pass the tests above."""
    validator = jsonschema.Draft202012Validator(json_schema(name))
    record = records(finished[0].path, name)[0]
    for wrong in ({"version": 99}, {"stranger": 1}, {"rows_synthetic": "many", "seconds": "long"}):
        assert not validator.is_valid(record | wrong), wrong
    assert not validator.is_valid({k: v for k, v in record.items() if k != "version"} | {"x": 1})


def test_records_of_another_version_are_refused(finished: Finished, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_json(run.summary, finished[1] | {"version": 2})
    with pytest.raises(StateError, match="no summary of version 1"):
        run.read_summary()
    run.metrics.write_text('{"version": 2, "round": 1}\n')
    with pytest.raises(StateError, match="'version' is 2, expected 1"):
        run.read_metrics()
    # As an earlier release wrote it.
    run.metrics.write_text('{"round": 1}\n')
    assert run.read_metrics() == [{"round": 1}]
