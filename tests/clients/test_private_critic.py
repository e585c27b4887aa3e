"""A site's critic steps under a rule that clips single rows, and Poisson samples of its rows."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from everymode.clients.protocol.messages import EncodeData, Request, Train
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.rows import FixedBatches, PoissonBatches, Rows, Urn
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import computed as serve
from everymode.fairness.weighting.group_weights import group_mass
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.clipped_noised import ClippedNoised
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.gradients import GradientRule, Plain
from everymode.wgan.optimizers import SGD
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RATE = 0.01
RECIPE = Recipe(
    SkipGeneratorSpec((8,), noise=4),
    MLPCriticSpec((8,)),
    generator_optimizer=SGD(RATE),
    critic_optimizer=SGD(RATE),
)


def urn(weights: list[float]) -> Urn:
    own = torch.tensor(weights, dtype=torch.float64)
    return Urn(own.cumsum(0), torch.zeros_like(own))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Prepared:
    """A site of 90 rows that was prepared for a rule."""

    order: EncodeData
    site: Site

    @property
    def plan(self) -> Plan:
        return Plan.of(self.order)

    def update(self, **options: int) -> SiteSums:
        """What a round of critic steps sums up to."""
        players = Players(self.plan.recipe, self.plan.shape, seed=1)
        usual = {"round": 1, "critic_steps": 4, "batch": 30, "minimum": 6}
        order = Train(
            plan=fingerprint(self.order),
            generator_steps=0,
            factor=1.0,
            critic_seen=0,
            generator_seen=0,
            device="cpu",
            sizes=(len(players.generator.vector), len(players.critic.vector)),
            groups=len(self.plan.conditions.groups),
            **usual | options,
        )
        left_out = ("average", "generator_first", "generator_second")
        tensors = {n: t.numpy() for n, t in players.tensors().items() if n not in left_out}
        return serve(Request(order, tensors), [self.site])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepares the site for any rule."""
    folder, rng = tmp_path_factory.mktemp("site"), np.random.default_rng(0)
    site = Site("site-0", folder / "0.csv", folder / "work")
    pd.DataFrame(
        {"x": rng.normal(size=90).round(4), "sex": rng.choice(["f", "m"], 90, p=[0.3, 0.7])}
    ).to_csv(site.table, index=False)
    agreed = agree(InProcess([site]), ("x", "sex"), TableSpec(sensitive=("sex",)))

    def prepare(rule: GradientRule) -> Prepared:
        order = EncodeData(
            agreed.schema.to_json(),
            agreed.conditions.to_json(),
            tuple(group_mass(agreed.conditions.group_counts, "tempered").tolist()),
            replace(RECIPE, gradient_rule=rule).to_json(),
            seed=0,
            matching="none",
        )
        serve(Request(order), [site])
        return Prepared(order, site)

    return prepare


def test_poisson_batches_take_each_row_by_itself_at_its_own_rate() -> None:
    weights = [0.1, 0.0, 0.2, 0.3, 0.4]
    batches = urn(weights).batches(2, "poisson")
    assert isinstance(batches, PoissonBatches)
    np.testing.assert_allclose(batches.rates, [0.2, 0.0, 0.4, 0.6, 0.8], atol=1e-15)
    assert batches.expected == pytest.approx(2.0)
    steps = 4000
    drawn, sizes = batches.draw(steps, seeded(0))
    assert len(sizes) == steps and sum(sizes) == len(drawn)
    taken = torch.zeros(steps, 5)
    for step, part in enumerate(torch.split(drawn, sizes)):
        assert len(part.unique()) == len(part)
        taken[step, part] = 1
    deviation = (batches.rates * (1 - batches.rates) / steps).sqrt()
    assert bool(((taken.mean(0) - batches.rates).abs() <= 4.5 * deviation).all())
    # Independent: covariances of different rows vanish, as they do not at a fixed number of rows.
    covariance = torch.cov(taken.T).fill_diagonal_(0.0)
    assert float(covariance.abs().max()) < 4.5 * 0.25 / steps**0.5


