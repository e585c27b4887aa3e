"""A site's policy: how it is read, and what it refuses at the gate."""

import contextlib
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from flwr.app import Context, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from everymode.clients.app import build_sites
from everymode.clients.gate.log import NAME
from everymode.clients.gate.permission import (
    approve_plan,
    check_permission,
    describe_selection,
    waiting_plans,
)
from everymode.clients.gate.policy import DEFAULT, Policy, load_policy, parse_policy
from everymode.clients.protocol.announcement import (
    Announcement,
    announcement_to_json,
    parse_announcement,
)
from everymode.clients.protocol.messages import Request, Task
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns, HeldOut
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.tasks.dispatch import handle
from everymode.wgan.errors import SettingsError
from tests.federated import RUN, Federation

ROOT = Path(__file__).resolve().parents[2]

VALUES: dict[str, Any] = {
    "questions": st.lists(st.sampled_from(["look", "train", "audit"]), max_size=3),
    "columns": st.lists(st.text(max_size=5), max_size=3),
    "min_rows": st.integers(0, 10**9),
    "releases": st.integers(0, 10**9),
    "masking": st.booleans(),
    "plans": st.sampled_from(["any", "ask", ["0123456789abcdef"]]),
    "hours": st.lists(st.sampled_from(["20:00-06:00", "08:00-09:30"]), max_size=2),
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_an_error_of_ours(content: bytes) -> None:
    try:
        assert isinstance(parse_policy(content, "p"), Policy)
    except SettingsError as error:
        assert len(error.problems) == 1


@given(st.dictionaries(st.sampled_from([*Policy.model_fields, "other"]), JUNK, max_size=5))
def test_any_values_are_a_policy_or_an_error_that_names_a_key(values: dict[str, Any]) -> None:
    try:
        content = tomli_w.dumps(values).encode()
    except (TypeError, ValueError):
        return
    try:
        hash(parse_policy(content, "p"))
    except SettingsError as error:
        assert any(key in str(error) for key in values) or "not valid TOML" in str(error)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_policy_reads_back_as_it_was_written(values: dict[str, Any]) -> None:
    found = parse_policy(tomli_w.dumps(values).encode(), "p")
    assert {key: found.model_dump(mode="json")[key] for key in values} == values


def test_one_error_lists_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('colums = ["a"]\nmin_rows = -1\nhours = ["8-9"]\nplans = ["x"]\nnoise = 1\n')
    with pytest.raises(SettingsError) as found:
        load_policy(path)
    assert len(found.value.problems) == 1
    for part in ("policy.toml", "unknown key colums; did you mean columns?", "min_rows", "hours"):
        assert part in str(found.value)
    assert "plans" in str(found.value) and "noise" in str(found.value)
    with pytest.raises(SettingsError, match="no such policy file"):
        load_policy(tmp_path / "none.toml")


def test_without_a_file_all_is_answered() -> None:
    assert parse_policy(b"", "p") == DEFAULT
    assert DEFAULT.open_at(datetime(2026, 1, 1, 3))


@given(st.integers(0, 23), st.integers(0, 59))
def test_hours_over_midnight_are_the_rest_of_the_day(hour: int, minute: int) -> None:
    now = datetime(2026, 1, 1, hour, minute)
    night, day = (Policy(hours=(span,)).open_at(now) for span in ("20:00-06:30", "06:30-20:00"))
    assert night != day


def ruled(federation: Federation, **keys: Any) -> list[Any]:
    policy = Policy.model_validate(keys)
    return [replace(site, policy=policy) for site in federation.sites[:1]]


def refusal(order: Task, sites: list[Any], run: str = RUN) -> str:
    with pytest.raises(RefusedError) as found:
        handle(Request(order, run=run), sites)
    return str(found.value)


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"questions": ("look", "values")}, 2, "policy questions: 'ranks': this site does not"),
    ({"questions": ("look", "values")}, 0, "does not answer 'train', which every run asks"),
    ({"columns": ("age", "sex", "income")}, 0, "policy columns: 'look': columns 'job' are not"),
    ({"columns": ("age", "sex", "income")}, 2, "policy columns: 'ranks': columns 'job'"),
    ({"sensitive": ("job",)}, 2, "policy sensitive: 'ranks': columns 'sex' are not allowed"),
    ({"masking": True}, 0, "policy masking: 'look': .* this version of EveryMode masks none"),
    ({"noise": True}, 1, "policy noise: 'values': .* this version of EveryMode adds none"),
]


