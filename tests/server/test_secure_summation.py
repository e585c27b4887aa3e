"""Secure summation: equal to plain sums, over drop-outs, and nothing of one site for the server."""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from everymode.clients.gate.ledger import NAME as LEDGER
from everymode.clients.gate.policy import Policy
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.sums import ReplyError, SiteSums
from everymode.clients.secure.answering import check_range
from everymode.clients.secure.graph import sites_problems
from everymode.clients.secure.masks import add_mask, derive_pair_seed, pair_sign, public_key
from everymode.clients.secure.shamir import combine_shares, split_secret
from everymode.clients.secure.steps import (
    AnswerMasked,
    AttemptShares,
    MakeKeys,
    MakeShares,
    Step,
    Unmask,
)
from everymode.clients.secure.wire import pack_outcomes, unpack_outcomes
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.server.config.compatibility import check_compatibility
from everymode.server.config.settings import Settings
from everymode.server.replies.replies import Checker
from everymode.server.secure.channel import InProcessChannel
from everymode.server.secure.exchange import MaskedExchange, Masking
from everymode.server.transport.exchange import ExchangeError, InProcess
from everymode.wgan.errors import NumericalError, SettingsError
from tests.federated import Federation, people

RUN = "00000000000000aa"
LOOK = DescribeColumns(("age", "job", "sex", "income"))
ONCE = Masking(retries=0)
LOST = ReplyError("the node did not answer")


class Wire:
    """What the server receives, all of it; `change` may drop or alter it, `ask` what it asks."""

    def __init__(self, exchange, change=lambda name, step, outcome: outcome, ask=None) -> None:
        self.exchange, self.change = exchange, change
        self.ask = ask or (lambda name, step: step)
        self.said: list[tuple[str, Step, object]] = []

    def send(self, steps: Mapping[str, Step], request: Request):
        steps = {name: self.ask(name, step) for name, step in steps.items()}
        outcomes = InProcessChannel(self.exchange).send(steps, request)
        for name in outcomes:
            outcomes[name] = self.change(name, steps[name], outcomes[name])
            self.said.append((name, steps[name], outcomes[name]))
        return outcomes

    def part(self, steps: Mapping[str, Step], request: Request) -> None:
        self.send(steps, request)

    def rest(self, seconds: float) -> None:
        pass

    def of(self, kind) -> list[tuple[str, Step, object]]:
        return [entry for entry in self.said if isinstance(entry[1], kind)]


def make_sites(folder, count, **site):
    sites = []
    for k in range(count):
        table = folder / f"site-{k:02d}.csv"
        folder.mkdir(exist_ok=True)
        people(30, k).to_csv(table, index=False)
        sites.append(
            Site(f"site-{k:02d}", table, folder / "work" / f"site-{k:02d}", False, 0, True, **site)
        )
    return sites


def masked(sites, masking=ONCE, **wire):
    channel = Wire(InProcess(sites), **wire)
    names = tuple(site.name for site in sites)
    return MaskedExchange(names, channel, Checker(), masking)


def look(exchange, **request):
    return exchange(Request(LOOK, run=RUN, **request))


def plain(sites):
    return InProcess(sites)(Request(LOOK, run="00000000000000bb"))


def dropping(kind, *names):
    """Loses the replies of sites to one kind of step, once."""
    left = set(names)

    def change(name, step, outcome):
        if isinstance(step, kind) and name in left:
            left.discard(name)
            return LOST
        return outcome

    return change


@pytest.mark.parametrize("count", [3, 25])
def test_the_sum_is_that_of_plain_answers_bit_for_bit(tmp_path, count):
    sites = make_sites(tmp_path, count)
    exchange = masked(sites)
    total = look(exchange)
    assert (total.vector == plain(sites).vector).all()
    keys = next(step for _, step, _ in exchange.channel.of(MakeShares))
    around = keys.site_list.neighbourhood("any")
    assert {len(others) for others in around.values()} == {2 if count == 3 else 20}
    assert all(name in around[other] for name in around for other in around[name])


def test_nothing_of_a_site_can_be_read_without_the_others(tmp_path):
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites, Masking(retries=1), change=dropping(AnswerMasked, "site-03"))
    look(exchange)
    wire = exchange.channel
    own = {site.name: plain([site]).vector for site in sites}
    sent = [(n, o.vector) for n, _, o in wire.of(AnswerMasked) if isinstance(o, SiteSums)]
    assert len(sent) == 7
    for name, vector in sent:
        # Mostly zeros and small counts in the clear; under a mask every byte is as likely.
        assert (vector == own[name]).mean() < 1e-3
        counts = np.bincount(vector.view(np.uint8), minlength=256)
        expected = len(vector) * 8 / 256
        chi = float(((counts - expected) ** 2 / expected).sum())
        assert chi < 255 + 6 * np.sqrt(2 * 255)
    first, second = [v for n, v in sent if n == "site-00"]
    # Between two attempts all of the mask changes: the same answer, and no entry alike.
    assert (first == second).mean() < 1e-3
    # All else that came is text; neither names of categories nor counts are in it.
    said = [json.dumps(str(o)) for _, _, o in wire.said if not isinstance(o, SiteSums)]
    assert not any(word in text for text in said for word in ("clerk", "smith", "income"))


