"""The examples run as they are."""

import os
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "simulations" / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_runs_and_shows_plain_lines(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # In this process, which has imported all that they take seconds to import.
    runpy.run_path(str(path), run_name="__main__")
    out, err = capfd.readouterr()
    assert out.strip() and "\x1b" not in out + err
    assert list(tmp_path.iterdir()) == []


# The kernel's own, as released.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_progress_and_pictures(path: Path, tmp_path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "committed without outputs"
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "".join(str(cell.get("outputs", "")) for cell in book.cells)
    assert "<progress" in shown and "finished" in shown
    assert "data:image/png;base64," in shown and "<iframe" in shown
