"""What several test files share: a small odd table, and tiny runs over it in this process."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from everymode.server.config.files import parse
from everymode.server.config.secure import build_masking
from everymode.server.config.settings import Settings
from everymode.server.outputs import plots
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.secure.choice import secured
from everymode.server.session import Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.synthesis import calibration, projection
from everymode.server.transport.exchange import InProcess
from everymode.wgan import files
from everymode.wgan.portable import folder_for_sockets
from tests.command_line import Call, run_command
from tests.federated import Federation

# How long an example takes says how busy the machine is. Examples differ from run to run, so that
# few of them a run are many in a week; by night there are Hypothesis' usual hundred.
settings.register_profile("few", deadline=None, max_examples=25)
settings.register_profile("nightly", deadline=None)
settings.load_profile("few")

TINY: dict[str, Any] = {
    "model": {"generator_hidden": [16], "critic_hidden": [16], "noise": 8},
    "train": {
        "rounds": 4,
        "critic_steps": 2,
        "generator_steps": 1,
        "batch": 40,
        "generator_batch": 20,
    },
    "output": {"checkpoint_every": 2},
}

TRAINING_ALONE = {"projection": False, "marginals": False}
"""Keys of `[model]` of runs that fit nothing after training, which takes most of a tiny run."""


SLOW = {
    "clients/test_environment.py": "imports Flower and Ray, in processes",
    "clients/test_gate.py": "starts Flower",
    "fairness/test_audit_controls.py": "whole audits",
    "fairness/test_audit_pooled.py": "whole audits",
    "fairness/test_group_utility.py": "trains classifiers",
    "fairness/test_joint_metrics.py": "whole audits, with classifiers",
    "fairness/test_metric_table.py": "a whole audit",
    "server/test_agreement.py": "agreements over splits of a table",
    "server/test_app.py": "starts Flower",
    "server/test_arrays.py": "whole runs",
    "server/test_clusters.py": "whole runs",
    "server/test_completion.py": "a training, and many rows rejected",
    "server/test_constraints.py": "whole runs",
    "server/test_drawing.py": "a training, and many rows rejected",
    "server/test_deployment.py": "whole runs",
    "server/test_figures.py": "whole runs",
    "server/test_locks.py": "processes that hold one another up",
    "server/test_plots.py": "draws every picture",
    "server/test_public_api.py": "whole runs",
    "server/test_records.py": "whole runs",
    "server/test_releases.py": "whole runs",
    "server/test_replies.py": "a run of every kind, recorded",
    "server/test_session.py": "whole runs, stopped and resumed",
    "server/test_strategies.py": "a run of every strategy, stopped and resumed",
    "server/test_synthesizer.py": "whole runs",
    "server/test_synthesizer_conditions.py": "whole runs",
    "server/test_trackers.py": "whole runs",
    "server/test_trees.py": "a training",
    "simulations/claims/test_run.py": "processes that measure claims",
    "simulations/claims/test_structure.py": "trainings of claims",
    "simulations/claims/test_theory.py": "trainings of claims",
    "simulations/claims/test_training.py": "trainings of claims",
    "simulations/compare/test_cart.py": "whole runs",
    "simulations/compare/test_pool.py": "processes that train",
    "simulations/compare/test_run.py": "whole comparisons",
    "simulations/compare/test_smoke.py": "a whole comparison from a preset",
    "simulations/test_api.py": "whole runs",
    "simulations/test_audit.py": "whole audits from the command line",
    "simulations/test_cli.py": "whole runs from the command line",
    "simulations/test_completion.py": "whole runs",
    "simulations/test_examples.py": "whole runs, and a notebook",
    "simulations/test_file_form.py": "whole runs from the command line",
    "simulations/test_odd_tables.py": "whole runs from the command line",
    "simulations/test_scenarios.py": "scores of scenarios",
    "simulations/test_shadows.py": "imports Flower and Ray, in a process",
    "simulations/test_words.py": "whole runs over hostile tables",
    "test_bundle.py": "builds the bundle for Flower",
    "test_deployment.py": "a SuperLink and SuperNodes in processes",
    "test_doctests.py": "trains for the examples",
    "test_end_to_end.py": "Flower and Ray",
    "test_killed_runs.py": "runs in processes that are killed",
    "test_reconstruction.py": "attacks on trainings",
    "wgan/test_constrained.py": "fits a schema for every example",
    "wgan/test_contract.py": "every pair of parts",
    "wgan/test_round_trips.py": "fits a schema for every example",
}
"""Files whose tests are marked slow, each with the reason."""

ALONE = ("server/test_strategies.py", "simulations/compare/test_smoke.py", "test_killed_runs.py")
"""Files whose tests share nothing: with two workers, each of them may go to either."""

RAY = ("test_end_to_end.py",)
"""Files whose tests start Ray, one at a time: two that start at once on two cores may give up."""

MEMORY = "/dev/shm"
"""Linux's disk in memory. A site waits until its disk holds what it wrote, and thousands of tests
are such sites: on a busy disk they wait several times as long as they compute."""

ENOUGH = 4 << 30
"""Bytes that must be free there; all tests together write a tenth of it."""


def pytest_configure(config: pytest.Config) -> None:
    """Gives the tests a temporary folder of their own, without leftovers of killed runs.

    Workers inherit it. pytest's own folders lie next to it, and stay if a test fails.
    """
    if config.getoption("--nightly"):
        settings.load_profile("nightly")
    if hasattr(config, "workerinput"):
        return
    usual = tempfile.gettempdir()
    if "TMPDIR" not in os.environ and _free(MEMORY) >= ENOUGH:
        usual = MEMORY
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", usual)
    # A short name: Ray's sockets lie in it.
    short = MEMORY if usual == MEMORY else folder_for_sockets()
    folder = tempfile.mkdtemp(prefix="em", dir=short)
    os.environ["TMPDIR"] = os.environ["RAY_TMPDIR"] = tempfile.tempdir = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def _free(folder: str) -> int:
    """Bytes that are free on a folder's disk; 0 where there is no such folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="run tests marked nightly, too, with more examples"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks slow files and puts them first; leaves nightly tests out unless asked for.

    The order depends on the tests alone, so that all workers collect the same.
    """
    root = Path(__file__).parent
    if gone := [name for name in SLOW if not (root / name).exists()]:
        raise pytest.UsageError(f"SLOW in tests/conftest.py names files that are gone: {gone}")
    slow = {root / name for name in SLOW}
    ray = {root / name for name in RAY}
    for item in items:
        if item.path in slow:
            item.add_marker("slow")
    if not config.getoption("--nightly"):
        left = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left)
    items.sort(key=lambda item: (item.path not in ray, item.path not in slow))


class ByFile(LoadScopeScheduling):
    """A file stays with one worker, which keeps its fixtures.

    Not so files of long tests that share nothing; so all workers end at about the same time.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return "ray" if file in RAY else nodeid if file in ALONE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How tests are dealt out to the workers of `pytest -n`."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


