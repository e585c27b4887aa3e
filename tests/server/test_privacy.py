"""A private run from end to end: its ledger, its budget, and all that it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.clients.protocol.accounting import compute_epsilon, rho_for
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.noise import Noise, Portion, Sensitivity
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.server.config.settings import Settings, settings_digest
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.privacy.accounted import Accounted, spent
from everymode.server.privacy.budget import Budget
from everymode.server.session import Interrupted
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.exchange import InProcess
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.files import read_json
from tests.private import COLUMNS, private

pytestmark = pytest.mark.usefixtures("few_rows")

# epsilon at delta by dp-accounting 0.6.0's privacy loss distributions of Gaussian mechanisms.
REFERENCE = (
    (0.001, 1e-5, 0.141685415),
    (0.02, 1e-5, 0.725521768),
    (0.1, 1e-6, 1.994526911),
    (0.5, 1e-5, 4.377178100),
    (3.0, 1e-6, 14.090076231),
)


@pytest.mark.parametrize(("rho", "delta", "epsilon"), REFERENCE)
def test_epsilon_is_that_of_another_accountant(rho: float, delta: float, epsilon: float) -> None:
    assert compute_epsilon(rho, delta) == pytest.approx(epsilon, abs=1e-6)
    # The bound of every zCDP mechanism, by Bun and Steinke, is larger.
    assert compute_epsilon(rho, delta) < rho + 2 * np.sqrt(rho * np.log(1 / delta))
    assert compute_epsilon(rho_for(epsilon, delta), delta) <= epsilon
    assert rho_for(epsilon, delta) == pytest.approx(rho, rel=1e-4)


def test_discrete_counts_are_charged_no_less_than_another_accountant_does() -> None:
    """6 counts of deviation 9 and 40 of deviation 20, each moved by one, composed exactly.

    dp-accounting 0.6.0, discrete Gaussian mechanisms, losses rounded up to multiples of 2e-5.
    """
    rho = 6 / (2 * 9.0**2) + 40 / (2 * 20.0**2)
    for delta, epsilon in ((1e-5, 1.6298723862), (1e-6, 1.8492312586)):
        assert compute_epsilon(rho, delta) == pytest.approx(epsilon, rel=1e-3)
    counts = [Sensitivity((Portion(n**0.5, n),), ("a",), 0, "") for n in (6, 40)]
    noises = [Noise(n / (2 * s**2), 1) for n, s in ((6, 9.0), (40, 20.0))]
    charged = sum(c.charged(n) for c, n in zip(counts, noises, strict=True))
    assert 0.99 * rho < charged <= rho


def test_epsilon_is_that_of_dp_accounting_where_it_is_installed() -> None:
    pytest.importorskip("dp_accounting")
    from dp_accounting.pld import privacy_loss_distribution

    for rho in (0.01, 0.3):
        parts = [
            privacy_loss_distribution.from_gaussian_mechanism((1 / (2 * part * rho)) ** 0.5)
            for part in (0.3, 0.7)
        ]
        epsilon = parts[0].compose(parts[1]).get_epsilon_for_delta(1e-5)
        assert compute_epsilon(rho, 1e-5) == pytest.approx(epsilon, rel=1e-3)


def private_run(kit: Any, table: Path, folder: Path, **changes: Any) -> tuple[RunFolder, Any]:
    model = {"critic_trees": 5, **changes.pop("model", {})}
    settings = kit.tiny(table, **private(table, **changes), model=model)
    summary = kit.run(settings, folder)
    return RunFolder(folder), summary


@pytest.fixture(scope="module")
def finished_privately(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("private")
    kit.people(1200).to_csv(folder / "people.csv", index=False)
    run, summary = private_run(kit, folder / "people.csv", folder / "run")
    return run, summary


def test_a_private_run_asks_three_questions_and_spends_its_budget(
    finished_privately: Any,
) -> None:
    run, summary = finished_privately
    value, released = read_json(run.path / "privacy.json"), read_json(run.releases)
    noised = [e["task"] for e in value["releases"] if e["protection"] == "noised"]
    assert noised == ["ranks", "moments", "leaves"]
    assert [e["task"] for e in value["releases"] if e["protection"] != "noised"] == ["prepare"]
    given = value["guarantee"]
    # Variances of so little noise are rounded up to whole numbers of rows.
    assert 10.0 < given["epsilon"] <= 20.0
    assert given["site_epsilon"] > given["epsilon"] and given["known_seed"] is True
    assert value["totals"]["plain"] == 0 and value["totals"]["sites"] == 3
    # Everything that left is in the ledger, and nothing else.
    in_record = [(r["task"], r["count"], sum(np.prod(a["shape"]) for a in r["arrays"]))
                 for r in released["releases"]]  # fmt: skip
    in_ledger = [(e["task"], e["count"], e["numbers"]) for e in value["releases"]]
    assert sorted(in_record) == sorted(in_ledger)
    rho = sum(m["rho"] for r in released["releases"] for m in r["mechanisms"] if "rho" in m)
    assert rho == pytest.approx(given["rho"]) and rho <= value["budget"]["rho"]
    page = (run.path / "privacy.html").read_text(encoding="utf-8")
    assert "For tests only" in page and "holds nothing of any row" in page
    assert summary["projection"]["columns_that_follow"] == {} and summary["rounds"] == 4
    # All trees that were asked for are kept, since noise was spent on all.
    assert summary["critic_trees"]["trees"] == summary["critic_trees"]["asked"] == 5
    assert not (run.path / "noise.key").exists()


def test_with_masks_the_server_sees_no_more_than_the_total(
    finished_privately: Any, kit: Any, tmp_path: Path
) -> None:
    table = finished_privately[0].path.parent / "people.csv"
    masked = {"secure": {"summation": "masked"}}
    run, _ = private_run(kit, table, tmp_path / "run", **masked)
    value = read_json(run.path / "privacy.json")
    given, plain = value["guarantee"], read_json(finished_privately[0].path / "privacy.json")
    assert given["site_rho"] == given["rho"] == pytest.approx(plain["guarantee"]["rho"], rel=1e-3)
    assert all("secure summation" in entry["mechanisms"] for entry in value["releases"])
    assert "The sites masked their sums" in (run.path / "privacy.html").read_text("utf-8")
    # The same noisy counts, masked or not.
    same = [(f / "schema.json").read_bytes() for f in (run.path, finished_privately[0].path)]
    assert same[0] == same[1]


def test_the_table_is_near_the_data_where_the_noise_is_small(
    finished_privately: Any, kit: Any
) -> None:
    run, summary = finished_privately
    table, people = run.path / "synthetic.csv", kit.people(1200)
    import pandas as pd

    made = pd.read_csv(table, dtype=str, keep_default_na=False)
    assert summary["tv_mean"] < 0.08
    for name in ("sex", "outcome", "group"):
        real, own = (f[name].value_counts(normalize=True) for f in (people, made))
        assert float((real - own).abs().fillna(1).sum()) / 2 < 0.08, name
    numbers = pd.to_numeric(made["age"])
    assert abs(numbers.mean() - people["age"].astype(float).mean()) < 4
    assert set(made.columns) == set(COLUMNS)


def test_a_run_without_privacy_says_that_nothing_is_guaranteed(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    kit.run(kit.tiny(table), tmp_path / "run")
    value = read_json(tmp_path / "run" / "privacy.json")
    assert value["guarantee"] is None and value["budget"] is None
    assert value["totals"]["noised"] == 0 and value["totals"]["plain"] == 7 + 4
    assert {e["task"] for e in value["releases"]} == {
        e["task"] for e in read_json(tmp_path / "run" / "releases.json")["releases"]
    }
    page = (tmp_path / "run" / "privacy.html").read_text(encoding="utf-8")
    assert "No differential privacy" in page and "no bound" in page


def test_settings_without_privacy_are_what_they_were(table: Path, kit: Any) -> None:
    plain = kit.tiny(table)
    assert not any("privacy" in key for key in json.loads(json.dumps(_decisive(plain))))
    assert settings_digest(plain) == settings_digest(kit.tiny(table, privacy={"dropouts": 0}))


def _decisive(settings: Settings) -> dict[str, Any]:
    from everymode.server.config.settings import decisive

    return decisive(settings)


REFUSED = (
    ({"federation": {"critic": "shared"}}, "federation.critic = 'none'"),
    ({"groups": {"weights": "tempered"}}, "groups.weights = 'share'"),
    ({"model": {"matching": 0.0}}, "model.matching = 0.3"),
    ({"model": {"matching_by": "kernel"}}, "model.matching_by = 'moments'"),
    ({"model": {"trees": 1}}, "model.trees = 0"),
    ({"data": {"clusters": 2}}, "data.clusters = 2"),
    ({"data": {"held_out": 0.1}}, "data.held_out = 0.1"),
    ({"site": {"floor": 5}}, "site.floor = 5"),
    ({"data": {"constraints": [{"kind": "range", "column": "age", "low": 0}]}}, "constraints"),
    ({"data": {"numbers": "linear"}}, "data.numbers = 'linear'"),
    ({"data": {"condition": "label"}}, "data.condition = 'label'"),
    ({"federation": {"sites_per_round": 2}}, "federation.sites_per_round"),
    ({"privacy": {"epsilon": 0}}, "privacy.epsilon"),
    ({"privacy": {"epsilon": -1}}, "privacy.epsilon"),
    ({"privacy": {"delta": 0}}, "privacy.delta"),
    ({"privacy": {"delta": 1}}, "privacy.delta"),
    ({"privacy": {"shares": {"counts": 1.0}}}, "share above 0 for each of"),
    ({"privacy": {"trusted_sites": 2, "dropouts": 2}}, "leave no site"),
    ({"strategy": "fedgan"}, "federation.critic = 'none'"),
)


@pytest.mark.parametrize(("change", "problem"), REFUSED, ids=lambda v: str(v)[:50])
def test_what_is_not_accounted_for_is_refused(
    kit: Any, table: Path, change: dict[str, Any], problem: str
) -> None:
    changes = {k: v for k, v in change.items() if isinstance(v, dict) and k != "model"}
    others = {k: v for k, v in change.items() if k not in changes}
    with pytest.raises(SettingsError) as told:
        kit.tiny(table, **private(table, **changes), **others)
    assert any(problem in text for text in told.value.problems), told.value.problems


@pytest.mark.parametrize(
    ("name", "column", "problem"),
    [
        ("age", {"kind": "integer"}, "write low and high"),
        ("age", {"kind": "integer", "low": 5, "high": 5}, "expected low below high"),
        ("gain", {"kind": "integer", "low": 0, "high": 9, "atoms": [10]}, "outside 0 to 9"),
        ("sex", {"kind": "category"}, "write all of them"),
        ("sex", {"kind": "id"}, "drop the column"),
        ("age", {"kind": "datetime"}, "kind must be declared"),
        ("outcome", {"kind": "integer", "low": 0, "high": 1}, "declare it as a category"),
    ],
)
def test_columns_must_be_declared_whole(
    kit: Any, table: Path, name: str, column: dict[str, Any], problem: str
) -> None:
    changes = private(table)
    changes["data"] = {**changes["data"], "columns": {**COLUMNS, name: column}}
    with pytest.raises(SettingsError) as told:
        kit.tiny(table, **changes)
    assert any(problem in text and name in text for text in told.value.problems)


def test_declarations_for_privacy_are_refused_without_it(kit: Any, table: Path) -> None:
    with pytest.raises(SettingsError, match=r"without \[privacy\] epsilon"):
        kit.tiny(table, data={"columns": {"age": {"kind": "integer", "low": 0}}})


def test_columns_that_nobody_declared_stop_the_run_before_a_row_is_read(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, **private(table, data={"drop": ["joined"]}))
    with pytest.raises(SettingsError, match=r"data\.columns\.constant"):
        kit.run(settings, tmp_path / "run")
    assert read_json(tmp_path / "run" / "releases.json")["releases"] == []


def test_delta_above_one_row_is_refused(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table, **private(table, privacy={"delta": 0.01}))
    with pytest.raises(SettingsError, match="above 1 / rows"):
        kit.run(settings, tmp_path / "run")


def test_nothing_is_asked_without_noise_or_beyond_the_budget(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, **private(table))
    stage = create_simulated_sites(settings, tmp_path / "run" / "sites")
    budget = Budget(1.0, 1e-5, {"counts": 1.0}, 3, 3)
    exchange = Accounted(InProcess(stage.sites), budget)
    with pytest.raises(StateError, match="without noise"):
        exchange(Request(DescribeColumns(stage.columns)))
    from everymode.server.config.tables import build_table_spec
    from everymode.server.schema.declared import agree_privately

    spec = build_table_spec(settings.data)
    half = Noise(budget.rho * 0.6, 3)
    agree_privately(exchange, stage.columns, spec, half)
    assert spent(exchange.releases) == pytest.approx(0.6 * budget.rho, rel=0.05)
    # The very same question costs nothing more; another one is too much.
    agree_privately(exchange, stage.columns, spec, half)
    assert spent(exchange.releases) == pytest.approx(0.6 * budget.rho, rel=0.05)
    with pytest.raises(StateError, match="are left"):
        agree_privately(exchange, stage.columns, spec, Noise(budget.rho * 0.5, 3))


def test_a_run_that_goes_on_gets_the_same_answers_and_spends_nothing_twice(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    model = {"critic_trees": 3, "projection": False}
    settings = kit.tiny(table, **private(table, privacy={"seed": None}), model=model)
    with pytest.raises(Interrupted):
        kit.run(settings, tmp_path / "run", stop=kit.stop_after(2))
    key = (tmp_path / "run" / "noise.key").read_bytes()
    before = read_json(tmp_path / "run" / "privacy.json")
    assert before["guarantee"]["epsilon"] < 20
    other = kit.tiny(table, **private(table, privacy={"seed": None, "epsilon": 30}), model=model)
    with pytest.raises(StateError, match=r"privacy.epsilon is 20.0 there and 30.0 now"):
        kit.run(other, tmp_path / "run", resume=True)
    shutil.copytree(tmp_path / "run", tmp_path / "early")
    shutil.rmtree(tmp_path / "early" / "checkpoints")
    (tmp_path / "early" / "schema.json").unlink()
    with pytest.raises(StateError, match="would go on without"):
        kit.run(kit.tiny(table), tmp_path / "early", resume=True)
    assert read_json(tmp_path / "run" / "privacy.json") == before
    assert (tmp_path / "run" / "noise.key").read_bytes() == key
    kit.run(settings, tmp_path / "run", resume=True)
    after = read_json(tmp_path / "run" / "privacy.json")
    assert [e["task"] for e in after["releases"]] == ["ranks", "prepare", "moments", "leaves"]
    assert before["guarantee"]["epsilon"] < after["guarantee"]["epsilon"] <= 20.0
    assert not (tmp_path / "run" / "noise.key").exists()
    with pytest.raises(StateError, match="this private run is finished"):
        kit.run(settings, tmp_path / "run", resume=True)


def test_runs_with_a_seed_repeat_and_others_do_not(kit: Any, table: Path, tmp_path: Path) -> None:
    model = {"projection": False}
    tables = []
    for number, seed in enumerate((7, 7, None)):
        changes = private(table, privacy={"seed": seed})
        kit.run(kit.tiny(table, **changes, model=model), tmp_path / str(number))
        tables.append((tmp_path / str(number) / "synthetic.csv").read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_a_generator_without_critic_learns_from_moments_alone(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    """Not private: nothing is asked of sites in a round, and the loss falls."""
    settings = kit.tiny(
        table, federation={"critic": "none"}, groups={"weights": "share"}, train={"rounds": 6}
    )
    kit.run(settings, tmp_path / "run")
    tasks = [e["task"] for e in read_json(tmp_path / "run" / "releases.json")["releases"]]
    assert "train" not in tasks and "moments" in tasks
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["critic_rows"] for line in lines] == [0] * 6
    with pytest.raises(SettingsError, match="nothing to learn from"):
        kit.tiny(table, federation={"critic": "none"}, model={"matching": 0.0})


def written(kit: Any, path: Path, table: Path, **changes: Any) -> Path:
    from everymode.server.config.files import commented

    path.write_text(commented(kit.tiny(table, **private(table, **changes))), encoding="utf-8")
    return path


def test_a_run_is_planned_before_any_row_is_read(
    kit: Any, table: Path, tmp_path: Path, call: Any
) -> None:
    config = written(kit, tmp_path / "private.toml", table)
    table.unlink()
    code, out, _ = call("privacy", config, "--json", "--set", "model.critic_trees=5")
    value = json.loads(out)
    assert code == 0 and [p["part"] for p in value["parts"]] == ["counts", "moments", "leaves"]
    assert sum(p["rho"] for p in value["parts"]) <= value["rho"]
    assert value["epsilon"] == 20.0 < value["site_epsilon"] and value["too_small"] is None
    code, out, _ = call("privacy", config)
    assert code == 0 and "give --counts FILE" in out
    code, out, _ = call("privacy", config, "--rows", 30, "--set", "privacy.epsilon=1")
    assert code == 1 and "would do, or more rows" in out
    code, out, _ = call("privacy", config, "--rows", 100, "--set", "privacy.delta=0.05")
    assert code == 1 and "above 1 / rows" in out


def test_the_plan_is_what_a_run_then_spends(
    kit: Any, finished_privately: Any, tmp_path: Path
) -> None:
    from everymode.server.config.files import load
    from everymode.server.config.privacy_plan import plan_privacy

    run, _ = finished_privately
    plan = plan_privacy(load(run.config), 3)
    done = [e for e in read_json(run.path / "privacy.json")["releases"] if e["rho"]]
    for part, entry in zip(plan.parts, done, strict=True):
        # Nor how many leaves there are, for which discrete noise takes a little.
        assert part.rho == pytest.approx(entry["rho"], rel=0.03)
        # What the data's point masses are is not known beforehand, and moves the clip a little.
        assert part.deviation == pytest.approx(entry["deviation"], rel=0.15)
        assert part.sensitivity == pytest.approx(entry["sensitivity"], rel=0.15)


def test_groups_too_small_are_named_from_counts_that_are_known(
    kit: Any, table: Path, tmp_path: Path, call: Any
) -> None:
    config = written(kit, tmp_path / "private.toml", table, privacy={"epsilon": 0.2, "delta": 1e-5})
    counts = tmp_path / "counts.csv"
    cells = [(g, o, n) for g, n in (("a", 3000), ("b", 2500), ("c", 40)) for o in ("yes", "no")]
    lines = ["group,outcome,rows", *(f"{g},{o},{n}" for g, o, n in cells)]
    counts.write_text("\n".join(lines) + "\n")
    code, out, _ = call("privacy", config, "--counts", counts, "--json")
    value = json.loads(out)
    assert code == 0 and value["too_small"] == {"c": 80} and value["rows"] == 11080
    counts.write_text("group,outcome,rows\nz,yes,10\n")
    code, _, err = call("privacy", config, "--counts", counts)
    assert code == 2 and "no cell z, yes" in err
    counts.write_text("group,outcome,rows\na,yes,many\n")
    code, _, err = call("privacy", config, "--counts", counts)
    assert code == 2 and "line 2, column 'rows'" in err
    counts.write_text("group,rows\na,10\n")
    code, _, err = call("privacy", config, "--counts", counts)
    assert code == 2 and "no column 'outcome'" in err
    code, _, err = call("privacy", "quick")
    assert code == 2 and "privacy.epsilon is not set" in err


def test_rows_that_the_noise_would_drown_are_refused_with_an_epsilon_that_would_do(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, **private(table, privacy={"epsilon": 0.3}))
    with pytest.raises(SettingsError, match=r"epsilon = [\d.]+ would do"):
        kit.run(settings, tmp_path / "run")


def test_later_steps_know_the_noise_that_all_sites_add(kit: Any, table: Path) -> None:
    """With one trusted site each adds all of the noise, and the total has three times as much."""
    from everymode.server.config.privacy_plan import plan_privacy

    plans = [
        plan_privacy(
            kit.tiny(table, **private(table, privacy={"epsilon": 2.0, "trusted_sites": n})), 3
        )
        for n in (0, 1)
    ]
    for all_trusted, one in zip(plans[0].parts, plans[1].parts, strict=True):
        assert one.deviation == pytest.approx(3**0.5 * all_trusted.deviation)
        assert one.rho == pytest.approx(all_trusted.rho, rel=0.3)
    assert plans[1].site_epsilon == pytest.approx(plans[1].epsilon, rel=0.01)
    assert plans[0].site_epsilon > 1.5 * plans[0].epsilon
    with pytest.raises(SettingsError, match="there are 3 sites"):
        plan_privacy(kit.tiny(table, **private(table, privacy={"trusted_sites": 4})), 3)


def test_a_run_announces_its_masks_and_what_it_will_spend_of_a_site(kit: Any, table: Path) -> None:
    from everymode.server.config.announced import announce
    from everymode.server.config.private_runs import build_budget

    plain = announce(kit.tiny(table))
    assert plain.rho == 0.0 and not plain.masked
    for summation, factor in (("none", 3), ("masked", 1)):
        settings = kit.tiny(table, **private(table), secure={"summation": summation})
        budget = build_budget(settings, 3)
        assert budget is not None
        found = announce(settings, budget=budget)
        assert found.masked is (summation == "masked")
        # Without masks the server sees each site's sums, under its third of the noise.
        assert found.rho == pytest.approx(factor * rho_for(20.0, 1e-4))


def test_groups_get_the_share_that_is_theirs(kit: Any, table: Path) -> None:
    from everymode.server.config.privacy_plan import plan_privacy

    found = []
    for share in (0.2, 0.6):
        settings = kit.tiny(table, **private(table, privacy={"group_share": share}))
        (moments,) = [p for p in plan_privacy(settings, 3).parts if p.part == "moments"]
        found.append(moments.why.split("noise of ")[1].replace(" rows, the others of", "").split())
    (groups, others), (groups_more, others_more) = np.array(found, dtype=float)
    assert groups_more == pytest.approx(groups / 3**0.5, rel=0.01)
    assert others_more == pytest.approx(others * 2**0.5, rel=0.01)
    for wrong in (0.0, 1.0):
        with pytest.raises(SettingsError, match="group_share"):
            kit.tiny(table, **private(table, privacy={"group_share": wrong}))


@pytest.mark.parametrize(
    "data",
    [{"target": None}, {"sensitive": [], "condition": "group_and_label"}, {"condition": "group"}],
    ids=["without a target", "without groups", "conditioned on groups alone"],
)
def test_runs_without_groups_or_labels_keep_their_word_too(
    kit: Any, tmp_path: Path, data: dict[str, Any]
) -> None:
    kit.people(900).to_csv(tmp_path / "people.csv", index=False)
    columns = {"data": {**private(tmp_path)["data"], **data, "path": str(tmp_path / "people.csv")}}
    run, summary = private_run(kit, tmp_path / "people.csv", tmp_path / "run", **columns)
    value = read_json(run.path / "privacy.json")
    assert value["totals"]["plain"] == 0 and 10 < value["guarantee"]["epsilon"] <= 20
    assert summary["tv_mean"] < 0.1