def test_a_row_more_changes_the_rate_of_no_other_at_a_given_share_of_the_site() -> None:
    few, more = urn([0.1, 0.2, 0.3]), urn([0.1, 0.2, 0.3, 0.4])
    one, two = (
        each.batches(1, "poisson").rates * each.weight for each in (few, more)
    )  # rates are count w / p_k
    torch.testing.assert_close(one, two[:3])


def test_a_rate_stays_a_probability_and_the_expected_number_follows() -> None:
    batches = urn([0.9, 0.05, 0.05]).batches(2, "poisson")
    torch.testing.assert_close(batches.rates.float(), torch.tensor([1.0, 0.1, 0.1]))
    assert batches.expected == pytest.approx(1.2)


@pytest.mark.parametrize("steps", [0, 3])
def test_fixed_batches_are_what_the_urn_gives(steps: int) -> None:
    drawer = urn([0.25] * 4)
    batches = drawer.batches(5, "fixed")
    assert isinstance(batches, FixedBatches) and batches.expected is None
    drawn, sizes = batches.draw(steps, seeded(3))
    assert torch.equal(drawn, drawer.draw(5 * steps, seeded(3))) and sizes == [5] * steps


def test_no_steps_of_a_poisson_sample_take_no_rows() -> None:
    drawn, sizes = urn([0.5, 0.5]).batches(1, "poisson").draw(0, seeded(0))
    assert len(drawn) == 0 and sizes == []


def test_a_step_that_neither_clips_nor_adds_noise_is_the_plain_one(prepared) -> None:
    plain = prepared(Plain()).update(critic_steps=1)
    loose = prepared(ClippedNoised(1e9, 0.0, "fixed")).update(critic_steps=1)
    assert plain["critic"].any()
    np.testing.assert_allclose(loose["critic"], plain["critic"], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(loose["estimated"], plain["estimated"])


def test_a_round_of_clipped_steps_moves_no_further_than_they_allow(prepared) -> None:
    """Four steps of SGD along sums of as many gradients of norm `clip` as rows came."""
    clip = 0.1
    sums = prepared(ClippedNoised(clip, 0.0)).update()
    rows = float(sums["estimated"].sum())
    moved = float(np.linalg.norm(sums["critic"]))
    assert 0 < moved <= RATE * clip * rows / 30 * 1.001
    # The number of rows is random, and near its mean of 4 x 30.
    assert abs(rows - 120) < 5 * 120**0.5
    assert float(np.linalg.norm(prepared(Plain()).update()["critic"])) > 10 * moved


def test_noise_dominates_where_it_should_and_a_round_is_repeated_to_the_bit(prepared) -> None:
    case = prepared(ClippedNoised(1e-3, 50.0))
    sums, again = case.update(), case.update()
    np.testing.assert_array_equal(sums.vector, again.vector)
    size = len(sums["critic"])
    # Four sums of independent noise, each over the 30 rows expected.
    deviation = float(sums["critic"].std())
    assert abs(deviation / (RATE * 4**0.5 * 50.0 * 1e-3 / 30) - 1) < 5 / (2 * size) ** 0.5
    assert not np.array_equal(case.update(round=2)["critic"], sums["critic"])


def test_steps_without_a_row_are_noise_and_their_figures_are_0(prepared) -> None:
    case = prepared(ClippedNoised(1.0, 1.0))
    found = [case.update(round=r, critic_steps=1, batch=1, minimum=1) for r in range(1, 9)]
    empty = [sums for sums in found if not sums["estimated"].sum()]
    assert empty and len(empty) < 8
    for sums in empty:
        assert not np.any(sums["penalty"]) and not np.any(sums["estimate"])
        assert np.isfinite(sums["critic"]).all() and sums["critic"].any()


def test_rows_held_out_enter_no_poisson_sample() -> None:
    rows = Rows(
        torch.zeros(4, 1),
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(4, 0),
        torch.tensor([False, True, False, True]),
    )
    batches = rows.urn(np.array([0.25])).batches(2, "poisson")
    assert batches.draw(50, seeded(0))[0].unique().tolist() == [0, 2]
