"""Columns in threads: in their order, as many at a time as Arrow uses threads."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from everymode.simulations.starter import start_configuration
from everymode.wgan.data.threads import in_threads


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = pa.cpu_count()
    pa.set_cpu_count(request.param)
    yield request.param
    pa.set_cpu_count(before)


def test_as_many_run_at_once_as_arrow_has_threads_and_their_order_is_kept(threads: int) -> None:
    together = threading.Barrier(threads, timeout=30)

    def work(item: int) -> tuple[int, str]:
        together.wait()
        return item, threading.current_thread().name

    found = in_threads(work, range(3))
    assert [item for item, _ in found] == [0, 1, 2]
    assert len({name for _, name in found}) == threads


def test_the_first_error_in_their_order_is_raised(threads: int) -> None:
    def work(item: int) -> int:
        if item:
            raise ValueError(item)
        return item

    with pytest.raises(ValueError, match="1"):
        in_threads(work, range(3))
    assert in_threads(work, []) == []


def test_init_writes_the_same_whatever_the_number_of_threads(threads: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"n{i}": rng.normal(size=200).round(2) for i in range(4)})
    frame["t"], frame["when"] = rng.choice(["a", "b"], 200), "2024-01-31"
    frame.to_csv(tmp_path / "t.csv", index=False)
    seen, _ = start_configuration(tmp_path / "t.csv", (), "t", tmp_path / "t.toml", force=False)
    assert [str(cell) for cell in seen.columns[0].cells] == list(frame.columns)
    kinds = [str(cell).partition(" ")[0] for cell in seen.columns[1].cells]
    assert kinds == [*["float"] * 4, "category", "datetime"]
