"""Strategies as switches: what each means, what is refused, and that each trains."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.feddyn import FedDyn
from everymode.server.config.federation import FederationSettings
from everymode.server.config.files import commented, load, parse
from everymode.server.config.settings import Settings
from everymode.server.config.strategies import BASELINES, SHARED_KEYS, STRATEGIES, StrategyName
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.session import Interrupted
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.transport.exchange import InProcess
from everymode.wgan.errors import SettingsError

pytestmark = pytest.mark.usefixtures("few_rows")

LOOKING = {"fegan", "fed_tgan", "ifl_gan", "afl", "q_fedavg", "term", "md_gan", "ua_gan"}
"""Those that need more than sums over sites."""

TRAINING_ALONE = {
    "projection": False,
    "marginals": False,
    "trees": 0,
    "critic_trees": 0,
    "forbidden": "off",
}
"""What follows training takes most of a tiny run, and no strategy has a part in it."""


def settings(**values: Any) -> Settings:
    return parse({"data": {"path": "t.csv", "sensitive": ["g"]}} | values, "test")


def test_every_name_has_a_strategy_and_every_switch_is_a_key() -> None:
    assert set(STRATEGIES) == set(get_args(StrategyName)) == {*BASELINES, "everymode", "pooled"}
    keys = set(FederationSettings.model_fields)
    assert set(SHARED_KEYS) <= keys
    for strategy in STRATEGIES.values():
        assert set(strategy.switches) <= keys
        assert strategy.title and (strategy.paper or strategy.note)


@pytest.mark.parametrize("name", BASELINES)
def test_a_strategy_sets_its_switches_and_survives_being_written(name: Any) -> None:
    made = settings(strategy=name)
    federation = made.federation.model_dump(mode="json")
    assert STRATEGIES[name].switches.items() <= federation.items()
    assert made.model.matching == 0
    again = Settings.model_validate(json.loads(made.model_dump_json()))
    assert again == made


def test_who_runs_on_sums_alone() -> None:
    assert {n for n, s in STRATEGIES.items() if not s.additive} == LOOKING
    for name in STRATEGIES:
        if name in LOOKING:
            with pytest.raises(SettingsError, match="no sum over sites contains"):
                settings(strategy=name, federation={"sums_only": True})
        elif name == "pooled":
            with pytest.raises(SettingsError, match="leaves one site, whose sums are the total"):
                settings(strategy=name, federation={"sums_only": True})
        else:
            settings(strategy=name, federation={"sums_only": True})


def test_our_own_asks_for_no_letters() -> None:
    order = Train("p", 1, 1, 0, 8, 1, 1.0, 0, 0, "cpu", (3, 4), 1)
    assert order.layout().per_site == ()


def test_a_condition_is_what_the_paper_tells_unless_it_is_chosen() -> None:
    assert settings(strategy="fedgan").data.condition == "none"
    assert settings(strategy="ua_gan").data.condition == "label"
    assert settings(strategy="local").data.condition == "group_and_label"
    chosen = settings(strategy="fedgan", data={"path": "t.csv", "condition": "group_and_label"})
    assert chosen.data.condition == "group_and_label"


def test_switches_that_a_strategy_does_not_mean_are_named_together() -> None:
    with pytest.raises(SettingsError, match=r"critic = 'own', federation.draw = 'groups', but"):
        settings(strategy="fedgan", federation={"critic": "own", "draw": "groups"})


@pytest.mark.parametrize("name", [*BASELINES, "pooled"])
def test_every_strategy_trains_and_resumes_bit_for_bit(
    kit: Any, table: Path, tmp_path: Path, name: str
) -> None:
    output = {"checkpoint_every": 1, "keep": 9}
    made = kit.tiny(table, strategy=name, output=output, model=TRAINING_ALONE)
    summary = kit.run(made, tmp_path / "whole")
    assert summary["strategy"] == name and summary["rounds"] == 4
    assert np.isfinite([summary["tv_mean"], summary["ks_mean"]]).all()
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        kit.run(made, parts, stop=kit.stop_after(2))
    RunFolder(parts).clear_sites()
    kit.run(made, parts, resume=True)
    whole, again = RunFolder(tmp_path / "whole"), RunFolder(parts)
    assert whole.synthetic.read_bytes() == again.synthetic.read_bytes()
    drawn = load_generator(again).sample_matching_data(50, 0)
    assert len(drawn) == 50


def test_sites_that_share_nothing_each_make_their_share(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    made = kit.tiny(table, strategy="local")
    kit.run(made, tmp_path / "run")
    synthesizer = load_generator(RunFolder(tmp_path / "run"))
    vectors = [generator.vector for generator in synthesizer.generators]
    assert len(vectors) == 3 and not torch.equal(vectors[0], vectors[1])
    cells = np.repeat(np.arange(len(synthesizer.counts)), 400)
    makers = synthesizer._assign_generators(cells, 0)
    counts, held = synthesizer.counts, synthesizer.counts.sum(1) > 0
    for cell in held.nonzero()[0]:
        share = np.bincount(makers[cells == cell], minlength=3) / 400
        np.testing.assert_allclose(share, counts[cell] / counts[cell].sum(), atol=0.1)


def test_parameters_of_a_correction_are_the_configuration_s_to_set(tmp_path: Path) -> None:
    """Through the file that a run writes, too."""
    other = [{"kind": "feddyn", "alpha": 0.5}]
    made = settings(strategy="feddyn", federation={"corrections": other})
    assert made.federation.corrections == (FedDyn(0.5),)
    path = tmp_path / "config.toml"
    path.write_text(commented(made), encoding="utf-8")
    assert load(path).federation == made.federation
    with pytest.raises(SettingsError, match="above 0"):
        settings(federation={"corrections": [{"kind": "feddyn", "alpha": 0.0}]})
    with pytest.raises(SettingsError, match="proximal twice; write it once"):
        settings(federation={"corrections": [{"kind": "proximal"}], "proximal": 0.1})


SWITCHES: dict[str, dict[str, Any]] = {
    "sampled": {"federation": {"sites_per_round": 2}},
    "away": {"federation": {"away": ["site-00:2-3"]}},
    "control variates": {"federation": {"control_variates": True}},
    "proximal": {"federation": {"proximal": 1.0}},
    "adam": {"federation": {"optimizer": "adam", "rate": 1e-2}},
    "momentum": {"federation": {"optimizer": "momentum", "rate": 0.5}},
    "glide": {"federation": {"glide": True}},
    "exact batch": {"train": {"generator_steps": 2, "exact_batch": True}},
}


USUAL: dict[str, Any] = {
    "split": {"by": "quantity", "largest": 0.7},
    "output": {"checkpoint_every": 1},
    "train": {"generator_steps": 2},
    "model": TRAINING_ALONE,
}


@pytest.fixture(scope="module")
def without(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The generator of a run without any switch."""
    folder = tmp_path_factory.mktemp("without")
    kit.people().to_csv(folder / "people.csv", index=False)
    kit.run(kit.tiny(folder / "people.csv", **USUAL), folder / "run")
    return RunFolder(folder / "run").generator.read_bytes()


