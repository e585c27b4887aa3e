"""What noisy moments say: exact where there is no noise, and those of some table where there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everymode.clients.datasets.choice import open_dataset
from everymode.clients.protocol.plan import Plan
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.consistency import onto_simplex, whole
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.matching.private_moments import clipped_moments
from everymode.server.privacy.private_moments import read_moments
from everymode.server.schema.declared import agree_privately, noisy_cells
from everymode.wgan.errors import DataError
from tests.private import Private


@pytest.fixture(scope="module")
def told(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A plan, and encoded rows with their cells."""
    folder: Path = tmp_path_factory.mktemp("moments")
    own = Private(folder / "own", kit.people(1500), kit)
    agreed = agree_privately(own.exchange, own.columns, own.spec, own.noise)
    order = own.plan(agreed)
    plan = Plan.of(order)
    encoded = open_dataset(own.site).encode(plan.schema, plan.conditions, order)
    cells = plan.conditions.refined(encoded.pairs, encoded.rows)
    # Cells are counted with a little noise; here they are to be exact.
    counts = np.bincount(cells, minlength=plan.conditions.table.size)
    shape = plan.conditions.table.shape
    exact = tuple(tuple(row) for row in counts.reshape(shape).tolist())
    object.__setattr__(plan.conditions, "counts", exact)
    plan.conditions.__dict__.pop("table", None)
    assert plan.conditions.table.sum() == len(cells)
    return plan, encoded.rows, cells


def summed(plan: Plan, rows: Any, cells: Any, asked: Any) -> Any:
    published = np.repeat(asked[:, None], plan.coordinates.width, axis=1)
    member = plan.weights(cells) > 0
    joined = plan.joined(rows, cells)
    return clipped_moments(joined, member, published, plan.coordinates, (1e3, 1e3))


def levels(plan: Plan, whole: bool = False) -> Any:
    asked = np.ones(plan.conditions.width + 1, dtype=bool)
    asked[-1] = whole
    return asked


@pytest.mark.parametrize("whole", [False, True])
def test_without_noise_every_product_that_is_known_is_exact(told: Any, whole: bool) -> None:
    """Also those that are not summed, because others tell them."""
    plan, rows, cells = told
    asked = levels(plan, whole)
    if whole:
        # One label is left out, so that the level of all rows is asked for by itself.
        asked[plan.coordinates.blocks[0]] = False
    found = read_moments(plan, summed(plan, rows, cells, asked), asked, (0.0, 0.0)).moments
    conditions = plan.conditions.encode(cells)
    codes = plan.binning(__import__("torch").from_numpy(rows)).numpy()
    exact = LevelMoments.of_rows(
        codes, conditions, np.ones(len(rows)), plan.choices[: codes.shape[1]]
    )
    assert np.array_equal(found.totals[asked], exact.totals[asked])
    known = found.pairs & asked[:, None, None]
    gap = np.abs(found.means - exact.means)[known]
    assert known.sum() > 2000 and gap.max() < 2e-3
    # Every level of a group knows its shares, and of its pairs those with labels alone.
    start = plan.coordinates.width - plan.coordinates.levels
    assert found.pairs[0, 0, start + plan.coordinates.blocks[0]]
    assert not found.pairs[0, plan.coordinates.partitions[0][0], plan.coordinates.partitions[1][0]]


def test_noise_is_taken_out_as_far_as_it_goes(told: Any) -> None:
    plan, rows, cells = told
    asked = levels(plan)
    sums = summed(plan, rows, cells, asked)
    exact = read_moments(plan, sums, asked, (0.0, 0.0)).moments
    rng = np.random.default_rng(0)
    noisy = sums + rng.normal(0, 12.0, len(sums))
    found = read_moments(plan, noisy, asked, (12.0, 12.0)).moments
    known = found.pairs & asked[:, None, None]
    rows_of = found.totals[:, None, None]
    error = ((found.means - exact.means) * rows_of)[known]
    assert np.sqrt(np.square(error).mean()) < 0.75 * 12
    # The counts are those of some table: none negative, and columns add up to the level's rows.
    choices = np.outer(plan.choices, plan.choices)
    assert (found.means[:, choices][asked] >= 0).all()
    for own in plan.coordinates.partitions:
        place = np.array(own)
        assert found.means[asked][:, place, place].sum(1) == pytest.approx(1.0)


def test_cells_of_few_rows_keep_a_small_group_s_rate() -> None:
    """A cell is not taken for empty where its group is there: rates would be bent by that."""
    groups = tuple((name,) for name in "abcd")
    space = ConditionSpace(("g",), "y", groups, ("no", "yes"), (), ((0, 0),) * 4)
    truth = np.array([[9000, 3000], [400, 12], [200, 100], [0, 0]])
    rng, rates = np.random.default_rng(0), []
    for _ in range(300):
        noisy = truth + rng.normal(0, 5.0, truth.shape)
        cells = whole(onto_simplex(noisy.reshape(-1), noisy.sum())).reshape(truth.shape)
        found = noisy_cells(space, cells, 10, 5.0)
        # A group of which there is none is not made by noise: three deviations of its total.
        assert [name for (name,) in found.groups][:3] == ["a", "b", "c"]
        rates.append(found.table[1, 1] / found.table[1].sum())
    assert np.mean(rates) == pytest.approx(12 / 412, abs=0.003)
    with pytest.raises(DataError, match=r"larger privacy\.epsilon"):
        noisy_cells(space, truth, 10, 1e4)
    few = noisy_cells(space, truth, 350, 5.0)
    assert few.groups == (("a",), ("b",)) and few.table[1].tolist() == [400, 12]
