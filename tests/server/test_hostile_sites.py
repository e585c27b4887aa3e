"""Rounds with a site that sends whatever it likes: refused, shortened or outvoted, by its name."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from everymode.clients.protocol.messages import Request, Train
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.server.config.settings import Settings
from everymode.server.config.training import build_training
from everymode.server.training.rounds import Rounds
from everymode.server.transport.exchange import ExchangeError, InProcess
from everymode.wgan.errors import NumericalError
from tests.federated import Federation

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RULES = ("median", "trimmed_mean", "geometric_median")
ROBUST = {"hostile_sites": 1, "aggregation": "median"}
LIAR = "site-1"


@dataclass
class Hostile(InProcess):
    """One of the sites multiplies its update of the critic, or adds to one entry of it."""

    factor: float = 1.0
    entry: int = 0

    def _reply(self, request: Request, site: Site, admit: Any) -> SiteSums:
        sums = super()._reply(request, site, admit)
        if site.name != LIAR or not isinstance(request.order, Train):
            return sums
        vector = sums.vector.copy()
        start = 0
        for entry in sums.layout.fields:
            if entry.name == "critic":
                part = slice(start, start + entry.size)
                vector[part] = np.rint(vector[part] * self.factor).astype(np.int64)
                vector[start] += self.entry
            start += entry.size
        per_site = {
            name: own | {"critic": own["critic"] * np.float32(self.factor)}
            for name, own in sums.per_site.items()
            if "critic" in own
        }
        return replace(sums, vector=vector, per_site={**sums.per_site, **per_site})


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    federation = Federation(tmp_path_factory.mktemp("sites"))
    InProcess(federation.sites)(Request(federation.prepare))
    return federation


def rounds(agreed: Federation, exchange: InProcess, number: int = 3, **federation: Any) -> Rounds:
    settings = Settings.model_validate(
        {
            "data": {"path": "x", "sensitive": ["sex"], "target": "income"},
            "train": {
                "rounds": number,
                "critic_steps": 3,
                "generator_steps": 2,
                "batch": 24,
                "site_minimum": 4,
                "generator_batch": 16,
            },
            "federation": federation,
        }
    )
    recipe = build_training(settings)
    return Rounds(recipe, agreed.plan, agreed.name, exchange, (), "cpu")


def trained(agreed: Federation, exchange: InProcess, **federation: Any) -> dict[str, torch.Tensor]:
    run = rounds(agreed, exchange, **federation)
    list(run.run())
    return run.players.tensors()


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return float((one["critic"] - other["critic"]).norm())


def test_a_mean_of_single_updates_is_that_of_their_sum(agreed: Federation) -> None:
    summed = trained(agreed, InProcess(agreed.sites))
    single = trained(agreed, InProcess(agreed.sites), update_bound=1e9)
    # Single updates travel in single precision.
    assert 0 < apart(summed, single) < 1e-3 * float(summed["critic"].norm())


@pytest.mark.parametrize("rule", RULES)
def test_one_hostile_site_moves_a_mean_anywhere_and_these_rules_hardly(
    rule: str, agreed: Federation
) -> None:
    robust = {"aggregation": rule, "hostile_sites": 1}
    honest = trained(agreed, InProcess(agreed.sites), **robust)
    for factor in (-10.0, 1e6):
        hostile = trained(agreed, Hostile(agreed.sites, factor=factor), **robust)
        assert apart(honest, hostile) < 0.5, (rule, factor)
    thrown = rounds(agreed, Hostile(agreed.sites, factor=1e4), number=1)
    list(thrown.run())
    assert apart(thrown.players.tensors(), honest) > 10


def test_a_long_update_is_shortened_and_said(agreed: Federation) -> None:
    run = rounds(agreed, Hostile(agreed.sites, factor=1e4), update_bound=2.0)
    honest = trained(agreed, InProcess(agreed.sites), update_bound=2.0)
    metrics = list(run.run())
    assert apart(run.players.tensors(), honest) < 2
    assert all(m["shortened_updates"].keys() >= {LIAR} for m in metrics)
    assert all(m["shortened_updates"][LIAR] < 1e-2 for m in metrics)
    calm = rounds(agreed, InProcess(agreed.sites), update_bound=50.0)
    assert not any("shortened_updates" in m for m in calm.run())


@pytest.mark.parametrize("aggregation", RULES)
def test_the_order_of_sites_and_a_second_run_change_no_bit(
    aggregation: str, agreed: Federation
) -> None:
    robust = {"aggregation": aggregation, "hostile_sites": 1, "update_bound": 3.0}
    one = trained(agreed, InProcess(agreed.sites), **robust)
    other = trained(agreed, InProcess(agreed.sites[::-1]), **robust)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_entry_that_would_overflow_is_refused_and_the_rest_goes_on(agreed: Federation) -> None:
    """Whichever site comes last: the one that sent too much is named."""
    for sites in (agreed.sites, agreed.sites[::-1]):
        told: list[str] = []
        run = rounds(agreed, Hostile(sites, tell=told.append, skip=True, entry=2**62 - 2**61))
        metrics = list(run.run())
        assert [m["sites"] for m in metrics] == [2, 2, 2]
        assert len(told) == 3 and all(f"site '{LIAR}': 'critic' takes more than" in t for t in told)
        with pytest.raises(ExchangeError, match=f"^site '{LIAR}': 'critic' takes more than"):
            list(rounds(agreed, Hostile(sites, entry=2**61)).run())


def test_a_site_whose_training_fails_is_left_out_where_that_is_allowed(
    agreed: Federation,
) -> None:
    @dataclass
    class Failing(InProcess):
        def _reply(self, request: Request, site: Site, admit: Any) -> SiteSums:
            if site.name == LIAR and isinstance(request.order, Train):
                raise NumericalError("'critic' is not finite")
            return super()._reply(request, site, admit)

    told: list[str] = []
    run = rounds(agreed, Failing(agreed.sites, tell=told.append, skip=True))
    assert [m["sites"] for m in run.run()] == [2, 2, 2]
    assert f"goes on without a site's part: site '{LIAR}': 'critic' is not finite" in told[0]
    with pytest.raises(NumericalError, match="is not finite"):
        list(rounds(agreed, Failing(agreed.sites)).run())
    # Too few are left for the rule: that ends the run, and says what to do.
    with pytest.raises(NumericalError, match=r"2 sites took part, .* needs 3; continue"):
        list(rounds(agreed, Failing(agreed.sites, skip=True), **ROBUST).run())
