"""How files are declared to be written is part of what sites are asked, where it is declared."""

from dataclasses import replace
from pathlib import Path

import pytest

from everymode.clients.gate.sizes import check_order
from everymode.clients.protocol.messages import from_json, to_json
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.server.schema.agreement import agree
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.errors import EveryModeError
from tests.federated import DATA, Federation, Recorder, people


def test_a_form_comes_back_and_none_leaves_messages_and_plans_as_they_were(
    asked: Federation,
) -> None:
    for request in asked.exchange.requests:
        assert '"separator"' not in to_json(request.order)
        declared = replace(request.order, form=FileForm(";", "cp1250", "%", header=False))
        for order in (request.order, declared):
            assert from_json(to_json(order)).form == order.form
    other = replace(asked.prepare, form=FileForm(";"))
    assert fingerprint(other) != asked.name


def test_sites_read_their_files_as_declared(tmp_path: Path) -> None:
    plain = Federation(tmp_path)
    agreed = [agree(Recorder(plain.sites, []), tuple(people(1, 0).columns), DATA)]
    for site, seed in zip(plain.sites, range(3), strict=True):
        text = "% x;y\n" + people(60, seed).to_csv(index=False, sep=";")
        site.table.write_text(text, encoding="utf-16-le")
    form = FileForm(";", "utf-16-le", "%")
    declared = replace(DATA, form=form)
    recorder = Recorder(plain.sites, [], run="00000000000000bb")
    agreed.append(agree(recorder, tuple(people(1, 0).columns), declared))
    assert agreed[0].schema == agreed[1].schema
    assert all(request.order.form == form for request in recorder.requests)


@pytest.mark.parametrize("form", [FileForm(";;"), FileForm(encoding="zip"), FileForm(comment="\n")])
def test_a_form_that_no_file_has_is_refused(asked: Federation, form: FileForm) -> None:
    for request in asked.exchange.requests:
        with pytest.raises(RefusedError, match="data\\."):
            check_order(replace(request.order, form=form))


def test_a_row_that_a_server_makes_the_headers_is_not_named(tmp_path: Path) -> None:
    """The comment's prefix is that of the headers, and one cell of the first row is known."""
    asked = Federation(tmp_path)
    first = asked.sites[0].table.read_text().splitlines()[1].split(",")
    for run, form, columns in [
        ("a", FileForm(comment="age"), (first[1],)),
        ("b", FileForm(comment="age"), (first[1], "other")),
        ("c", FileForm(separator="|"), ("age",)),
    ]:
        with pytest.raises(EveryModeError) as caught:
            asked.ask(DescribeColumns(columns, form=form), run=run * 16, sites=asked.sites[:1])
        text = str(caught.value)
        assert "other column" in text
        assert f"'{first[0]}'" not in text and f"'{first[3]}'" not in text
    # The control: of headers as they are recognised, those that are too many are named.
    with pytest.raises(EveryModeError, match="has the columns 'age', 'job', 'income'"):
        asked.ask(DescribeColumns(("sex",)), run="f" * 16, sites=asked.sites[:1])
