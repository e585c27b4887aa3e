"""Numbers of small tables: mean and spread of their ranks, and nothing else of them, are set."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.number_calibration import (
    FEW,
    SPREAD,
    CalibrateNumbers,
    wants_calibrated_numbers,
)
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.generators import table_generator


@pytest.fixture(scope="module")
def trained(finished: Any) -> Synthesizer:
    run, _ = finished
    return replace(load_generator(run), post=())


def raw(synthesizer: Synthesizer) -> torch.Tensor:
    plan, module = synthesizer.plan, table_generator(synthesizer.generators[0].module)
    cells = synthesizer.cells_matching_data(4000, 0)
    noise = torch.randn((len(cells), module.noise), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return module.raw(noise, torch.from_numpy(plan.conditions.encode(cells)))


def test_numbers_get_mean_and_spread_and_stay_related(trained: Synthesizer) -> None:
    calibrated, report = CalibrateNumbers()(trained, lambda done, of: None)
    before, after = raw(trained), raw(calibrated)
    codec = trained.plan.conditions.table_codec(trained.plan.schema)
    places = [codec.span(name).start for name in ("age", "weight kg", "joined", "gain")]
    assert report == {"columns": len(places)}
    for place in places[:1]:
        # It has no gate: every row counts.
        assert float(after[:, place].mean()) == pytest.approx(0, abs=0.05)
        assert float(after[:, place].std()) == pytest.approx(SPREAD, abs=0.05)
    for place in places:
        related = np.corrcoef(before[:, place], after[:, place])[0, 1]
        assert related == pytest.approx(1, abs=1e-4)
    others = [i for i in range(before.shape[1]) if i not in places]
    torch.testing.assert_close(after[:, others], before[:, others])
    # The generator that was trained stays what it is.
    torch.testing.assert_close(raw(trained), before)


def test_generators_of_single_sites_stay_as_they_are(trained: Synthesizer) -> None:
    two = replace(trained, generators=trained.generators * 2)
    assert CalibrateNumbers()(two, lambda done, of: None) == (two, {"columns": 0})


def test_only_tables_of_few_rows_want_it(trained: Synthesizer) -> None:
    plan = trained.plan
    assert plan.conditions.table.sum() >= FEW and not wants_calibrated_numbers(plan)
    counts = tuple(tuple(int(n > 0) for n in row) for row in plan.conditions.counts)
    few = replace(plan, conditions=replace(plan.conditions, counts=counts))
    assert wants_calibrated_numbers(few)
