"""How text files are written is recognised; what is not clear is refused."""

import codecs
import csv
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data import delimited, packed
from everymode.wgan.data.delimited import parse_text, row_bounds, to_frame
from everymode.wgan.data.dialect import Dialect, read_text
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.data.frame import notes, read_lines, read_table
from everymode.wgan.errors import DataError

PEOPLE = "name,city,n\nMüller,Köln,1\nJosé,São Paulo,2\n"


def zipped(content, *names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return out.getvalue()


def zstd(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PEOPLE, Dialect()),
        (PEOPLE.replace(",", ";"), Dialect(";")),
        (PEOPLE.replace(",", "\t"), Dialect("\t")),
        (PEOPLE.replace(",", "|"), Dialect("|")),
        ("sep=;\r\n" + PEOPLE.replace(",", ";"), Dialect(";", comments=1)),
        ("# made in 2020\n#, really\n" + PEOPLE, Dialect(comments=2)),
        # A header may begin with the sign, below lines that do (as in VCF).
        ("##version, 4\n#CHROM\tPOS\n1\t5\n", Dialect("\t", comments=1)),
        ("#x\n1\n", Dialect()),
        # Numbers with a decimal comma, and text with one.
        ("a;b;c\n1,5;2,5;x\n", Dialect(";")),
        ('a;b\n"x;y,z";1\n"u";2\n', Dialect(";")),
        # A comma wins where both would do, and where nothing would.
        ("a;x,b;y\n1;1,2;2\n", Dialect()),
        ("a,b\n1,2\n3\n", Dialect()),
        ("x\n1;2\n3\n", Dialect()),
        # One ragged row is an error of that row, not another separator.
        ("a;b\n1;2\n3;4\n5\n", Dialect(";")),
    ],
)
def test_separators_and_lines_above_are_recognised(content, expected):
    assert read_text(content.encode(), Path("t.csv")).dialect == expected


@pytest.mark.parametrize(
    ("content", "encoding", "mark"),
    [
        (codecs.BOM_UTF8 + PEOPLE.encode(), "utf-8", True),
        (PEOPLE.encode("utf-16"), "utf-16-le", True),
        (codecs.BOM_UTF16_BE + PEOPLE.encode("utf-16-be"), "utf-16-be", True),
        (PEOPLE.encode("utf-16-le"), "utf-16-le", False),
        (PEOPLE.encode("latin-1"), "cp1252", False),
        ("a,b\n1,Zürich\n".encode("latin-1"), "cp1252", False),
        (("a,b\n" + "1,x\n" * 99999 + "1,für 5 €\n").encode("cp1252"), "cp1252", False),
        ("Имя,Город\nЖанна,Пенза\nЛюбовь,Уфа\n".encode("cp1251"), "cp1251", False),  # noqa: RUF001
        ("imię,miasto\nŁukasz,Łódź\nŻaneta,Kraków\n".encode("cp1250"), "cp1250", False),
        ("姓名,城市\n张三,北京\n李四,上海\n".encode("gb18030"), "gb18030", False),
    ],
)
def test_encodings_are_recognised(content, encoding, mark):
    text = read_text(content, Path("t.csv"))
    assert (text.dialect.encoding, text.dialect.mark) == (encoding, mark)
    plain = content.removeprefix(codecs.BOM_UTF8) if mark and encoding == "utf-8" else content
    bom = 2 if mark and encoding != "utf-8" else 0
    assert text.content.decode() == plain[bom:].decode(encoding)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip", "t.tsv.xz"])
@pytest.mark.parametrize(
    ("pack", "kind"),
    [
        (bytes, ""),
        (gzip.compress, "gz"),
        (lzma.compress, "xz"),
        (zstd, "zst"),
        (lambda c: zipped(c, "people.csv"), "zip"),
    ],
)
def test_compression_is_recognised_whatever_the_name_says(tmp_path, name, pack, kind):
    path = tmp_path / name
    path.write_bytes(pack(PEOPLE.encode()))
    assert read_table(path)["city"].tolist() == ["Köln", "São Paulo"]
    assert read_lines(path).dialect.compression == kind


def test_what_a_name_does_not_say_is_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(("# x\n" + PEOPLE.replace(",", ";")).encode("cp1252")))
    (said,) = notes(path)
    assert said == (
        f"{path}: recognised: cells are separated by a semicolon; the encoding is cp1252; it is "
        "compressed (gz); the first line is no part of the table"
    )
    path.write_text(PEOPLE)
    assert notes(path) == notes(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a;b|c\n1;2|3\n4;5|6\n", "a semicolon or a pipe; write a first line 'sep=;'"),
        (zipped(b"a\n1\n", "a.csv", "b.csv"), "holds 2 files (a.csv, b.csv)"),
        (gzip.compress(b"a\n1\n" * 99)[:-9], "not a whole gzip file"),
        (lzma.compress(b"a\n1\n" * 99)[:-9], "not a whole xz file"),
        (zstd(b"a\n1\n" * 99)[:-9], "not a whole zstd file"),
        (zipped(b"a\n1\n" * 99, "a.csv")[:-30], "not a whole zip file"),
        (b"a,b\n1,\xff\xfe\x81\x8d\n", "line 2 is not UTF-8"),
    ],
    # Packed bytes hold the time; names of tests are to be equal in all of pytest's processes.
    ids=["two marks", "zip of two", "gzip", "xz", "zstd", "zip", "no encoding"],
)
def test_what_is_not_clear_is_refused(content, said):
    with pytest.raises(DataError) as caught:
        read_text(content if isinstance(content, bytes) else content.encode(), Path("t.csv"))
    assert said in str(caught.value)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd, lambda c: zipped(c, "a.csv")])
def test_a_small_file_does_not_fill_the_memory(monkeypatch, pack):
    monkeypatch.setattr(packed, "ALWAYS", 1 << 10)
    with pytest.raises(DataError, match="over 300 times its size; decompress it yourself"):
        read_text(pack(b"a\n" + b"1\n" * (1 << 20)), Path("t.csv"))


CELLS = st.text(st.sampled_from('ab ",;\t\r\n#é€\ufeff?'), max_size=6)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=9)
)


@given(
    rows=TABLES,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    loose=st.booleans(),
    named=st.booleans(),
)
def test_both_parsers_read_alike_and_bounds_are_those_of_rows(rows, quoting, end, loose, named):
    out = io.StringIO()
    header = [[f"c{i}" for i in range(len(rows[0]))]] if named else []
    if loose:  # quotes and separators as they come
        lines = (",".join(row).replace("\n", "").replace("\r", "") for row in rows)
        out.write(end.join([*(",".join(names) for names in header), *lines]))
    else:
        csv.writer(out, quoting=quoting, lineterminator=end).writerows([*header, *rows])
    path = Path("t.csv")
    try:
        text = read_text(out.getvalue().encode(), path, FileForm(header=named))
        found = parse_text(text, path, frozenset(["", "?"]))
    except DataError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "regular_rows", lambda body, separator: None)
        slow = parse_text(text, path, frozenset(["", "?"]))
        assert found.schema == slow.schema
        assert to_frame(found).equals(to_frame(slow))
        careful = row_bounds(text)
    for one, two in zip(row_bounds(text), careful, strict=True):
        assert one.tolist() == two.tolist()
    assert len(careful[0]) == found.num_rows + named
