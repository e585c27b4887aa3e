"""Files as they are declared to be written: what cannot be recognised, and what contradicts it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.server.partition import deal_sites
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.data.frame import notes, read_lines, read_table
from everymode.wgan.errors import DataError

ODD = "% of 2024\n\n% units; kg\nŁódź;1,5;x\nŽilina;2;y\nŁódź;3,5;\n"
"""No headers, comments that hold the separator, and an encoding that Windows-1252 hides."""

FORM = FileForm(";", "cp1250", "%", header=False)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.csv"
    path.write_bytes(ODD.encode("cp1250"))
    return path


def test_a_file_is_read_as_declared(odd: Path) -> None:
    frame = read_table(odd, form=FORM)
    assert list(frame.columns) == ["column_1", "column_2", "column_3"]
    assert frame["column_1"].tolist() == ["Łódź", "Žilina", "Łódź"]
    assert frame["column_2"].tolist() == ["1,5", "2", "3,5"]
    assert frame["column_3"].tolist() == ["x", "y", None]
    # What is declared is no surprise; without a declaration the first line is taken for headers.
    assert notes(odd, FORM) == []
    assert "Łódź" in read_table(odd, form=FileForm(";", "cp1250", "%")).columns


@pytest.mark.parametrize(
    ("content", "form", "rows"),
    [
        (b"a b\n 1  2\n3 4\n", FileForm(" "), [["1", "2"], ["3", "4"]]),
        (b"a\tb,c\n1\t2,3\n", FileForm("\t"), [["1", "2,3"]]),
        (b'a:b\n1:"2:3"\n', FileForm(":"), [["1", "2:3"]]),
        (b"a;b|c\n1;2|3\n", FileForm("|"), [["1;2", "3"]]),
        (b"// x\na,b\n//1,2\n", FileForm(comment="//"), [["//1", "2"]]),
        (b"#1,2\n#3,4\n", FileForm(comment="%", header=False), [["#1", "2"], ["#3", "4"]]),
        (b"1,2\n", FileForm(header=False), [["1", "2"]]),
        (b'"1, x",2\n3,"4"\n', FileForm(header=False), [["1, x", "2"], ["3", "4"]]),
        ("a,b\n1,é\n".encode("utf-16"), FileForm(encoding="utf-16"), [["1", "é"]]),
        ("a,b\n1,é\n".encode("utf-16-be"), FileForm(encoding="utf-16-be"), [["1", "é"]]),
        ("\ufeffa,b\n1,é\n".encode("utf-16-be"), FileForm(encoding="UTF-16"), [["1", "é"]]),
        ("a,b\n1,é\n".encode("utf-8-sig"), FileForm(encoding="utf8"), [["1", "é"]]),
        ("a,b\n1,é\n".encode("cp437"), FileForm(encoding="cp437"), [["1", "é"]]),
        (b"sep=;\na;b\n1;2\n", FileForm(";"), [["1", "2"]]),
    ],
)
def test_each_key_alone(tmp_path: Path, content: bytes, form: FileForm, rows: object) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert read_table(path, form=form).to_numpy().tolist() == rows


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        ("a\né\n".encode("cp1250"), FileForm(encoding="utf-8"), "line 2 is not in the encoding"),
        (b"a\nx\n\x81\n", FileForm(encoding="cp1250"), "line 3 is not in the encoding"),
        (b"a\n1\n", FileForm(encoding="klingon"), "data.encoding = 'klingon': no encoding"),
        (b"a\n1\n", FileForm(encoding="zip"), "data.encoding = 'zip': no encoding"),
        (b"a\n1\n", FileForm(";;"), "data.separator = ';;': expected one character"),
        (b"a\n1\n", FileForm("\n"), "expected one character of ASCII"),
        ("a\né\n".encode("utf-8-sig"), FileForm(encoding="cp1250"), "byte-order mark of utf-8"),
        ("a\né\n".encode("utf-16"), FileForm(encoding="utf-16-be"), "byte-order mark of utf-16-le"),
        (b"sep=;\na;b\n1;2\n", FileForm(","), "line 1 says 'sep=;', and data.separator = ','"),
        (b"% a\n% b\n", FileForm(comment="%"), "no rows below the header"),
        (b"% a\n1\n1,2\n", FileForm(",", comment="%", header=False), "line 3 (2 cells): expected"),
    ],
)
def test_what_contradicts_the_declaration_names_key_and_file(
    tmp_path: Path, content: bytes, form: FileForm, said: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path, form=form)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: ") and said in problem


def test_what_could_be_declared_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for content, said in [
        (b"a;b|c\n1;2|3\n", "data.separator = ';'"),
        (b"a,b\n1,\xff\xfe\x81\x8d\n", "data.encoding"),
        (b"5,7\n3,4\n", "data.header = false (with init and split: --no-header)"),
        (b"x,x\ny,x\n", "data.header = false"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert said in str(caught.value)


def test_parts_keep_the_bytes_of_rows_and_have_no_headers_where_the_file_has_none(
    odd: Path, tmp_path: Path
) -> None:
    one, two = deal_sites(odd, np.array([0, 1, 0]), tmp_path / "s", form=FORM)
    lines = ODD.splitlines(keepends=True)
    assert one.read_bytes().decode("cp1250") == "".join([*lines[:4], lines[5]])
    assert two.read_bytes().decode("cp1250") == "".join([*lines[:3], lines[4]])
    found = pd.concat([read_table(p, form=FORM) for p in (one, two)], ignore_index=True)
    whole = read_table(odd, form=FORM)
    assert sorted(map(str, found.to_numpy())) == sorted(map(str, whole.to_numpy()))


def test_parts_for_a_simulation_need_no_declaration(odd: Path, tmp_path: Path) -> None:
    paths = deal_sites(odd, np.array([0, 1, 1]), tmp_path / "s", disposable=True, form=FORM)
    found = pd.concat([read_table(p) for p in paths], ignore_index=True)
    pd.testing.assert_frame_equal(found, read_table(odd, form=FORM))
    assert read_lines(paths[0]).dialect.encoding == "utf-8"


def test_a_row_that_would_be_a_comment_in_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("% x\n1,a\n%2,b\n")
    form = FileForm(comment="%", header=False)
    with pytest.raises(DataError, match="row 2 begins with '%'"):
        deal_sites(path, np.array([0, 1]), tmp_path / "s", form=form)
    assert not (tmp_path / "s").exists()
    # With headers nothing is mistaken: a part begins with them.
    path.write_text("% x\na,b\n1,a\n%2,b\n")
    form = FileForm(comment="%")
    paths = deal_sites(path, np.array([0, 1]), tmp_path / "s", form=form)
    assert read_table(paths[1], form=form)["a"].tolist() == ["%2"]
