"""Scenarios: where their rows live, what their scores reward, and what they do not."""

import numpy as np
import pandas as pd
import pytest

from everymode.server.config.files import load, presets, resolve
from everymode.server.simulated_sites import create_simulated_sites
from everymode.simulations.scenarios import SCENARIOS, find_scenario, place
from everymode.simulations.scenarios.digits import HANDS, PIXELS
from everymode.simulations.scenarios.points import GRID, MINORITY
from everymode.wgan.errors import SettingsError

POINTS = ("ring", "grid", "lines", "lost-class")
DIGITS = ("digits-class", "digits-style")


@pytest.fixture(scope="module")
def tables():
    return {name: scenario.make(0) for name, scenario in SCENARIOS.items()}


def test_the_catalogue():
    assert set(SCENARIOS) == {*POINTS, *DIGITS}
    assert all(name == scenario.name and scenario.title for name, scenario in SCENARIOS.items())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_table_is_a_function_of_the_seed(tables, name):
    scenario = SCENARIOS[name]
    pd.testing.assert_frame_equal(scenario.make(0), tables[name])
    assert not scenario.make(1).equals(tables[name])


@pytest.mark.parametrize("name", SCENARIOS)
def test_real_rows_score_near_perfect(tables, name):
    scenario = SCENARIOS[name]
    found = scenario.score(tables[name], 0)
    assert set(found) == set(scenario.higher)
    assert scenario.score(tables[name], 0) == found
    assert found.get("quality", found.get("readable")) > 0.95
    if name in DIGITS:
        assert found["classes"] == 10
        assert found["worst_share"] > 0.8
    else:
        assert found["modes"] == found["modes_majority"] + found["modes_minority"]
        assert found["uneven"] < 0.02


@pytest.mark.parametrize(("name", "modes", "minor"), [("ring", 8, 1), ("grid", 25, 5)])
def test_all_modes_are_there_to_be_found(tables, name, modes, minor):
    found = SCENARIOS[name].score(tables[name], 0)
    assert (found["modes"], found["modes_minority"]) == (modes, minor)


@pytest.mark.parametrize("name", POINTS)
def test_the_minority_lives_on_one_site(tables, name):
    table = tables[name]
    minority = table[table["group"] == "minority"]
    assert minority["site"].nunique() == 1
    assert len(minority) / len(table) == pytest.approx(MINORITY, abs=0.002)
    assert (table["group"].value_counts() > 100).all()


def test_sites_of_the_grid_hold_five_modes_at_most(tables):
    table = tables["grid"]
    at = GRID.near(table[["x", "y"]].to_numpy())
    held = [at[(table["site"] == site).to_numpy()].any(0).sum() for site in range(10)]
    assert len(held) == table["site"].nunique()
    assert max(held) == 5
    assert min(held) >= 4


@pytest.mark.parametrize("name", POINTS)
def test_without_the_minority_its_modes_are_lost(tables, name):
    table = tables[name]
    found = SCENARIOS[name].score(table[table["group"] == "majority"], 0)
    assert found["modes_minority"] == found["quality_minority"] == 0
    assert found["quality_majority"] > 0.95
    assert found["uneven"] > 0.5


@pytest.mark.parametrize("name", POINTS)
def test_the_wrong_group_at_a_mode_does_not_count(tables, name):
    other = tables[name]["group"].map({"majority": "minority", "minority": "majority"})
    found = SCENARIOS[name].score(tables[name].assign(group=other), 0)
    assert found["quality"] == found["modes"] == 0


@pytest.mark.parametrize("name", POINTS)
def test_noise_has_no_quality(tables, name):
    rng = np.random.default_rng(0)
    table = tables[name].copy()
    low, high = table[["x", "y"]].min(), table[["x", "y"]].max()
    table[["x", "y"]] = rng.uniform(low, high, (len(table), 2))
    assert SCENARIOS[name].score(table, 0)["quality"] < 0.1


def test_one_mode_for_all_is_uneven(tables):
    table = tables["grid"]
    centre = np.where(table["group"] == "majority", -4.0, 4.0)
    found = SCENARIOS["grid"].score(table.assign(x=centre, y=centre), 0)
    assert (found["modes_majority"], found["modes_minority"]) == (1, 1)
    assert found["quality"] == 1
    assert found["uneven"] == pytest.approx(np.log(20))


