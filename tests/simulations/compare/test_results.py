"""What is said of finished runs: means, spreads, ties, budgets; from small fake run folders."""

import io
import json
import math
import struct
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from everymode.simulations.compare import pictures, tables
from everymode.simulations.compare.command import write
from everymode.simulations.compare.marks import COLOURS
from everymode.simulations.compare.plan import planned
from everymode.simulations.compare.results import collected
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_json

GROUPS = ("a", "b", "c|<d>")


def fake(run, coverage, rows=100, tv=0.1, unsure=(), weights=None, scores=None):
    """A run folder as if training had ended."""
    folder = run.folder.path
    folder.mkdir(parents=True)
    lines = []
    for number in range(1, run.settings.train.rounds + 1):
        line = {"round": number, "seconds": 0.5, "bytes_up": 1000, "bytes_down": 500}
        line |= {"critic_rows": rows, "worst_group": "a", "estimate_by_group": {"a": 1.0}}
        lines.append(line | (weights(number) if weights else {}))
    run.folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdicts = {"a": "measured", "b": "measured", "c|<d>": "insufficient"}
    verdicts |= dict.fromkeys(unsure, "insufficient")
    summary = {
        "version": 1,
        "rows": 1000,
        "groups": list(GROUPS),
        "coverage_reference": "held-out rows",
        "coverage_group_min": coverage,
        "utility": {"synthetic": {"metric": "auc", "logistic": 0.8, "boosted_trees": None}},
        "tv_mean": tv,
        "ks_mean": None,
        "training_seconds": 5.0,
        "bytes_up": 10_000_000,
        "bytes_down": 5_000_000,
        "per_group": {name: {"coverage_verdict": v} for name, v in verdicts.items()},
    }
    write_json(folder / "summary.json", summary)
    points = [
        {"round": n, "rows": 500, "coverage_group_min": coverage, "scores": scores or {}}
        for n in run.grid
    ]
    write_json(run.curve, {"version": 1, "points": points, "scores": scores or {}})


def broken(run, kind="diverged", number=7):
    run.folder.path.mkdir(parents=True)
    write_json(run.failure, {"kind": kind, "round": number, "error": "KeyError: 'x'"})


@pytest.fixture
def plan(tmp_path: Path):
    return planned("quick", "pooled,local,fedgan,fedprox,md_gan,everymode", "0,1,2", tmp_path / "o")


@pytest.fixture
def filled(plan):
    """Six strategies with every kind of end."""
    coverage = {"pooled": 0.99, "local": 0.95, "fedgan": 0.5, "fedprox": 0.88, "everymode": 0.9}
    for run in plan.runs:
        jump = 0.02 * (run.seed - 1)
        if run.strategy == "md_gan" or (run.strategy == "fedgan" and run.seed == 2):
            broken(run, *(("failed", 3) if run.seed == 2 else ()))
        elif run.strategy == "fedgan":
            fake(run, 0.97 + jump, unsure=("b",), rows=100)
        else:
            fake(run, coverage[run.strategy] + jump, rows=130 if run.strategy == "fedprox" else 104)
    return plan


def row(report, name):
    return next(row for row in report["strategies"] if row["name"] == name)


def test_means_spreads_and_counts_are_over_seeds(filled):
    report = collected(filled)
    value = row(report, "everymode")["figures"]["coverage_group_min"]
    assert value["mean"] == pytest.approx(0.9) and value["n"] == 3
    assert value["std"] == pytest.approx(0.02)  # of .88, .90, .92 over n - 1
    assert row(report, "fedgan")["figures"]["coverage_group_min"]["n"] == 2
    lost = row(report, "md_gan")["figures"]["coverage_group_min"]
    assert lost["n"] == 0 and lost["mean"] is None and lost["std"] is None
    # A figure that no run has is no column; costs have no best.
    assert [figure["key"] for figure in report["figures"]] == [
        "coverage_group_min",
        "auc_linear",
        "tv_mean",
        "seconds",
        "megabytes",
    ]
    assert row(report, "everymode")["figures"]["megabytes"] == {
        "mean": 15.0,
        "std": 0.0,
        "n": 3,
        "mark": None,
    }


def test_best_is_federated_and_judged_and_near_ones_tie(filled):
    report = collected(filled)
    marks = {r["name"]: r["figures"]["coverage_group_min"]["mark"] for r in report["strategies"]}
    # Pooled and local are bounds; FedGAN made too few rows of group b, so its worst is not known.
    assert marks == {
        "pooled": None,
        "local": None,
        "fedgan": None,
        "fedprox": "tie",
        "md_gan": None,
        "everymode": "best",
    }
    assert row(report, "fedgan")["insufficient"] == [
        {"seed": 0, "groups": ["b"]},
        {"seed": 1, "groups": ["b"]},
    ]
    assert row(report, "everymode")["insufficient"] == []
    assert row(report, "fedgan")["figures"]["auc_linear"]["mark"] in ("best", "tie")


