"""Settings of a private run over the odd table, with every column declared."""

from pathlib import Path
from typing import Any

COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"kind": "integer", "low": 18, "high": 90},
    "weight kg": {"kind": "float", "low": 30, "high": 120, "missing": True},
    "member": {"kind": "boolean", "categories": ["true", "false"]},
    'city, "old"': {
        "kind": "category",
        "categories": ["Paris, France", "Zürich", '"Q"', "東京"],
        "missing": True,
    },
    "gain": {"kind": "integer", "low": 0, "high": 5000, "atoms": [0]},
    "sex": {"kind": "category", "categories": ["f", "m"]},
    "group": {"kind": "category", "categories": ["a", "b", "c"]},
    "outcome": {"kind": "category", "categories": ["yes", "no"]},
}


def private(path: Path, **changes: Any) -> dict[str, Any]:
    """Changes of `kit.tiny` that make it private; further ones by section."""
    values: dict[str, Any] = {
        # Not 0, which is what questions say that name no seed.
        "seed": 3,
        "data": {
            "path": str(path),
            "sensitive": ["group"],
            "target": "outcome",
            "drop": ["joined", "constant"],
            "columns": COLUMNS,
        },
        "groups": {"weights": "share"},
        "federation": {"critic": "none", "sums_only": True},
        "privacy": {"epsilon": 20.0, "delta": 1e-4, "seed": 7},
    }
    for section, change in changes.items():
        values[section] = {**values.get(section, {}), **change}
    return values