@pytest.mark.parametrize(("keys", "number", "text"), REFUSALS)
def test_a_refusal_names_the_site_the_key_and_the_question(
    asked: Federation, keys: dict[str, Any], number: int, text: str
) -> None:
    found = refusal(asked.exchange.requests[number].order, ruled(asked, **keys))
    assert re.search(f"^site 'site-0' refuses: .*{text}", found, re.MULTILINE) or re.search(
        text, found
    )
    assert found.startswith("site 'site-0' refuses: policy ")


def test_nothing_is_computed_or_written_down_of_what_is_refused(asked: Federation) -> None:
    (site,) = ruled(asked, columns=("age",))
    before = sorted(p.name for p in site.workspace.rglob("*")), (site.workspace / NAME).stat()
    refusal(asked.exchange.requests[0].order, [site], run="00000000000000bb")
    after = sorted(p.name for p in site.workspace.rglob("*")), (site.workspace / NAME).stat()
    assert before[0] == after[0] and before[1].st_size == after[1].st_size


def test_a_new_plan_waits_until_it_is_approved(asked: Federation) -> None:
    sites = ruled(asked, plans="ask")
    workspace = sites[0].workspace
    assert f"plan {asked.name} waits" in refusal(asked.prepare, sites)
    assert waiting_plans(workspace) == [asked.name]
    assert approve_plan(workspace, asked.name) and not approve_plan(workspace, asked.name)
    assert waiting_plans(workspace) == []
    handle(Request(asked.prepare, run=RUN), sites)
    # A plan that is approved lets no other pass.
    assert "waits" in refusal(replace(asked.prepare, seed=1), sites)
    with pytest.raises(RefusedError, match="not 16 hexadecimal digits"):
        approve_plan(workspace, "../x")


def test_plans_that_are_listed_are_answered_and_no_others(asked: Federation) -> None:
    handle(Request(asked.prepare, run=RUN), ruled(asked, plans=(asked.name,)))
    other = replace(asked.prepare, seed=1)
    assert f"plan {fingerprint(other)} is not one" in refusal(
        other, ruled(asked, plans=(asked.name,))
    )


def test_the_number_of_releases_is_limited_in_a_run_and_in_all(asked: Federation) -> None:
    # Three answers have left in this run: look, values, ranks.
    assert "policy releases_per_run: 'prepare': 3 answers have left this site in this run" in (
        refusal(asked.prepare, ruled(asked, releases_per_run=3))
    )
    look = asked.exchange.requests[0].order
    other = "00000000000000bb"
    assert "policy releases: 'look'" in refusal(look, ruled(asked, releases=3), other)
    handle(Request(look, run=other), ruled(asked, releases=4, releases_per_run=3))


ANNOUNCED: list[tuple[dict[str, Any], Announcement, str]] = [
    (
        {"questions": ("look", "values", "ranks", "prepare", "train", "audit", "recall")},
        Announcement(("look", "leaves")),
        r"policy questions: 'look': .*'leaves'.* \(model.trees, model.critic_trees\)",
    ),
    (
        {"questions": ("look", "values", "ranks", "prepare", "train")},
        Announcement(("look", "recall")),
        "does not answer 'recall', which every run asks",
    ),
    ({"sensitive": ("job",)}, Announcement(("look",), ("sex",)), r"'sex'.*data\.sensitive"),
    ({"min_rows": 9}, Announcement(("look",), minimum=8), "policy min_rows.*train.site_minimum"),
    (
        {"releases": 20},
        Announcement(("look",), releases=18),
        r"policy releases: 'look': .* up to 18 answers \(train.rounds\), and 17 of 20 may",
    ),
]


@pytest.mark.parametrize(("keys", "announced", "text"), ANNOUNCED)
def test_what_a_run_announces_is_refused_at_its_first_question_with_both_keys(
    asked: Federation, keys: dict[str, Any], announced: Announcement, text: str
) -> None:
    sites = ruled(asked, **keys)
    sites = [replace(site, floor=site.policy.min_rows) for site in sites]
    look = asked.exchange.requests[0].order
    with pytest.raises(RefusedError, match=text):
        handle(Request(look, run="00000000000000bb", announced=announced), sites)
    # Without the announcement it is answered, and refused later: the control.
    handle(Request(look, run="00000000000000bb"), sites)