class Recorder:
    """A `ProgressListener` that records what it receives."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stages: list[str] = []
        self.metrics: list[dict[str, Any]] = []
        self.steps: list[tuple[int, int]] = []

    def on_stage_begin(self, stage: str, text: str) -> None:
        self.stages.append(stage)
        self.told.append(text)

    def on_note(self, text: str) -> None:
        self.told.append(text)

    def on_train_begin(self, done: int, total: int, groups: Any) -> None:
        self.told.append(f"begin {done}/{total}")

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        self.metrics.append(metrics)

    def on_progress(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        self.told.append("finish")


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """A table with a column of every kind and several oddities; all cells are text."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], rows, p=[0.6, 0.35, 0.05])
    sex = rng.choice(["f", "m"], rows)
    age = rng.integers(18, 90, rows)
    days = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D")
    frame = pd.DataFrame(
        {
            "age": age.astype(str),
            "weight kg": [f"{w:.1f}" for w in rng.normal(70, 12, rows)],
            "member": rng.choice(["true", "false"], rows),
            'city, "old"': rng.choice(["Paris, France", "Zürich", '"Q"', "東京"], rows),
            "joined": days.strftime("%Y-%m-%d"),
            "gain": np.where(rng.random(rows) < 0.9, 0, rng.integers(1, 5000, rows)).astype(str),
            "constant": "k",
            "sex": sex,
            "group": group,
            "outcome": np.where(age + 20 * (sex == "f") > 60, "yes", "no"),
        },
        dtype=object,
    )
    for name in ("weight kg", 'city, "old"', "joined"):
        frame.loc[rng.random(rows) < 0.1, name] = ""
    return frame


