"""Products of rows with few coordinates that are not 0: the same as of whole matrices."""

import numpy as np
import pytest
import torch

from everymode.fairness.postprocessing.products import SPARSE, WIDE, Products


def wide_rows(count: int, columns: int = 30, levels: int = 20, numbers: int = 5) -> torch.Tensor:
    """One-hot columns, one that is often empty, and numbers."""
    rng = np.random.default_rng(0)
    rows = np.zeros((count, columns * levels + numbers), dtype=np.float32)
    for c in range(columns):
        rows[np.arange(count), c * levels + rng.integers(0, levels, count)] = 1
    rows[rng.random(count) < 0.3, :levels] = 0
    # Numbers stand between categories, as in a table.
    place = rng.permutation(rows.shape[1])[:numbers]
    rows[:, place] = rng.normal(size=(count, numbers))
    return torch.from_numpy(rows)


@pytest.mark.parametrize("numbers", [0, 5])
def test_forms_and_totals_are_those_of_whole_matrices(numbers: int) -> None:
    rows = wide_rows(300, numbers=numbers)
    products = Products.of(rows)
    assert products.ones is not None and len(products.numbers) == numbers
    own = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows.shape[1], rows.shape[1], generator=own)
    matrix = matrix + matrix.T
    form = ((rows.double() @ matrix.double()) * rows.double()).sum(1)
    torch.testing.assert_close(products.form(matrix).double(), form, rtol=1e-5, atol=1e-4)
    weights = torch.rand(len(rows), generator=own)
    for some, found in ((rows, products), (rows.square(), products.squared())):
        total = (some.double() * weights[:, None]).T @ some.double()
        torch.testing.assert_close(found.total(weights).double(), total, rtol=1e-5, atol=1e-5)


def test_narrow_and_dense_rows_are_multiplied_as_they_are() -> None:
    narrow = wide_rows(50, columns=10)
    dense = torch.rand(50, WIDE + 1)
    half = torch.zeros(50, WIDE)
    half[:, : WIDE // SPARSE + 1] = 1
    for rows in (narrow, dense, half, torch.zeros(0, WIDE)):
        products = Products.of(rows)
        assert products.ones is None
        matrix = torch.eye(rows.shape[1])
        torch.testing.assert_close(products.form(matrix), rows.square().sum(1))
