"""Runs side by side in processes: the same results, and an end when asked for."""

from pathlib import Path

import tomli_w

from everymode.simulations.compare.plan import planned
from everymode.simulations.compare.run import perform, run_all


def test_side_by_side_is_one_after_another(table: Path, tmp_path: Path, kit):
    config = table.with_name("tiny.toml")
    config.write_text(
        tomli_w.dumps(
            kit.tiny(table, model=kit.training_alone).model_dump(mode="json", exclude_unset=True)
        )
    )
    apart = planned(str(config), "fedgan,everymode", "0", tmp_path / "a", jobs=2)
    begun = []
    outcomes = [*run_all(apart.runs, 2, "inline", lambda: False, begun.append)]
    assert begun == list(apart.runs) and {o.kind for o in outcomes} == {"finished"}
    alone = planned(str(config), "fedgan", "0", tmp_path / "b").runs[0]
    perform(alone, "inline", lambda: False)
    for name in ("generator.safetensors", "synthetic.csv", "curve.json"):
        one, two = (r.folder.path / name for r in (apart.runs[0], alone))
        assert one.read_bytes() == two.read_bytes(), name