def test_opening_all_masks_but_one_pair_shows_nothing(tmp_path):
    """What a server with one colluding neighbour has: own mask opened, all pairs but one."""
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites)
    look(exchange)
    wire = exchange.channel
    shares = {n: o for n, _, o in wire.of(MakeShares) if isinstance(o, AttemptShares)}
    assert len(shares) == 4
    opened = {n: o.shares for n, _, o in wire.of(Unmask)}
    # Each holder opened one share of each site's own mask, and none of a mask key.
    assert all(set(of) == set(shares) for of in opened.values())
    held = [bytes.fromhex(opened[name]["site-00"]) for name in sorted(opened)]
    seed = combine_shares(dict(enumerate(held[:3], 1)))
    (vector,) = [o.vector for n, _, o in wire.of(AnswerMasked) if n == "site-00"]
    left = vector.copy()
    add_mask(left, seed, -1)
    own = plain(sites[:1]).vector
    assert (left == own).mean() < 1e-3


@pytest.mark.parametrize("kind", [MakeKeys, MakeShares, AnswerMasked, Unmask])
def test_a_site_that_is_lost_at_any_stage_is_asked_again(tmp_path, kind):
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites, Masking(retries=1), change=dropping(kind, "site-02"))
    assert (look(exchange).vector == plain(sites).vector).all()
    # Lost while masks are opened, it is not missed: the others' shares do.
    attempts = {step.attempt for _, step, _ in exchange.channel.of(AnswerMasked)}
    assert len(attempts) == (2 if kind is AnswerMasked else 1)
    look(exchange)


def test_one_more_is_lost_than_the_threshold_allows_and_masks_are_fresh(tmp_path):
    sites = make_sites(tmp_path, 4)
    change = dropping(Unmask, "site-02", "site-03")
    with pytest.raises(
        ExchangeError, match=r"2 shares .* takes 3 .*secure.threshold.* fresh masks"
    ):
        look(masked(sites, change=change))
    exchange = masked(sites, Masking(retries=1), change=dropping(Unmask, "site-02", "site-03"))
    assert (look(exchange).vector == plain(sites).vector).all()
    answers = exchange.channel.of(AnswerMasked)
    assert len({step.attempt for _, step, _ in answers}) == 2
    assert len({step.session for _, step, _ in answers}) == 1


def test_no_mask_is_used_twice(tmp_path):
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites, Masking(retries=2), change=dropping(AnswerMasked, "site-00"))
    for _ in range(3):
        look(exchange)
    keys = [mask.mask for _, step, _ in exchange.channel.of(AnswerMasked) for mask in step.masks]
    assert len(set(keys)) * 3 == len(keys) == 4 * 4 * 3
    vectors = [o.vector for n, _, o in exchange.channel.of(AnswerMasked) if n == "site-01"]
    own = plain(sites[1:2]).vector
    masks = [vector - own for vector in vectors]
    for k, mask in enumerate(masks):
        assert all((mask == other).mean() < 1e-3 for other in masks[:k])
    # A question that comes again is one line in the site's ledger.
    assert (sites[1].workspace / LEDGER).read_text().count(f"{RUN} look ") == 1


def ask_again(exchange, kind, change=lambda step: step):
    """Sends the first step of a kind once more."""
    name, step, _ = exchange.channel.of(kind)[0]
    outcome = InProcessChannel(exchange.channel.exchange).send(
        {name: change(step)}, Request(LOOK, run=RUN, sites=(name,))
    )[name]
    assert isinstance(outcome, RefusedError), outcome
    return str(outcome)


def test_masks_that_were_used_or_opened_are_refused(tmp_path):
    exchange = masked(make_sites(tmp_path, 4))
    look(exchange)
    assert "used once" in ask_again(exchange, AnswerMasked)
    assert "used once" in ask_again(exchange, Unmask)
    lost = masked(make_sites(tmp_path / "lost", 4), change=dropping(AnswerMasked, "site-03"))
    with pytest.raises(ExchangeError):
        look(lost)
    assert "have been used" in ask_again(lost, AnswerMasked)
    assert "prepared already" in ask_again(lost, MakeShares)


