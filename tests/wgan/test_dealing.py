"""Rows are dealt out as they are written: bytes of text, types of columns."""

import csv
import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather

from everymode.server.partition import deal_sites
from everymode.wgan.data import dealing
from everymode.wgan.data.dealing import deal
from everymode.wgan.data.dialect import read_text
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError

CELLS = st.text(st.sampled_from('ab ",;\t\r\n#é€?'), max_size=5)


@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=9),
    form=st.sampled_from([(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16"), (",", "cp1252")]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
    data=st.data(),
)
def test_rows_keep_their_bytes(rows, form, end, last, data):
    separator, encoding = form
    owners = np.array([data.draw(st.integers(0, 2)) for _ in rows])
    lines = []
    for cells in [["c1", "ü2"], *rows]:
        out = io.StringIO()
        # csv quotes a line end only where it is part of its own.
        quoting = csv.QUOTE_ALL if {"\r", "\n"} & set("".join(cells)) else csv.QUOTE_MINIMAL
        csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting).writerow(cells)
        lines.append(out.getvalue())
    if not last:
        lines[-1] = lines[-1].removesuffix(end)
    path = Path("t.csv")
    content = "".join(lines).encode(encoding)
    try:
        text = read_text(content, path)
    except DataError:
        return
    if text.dialect.separator != separator:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing, "read_lines", lambda path, form: text)
        parts = list(deal(path, owners, ["0.csv", "1.csv", "2.csv"]))
    for site, part in enumerate(parts):
        own = [line for line, owner in zip(lines[1:], owners, strict=True) if owner == site]
        assert part == "".join([lines[0], *own]).encode(encoding)


def test_what_stands_above_the_rows_is_repeated_and_blank_lines_are_not(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"sep=;\r\na;b\r\n\r\n NA ;'x'\r\n\r\n\"1\";2\r\n007;3")
    one, two = deal_sites(path, np.array([0, 1, 0]), tmp_path / "s")
    assert one.read_bytes() == b"sep=;\r\na;b\r\n\r\n NA ;'x'\r\n007;3"
    assert two.read_bytes() == b'sep=;\r\na;b\r\n\r\n"1";2\r\n'


@pytest.mark.parametrize("suffix", [".csv.gz", ".CSV", ".tsv.zip", ".csv.zst", ".csv.xz"])
def test_files_of_sites_have_the_ending_of_the_table(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    sep = "\t" if "tsv" in suffix else ","
    path.write_text(f"a{sep}b\n1{sep}2\n3{sep}4\n")
    paths = deal_sites(path, np.array([0, 1]), tmp_path / "s")
    assert [p.name for p in paths] == [f"site-00{suffix}", f"site-01{suffix}"]
    assert [read_table(p)["b"].tolist() for p in paths] == [["2"], ["4"]]
    if suffix == ".csv.gz":
        assert gzip.decompress(paths[0].read_bytes()) == b"a,b\n1,2\n"
    if suffix == ".tsv.zip":
        with zipfile.ZipFile(paths[0]) as archive:
            assert archive.namelist() == ["site-00.tsv"]
    # A simulation's are written and read once.
    assert deal_sites(path, np.array([0, 1]), tmp_path / "d", disposable=True)[0].name in (
        *("site-00.csv", "site-00.tsv"),
    )


TYPED = pa.table(
    {
        "i8": pa.array([1, None, 3], pa.int8()),
        "f16": pa.array(np.array([1.5, 2, 3], np.float16)),
        "dec": pa.array([1, 2, None], pa.decimal128(9, 2)),
        "level": pa.array(["u", "NA", None]).dictionary_encode(),
        "when": pa.array([0, 1, None], pa.timestamp("ns", tz="Europe/Berlin")),
        "day": pa.array([1, 2, 3], pa.date32()),
        "clock": pa.array([1, 2, 3], pa.time64("us")),
    }
).replace_schema_metadata({"made": "here"})


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_columns_keep_their_types(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write, read = (
        (pq.write_table, pq.read_table)
        if suffix == ".parquet"
        else (
            feather.write_feather,
            feather.read_table,
        )
    )
    write(TYPED, path)
    one, two = deal_sites(path, np.array([0, 1, 0]), tmp_path / "s")
    assert one.suffix == suffix
    assert read(one).equals(TYPED.take([0, 2]), check_metadata=True)
    assert read(two).equals(TYPED.take([1]), check_metadata=True)


def test_other_files_are_dealt_out_to_parquet(tmp_path):
    frame = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, np.nan], "t": pd.to_datetime(["2020-01-01", "2021-05-06"])}
    )
    frame.to_stata(tmp_path / "t.dta", write_index=False)
    (path,) = deal_sites(tmp_path / "t.dta", np.array([0, 0]), tmp_path / "s")
    assert path.name == "site-00.parquet"
    found = read_table(path)
    assert found["n"].tolist() == [1, 2] and found["t"].dt.year.tolist() == [2020, 2021]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n2\n")
    with pytest.raises(DataError, match="has 2 rows, and 3 were counted before"):
        deal_sites(path, np.array([0, 1, 0]), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("text", ["# x\na;b\nIlja;1\nЖЮЛ;2\n", "#a\n1;2\n3\n", "a,b\nU,1\nЖ,2\n"])
def test_sites_of_a_simulation_need_not_recognise_anything(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("cp1251"))
    whole = read_table(path)
    paths = deal_sites(path, np.array([0, 1]), tmp_path / "s", disposable=True)
    found = pd.concat([read_table(p) for p in paths], ignore_index=True)
    pd.testing.assert_frame_equal(found, whole)
    # A plain table stays as it is.
    assert ("sep=" in paths[0].read_text()) == ("," not in text)
