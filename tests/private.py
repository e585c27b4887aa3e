"""Settings of a private run over the odd table, with every column declared, and a site of one."""

from pathlib import Path
from typing import Any

import pandas as pd

from everymode.clients.protocol.messages import EncodeData, Request
from everymode.clients.protocol.noise import Noise
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle
from everymode.server.config.tables import build_table_spec
from tests.federated import RECIPE, Recorder

RUN = "00000000000000ab"

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


class Private:
    """One site over a small table, asked all that a private run asks."""

    def __init__(self, folder: Path, frame: pd.DataFrame, kit: Any, noise: bool = True) -> None:
        folder.mkdir(parents=True)
        table = folder / "people.csv"
        frame.to_csv(table, index=False)
        self.site = Site("north", table, folder / "work")
        self.settings = kit.tiny(table, **private(table))
        self.spec = build_table_spec(self.settings.data)
        self.columns = tuple(n for n in frame.columns if n not in self.spec.drop)
        self.exchange = Recorder([self.site], [], RUN)
        self.noise = Noise(1e5, 1) if noise else None

    def plan(self, agreed: Any, bins: int = 4) -> EncodeData:
        counts = agreed.conditions.group_counts
        return EncodeData(
            agreed.schema.to_json(),
            agreed.conditions.to_json(),
            tuple((counts / counts.sum()).tolist()),
            RECIPE.to_json(),
            seed=0,
            matching="moments",
            marginals=True,
            missing=self.spec.missing,
            bins=bins,
            noised=True,
        )

    def ask(self, order: Any, tensors: Any = None) -> Any:
        return handle(Request(order, tensors or {}, run=RUN), [self.site])
