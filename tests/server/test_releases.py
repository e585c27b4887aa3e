"""The record of every release of a run, and `releases.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everymode.server.outputs.run_directory
from everymode.clients.protocol.messages import CountBatchRows, Request
from everymode.clients.protocol.sums import ReplyError, SiteSums
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.replies.releases import Numbers, Releases
from everymode.server.replies.replies import Checker, Source
from everymode.server.session import Interrupted, Session
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.transport.exchange import ExchangeError, InProcess
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json
from tests.federated import Federation

pytestmark = pytest.mark.usefixtures("few_rows")


def entries(run: RunFolder) -> dict[str, dict[str, Any]]:
    return {entry["task"]: entry for entry in read_json(run.releases)["releases"]}


@given(st.lists(st.integers(1, 60)))
def test_numbers_are_a_set_and_are_read_back(given_: list[int]) -> None:
    numbers = Numbers()
    for number in given_:
        numbers.add(number)
    expected = sorted(set(given_))
    assert [n for first, last in numbers.runs for n in range(first, last + 1)] == expected
    assert numbers.count == len(expected)
    if expected:
        assert Numbers.of(str(numbers)) == numbers
        assert (numbers.first, numbers.last) == (expected[0], expected[-1])


def test_a_run_lists_what_left_the_sites(kit: Any, table: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    kit.run(kit.tiny(table, train={"evaluate_every": 2}), run.path)
    value = read_json(run.releases)
    assert value["version"] == 1 and value["only_sums"] is True
    found = entries(run)
    assert list(found) == [
        "look", "values", "ranks", "prepare", "moments", "train", "audit", "recall",
    ]  # fmt: skip
    train = found["train"]
    # Rounds are one entry, and what is sent in some rounds only says in which.
    assert (train["first"], train["last"], train["count"]) == (1, 4, 4)
    assert train["to"] == "the server" and train["mechanisms"] == []
    names = ["site-00", "site-01", "site-02"]
    assert train["sites"] == [{"numbers": "1-4", "count": 4, "names": names}]
    arrays = {array["name"]: array for array in train["arrays"]}
    assert arrays["critic"]["numbers"] == "1-4" and arrays["slopes"]["numbers"] == "2, 4"
    assert {array["form"] for array in arrays.values()} == {"sum"}
    critic = read_json(run.summary)["parameters"]["critic"]
    assert arrays["critic"]["shape"] == [critic]


def test_what_is_kept_apart_by_site_is_no_sum(kit: Any, table: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    kit.run(kit.tiny(table, strategy="md_gan"), run.path)
    assert read_json(run.releases)["only_sums"] is False
    arrays = {array["name"]: array for array in entries(run)["train"]["arrays"]}
    assert arrays["critic"]["form"] == "per site" and arrays["weight"]["form"] == "sum"
    kept = {name for name, array in arrays.items() if array["kept"]}
    assert kept == {"critic_first", "critic_second", "seen"}


def test_only_sites_that_took_part_are_listed(kit: Any, table: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    kit.run(kit.tiny(table, federation={"sites_per_round": 2}), run.path)
    by_site = entries(run)["train"]["sites"]
    sent = sum(part["count"] * len(part["names"]) for part in by_site)
    assert sent == sum(row["sites"] for row in run.read_metrics()) == 2 * 4


@pytest.mark.parametrize(
    "rounds", [*(pytest.param(n, marks=pytest.mark.nightly) for n in (0, 1)), 3]
)
def test_a_resumed_run_lists_the_same(kit: Any, table: Path, tmp_path: Path, rounds: int) -> None:
    settings = kit.tiny(
        table, data={"clusters": 2}, train={"evaluate_every": 3}, federation={"sites_per_round": 2}
    )
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    kit.run(settings, whole.path)
    with pytest.raises(Interrupted):
        kit.run(settings, parts.path, stop=kit.stop_after(rounds))
    if rounds:
        assert entries(parts)["train"]["last"] == rounds
    if rounds == 3:
        # As a kill after the checkpoint of round 2 leaves it: round 3 is asked for again.
        parts.checkpoints()[-1].unlink()
    kit.run(settings, parts.path, resume=True)
    assert parts.releases.read_bytes() == whole.releases.read_bytes()
    assert entries(whole)["cluster"]["count"] > 1


def test_a_resume_without_the_record_is_refused(kit: Any, table: Path, tmp_path: Path) -> None:
    settings, run = kit.tiny(table), RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        kit.run(settings, run.path, stop=kit.stop_after(2))
    text = run.releases.read_text()
    for other, expected in (
        ('{"version": 2}', "is no record of releases of version 1"),
        ("[]", "is no record of releases of version 1"),
        ('{"version": 1}', "not as a run wrote it"),
        (text.replace('"count": 2', '"count": 3', 1), "'train' does not add up"),
        (text.replace('"numbers": "1-2"', '"numbers": "1, 2"', 1), "how a set of numbers"),
        (text[:-20], "cannot read"),
        (None, "releases.json is missing"),
    ):
        run.releases.unlink()
        if other is not None:
            run.releases.write_text(other)
        with pytest.raises(StateError, match=expected):
            kit.run(settings, run.path, resume=True)
        run.releases.write_text(text)


def test_a_run_that_fails_has_written_down_what_came(kit: Any, table: Path, tmp_path: Path) -> None:
    class Failing(InProcess):
        def __call__(self, request: Request) -> SiteSums:
            sums = super().__call__(request)
            if getattr(request.order, "round", 0) == 3:
                raise ExchangeError("site 'site-01': gone")
            return sums

    settings, run = kit.tiny(table), RunFolder(tmp_path / "run")
    run.create(settings)
    stage = create_simulated_sites(settings, run.sites)
    with pytest.raises(ExchangeError, match="gone"):
        Session(
            settings=settings, folder=run, exchange=Failing(stage.sites), columns=stage.columns
        )()
    # Round 3 came and was not used: it left the sites all the same.
    assert entries(run)["train"]["last"] == 3 and len(run.read_metrics()) == 2


def test_the_record_is_written_at_checkpoints_and_not_by_round(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = everymode.server.outputs.run_directory.save_releases, []

    def save(path: Path, releases: Releases) -> None:
        written.append(releases.entries)
        real(path, releases)

    monkeypatch.setattr(everymode.server.outputs.run_directory, "save_releases", save)
    kit.run(kit.tiny(table, train={"rounds": 8}, output={"checkpoint_every": 4}), tmp_path / "run")
    # Before the plan, before two checkpoints, at the end.
    assert len(written) == 4


@pytest.fixture
def replies(tmp_path: Path) -> tuple[CountBatchRows, dict[str, SiteSums]]:
    federation = Federation(tmp_path).prepared()
    order = CountBatchRows(federation.train()[0], 3)
    return order, {s.name: federation.ask(order, sites=[s]) for s in federation.sites}


def test_the_record_is_the_same_however_sites_are_dealt_and_replies_come(replies: Any) -> None:
    order, sent = replies
    found = []
    deals: list[list[tuple[str, ...]]] = [
        [("site-0",), ("site-1",), ("site-2",)],
        [("site-2",), ("site-0", "site-1")],
        [("site-1", "site-0", "site-2")],
    ]
    for deal in deals:
        checker = Checker()
        collector = checker.open(order)
        for node, names in enumerate(deal):
            sums = order.layout().zero()
            for name in names:
                sums = sums + sent[name]
            collector.take(Source(names, node), sums)
        found.append(json.dumps(checker.releases.to_json()))
    assert len(set(found)) == 1 and '["site-0", "site-1", "site-2"]' in found[0]


def test_only_replies_that_were_taken_are_counted(replies: Any) -> None:
    order, sent = replies
    checker = Checker()
    for _ in range(2):
        collector = checker.open(order)
        collector.take(Source(("site-0",), 1), sent["site-0"])
        broken = SiteSums(sent["site-1"].layout, np.full(3, -1))
        with pytest.raises(ReplyError):
            collector.take(Source(("site-1",), 2), broken)
    collector.take(Source((), 77), sent["site-2"])
    (entry,) = checker.releases.to_json()
    # A node whose site is not known by name is listed as the node.
    assert entry["sites"] == [
        {"numbers": "2", "count": 1, "names": ["node 77"]},
        {"numbers": "1-2", "count": 2, "names": ["site-0"]},
    ]
    assert (entry["counted_in"], entry["count"]) == ("questions", 2)


def test_mechanisms_are_entries_of_their_own(replies: Any) -> None:
    _, sent = replies
    found = []
    for names in (["site-0", "site-1", "site-2"], ["site-2", "site-1", "site-0"]):
        releases = Releases()
        for name in names:
            stated = ('{"name": "noise", "scale": 2.0}',) if name == "site-1" else ()
            sums = SiteSums(sent[name].layout, sent[name].vector, {}, stated)
            releases.add("measure", 1, [name], sums)
        again = Releases()
        again.load(releases.to_json())
        assert again.to_json() == releases.to_json()
        found.append(releases.to_json())
    # Whoever answers first.
    assert found[0] == found[1]
    assert [entry["mechanisms"] for entry in found[0]] == [[], [{"name": "noise", "scale": 2.0}]]