def test_a_server_that_opens_too_much_is_refused(tmp_path):
    sites = make_sites(tmp_path, 5)
    exchange = masked(sites, Masking(retries=0), change=dropping(AnswerMasked, "site-04"))
    with pytest.raises(ExchangeError):
        look(exchange)
    wire = exchange.channel
    _, step, _ = wire.of(AnswerMasked)[0]
    shares = {n: o for n, _, o in wire.of(MakeShares)}

    def opened(survivors, sealed):
        unmask = Unmask(step.session, step.attempt, survivors, sealed)
        request = Request(LOOK, run=RUN, sites=("site-00",))
        return str(InProcessChannel(wire.exchange).send({"site-00": unmask}, request)["site-00"])

    all_but_one = ("site-00", "site-01", "site-02", "site-03")
    of_own = {n: shares[n].of_own["site-00"] for n in all_but_one}
    assert "3 sites at least" in opened(("site-00", "site-01"), of_own)
    assert "takes 4" in opened(("site-00", "site-01", "site-02"), of_own)
    assert "do not include this one" in opened(("site-01", "site-02", "site-03"), of_own)
    assert "others than were asked" in opened((*all_but_one, "site-09"), of_own)
    # A share of the key of a site whose answer came, in place of that of its own mask.
    of_key = {n: shares[n].of_key["site-00"] for n in all_but_one}
    assert "not one of its own mask" in opened(all_but_one, of_key)
    assert "Revealed" in opened(all_but_one, of_own)
    assert "opened already" in opened(all_but_one, of_own)


def test_the_sum_of_one_question_is_opened_over_the_same_sites_only(tmp_path):
    """Else the difference of two sums would be one site's part."""
    sites = make_sites(tmp_path, 5)
    exchange = masked(sites)
    look(exchange)
    with pytest.raises(ExchangeError, match="difference of the two would be"):
        look(exchange, sites=tuple(site.name for site in sites[:4]))


@pytest.mark.parametrize(
    ("kind", "field", "match"),
    [
        (MakeKeys, "channel", "not signed by it"),
        (MakeKeys, "signature", "not signed by it"),
        (MakeShares, "mask", "not signed by it"),
        (MakeShares, "commitment", "not signed by it"),
    ],
)
def test_keys_that_a_server_changes_are_refused(tmp_path, kind, field, match):
    def change(name, step, outcome):
        if isinstance(step, kind) and name == "site-01":
            text = getattr(outcome, field)
            return replace(outcome, **{field: text[:-2] + f"{int(text[-2:], 16) ^ 1:02x}"})
        return outcome

    with pytest.raises(RefusedError, match=match):
        look(masked(make_sites(tmp_path, 3), change=change))


def test_a_share_of_another_attempt_is_refused(tmp_path):
    kept = {}

    def ask(name, step):
        if isinstance(step, Unmask):
            kept.setdefault(name, step.shares)
            return replace(step, shares=kept[name])
        return step

    exchange = masked(make_sites(tmp_path, 3), ask=ask)
    look(exchange)
    with pytest.raises(ExchangeError, match="another attempt and came again"):
        look(exchange)


@pytest.mark.parametrize("length", [0, 1, 65, 67])
def test_shares_of_another_length_are_refused(length):
    with pytest.raises(ValueError, match="expected 66"):
        combine_shares({1: bytes(66), 2: bytes(length)})


def test_masked_sums_of_another_length_are_refused(tmp_path):
    class Message:
        content = pack_outcomes({"a": SiteSums(LOOK.layout(), np.zeros(3, np.int64))})

    step = AnswerMasked("0" * 16, "00000001", ("a",), ())
    with pytest.raises(ReplyError, match="agreed on was int64"):
        unpack_outcomes(Message, LOOK.layout(), {"a": step}, ["a"])


@pytest.mark.parametrize("count", [1, 2])
def test_two_sites_are_refused_with_the_reason(tmp_path, count):
    with pytest.raises(SettingsError, match=r"too few.*other's part from the sum and its own"):
        masked(make_sites(tmp_path, count))
    exchange = masked(make_sites(tmp_path, 3))
    with pytest.raises(SettingsError, match="too few"):
        look(exchange, sites=("site-00", "site-01"))


@pytest.mark.parametrize(
    ("sites", "threshold", "neighbours", "match"),
    [
        (5, 6, 0, "secure.threshold = 6.*shared among 5"),
        (5, 2, 0, "not more than half of the 5"),
        (5, 0, 5, "secure.neighbours = 5.*4 others"),
        (5, 0, 1, "write 2 at least"),
        (25, 22, 0, "shared among 21"),
    ],
)
def test_thresholds_and_neighbours_that_cannot_be(sites, threshold, neighbours, match):
    problems = sites_problems(sites, threshold, neighbours)
    assert any(re.search(match, problem) for problem in problems)