def test_a_value_beyond_the_spread_is_no_tie_and_lower_may_be_better(tmp_path: Path):
    plan = planned("quick", "fedgan,fedprox,everymode", "0,1,2", tmp_path / "o")
    tv = {"fedgan": 0.30, "fedprox": 0.12, "everymode": 0.10}
    for run in plan.runs:
        fake(run, 0.5, tv=tv[run.strategy] + 0.005 * (run.seed - 1))
    marks = {r["name"]: r["figures"]["tv_mean"]["mark"] for r in collected(plan)["strategies"]}
    assert marks == {"fedgan": None, "fedprox": None, "everymode": "best"}


def test_budgets_are_compared_with_the_first(filled):
    report = collected(filled)
    assert report["budget"] == {
        "exchanges": 10,
        "generator_steps": 20,
        "critic_steps": 40,
        "critic_rows": 4800,
    }
    first, other = row(report, "pooled")["budget"], row(report, "fedprox")["budget"]
    assert first["critic_rows"] == 1040 and first["factor"] == 1 and not first["unequal"]
    assert other["factor"] == pytest.approx(1.25) and other["unequal"]
    assert row(report, "fedgan")["budget"]["unequal"] is False
    assert row(report, "md_gan")["budget"]["factor"] is None
    assert any("FedProx: drew 1.25 times" in note for note in tables.notes(report))


def test_ratios_to_pooled_go_seed_by_seed(filled):
    ratios = row(collected(filled), "everymode")["to_pooled"]["coverage_group_min"]
    each = [0.88 / 0.97, 0.90 / 0.99, 0.92 / 1.01]
    mean = sum(each) / 3
    assert ratios["mean"] == pytest.approx(mean) and ratios["n"] == 3
    assert ratios["std"] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in each) / 2))


def test_tables_say_who_diverged_who_ties_and_what_is_not_known(filled):
    report = collected(filled)
    page = tables.page(report, ["curves.png"])
    assert "| EveryMode | **0.900 (0.020)** |" in page
    assert "| FedProx (1.25x rows) | 0.880 (0.020)= |" in page
    assert "| FedGAN | 0.960 (0.014) n=2\N{DAGGER} |" in page
    assert "| MD-GAN | diverged at round 7 | - | - |" in page
    assert "FedGAN, seed 2: failed at round 3: KeyError: 'x'" in page
    assert "FedGAN, seeds 0, 1: insufficient rows to judge b" in page
    assert "insufficient rows to judge in every run: c\\|\\<d\\>" in page
    assert "Rasouli" in page and "![curves.png](curves.png)" in page
    assert len({line.count(" | ") for line in page.split("\n\n")[3].splitlines()[2:]}) == 1


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_fit_the_console(filled, width):
    console = Console(width=width, file=io.StringIO())
    found = tables.shown(collected(filled), width)
    console.print(*found)
    text = console.file.getvalue()
    assert len(found) == (2 if width == 60 else 1)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert "0.900" in text and "(0.020)=" in text


def test_everything_is_written_and_read_back(filled):
    report = write(filled)
    out = filled.out
    assert json.loads((out / "compare.json").read_text()) == report
    assert report["version"] == 1 and report["seeds"] == [0, 1, 2]
    assert report["data"]["rows"] == 1000 and report["data"]["scenario"] is None
    assert {run["status"] for run in row(report, "fedgan")["runs"]} == {"finished", "failed"}
    for name in ("curves.png", "final.png"):
        png = (out / name).read_bytes()
        assert png.startswith(b"\x89PNG") and min(struct.unpack(">II", png[16:24])) > 300
    assert not (out / "weights.png").exists()


def test_weights_are_drawn_where_they_move(tmp_path: Path):
    plan = planned("quick", "fedgan,afl,everymode", "0", tmp_path / "o")
    still = {"fedgan": None, "afl": lambda n: {"site_weights": {"s": 1 / n, "$t$ _": 1 - 1 / n}}}
    still["everymode"] = lambda n: {"mass_by_group": {"a": 0.5, "b": 0.5}}
    for run in plan.runs:
        fake(run, 0.5, weights=still[run.strategy])
    figure = pictures.weights(list(plan.runs))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["AFL: weights of sites, seed 0"]
    assert {"s", "$t$ _"} <= {text.get_text() for text in figure.axes[0].texts}
    assert pictures.weights([run for run in plan.runs if run.strategy != "afl"]) is None


