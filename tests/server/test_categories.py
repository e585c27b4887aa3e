"""Rare categories have a state of their own; of very many, those that begin alike share one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.clients.site import Site
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.categories import STATES, prefix_states
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.frame import read_table


def agreed(frame: pd.DataFrame, folder: Path, **spec: Any) -> tuple[Agreement, pd.DataFrame]:
    sites = []
    for k in range(2):
        path = folder / f"site-{k}.csv"
        frame.iloc[k::2].to_csv(path, index=False)
        sites.append(Site(f"site-{k}", path, folder / "work" / f"{k}"))
    frame.to_csv(folder / "all.csv", index=False)
    found = agree(InProcess(sites), tuple(frame.columns), TableSpec(**spec))
    return found, read_table(folder / "all.csv")


def passed_through(found: Agreement, frame: pd.DataFrame) -> pd.DataFrame:
    codec = TableCodec(found.schema)
    rows = codec.encode(frame, np.random.default_rng(0))
    return codec.decode(rows, np.random.default_rng(1))


@pytest.fixture
def towns() -> pd.DataFrame:
    """Half of the rows in three towns, the others in 60 of four rows each."""
    common = np.repeat(["D10115", "D20095", "D80331"], 80)
    rare = [f"D1{i:04d}" for i in range(60) for _ in range(4)]
    return pd.DataFrame({"town": [*common, *rare], "n": np.arange(480) % 7})


def test_rare_values_are_a_state_of_their_own_and_named(
    towns: pd.DataFrame, tmp_path: Path
) -> None:
    found, frame = agreed(towns, tmp_path)
    column = found.schema["town"]
    assert set(column.categories) == {"D10115", "D20095", "D80331"} and column.rare == "(other)"
    (note,) = found.notes
    assert "240 of 480 cells (50%) hold rare values" in note and "data.rare" in note
    shares = passed_through(found, frame)["town"].value_counts(normalize=True)
    assert shares["(other)"] == 0.5 and shares["D10115"] == 80 / 480


def test_a_few_rare_cells_are_named_too(tmp_path: Path) -> None:
    towns = np.repeat(["D10115", "D20095"], 100).astype(object)
    towns[0] = "D99999"
    job = np.repeat(["clerk", "smith"], 100).astype(object)
    job[:9] = [f"j{i}" for i in range(9)]
    found, _ = agreed(pd.DataFrame({"town": towns, "job": job}), tmp_path)
    assert found.notes == (
        "values in fewer rows than data.floor = 5 are taken for the commonest in 'town' (1 cell)",
        "values in fewer rows than data.floor = 5 are taken for '(other)' in 'job' (9 cells)",
    )


def test_rare_values_can_be_missing(towns: pd.DataFrame, tmp_path: Path) -> None:
    found, frame = agreed(towns, tmp_path, rare="missing")
    assert found.schema["town"].missing and not found.schema["town"].rare
    made = passed_through(found, frame)["town"]
    assert made.isna().mean() == 0.5


def test_rare_values_can_be_spread_over_those_that_begin_alike(
    towns: pd.DataFrame, tmp_path: Path
) -> None:
    found, frame = agreed(towns, tmp_path, rare="spread")
    made = passed_through(found, frame)["town"].value_counts()
    # All rare ones begin with D1, as one of the common ones does.
    assert made.to_dict() == {"D10115": 320, "D20095": 80, "D80331": 80}


def test_a_name_that_is_taken_gets_brackets(towns: pd.DataFrame, tmp_path: Path) -> None:
    found, _ = agreed(towns, tmp_path, rare="D10115")
    assert found.schema["town"].rare == "(D10115)"


def test_groups_of_rare_values_take_no_part_as_before(towns: pd.DataFrame, tmp_path: Path) -> None:
    # The common ones, and five of the rare ones.
    found, _ = agreed(towns.iloc[:260], tmp_path, sensitive=("town",))
    assert not found.schema["town"].rare
    assert len(found.conditions.groups) == 3


def test_ten_thousand_levels_share_states_and_come_back_by_their_shares(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = np.array([f"{i:05d}" for i in rng.choice(100_000, 3000, replace=False)])
    shares = rng.dirichlet(np.full(3000, 5.0))
    towns = rng.choice(levels, 60_000, p=shares)
    north = np.array([t < "50000" for t in towns]) ^ (rng.random(60_000) < 0.05)
    found, frame = agreed(pd.DataFrame({"town": towns, "north": north}), tmp_path)
    column = found.schema["town"]
    assert len(column.categories) > 2500
    assert len(set(column.states)) <= STATES
    codec = TableCodec(found.schema)
    assert codec.width <= STATES + 4
    made = passed_through(found, frame)
    # Values keep their shares, and what they go with.
    real = pd.Series(towns).value_counts(normalize=True)
    own = made["town"].value_counts(normalize=True)
    assert float((real - own).abs().sum()) / 2 < 0.12
    assert abs((made.loc[made["north"], "town"] < "50000").mean() - 0.95) < 0.02


@given(
    st.lists(st.text("0123456789", min_size=1, max_size=4), min_size=1, max_size=60, unique=True),
    st.integers(1, 20),
)
def test_states_are_few_and_all_used(names: list[str], most: int) -> None:
    states = prefix_states(names, np.arange(1, len(names) + 1), most)
    assert len(states) == len(names)
    assert set(states) == set(range(max(states) + 1))
    assert max(states) + 1 <= max(most, 1)
