"""What a site keeps of secure summation: as long as it is needed, and no longer."""

import os
import time
from dataclasses import replace

import pytest

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.secure import answering
from everymode.clients.secure.state import ABANDONED, RESTED
from everymode.clients.secure.steps import AnswerMasked, EndSession, MakeKeys, Unmask
from everymode.server.secure.channel import InProcessChannel
from everymode.server.transport.exchange import ExchangeError, InProcess
from tests.server.test_secure_summation import (
    LOOK,
    LOST,
    RUN,
    dropping,
    look,
    make_sites,
    masked,
    plain,
)

OTHER = "c" * 16


def sessions(site) -> list[str]:
    return sorted(p.name for p in (site.workspace / "secure").iterdir() if p.is_dir())


def rest(site, name: str, seconds: float) -> None:
    """Lets a session's folder look as if nobody had asked for so long."""
    then = time.time() - seconds
    os.utime(site.workspace / "secure" / name, (then, then))


def restarted(site):
    """The site as a new process finds it: what is on its disk, and nothing else."""
    return replace(site)


def begin(site, session: str, run: str = RUN) -> None:
    answering.take_step(MakeKeys(run, session, 3), site)


def test_a_session_that_another_of_its_run_supersedes_is_forgotten_once_it_rests(tmp_path):
    (site,) = make_sites(tmp_path, 1)
    begin(site, "1" * 16)
    # A second server with the same configuration, or the same one a moment ago: both may go on.
    begin(site, "2" * 16)
    assert sessions(site) == ["1" * 16, "2" * 16]
    rest(site, "1" * 16, RESTED + 1)
    begin(site, "3" * 16)
    assert sessions(site) == ["2" * 16, "3" * 16]


def test_a_session_of_another_run_is_forgotten_after_a_week(tmp_path):
    (site,) = make_sites(tmp_path, 1)
    begin(site, "1" * 16, OTHER)
    rest(site, "1" * 16, ABANDONED - 60)
    begin(site, "2" * 16)
    assert sessions(site) == ["1" * 16, "2" * 16]
    rest(site, "1" * 16, ABANDONED + 60)
    begin(site, "3" * 16)
    assert sessions(site) == ["2" * 16, "3" * 16]


def test_every_question_keeps_a_session_from_resting(tmp_path):
    sites = make_sites(tmp_path, 3)
    exchange = masked(sites)
    look(exchange)
    (name,) = sessions(sites[0])
    for site in sites:
        rest(site, name, RESTED + 1)
    look(exchange)
    begin(sites[0], "1" * 16)
    assert sessions(sites[0]) == sorted([name, "1" * 16])
    # What is not a session's is left alone.
    (sites[0].workspace / "secure" / "notes").mkdir()
    rest(sites[0], "notes", ABANDONED + 1)
    begin(sites[0], "2" * 16)
    assert "notes" in sessions(sites[0])


def test_the_end_of_a_run_removes_its_secrets_and_no_other_runs(tmp_path):
    sites = make_sites(tmp_path, 4)
    exchange, other = masked(sites), masked(sites)
    look(exchange)
    other(Request(LOOK, run=OTHER))
    exchange.close()
    for site in sites:
        assert len(sessions(site)) == 1
        # Over which sites a sum was opened is remembered for good.
        assert (site.workspace / "secure" / "survivors.txt").stat().st_size > 0
    assert (other(Request(LOOK, run=OTHER)).vector == plain(sites).vector).all()


def test_a_site_that_does_not_hear_of_the_end_holds_nobody_up(tmp_path):
    sites = make_sites(tmp_path, 3)
    exchange = masked(sites, change=dropping(EndSession, "site-01"))
    look(exchange)
    exchange.close()
    outcomes = [outcome for _, _, outcome in exchange.channel.of(EndSession)]
    assert len(outcomes) == 3 and outcomes[1] is LOST


def test_a_session_is_begun_once(tmp_path):
    (site,) = make_sites(tmp_path, 1)
    begin(site, "1" * 16)
    with pytest.raises(RefusedError, match="begun already"):
        begin(restarted(site), "1" * 16)


def test_a_mask_that_was_used_is_refused_after_a_restart(tmp_path):
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites, change=dropping(AnswerMasked, "site-03"))
    with pytest.raises(ExchangeError):
        look(exchange)
    name, step, _ = exchange.channel.of(AnswerMasked)[0]
    again = InProcess([restarted(site) for site in sites])
    request = Request(LOOK, run=RUN, sites=(name,))
    refused = InProcessChannel(again).send({name: step}, request)[name]
    assert isinstance(refused, RefusedError) and "have been used" in str(refused)


def test_a_mask_counts_as_used_before_the_answer_leaves(tmp_path, monkeypatch):
    """A site that is killed as it masks cannot be had to mask anything else alike."""
    sites = make_sites(tmp_path, 4)
    steps = {}

    def ask(name, step):
        if isinstance(step, AnswerMasked):
            steps[name] = step
        return step

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(answering, "add_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        look(masked(sites, ask=ask))
    monkeypatch.undo()
    again = InProcess([restarted(site) for site in sites])
    request = Request(LOOK, run=RUN, sites=("site-00",))
    refused = InProcessChannel(again).send({"site-00": steps["site-00"]}, request)["site-00"]
    assert isinstance(refused, RefusedError) and "have been used" in str(refused)


def test_what_was_masked_in_a_session_that_is_forgotten_stays_masked(tmp_path):
    sites = make_sites(tmp_path, 4)
    exchange = masked(sites, change=dropping(AnswerMasked, "site-03"))
    with pytest.raises(ExchangeError):
        look(exchange)
    name, step, _ = exchange.channel.of(AnswerMasked)[0]
    exchange.close()
    request = Request(LOOK, run=RUN, sites=(name,))
    ask = InProcessChannel(InProcess(sites)).send
    for late in (step, Unmask(step.session, step.attempt, ("site-00", "site-01", "site-02"), {})):
        assert "was never begun at this site" in str(ask({name: late}, request)[name])
    # Nor by a session that takes its name: its secrets are others.
    begin(sites[0], step.session)
    assert "never made" in str(ask({name: step}, request)[name])