def test_hostile_names_stay_text_in_tables_and_pictures(tmp_path: Path):
    file = tmp_path / "$x_{$ `a|b`\n# c \u202e東.toml"
    file.write_text('[data]\npath = "p`|\\n<b>.csv"\n')
    (tmp_path / "p`|\n<b>.csv").write_text("a,b\n1,2\n")
    plan = planned(str(file), "fedgan,everymode", "0", tmp_path / "o")
    hostile = "[g](javascript:x)\n# h|\x1b[2J\u202e<img>"
    move = lambda n: {"site_weights": {"$x_{$\x9b": 1 / n, "s": 1 - 1 / n}}  # noqa: E731
    for run in plan.runs:
        fake(run, 0.5, weights=move)
        summary = json.loads((run.folder.path / "summary.json").read_text())
        summary["per_group"] = {hostile: {"coverage_verdict": "insufficient"}}
        write_json(run.folder.path / "summary.json", summary)
    report = write(plan)
    text = (plan.out / "compare.md").read_text()
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")]
    rows = [line for line in text.splitlines() if "javascript" in line]
    assert rows == [
        r"- insufficient rows to judge in every run: "
        r"\[g\](javascript:x)\\n# h\|\\x1b\[2J\\u202e\<img\>"
    ]
    assert "\n# c" not in text and "\n# h" not in text and "<b>" not in text
    assert "`p" not in text
    for name in ("compare.json", "compare.md"):
        assert "\x1b" not in (plan.out / name).read_text()
    assert (plan.out / "curves.png").exists() and (plan.out / "weights.png").exists()
    console = Console(width=100, file=io.StringIO())
    console.print(*tables.shown(report, 100))
    assert "\u202e" not in console.file.getvalue()


def test_scores_of_a_scenario_have_columns_and_curves(tmp_path: Path):
    plan = planned("ring", "fedgan,everymode", "0,1,2", tmp_path / "o", ["train.rounds=20"])
    for run in plan.runs:
        better = run.strategy == "everymode"
        scores = {"modes": 8.0 if better else 3.0, "uneven": 0.1 if better else None}
        fake(run, 0.5, scores=scores)
    report = collected(plan)
    assert report["data"]["scenario"] == "ring"
    found = row(report, "everymode")["figures"]
    assert found["scenario.modes"]["mark"] == found["scenario.uneven"]["mark"] == "best"
    assert row(report, "fedgan")["figures"]["scenario.uneven"]["n"] == 0
    figure = pictures.curves(plan, report, list(plan.runs))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["Worst group's coverage", "Modes"]
    assert len(figure.axes) == 6
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {"FedGAN", "EveryMode"}


def test_every_strategy_has_a_colour_of_its_own():
    assert len(set(COLOURS.values())) == len(COLOURS) == 20


def test_nothing_finished_is_a_table_too(tmp_path: Path):
    plan = planned("quick", "fedgan,everymode", "0", tmp_path / "o")
    for run in plan.runs:
        broken(run)
    report = write(plan)
    assert report["figures"] == [] and not (plan.out / "final.png").exists()
    assert "diverged at round 7" in (plan.out / "compare.md").read_text()
    assert tables.shown(report, 80) == [] and "| strategy |  |" not in tables.page(report, [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b"[]"),
        ("summary.json", b'{"version": 1}'),
        ("summary.json", b'{"version": 1, "per_group": []}'),
        ("summary.json", b"\xff"),
        ("curve.json", b"[]"),
        ("curve.json", b'{"version": 1, "points": 7, "scores": null}'),
        ("curve.json", b'{"version": 1, "points": [{}], "scores": null}'),
        ("curve.json", b'{"version": 1, "points": [], "scores": 7}'),
        ("metrics.jsonl", b"7\n"),
        ("metrics.jsonl", b'{"round": 2}\n'),
    ],
)
def test_a_damaged_file_of_a_run_is_named(plan, name, content):
    first = plan.runs[0]
    fake(first, 0.9)
    path = first.folder.path / name
    path.write_bytes(content)
    with pytest.raises(StateError) as caught:
        collected(plan)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"kind": "failed", "round": "1", "error": 2}'])
def test_a_damaged_note_of_a_failure_is_named(plan, content):
    first = plan.runs[0]
    broken(first)
    first.failure.write_bytes(content)
    with pytest.raises(StateError, match=r"failed\.json: expected an object"):
        collected(plan)
