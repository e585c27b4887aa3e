"""What a Python user needs: a simulation without TOML, in about ten lines."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from everymode import server


def test_the_lines_of_the_readme_run(kit: Any, table: Path, tmp_path: Path) -> None:
    from everymode.server import load_generator, parse, simulate

    settings = parse(
        {
            "data": {"path": str(table), "sensitive": ["group"], "target": "outcome"},
            "split": {"sites": 3},
            "train": {"rounds": 2, "batch": 40},
            "model": {"generator_hidden": [16], "critic_hidden": [16]},
        }
    )
    run = simulate(settings, tmp_path / "run")
    assert len(run.table) == run.summary["rows_synthetic"] == 400
    more = run.synthesizer.draw(20, seed=1, where={"group": "a"})
    assert set(more["group"]) == {"a"}
    assert load_generator(run.folder).draw(20, seed=1, where={"group": "a"}).equals(more)
    # The disks of the simulated sites, with the private rows, are gone.
    assert not run.folder.sites.exists()
    # The same as the session that the command line runs.
    kit.run(settings, tmp_path / "other")
    other = server.RunFolder(tmp_path / "other")
    assert run.folder.synthetic.read_bytes() == other.synthetic.read_bytes()


def test_a_run_reports_its_stages_in_order(kit: Any, table: Path, tmp_path: Path) -> None:
    listener = kit.Recorder()
    settings = kit.tiny(table, train={"rounds": 1})
    server.simulate(settings, tmp_path / "run", listener=listener)
    order = ["agree", "encode", "train", "postprocess", "sample", "evaluate", "write"]
    assert list(dict.fromkeys(listener.stages)) == order
    assert len(listener.metrics) == 1 and listener.told[-1] == "finish"


def test_every_public_name_is_there() -> None:
    assert server.__all__ == sorted(server.__all__)
    for name in server.__all__:
        assert getattr(server, name).__module__.startswith("everymode.server."), name
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = server.nosuch


def test_importing_the_package_imports_none_of_its_modules() -> None:
    """Whoever only asks for help must not wait for PyTorch."""
    code = (
        "import sys, everymode.server;"
        "print([m for m in sys.modules if m.startswith(('everymode.server.', 'torch'))])"
    )
    root = Path(server.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
