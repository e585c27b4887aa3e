"""Whole runs over sites that hold images with labels, in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.server import load_generator, parse, simulate
from everymode.server.config.recipe import build_recipe
from everymode.server.in_process import FinishedRun
from everymode.server.simulated_sites import create_simulated_sites
from everymode.wgan.critics import ConvCriticSpec, MLPCriticSpec
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.errors import DataError, EveryModeError, SettingsError
from everymode.wgan.generators import ConvGeneratorSpec, SkipGeneratorSpec
from tests.conftest import Recorder

ROWS = 150


def digits(folder: Path) -> None:
    """Three sites with images of four classes, one of which only the last site has."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k, name in enumerate("abc"):
        label = rng.integers(0, 4 if k == 2 else 3, ROWS)
        pixels = rng.integers(0, 40, (ROWS, 1, 8, 8))
        pixels[np.arange(ROWS), 0, label, :] += 200
        hand = rng.choice(["left", "right"], ROWS, p=[0.2, 0.8])
        np.savez(folder / f"{name}.npz", samples=pixels.astype(np.uint8), digit=label, hand=hand)


def settings(folder: Path, **sections: Any) -> Any:
    data = {"path": str(folder), "sensitive": ["hand"], "target": "digit"}
    train = {"rounds": 2, "critic_steps": 1, "batch": 40, "generator_batch": 20}
    return parse(
        {"data": data | sections.pop("data", {}), "train": train, "model": {"noise": 8}} | sections
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, Recorder, Path]:
    folder = tmp_path_factory.mktemp("arrays")
    digits(folder / "sites")
    listener = Recorder()
    run = simulate(settings(folder / "sites"), folder / "run", listener=listener)
    return run, listener, folder


def test_a_run_over_arrays_writes_arrays_of_the_same_kind(finished: Any) -> None:
    run, _, folder = finished
    made = run.arrays
    assert sorted(made) == ["digit", "hand", "samples"]
    assert made["samples"].shape == (3 * ROWS, 1, 8, 8) and made["samples"].dtype == np.uint8
    assert made["samples"].std() > 0
    assert made["digit"].dtype == np.int64 and made["hand"].dtype.kind == "U"
    assert not (run.folder.path / "synthetic.csv").exists()
    # Groups and labels are as frequent as in the data, the class of a single site included.
    parts = [np.load(path) for path in sorted((folder / "sites").iterdir())]
    for name in ("digit", "hand"):
        values, real = np.unique(np.concatenate([p[name] for p in parts]), return_counts=True)
        found, counts = np.unique(made[name], return_counts=True)
        assert found.tolist() == values.tolist() and counts.tolist() == real.tolist()


def test_the_summary_says_what_is_judged_and_what_is_not(finished: Any) -> None:
    run, listener, _ = finished
    summary = run.summary
    assert len(summary["not_judged"]) == 3
    assert summary["coverage_group_min"] is None and summary["utility"] is None
    assert summary["calibration"] is None and summary["projection"] is None
    assert summary["tv"].keys() == {"digit", "hand"}
    for record in summary["per_group"].values():
        assert record["rows_real"] == record["rows_synthetic"] and record["sites"] == 3
        # Recall is measured on codes, so that samples are judged by it: 2 rounds reach nothing.
        assert record["recall_federated"]["rows"] == record["rows_real"]
        assert record["recall_federated"]["expected"] > 0.5
    notes = " ".join(listener.told)
    assert "arrays have no columns: matching of rows (model.matching), calibration" in notes
    assert "images get convolutional networks" in notes