@given(st.text(max_size=80) | st.from_regex(r'\{"tasks": .{0,60}\}'))
def test_an_announcement_that_is_none_is_refused(text: str) -> None:
    with contextlib.suppress(RefusedError):
        parse_announcement(text)


def test_an_announcement_beyond_all_limits_is_refused() -> None:
    for change in ({"releases": -1}, {"minimum": 2**60}, {"tasks": ("x",) * 99}):
        told = announcement_to_json(replace(Announcement(("look",)), **change))
        with pytest.raises(RefusedError, match="beyond all limits"):
            parse_announcement(told)


def test_hours_are_those_of_the_clock(asked: Federation) -> None:
    (site,) = ruled(asked, hours=("20:00-06:00",))
    order = asked.exchange.requests[0].order
    check_permission(order, None, RUN, site, datetime(2026, 1, 1, 23))
    with pytest.raises(RefusedError, match="policy hours: 'look': this site answers at 20:00-06"):
        check_permission(order, None, RUN, site, datetime(2026, 1, 1, 12))


def test_two_selections_of_rows_of_one_table_are_not_both_answered(asked: Federation) -> None:
    """Shares held out that differ by one row would give that row away, in runs of their own."""
    columns = ("age", "job", "sex", "income")
    first, second = (
        DescribeColumns(columns, missing=("",), held_out=HeldOut(share, 7)) for share in (0.1, 0.11)
    )
    sites = ruled(asked, selections=1)
    handle(Request(first, run="00000000000000b1"), sites)
    # The same selection in another run is answered; without the key, so is the other (a control).
    handle(Request(first, run="00000000000000b2"), sites)
    assert "policy selections: 'look': other rows held out" in (
        refusal(second, sites, "00000000000000b3")
    )
    handle(Request(second, run="00000000000000b4"), ruled(asked))
    # Another state of the table is another table.
    table = sites[0].table
    table.write_text(table.read_text() + "40,clerk,f,low\n")
    handle(Request(second, run="00000000000000b5"), sites)


def test_plans_that_leave_out_other_cells_are_other_selections(asked: Federation) -> None:
    conditions = dict(asked.prepare.conditions)
    counts = [list(row) for row in conditions["counts"]]
    counts[0][0] = 0
    other = replace(asked.prepare, conditions={**conditions, "counts": counts})
    one, two = describe_selection(asked.prepare), describe_selection(other)
    assert one[0] == two[0] and one[1] != two[1]


def test_a_node_reads_its_policy_and_the_larger_floor_holds(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("min_rows = 10\n")
    node: dict[str, Any] = {"data": "a.csv", "workspace": str(tmp_path), "policy": str(path)}
    request = Request(DescribeColumns(("age",)))

    def build(**more: int) -> Any:
        context = Context(0, 0, {**node, **more}, RecordDict(), {})
        return build_sites(context, request, SimulationPaths("", ""))[0]

    assert (build().floor, build(floor=12).floor, build(floor=3).floor) == (10, 12, 10)
    assert build().policy.min_rows == 10
    # It is read again at every question, and a mistake in it lets nothing leave.
    path.write_text("min_row = 10\n")
    with pytest.raises(SettingsError, match="unknown key min_row"):
        build()


def test_the_page_describes_every_key() -> None:
    page = (ROOT / "clients" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (`.*?`) \| (.+) \|$", page, re.MULTILINE)
    assert [row for row in rows if row[0] in Policy.model_fields] == policy_rows()


def policy_rows() -> list[tuple[str, str, str]]:
    """Key, default and description of every key, as the page shows them."""
    found = []
    for key, described in Policy.model_fields.items():
        value = described.default
        shown = {None: "all", (): "[]", True: "true", False: "false"}.get(value, repr(value))
        shown = shown if not isinstance(value, str) else f'"{value}"'
        shown = str(value) if type(value) is int else shown
        found.append((key, f"`{shown}`", str(described.description)))
    return found
