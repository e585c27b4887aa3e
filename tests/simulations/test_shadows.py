"""A file called `everymode.py` in the working directory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import everymode
from everymode.simulations.shadows import find_shadow
from tests.decoys import lay_decoys


@pytest.mark.parametrize("name", ["everymode.py", "everymode/__init__.py"])
def test_it_is_found_and_refused_in_one_sentence_before_any_work(tmp_path: Path, name: str) -> None:
    lay_decoys(tmp_path)
    assert find_shadow(tmp_path) is None
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('imported')")
    assert find_shadow(tmp_path) == tmp_path / name
    command = str(Path(sys.executable).with_name("everymode"))
    done = subprocess.run(
        [command, "simulate", "quick"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / name}: Ray's workers would import it")
    assert not (tmp_path / "runs").exists()


def test_the_package_itself_is_no_shadow() -> None:
    assert find_shadow(Path(str(everymode.__file__)).parents[1]) is None


def test_in_process_it_does_not_matter(tmp_path: Path, kit: Any, table: Path) -> None:
    lay_decoys(tmp_path)
    (tmp_path / "everymode.py").write_text("raise SystemExit('imported')")
    config = tmp_path / "tiny.toml"
    config.write_text(tomli_w.dumps(kit.tiny(table).model_dump(mode="json", exclude_unset=True)))
    command = str(Path(sys.executable).with_name("everymode"))
    words = [command, "simulate", str(config), "--backend", "inline", "--out", "run"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "synthetic.csv").exists()