def settings(**sections):
    data = {"path": "a.csv"}
    base = {"data": data, "federation": {"sums_only": True}, "secure": {"summation": "masked"}}
    return Settings.model_validate({**base, **sections})


def test_a_configuration_that_masks_cannot_ask_for_more_than_sums():
    assert check_compatibility(settings()) == []
    (problem,) = check_compatibility(settings(federation={}))
    assert "federation.sums_only = true" in problem
    (problem,) = check_compatibility(settings(split={"sites": 2}))
    assert "too few" in problem
    drawn = {"sums_only": True, "sites_per_round": 3}
    (problem,) = check_compatibility(settings(federation=drawn, split={"sites": 10}))
    assert "takes 7 sites" in problem
    (problem,) = check_compatibility(settings(federation=drawn, split={"sites": 30}))
    assert "secure.neighbours = 29" in problem


def test_a_policy_that_requires_masks_answers_masked_only(tmp_path):
    sites = make_sites(tmp_path, 3, policy=Policy(masking=True))
    with pytest.raises(RefusedError, match=r"masked sums only.*secure\.summation = 'masked'"):
        plain(sites)
    assert int(look(masked(sites))["rows"][0]) == 90


def test_a_sum_that_could_wrap_around_is_refused_at_the_site():
    layout = LOOK.layout()
    vector = np.zeros(layout.size, np.int64)
    vector[0] = (2**63 - 1) // 3
    check_range(layout, vector, 3)
    vector[0] += 1
    with pytest.raises(NumericalError, match="'rows' exceeds"):
        check_range(layout, vector, 3)


def test_masks_of_a_pair_cancel():
    keys = [bytes([k]) * 32 for k in (1, 2)]
    there = derive_pair_seed(keys[0], public_key(keys[1]), "s", "1", {"a", "b"})
    back = derive_pair_seed(keys[1], public_key(keys[0]), "s", "1", {"a", "b"})
    other = derive_pair_seed(keys[0], public_key(keys[1]), "s", "2", {"a", "b"})
    assert there == back != other
    vector = np.arange(70_000)
    add_mask(vector, there, pair_sign("a", "b"))
    assert (vector == np.arange(70_000)).mean() < 1e-3
    add_mask(vector, back, pair_sign("b", "a"))
    assert (vector == np.arange(70_000)).all()


def test_fewer_shares_than_the_threshold_say_nothing():
    secret = bytes(range(32))
    shares = split_secret(secret, 5, 3)
    for chosen in ((1, 2, 3), (5, 3, 1)):
        assert combine_shares({x: shares[x - 1] for x in chosen}) == secret
    with contextlib.suppress(ValueError):
        assert combine_shares({1: shares[0], 2: shares[1]}) != secret


def train(federation, exchange):
    federation.ask(federation.prepare)
    order, tensors = federation.train()
    total = exchange(Request(order, tensors, run=RUN))
    return total, Request(order, tensors, run=RUN)


def test_training_goes_on_without_a_site_that_is_lost(tmp_path):
    """With `train.on_failure = 'skip'`; masks in common with it are opened, its own is not."""
    federation = Federation(tmp_path, count=4, simulated=True)
    change, told = dropping(AnswerMasked, "site-3"), []
    exchange = masked(federation.sites, Masking(retries=0, skip=True), change=change)
    exchange.tell = told.append
    total, request = train(federation, exchange)
    left = federation.sites[:3]
    assert (total.vector == sum(handle_alone(request, site) for site in left)).all()
    assert len(told) == 1 and "goes on without a site's part: site 'site-3'" in told[0]
    opened = exchange.channel.of(Unmask)
    assert [name for name, _, _ in opened] == ["site-0", "site-1", "site-2"]
    # The late answer stays hidden: nobody opened a share of its own mask.
    shares = next(o for n, _, o in exchange.channel.of(MakeShares) if n == "site-3")
    assert all(step.shares["site-3"] == shares.of_key[n] for n, step, _ in opened)


def handle_alone(request, site):
    request = replace(request, sites=(site.name,))
    return handle_at_site(request.order, request.tensors, site).vector


def test_training_ends_where_more_are_lost_than_a_sum_takes(tmp_path):
    federation = Federation(tmp_path, count=4, simulated=True)
    change = dropping(AnswerMasked, "site-2", "site-3")
    exchange = masked(federation.sites, Masking(retries=0, skip=True), change=change)
    with pytest.raises(ExchangeError, match="answers of 2 of 4 sites came, too few"):
        train(federation, exchange)