def test_runs_of_one_seed_are_the_same_to_the_byte_and_can_be_drawn_from(finished: Any) -> None:
    run, _, folder = finished
    again = simulate(settings(folder / "sites"), folder / "again")
    files = [r.folder.path / "synthetic.npz" for r in (run, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    synthesizer = load_generator(run.folder)
    made = synthesizer.generate(synthesizer.cells_matching_data(3 * ROWS, 0), 0)
    np.testing.assert_array_equal(made.samples, run.arrays["samples"])
    with pytest.raises(SettingsError, match="the run's rows are arrays"):
        synthesizer.draw(3, seed=0)


def test_only_the_agreed_sums_leave_a_site(finished: Any) -> None:
    run, _, _ = finished
    released = (run.folder.path / "releases.json").read_text()
    assert "sample_sums" in released and "sample_squares" in released


@pytest.mark.parametrize(
    ("axes", "generator", "critic"),
    [
        ((1, 8, 8), ConvGeneratorSpec, ConvCriticSpec),
        ((1, 2, 8), SkipGeneratorSpec, MLPCriticSpec),
        ((2,), SkipGeneratorSpec, MLPCriticSpec),
    ],
)
def test_the_networks_follow_from_the_samples(axes: Any, generator: Any, critic: Any) -> None:
    recipe = build_recipe(settings(Path("x")), SampleLayout(axes, "uint8"))
    assert isinstance(recipe.generator, generator) and isinstance(recipe.critic, critic)


def test_points_are_arrays_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "sites").mkdir()
    for name in "ab":
        points = rng.normal(5, 2, (60, 2)).astype(np.float32)
        np.savez(tmp_path / "sites" / f"{name}.npz", samples=points, hand=rng.random(60) < 0.5)
    chosen = settings(tmp_path / "sites", data={"target": None})
    made = simulate(chosen, tmp_path / "run").arrays
    assert made["samples"].shape == (120, 2) and made["samples"].dtype == np.float32
    assert sorted(set(made["hand"].tolist())) == ["False", "True"]


def test_files_that_do_not_fit_together_are_named_before_anything_runs(tmp_path: Path) -> None:
    digits(tmp_path / "sites")
    good = dict(np.load(tmp_path / "sites" / "a.npz"))
    np.savez(tmp_path / "sites" / "b.npz", **(good | {"samples": good["samples"][:, :, 1:]}))
    np.savez(tmp_path / "sites" / "c.npz", samples=good["samples"], digit=good["digit"])
    with pytest.raises(DataError) as caught:
        create_simulated_sites(settings(tmp_path / "sites"), tmp_path / "work")
    one, two = caught.value.problems
    assert "site 'b'" in one and "array 'samples'" in one and "[1, 7, 8]" in one
    assert "site 'c'" in two and "lacks the array 'hand'" in two
    (tmp_path / "sites" / "d.csv").write_text("hand,digit\nleft,1\n")
    with pytest.raises(DataError, match=r"site 'd'.* is a table, and the other sites hold samples"):
        create_simulated_sites(settings(tmp_path / "sites"), tmp_path / "work")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"sensitive": [], "target": None}}, "arrays need a label"),
        ({"data": {"condition": "group"}}, "digit would be left out"),
        ({"data": {"holdout": "rows.csv"}}, r"data\.holdout: held-out rows are judged by their"),
        ({"fairness": {"bias_head": 1.0}}, "fairness.bias_head reads columns"),
        ({"views": {"use": ["table"]}}, "views.use = 'table' masks columns"),
        (
            {"fairness": {"parity": "equal_opportunity"}},
            "fairness.parity: its penalty reads columns",
        ),
        ({"strategy": "pooled", "federation": {"sums_only": False}}, "arrays are not pooled"),
    ],
)
def test_what_needs_columns_is_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    digits(tmp_path / "sites")
    with pytest.raises(EveryModeError, match=message):
        simulate(settings(tmp_path / "sites", **sections), tmp_path / "run")


def test_one_file_of_arrays_is_not_dealt_out(tmp_path: Path) -> None:
    digits(tmp_path / "sites")
    with pytest.raises(DataError, match="one file of arrays is not dealt out"):
        simulate(settings(tmp_path / "sites" / "a.npz"), tmp_path / "run")
