"""A folder that holds files of the names that the product's own packages have."""

from pathlib import Path

DECOYS = (
    *("server.py", "wgan.py", "simulations.py", "fairness.py"),
    *("clients/__init__.py", "clients/app.py", "fairness/__init__.py", "tests/__init__.py"),
)


def lay_decoys(folder: Path) -> Path:
    """Fills a folder with modules that fail as they are imported; returns it."""
    for name in DECOYS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise SystemExit('the decoy {name} was imported')\n", encoding="utf-8")
    return folder
