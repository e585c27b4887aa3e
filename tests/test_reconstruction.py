"""Records read out of sums, as `tests/benchmarks/reconstruction.py` does on the built-in table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.clients.site import sites_in
from everymode.server.config.files import resolve
from everymode.server.partition import write_sites
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.frame import read_table
from tests.benchmarks.reconstruction import moments_attack


@pytest.fixture(scope="module")
def found(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What the attack finds by the floor of sites, with every coordinate published and without."""
    folder = tmp_path_factory.mktemp("attack")
    kit.people(1200).to_csv(folder / "people.csv", index=False)
    changes: dict[str, Any] = {
        "data": {"sensitive": ["group", "sex"]},
        "split": {"sites": 3, "by": "iid"},
    }
    return {
        floor: moments_attack(
            kit.tiny(folder / "people.csv", site={"floor": floor}, **changes), folder / str(floor)
        )
        for floor in (0, 10)
    }


def test_the_control_moments_of_every_coordinate_give_records_away(found: Any) -> None:
    assert found[0]["everything"]["from_the_total"] > 2
    assert found[0]["everything"]["from_single_sites"] > 10


def test_no_record_is_read_from_the_sums_of_all_sites(found: Any) -> None:
    assert found[0]["suppressed"]["from_the_total"] == 0
    assert found[0]["suppressed"]["entries"] > found[0]["everything"]["entries"] / 10


def test_nor_from_those_of_single_sites_that_have_a_floor(found: Any) -> None:
    assert found[10]["suppressed"]["from_single_sites"] == 0
    assert found[10]["suppressed"]["from_the_total"] == 0


def test_the_schema_of_the_built_in_table_holds_no_bin_of_one_person(tmp_path: Path) -> None:
    frame = read_table(resolve("builtin:adult-test.csv.gz"))[["age", "fnlwgt", "sex"]]
    write_sites(frame, np.arange(len(frame)) % 3, tmp_path / "tables", ".csv")
    sites = sites_in(tmp_path / "tables", tmp_path / "work")
    columns = ("age", "fnlwgt", "sex")
    by_floor = {
        floor: agree(InProcess(sites), columns, TableSpec(floor=floor)).schema for floor in (1, 5)
    }
    held = {f: np.diff(s["fnlwgt"].cumulative) * len(frame) for f, s in by_floor.items()}
    # The control: exactly counted, bins of one row, and a range that ends in the lightest one's.
    assert ((held[1] > 0.5) & (held[1] < 1.5)).sum() > 20
    assert not ((held[5] > 1e-6) & (held[5] < 4.5)).any()
    lightest = frame["fnlwgt"].astype(float).min()
    assert abs(by_floor[1]["fnlwgt"].low - lightest) < 3
    assert by_floor[5]["fnlwgt"].low < lightest - 100