def test_an_empty_table_scores_nothing(tables):
    found = SCENARIOS["ring"].score(tables["ring"].head(0), 0)
    assert found["modes"] == found["quality"] == 0
    assert np.isfinite(found["uneven"])


def test_digits_by_class_are_one_class_a_site(tables):
    held = tables["digits-class"].groupby("site")["digit"].agg(["nunique", "first"])
    assert (held["nunique"] == 1).all()
    assert sorted(held["first"]) == [f"d{n}" for n in range(10)]


def test_digits_by_hand_are_all_classes_in_a_hand_of_each_site(tables):
    table = tables["digits-style"]
    assert (table.groupby("site")["digit"].nunique() == 10).all()
    ink = table.groupby("site")[list(PIXELS)].mean().sum(axis=1)
    assert len(ink) == HANDS
    # Hands differ far more than sites of the same hand would.
    assert ink.max() > 1.5 * ink.min()


@pytest.mark.parametrize("name", DIGITS)
def test_what_is_no_digit_is_not_read(tables, name):
    table, score = tables[name], SCENARIOS[name].score
    rng = np.random.default_rng(0)
    pixels = list(PIXELS)
    noise = table.copy()
    noise[pixels] = rng.integers(0, 17, (len(table), 64))
    shuffled = table.copy()
    shuffled[pixels] = rng.permuted(table[pixels].to_numpy(), axis=0)
    blank = table.copy()
    blank[pixels] = 0
    for made in (noise, shuffled, blank):
        found = score(made, 0)
        assert found["readable"] < 0.01
        assert found["classes"] == 0


@pytest.mark.parametrize("name", DIGITS)
def test_a_lost_class_and_a_wrong_one(tables, name):
    table, score = tables[name], SCENARIOS[name].score
    lost = score(table[table["digit"] != "d3"], 0)
    assert lost["classes"] == 9
    assert lost["worst_share"] == 0
    wrong = score(table.assign(digit=table["digit"].map(lambda d: f"d{(int(d[1]) + 1) % 10}")), 0)
    assert wrong["readable"] < 0.02


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_preset_deals_the_scenario_out(tmp_path, tables, name):
    settings = load(name)
    assert settings.data.path == f"scenario:{name}"
    assert find_scenario(settings) is SCENARIOS[name]
    placed = place(settings, tmp_path)
    assert placed.model_copy(update={"data": settings.data}) == settings
    stage = create_simulated_sites(placed, tmp_path)
    assert len(stage.sites) == tables[name]["site"].nunique()
    assert "site" not in stage.columns
    sizes = tables[name].groupby("site").size()
    assert list(stage.loads) == sizes.tolist()
    # A run that goes on finds the table it began with.
    before = (tmp_path / f"{name}.csv").read_bytes()
    assert place(settings, tmp_path) == placed
    assert (tmp_path / f"{name}.csv").read_bytes() == before


def test_one_site_of_all_rows_has_no_column_of_sites(tmp_path, tables):
    settings = load("ring", ["strategy=pooled"])
    stage = create_simulated_sites(place(settings, tmp_path), tmp_path)
    assert stage.loads == (len(tables["ring"]),)
    assert stage.columns == ("x", "y", "group")


def test_other_tables_are_left_alone(tmp_path):
    settings = load("quick")
    assert find_scenario(settings) is None
    assert place(settings, tmp_path) is settings
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_such_scenario(tmp_path):
    settings = load("ring")
    wrong = settings.data.model_copy(update={"path": "scenario:rong"})
    with pytest.raises(SettingsError, match=r"scenario:rong.*scenario:ring"):
        place(settings.model_copy(update={"data": wrong}), tmp_path)


def test_scenarios_need_a_simulation():
    with pytest.raises(SettingsError, match=r"scenario:ring.*everymode simulate"):
        resolve("scenario:ring")


def test_presets_of_the_built_in_table():
    adult = [name for name in presets() if name.startswith("adult-") and name != "adult-long"]
    assert adult == [
        "adult-200",
        "adult-50",
        "adult-alpha-0.1",
        "adult-alpha-1",
        "adult-group",
        "adult-quantity",
    ]
    for name in adult:
        settings = load(name)
        assert resolve(settings.data.path).exists()
    assert load("adult-quantity").split.largest == 0.6
    assert (load("adult-50").split.sites, load("adult-200").split.sites) == (50, 200)
    assert load("adult-group").split.by == "group"
