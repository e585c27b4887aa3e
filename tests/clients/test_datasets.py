"""What every modality's dataset must do at a site, and what a file of arrays may hold."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from everymode.clients.datasets.arrays import ArrayDataset
from everymode.clients.datasets.choice import open_dataset
from everymode.clients.gate import sizes
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import CountMarginals, EncodeData, Request
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
)
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle, handle_at_site
from everymode.fairness.metrics.marginals import Marginals
from everymode.server.config.files import parse
from everymode.server.config.recipe import build_recipe
from everymode.server.datasets.choice import build_modality
from everymode.server.replies import invariants
from everymode.server.replies.invariants import Known, Reply
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.arrays import SampleLayout, moments
from everymode.wgan.errors import DataError

Arrays = dict[str, npt.NDArray[Any]]

SPEC = TableSpec(sensitive=("sex",), target="job", floor=1)
LAYOUT = SampleLayout((1, 4, 4), "uint8")


def labels(rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"sex": rng.choice(["f", "m"], rows), "job": rng.integers(8, 11, rows)}


def images(rows: int, seed: int) -> Arrays:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, *LAYOUT.axes))
    return {"samples": pixels.astype(np.uint8), **labels(rows, seed)}


def array_sites(folder: Path) -> list[Site]:
    """Two sites, and a third whose file is both files together."""
    halves = [images(30, 0), images(50, 1)]
    pooled = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
    for name, arrays in zip("abp", (*halves, pooled), strict=True):
        np.savez(folder / f"{name}.npz", **arrays)
    return [Site(name, folder / f"{name}.npz", folder / "work" / name) for name in "abp"]


def table_sites(folder: Path) -> list[Site]:
    halves = [pd.DataFrame(labels(n, k)).assign(x=np.arange(n) / 8) for n, k in ((30, 0), (50, 1))]
    for name, frame in zip("abp", (*halves, pd.concat(halves)), strict=True):
        frame.to_csv(folder / f"{name}.csv", index=False)
    return [Site(name, folder / f"{name}.csv", folder / "work" / name) for name in "abp"]


MODALITIES: dict[str, tuple[Callable[[Path], list[Site]], SampleLayout | None]] = {
    "tables": (table_sites, None),
    "arrays": (array_sites, LAYOUT),
}


def planned(sites: list[Site], samples: SampleLayout | None) -> tuple[EncodeData, Plan, list[Any]]:
    """A plan that two sites agreed on, and the questions that led to it."""
    asked: list[Any] = []

    class Recording(InProcess):
        def __call__(self, request: Request) -> Any:
            asked.append(request.order)
            return super().__call__(request)

    columns = ("sex", "job") if samples else ("sex", "job", "x")
    agreed = build_modality(samples).agree(Recording(sites[:2]), columns, SPEC, 0)
    order = EncodeData(
        agreed.schema.to_json(),
        agreed.conditions.to_json(),
        (0.5, 0.5),
        build_recipe(parse({"data": {"path": "x"}}), samples).to_json(),
        seed=0,
        matching="none",
        missing=SPEC.missing,
    )
    return order, Plan.of(order), asked


@pytest.mark.parametrize("modality", MODALITIES)
def test_answers_of_two_sites_add_up_to_those_of_the_pooled_file(
    tmp_path: Path, modality: str
) -> None:
    make, samples = MODALITIES[modality]
    sites = make(tmp_path)
    order, plan, asked = planned(sites, samples)
    assert [type(o) for o in asked] == [DescribeColumns, CollectVocabulary, CountHistograms]
    for question in asked[1:]:
        one, two, pooled = (handle_at_site(question, {}, site) for site in sites)
        np.testing.assert_array_equal((one + two).vector, pooled.vector)
    bins = Marginals.of(plan.schema, open_dataset(sites[2]).frame(SPEC.missing))
    count = CountMarginals("0" * 16, bins.to_json(), 2, SPEC.missing)
    one, two, pooled = (open_dataset(site).marginals(count, plan) for site in sites)
    for name in pooled:
        np.testing.assert_array_equal(one[name] + two[name], pooled[name])
    # One code and one pair a row, of the plan's width.
    found = [open_dataset(site).encode(plan.schema, plan.conditions, order) for site in sites]
    assert [e.rows.shape for e in found] == [(n, plan.shape.width) for n in (30, 50, 80)]
    assert all(len(e.pairs) == len(e.held_out) == len(e.rows) for e in found)
    pairs = np.concatenate([found[0].pairs, found[1].pairs])
    np.testing.assert_array_equal(pairs, found[2].pairs)


def test_arrays_are_encoded_alike_wherever_they_lie(tmp_path: Path) -> None:
    sites = array_sites(tmp_path)
    order, plan, _ = planned(sites, LAYOUT)
    one, two, pooled = (
        open_dataset(site).encode(plan.schema, plan.conditions, order).rows for site in sites
    )
    np.testing.assert_array_equal(np.concatenate([one, two]), pooled)
    # Centre and scale are those of all samples: mean 0 in each coordinate, mean variance 1.
    np.testing.assert_allclose(pooled.mean(0), 0, atol=1e-6)
    assert pooled.var(0).mean() == pytest.approx(1, abs=1e-5)
    assert plan.schema.samples is not None
    decoded = plan.schema.samples.decode(pooled)
    np.testing.assert_array_equal(decoded, ArrayDataset(sites[2]).arrays["samples"])


def test_a_floor_keeps_sums_of_few_rows_at_the_site(tmp_path: Path) -> None:
    pixels = np.zeros((9, 2), np.uint8)
    pixels[:, 0], pixels[0, 1] = 7, 200
    np.savez(tmp_path / "a.npz", samples=pixels, job=np.arange(9) % 2)
    ask = CollectVocabulary(("job",), ("category",), ("",), samples=SampleLayout((2,), "uint8"))

    def answer(floor: int) -> Answer:
        return open_dataset(Site("a", tmp_path / "a.npz", tmp_path, floor=floor)).vocabulary(ask)

    plain, floored, none = (answer(floor).sums for floor in (0, 3, 10))
    assert plain["sample_sums"].tolist() == [63, 200]
    assert floored["sample_sums"].tolist() == [63, 0] and floored["samples"].tolist() == [9]
    assert not none["sample_sums"].any() and none["samples"].tolist() == [0]


def text(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(object)


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "pickled samples": (
        lambda a: a | {"samples": text(a["samples"])},
        "array 'samples' holds Python objects, which are never read",
    ),
    "pickled labels": (
        lambda a: a | {"sex": text(a["sex"])},
        "array 'sex' holds Python objects, which are never read",
    ),
    "no samples": (lambda a: {"sex": a["sex"]}, "lacks the array 'samples'; there are sex"),
    "no label": (
        lambda a: {"samples": a["samples"], "sex": a["sex"]},
        "lacks the array 'job' of labels; there are sex",
    ),
    "other axes": (
        lambda a: a | {"samples": a["samples"][:, :, :2]},
        r"array 'samples' holds samples of axes \[1, 2, 4\] and type uint8; expected \[1, 4, 4\]",
    ),
    "other type": (
        lambda a: a | {"samples": a["samples"] / 255},
        "array 'samples' .* type float64; expected .* uint8",
    ),
    "complex": (
        lambda a: a | {"samples": a["samples"] * 1j},
        "array 'samples' is of type complex128; expected one of",
    ),
    "one axis": (lambda a: a | {"samples": np.arange(30)}, r"array 'samples' has shape \(30,\)"),
    "a label more": (
        lambda a: a | {"job": np.append(a["job"], 8)},
        r"array 'job' has shape \(31,\); expected \(30,\)",
    ),
    "labels of fractions": (
        lambda a: a | {"job": a["job"] / 2},
        "array 'job' is of type float64; expected whole numbers",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_gives_one_error_with_site_file_and_array(tmp_path: Path, case: str) -> None:
    change, message = WRONG[case]
    np.savez(tmp_path / "a.npz", allow_pickle=True, **change(images(30, 0)))
    site = Site("a", tmp_path / "a.npz", tmp_path / "work")
    with pytest.raises(DataError, match=message) as caught:
        handle(Request(DescribeColumns(("sex", "job"), samples=LAYOUT)), [site])
    (problem,) = caught.value.problems
    assert "site 'a'" in problem and "a.npz" in problem


def test_damaged_files_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    site, ask = Site("a", path, tmp_path / "work"), DescribeColumns(("sex",), samples=LAYOUT)
    np.savez(path, **images(30, 0))
    content = bytearray(path.read_bytes())
    content[400] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: array 'samples' is damaged"):
        open_dataset(site).check(ask)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"a\.npz: 'readme\.txt' is no array"):
        open_dataset(site).check(ask)
    for rest in (content[:1000], b"", b"sex,job\nf,1\n"):
        path.write_bytes(rest)
        with pytest.raises(DataError, match=r"a\.npz: is no \.npz file"):
            open_dataset(site).check(ask)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(DataError, match=r"a\.npz: is no \.npz file"):
        open_dataset(site).check(ask)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.npz: no such file"):
        open_dataset(site).check(ask)


def test_a_table_among_arrays_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    site = table_sites(tmp_path)[0]
    with pytest.raises(DataError, match="is a table, and the other sites hold samples"):
        open_dataset(site).check(DescribeColumns(("sex", "job", "x"), samples=LAYOUT))
    points = np.full((4, 2), np.nan, np.float32)
    np.savez(tmp_path / "n.npz", samples=points, job=np.arange(4))
    ask = CollectVocabulary(("job",), ("category",), ("",), samples=SampleLayout((2,), "float32"))
    with pytest.raises(DataError, match=r"array 'samples': sample 0 .* NaN"):
        open_dataset(Site("n", tmp_path / "n.npz", tmp_path)).vocabulary(ask)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (SampleLayout((2**11, 2**11), "uint8"), "numbers of a sample"),
        (SampleLayout((4, -4, -4), "uint8"), "axis of length 0 or less"),
        (SampleLayout((4,), "object"), "samples of type 'object'"),
        (SampleLayout((), "uint8"), "axes of a sample"),
    ],
)
def test_a_site_refuses_samples_beyond_all_limits(samples: SampleLayout, message: str) -> None:
    for order in (
        DescribeColumns(("sex",), samples=samples),
        CollectVocabulary(("sex",), ("category",), ("",), samples=samples),
    ):
        with pytest.raises(RefusedError, match=message):
            sizes.check_order(order)


def test_later_questions_are_about_the_samples_that_were_announced(tmp_path: Path) -> None:
    sites = array_sites(tmp_path)
    order, plan, asked = planned(sites, LAYOUT)
    _, values, ranks = asked
    other = replace(values, samples=SampleLayout((16,), "uint8"))
    run = "f" * 16
    handle(Request(asked[0], run=run), sites[2:])
    with pytest.raises(RefusedError, match="other samples than was agreed"):
        handle(Request(other, run=run), sites[2:])
    handle(Request(values, run=run), sites[2:])
    assert plan.schema.samples is not None
    codec = replace(plan.schema.samples.codec, scale=9.0)
    moved = replace(plan.schema, samples=replace(plan.schema.samples, codec=codec)).to_json()
    handle(Request(ranks, run=run), sites[2:])
    with pytest.raises(RefusedError, match="other samples than was agreed"):
        handle(Request(replace(order, schema=moved), run=run), sites[2:])


def test_sums_of_samples_that_cannot_be_are_found_out() -> None:
    order = CollectVocabulary((), (), (), samples=SampleLayout((2,), "uint8"))
    _, sums, squares = moments(np.array([[1, 2], [3, 4]]))

    def problems(count: int, sums: Any) -> list[str]:
        said = {"samples": [count], "sample_sums": sums, "sample_squares": squares}
        reply = Reply(order.layout().pack(said), ("a",), Known(rows=2), exact=True)
        return list(invariants.values(order, reply))

    assert problems(2, sums) == []
    assert "add up to 3 rows" in problems(3, sums)[0]
    assert "add up to 1 rows only" in problems(1, [1, 1])[0]
    assert problems(2, sums * 10) == ["the samples' sums are larger than their squares allow"]
