"""A file called `everymode.py` in the working directory.

That a run in process does not care is tested in test_cli.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import everymode
from everymode.simulations.shadows import find_shadow, refuse_shadow
from everymode.wgan.errors import SettingsError
from tests.decoys import lay_decoys


def lay(folder: Path, name: str) -> Path:
    """A file that would be imported in place of the product."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise SystemExit('imported')")
    return path


@pytest.mark.parametrize("name", ["everymode.py", "everymode/__init__.py"])
def test_it_is_found_and_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lay_decoys(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert find_shadow(tmp_path) is None
    refuse_shadow()
    shadow = lay(tmp_path, name)
    assert find_shadow(tmp_path) == shadow
    with pytest.raises(SettingsError) as caught:
        refuse_shadow()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{shadow}: Ray's workers would import it")


def test_a_command_refuses_it_before_any_work(tmp_path: Path) -> None:
    shadow = lay(lay_decoys(tmp_path), "everymode.py")
    command = str(Path(sys.executable).with_name("everymode"))
    done = subprocess.run(
        [command, "simulate", "quick"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {shadow}: Ray's workers would import it")
    assert not (tmp_path / "runs").exists()


def test_the_package_itself_is_no_shadow() -> None:
    assert find_shadow(Path(str(everymode.__file__)).parents[1]) is None
