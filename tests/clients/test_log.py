"""The log of a site: every release has its line, and what was changed is found."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.clients.gate import log
from everymode.clients.gate.log import HEAD, NAME, Entry, verify_log, write_entry
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from tests.federated import Federation

ENTRY = Entry("00000000000000aa", None, "look", 0, {"rows": [1]}, {}, 60, "0" * 64, "none")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site("a", tmp_path / "a.csv", tmp_path / "work")
    for _ in range(4):
        write_entry(site, ENTRY)
    return site


def read(site: Site) -> tuple[list[bytes], bytes]:
    path = site.workspace / NAME
    return path.read_bytes().splitlines(keepends=True), path.with_name(HEAD).read_bytes()


def test_every_release_has_its_line(ready: Federation) -> None:
    order, tensors = ready.train()
    ready.ask(order, tensors)
    path = ready.sites[0].workspace / NAME
    found = verify_log(path.read_bytes(), log.read_head(path))
    assert found.broken is None and not found.fragments
    told = [(e["question"], e["plan"], e["round"], e["rows"]) for e in found.entries]
    assert told == [
        ("look", None, 0, 60),
        ("values", None, 0, None),
        ("ranks", None, 0, 60),
        ("prepare", ready.name, 0, 60),
        ("train", ready.name, 1, 60),
    ]
    assert len({e["digest"] for e in found.entries}) == 5
    assert {(e["masked"], e["mechanism"]) for e in found.entries} == {(False, "none")}


def test_a_changed_a_removed_and_an_inserted_line_are_found(site: Site) -> None:
    lines, head = read(site)
    assert verify_log(b"".join(lines), head).broken is None
    changed = json.loads(lines[1]) | {"rows": 61}
    rehashed = changed | {"hash": log.compute_hash(changed)}
    for broken, number in (
        ([lines[0], json.dumps(changed).encode() + b"\n", *lines[2:]], 2),
        # With a hash that fits, the next line does not follow.
        ([lines[0], json.dumps(rehashed).encode() + b"\n", *lines[2:]], 3),
        ([lines[0], *lines[2:]], 2),
        (lines[1:], 1),
        ([*lines[:2], lines[1], *lines[2:]], 3),
        ([*lines[:2], b"junk\n", *lines[2:]], 3),
        # Lines at the end: the head knows them.
        (lines[:-1], 4),
        ([], 1),
        ([*lines[:-1], lines[-1][:-20] + b"\n"], 4),
        ([*lines[:-1], lines[-1][:-20]], 4),
    ):
        assert verify_log(b"".join(broken), head).broken == number
    assert verify_log(b"".join(lines), None).broken == 5
    assert verify_log(b"".join(lines), b"4 " + b"0" * 64).broken == 5


def test_a_line_that_a_crash_cut_short_is_no_tampering(site: Site) -> None:
    lines, head = read(site)
    path = site.workspace / NAME
    # The crash came before the head of the fifth line was written.
    path.write_bytes(b"".join(lines) + lines[-1][:30])
    log._known.cache_clear()
    found = verify_log(path.read_bytes(), head)
    assert found.broken is None and found.fragments
    write_entry(site, ENTRY)
    log._known.cache_clear()
    path.write_bytes(path.read_bytes() + b'{"num')
    write_entry(site, ENTRY)
    found = verify_log(path.read_bytes(), log.read_head(path))
    assert found.broken is None and not found.fragments and len(found.entries) == 6
    # The fragment itself is part of what the next line names.
    altered = path.read_bytes().replace(lines[-1][:30] + b"\n", lines[-1][:29] + b"\n")
    assert verify_log(altered, log.read_head(path)).broken == 5


def test_nothing_leaves_a_site_whose_log_was_changed(ready: Federation) -> None:
    site = ready.sites[0]
    path = site.workspace / NAME
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(StateError, match=r"line 4 is missing: 4 lines were written"):
        ready.ask(*ready.train(), sites=[site])


def test_a_full_disk_lets_nothing_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.os, "write", lambda *_: 0)
    with pytest.raises(StateError, match="the disk is full"):
        write_entry(site, ENTRY)


@given(st.binary(max_size=400), st.none() | st.binary(max_size=80))
def test_any_bytes_are_read(content: bytes, head: bytes | None) -> None:
    verify_log(content, head)


@given(st.data())
def test_no_byte_of_a_log_can_be_changed_unseen(data: st.DataObject) -> None:
    lines, last = [], log.START
    for number in (1, 2, 3):
        value = {
            "number": number,
            "time": "2026-01-01T00:00:00Z",
            **ENTRY.__dict__,
            "previous": last,
        }
        value["hash"] = last = log.compute_hash(value)
        lines.append(json.dumps(value).encode() + b"\n")
    content, head = b"".join(lines), f"3 {last}\n".encode()
    assert verify_log(content, head).broken is None
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != content[place]))
    changed = content[:place] + bytes([byte]) + content[place + 1 :]
    found = verify_log(changed, head)
    # White space between entries says nothing, whatever it is.
    if found.broken is None:
        same = [json.loads(line) for line in changed.splitlines() if line.strip()]
        assert same == [json.loads(line) for line in lines]
