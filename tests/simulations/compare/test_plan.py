"""What a comparison consists of, and what is refused before anything is trained."""

from pathlib import Path

import pytest

from everymode.server.config.files import commented, load
from everymode.simulations.compare.checks import differences
from everymode.simulations.compare.entries import ENTRIES, WITHOUT_TRAINING
from everymode.simulations.compare.plan import planned
from everymode.wgan.errors import SettingsError


def refused(*arguments, **named):
    with pytest.raises(SettingsError) as caught:
        planned(*arguments, **named)
    return caught.value.problems


def test_every_strategy_gets_the_same_data_seeds_and_budget(tmp_path: Path):
    plan = planned("quick", "all", "3,1", tmp_path / "out", ["train.batch=60"])
    assert plan.strategies == tuple(ENTRIES) and plan.seeds == (3, 1)
    assert [run.seed for run in plan.runs] == [3] * len(ENTRIES) + [1] * len(ENTRIES)
    # What trains nothing has the sites of a strategy, and no checkpoints.
    sites = {name: baseline.sites for name, baseline in WITHOUT_TRAINING.items()}
    assert all((run.grid == []) == (run.strategy in sites) for run in plan.runs)
    for run in plan.runs:
        settings = run.settings
        assert settings.strategy == sites.get(run.strategy, run.strategy)
        assert settings.seed == run.seed
        assert settings.train == plan.base.train and settings.train.batch == 60
        assert settings.data.path == plan.base.data.path and settings.split == plan.base.split
        assert run.folder.path == tmp_path / "out" / run.strategy / f"seed-{run.seed}"
    by_name = {run.strategy: run.settings for run in plan.runs}
    assert by_name["fedgan"].federation.generator == "sites"
    assert by_name["everymode"].federation.generator == "server"


def test_checkpoints_make_a_curve_of_about_ten_points(tmp_path: Path):
    def grid(*overrides):
        plan = planned("quick", "fedgan", "0", tmp_path / "out", overrides)
        assert plan.base.output.keep == plan.base.train.rounds
        return plan.runs[0].grid

    assert grid("train.rounds=300") == [*range(30, 301, 30)]
    assert grid("train.rounds=45") == [*range(5, 46, 5)]
    assert grid("train.rounds=2") == [1, 2]
    assert grid("train.rounds=7", "output.checkpoint_every=3") == [3, 6, 7]
    assert grid("train.rounds=3", "output.checkpoint_every=100") == [3]


def test_the_configuration_of_the_federation_is_everymodes_own(tmp_path: Path):
    sets = ["federation.glide=true", "federation.sites_per_round=2", "groups.weights=uniform"]
    plan = planned("quick", "pooled,fedgan,everymode", "0,1,2", tmp_path / "out", sets)
    pooled, fedgan, everymode = (run.settings for run in plan.runs[:3])
    assert everymode.federation.glide and everymode.federation.sites_per_round == 2
    assert not fedgan.federation.glide and fedgan.federation.sites_per_round == 2
    assert pooled.federation.glide and pooled.federation.sites_per_round == 0
    assert everymode.groups.weights == "uniform"
    assert plan.notes == (
        "federation.glide: for everymode and pooled only; others do as their papers say",
    )


def test_few_seeds_and_many_jobs_are_noted(tmp_path: Path):
    notes = planned("quick", "fedgan", "0,1", tmp_path / "out", jobs=2).notes
    assert "spread of 2 seeds" in notes[0] and "2 runs at once" in notes[1]
    assert "one seed has no spread" in planned("quick", "fedgan", "7", tmp_path / "out").notes[0]
    assert planned("quick", "fedgan", "0,1,2", tmp_path / "out").notes == ()


def test_a_written_configuration_has_all_keys_and_nothing_to_note(tmp_path: Path):
    path = tmp_path / "written.toml"
    path.write_text(commented(load("quick")), encoding="utf-8")
    plan = planned(str(path), "fedgan,everymode", "0,1,2", tmp_path / "out")
    assert plan.notes == ()
    # Rows that critics see are equal, unless one asks for them as they come.
    assert "exact_batch = false" in path.read_text(encoding="utf-8")
    assert all(run.settings.train.exact_batch for run in plan.runs)
    free = planned(str(path), "fedgan", "0", tmp_path / "out", ["train.exact_batch=false"])
    assert not free.base.train.exact_batch


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    (tmp_path / "something").write_text("")
    problems = refused(
        "quik", "fedgam,fedgan,fedgan,nonsense", "0,x,-1,0,1.5", tmp_path, ["seed=1"], jobs=0
    )
    wanted = (
        "no strategy 'fedgam'; did you mean fedgan?",
        "names fedgan 2 times",
        "no strategy 'nonsense'; there are everymode, pooled",
        "'x' is no whole number",
        "'-1' is no whole number",
        "'1.5' is no whole number",
        "0 occurs 2 times",
        "--jobs 0: expected 1 or more",
        "--set seed=1: every run has a seed of its own; name them with --seeds",
        "quik: no such configuration file, and no preset",
        "is not empty and holds no comparison",
    )
    for text in wanted:
        assert sum(text in problem for problem in problems) == 1, text
    assert len(problems) == len(wanted)


def test_empty_lists_unequal_budgets_and_unfit_strategies_are_refused(tmp_path: Path):
    sets = ["train.patience=20", "strategy=fedgan", "output.keep=2"]
    problems = refused("quick", ",", " ", tmp_path / "out", sets, jobs=2, backend="ray")
    told = "\n".join(problems)
    assert "--strategies: is empty" in told and "--seeds: is empty" in told
    assert "train.patience = 20" in told and "write --set train.patience=0" in told
    assert "--set strategy=fedgan" in told and "--set output.keep=2" in told
    assert "--backend inline" in told and len(problems) == 6
    problems = refused("quick", "all", "0", tmp_path / "out", ["federation.sums_only=true"])
    assert problems and all("federation.sums_only" in problem for problem in problems)
    assert any("strategy fegan" in problem for problem in problems)
    (problem,) = refused("quick", "fedgan", "0", tmp_path / "out", ["data.path=none.csv"])
    assert "none.csv" in problem and "no such file" in problem


def test_another_comparison_in_the_folder_is_refused_with_the_keys(tmp_path: Path):
    out = tmp_path / "out"
    for run in planned("quick", "fedgan,pooled", "0,1", out).runs:
        run.folder.create(run.settings)
    # More seeds or strategies, or what changes no result, are the same comparison.
    planned("quick", "fedgan,pooled,everymode", "0,1,2", out, ["device=cpu", "train.retries=1"])
    (problem,) = refused(
        "quick", "everymode", "5", out, ["model.noise=16", "data.drop=['fnlwgt']"], jobs=1
    )
    assert "model.noise is 32 there and 16 now" in problem
    assert 'data.drop is ["fnlwgt", "native-country"] there and ["fnlwgt"] now' in problem
    assert "and 3 more runs" in problem and str(out) in problem
    file = tmp_path / "file"
    file.write_text("")
    (problem,) = refused("quick", "fedgan", "0", file)
    assert "is a file" in problem


def test_differences_pass_over_what_changes_no_result():
    before = load("quick", ["simulation.actors=3", "train.timeout=5"])
    assert differences(before, load("quick")) == []
    now = load("quick", ["data.target=sex", "data.sensitive=[]"])
    assert differences(before, now) == [
        'data.sensitive is ["sex"] there and [] now',
        'data.target is "income" there and "sex" now',
    ]