@pytest.mark.parametrize("kind", SWITCHES)
def test_every_switch_changes_the_result_and_resumes_bit_for_bit(
    kit: Any, table: Path, tmp_path: Path, without: bytes, kind: str
) -> None:
    made = kit.tiny(table, **USUAL | SWITCHES[kind])
    kit.run(made, tmp_path / "whole")
    with pytest.raises(Interrupted):
        kit.run(made, tmp_path / "parts", stop=kit.stop_after(2))
    kit.run(made, tmp_path / "parts", resume=True)
    whole, parts = [RunFolder(tmp_path / n).generator.read_bytes() for n in ("whole", "parts")]
    assert whole == parts
    assert whole != without


def test_a_round_of_a_sample_asks_only_the_sites_drawn(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    made = kit.tiny(table, federation={"sites_per_round": 1})
    reporter = kit.Recorder()
    kit.run(made, tmp_path / "run", reporter=reporter)
    assert [m["sites"] for m in reporter.metrics] == [1, 1, 1, 1]


def test_minimax_masses_move_within_their_bounds(kit: Any, table: Path, tmp_path: Path) -> None:
    made = kit.tiny(
        table,
        data={"path": str(table), "sensitive": ["sex"], "held_out": 0.3},
        groups={"weights": "minimax", "minimax_every": 1, "minimax_bounds": [0.9, 1.1]},
    )
    reporter = kit.Recorder()
    kit.run(made, tmp_path / "run", reporter=reporter)
    masses = [m["mass_by_group"] for m in reporter.metrics]
    assert all(sum(mass.values()) == pytest.approx(1) for mass in masses)
    first = RunFolder(tmp_path / "run").read_plan()[0].mass
    assert tuple(masses[-1].values()) != pytest.approx(first)
    for mass in masses:
        ratio = np.array(list(mass.values())) / first
        assert (ratio >= 0.9 - 1e-9).all() and (ratio <= 1.1 + 1e-9).all()


def test_bytes_count_what_a_real_site_would_send(kit: Any, table: Path, tmp_path: Path) -> None:
    """A critic that stays at its site costs nothing, one that the server judges with does."""
    found = {}
    for name in ("own_critics", "md_gan", "fedgan"):
        summary = kit.run(kit.tiny(table, strategy=name), tmp_path / name)
        sizes = summary["parameters"]
        metrics = RunFolder(tmp_path / name).read_metrics()
        found[name] = metrics[-1]["bytes_up"], sizes
    up, sizes = found["own_critics"]
    assert 8 * sizes["generator"] <= up < 8 * sizes["generator"] + 4 * sizes["critic"]
    up, sizes = found["md_gan"]
    assert up >= 3 * 4 * sizes["critic"]
    assert found["fedgan"][0] >= 8 * (sizes["generator"] + sizes["critic"])


def test_in_process_exchange_knows_its_sites(kit: Any, table: Path, tmp_path: Path) -> None:
    stage = create_simulated_sites(kit.tiny(table), tmp_path)
    assert InProcess(stage.sites).names == ("site-00", "site-01", "site-02")