def tiny(path: Path, **changes: Any) -> Settings:
    """Settings of a run of seconds over `path`; changes as `section={...}` or `key=value`."""
    values: dict[str, Any] = {
        "data": {"path": str(path), "sensitive": ["group"], "target": "outcome"},
        "split": {"sites": 3, "by": "dirichlet", "alpha": 0.5},
        **TINY,
    }
    for name, change in changes.items():
        both = isinstance(change, dict) and name in values
        values[name] = {**values[name], **change} if both else change
    return parse(values, "tiny")


def run(
    settings: Settings,
    path: Path,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    reporter: Any = None,
) -> dict[str, Any]:
    """One session on the inline exchange, without a display."""
    folder = RunFolder(path)
    if not resume:
        folder.create(settings)
    stage = create_simulated_sites(settings, folder.sites)
    session = Session(
        settings=settings,
        folder=folder,
        exchange=secured(InProcess(stage.sites), build_masking(settings)),
        columns=stage.columns,
        samples=stage.samples,
        form=stage.form,
        listener=reporter or Recorder(),
        real_rows=lambda: stage.frame(settings.data.missing),
        resume=resume,
        stop=stop,
    )
    return session()


class Kit:
    """The helpers above, for tests."""

    training_alone = TRAINING_ALONE
    people = staticmethod(people)
    tiny = staticmethod(tiny)
    run = staticmethod(run)
    Recorder = Recorder

    @staticmethod
    def full_disk(patch: pytest.MonkeyPatch, part: str = "") -> None:
        """The disk is full in the middle of every file whose name holds `part`."""
        real = files.write_whole

        def write(path: Path, fill: Callable[[Any], object], *options: Any, **more: Any) -> None:
            def cut(file: Any) -> None:
                if part not in path.name:
                    fill(file)
                    return
                file.write(b"x" * 100)
                raise OSError(errno.ENOSPC, "No space left on device")

            real(path, cut, *options, **more)

        patch.setattr(files, "write_whole", write)

    @staticmethod
    def stop_after(rounds: int) -> Callable[[], bool]:
        """A `stop` that lets `rounds` rounds begin."""
        left = iter([False] * rounds)
        return lambda: next(left, True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def kit() -> Kit:
    """Helpers to make small tables and tiny runs."""
    return Kit()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The odd table as a CSV file of its own."""
    path = tmp_path / "people.csv"
    people().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any]]:
    """A finished tiny run with held-out rows, and its summary; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    people().to_csv(folder / "people.csv", index=False)
    people(200, seed=1).to_csv(folder / "holdout.csv", index=False)
    settings = tiny(
        folder / "people.csv",
        data={
            "path": str(folder / "people.csv"),
            "holdout": str(folder / "holdout.csv"),
            "sensitive": ["group", "sex"],
            "target": "outcome",
        },
    )
    summary = run(settings, folder / "run")
    return RunFolder(folder / "run"), summary


@pytest.fixture
def asked(tmp_path: Path) -> Federation:
    """Sites that were asked all that comes before a plan, behind their gate."""
    return Federation(tmp_path)


@pytest.fixture
def ready(asked: Federation) -> Federation:
    """The same, prepared for a plan."""
    return asked.prepared()


@pytest.fixture(scope="module")
def sites_without_gate() -> Iterator[None]:
    """Sites in this process answer whatever they are asked: for tests of what is computed alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "everymode.server.transport.exchange.admission",
            lambda request, sites: lambda site: None,
        )
        yield


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs `everymode ...` in this process; gives exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_command(*arguments)
        return code, *capfd.readouterr()

    return run


@pytest.fixture(autouse=True)
def _pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process draw no pictures, which take most of a tiny run, unless marked so."""
    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr(plots, "curves", lambda history, path: None)
        monkeypatch.setattr(plots, "groups", lambda summary, path: None)


@pytest.fixture
def few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration and projection draw a quarter of the rows that they draw for a small table.

    They take most of a tiny run. Not where a test looks at the run that all tests share, or at how
    well they fit (marked `whole_fits`).
    """
    whole = request.node.get_closest_marker("whole_fits")
    if whole is None and "finished" not in request.fixturenames:
        monkeypatch.setattr(calibration, "MIN_ROWS", calibration.MIN_ROWS // 4)
        monkeypatch.setattr(projection, "MIN_ROWS", projection.MIN_ROWS // 4)
