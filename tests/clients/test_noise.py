"""Noise at the gate: its distribution, the sensitivity of every sum, and what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from everymode.clients.datasets.choice import open_dataset
from everymode.clients.gate import discrete_gaussian
from everymode.clients.gate.discrete_gaussian import Stream, sample
from everymode.clients.gate.noise import SECRET, SumNoise, build_noise
from everymode.clients.gate.policy import Policy
from everymode.clients.gate.release import build_context
from everymode.clients.gate.spending import total_spent
from everymode.clients.protocol.accounting import rho_for
from everymode.clients.protocol.announcement import Announcement
from everymode.clients.protocol.messages import (
    CountLeaves,
    CountMarginals,
    EncodeData,
    Request,
    SumMoments,
    from_json,
    to_json,
)
from everymode.clients.protocol.noise import Noise, Portion, Sensitivity
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import CountHistograms, DescribeColumns
from everymode.clients.protocol.sensitivity import sensitivity
from everymode.clients.protocol.sums import Field, Layout
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import compute, handle, handle_at_site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.private_moments import choose_clips
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.matching.trees import trees_to_tensors
from everymode.fairness.metrics.marginals import Marginals
from everymode.server.schema.declared import agree_privately, declared_column
from everymode.server.synthesis.critic_trees import grow_critic
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import StateError
from tests.federated import RECIPE
from tests.private import RUN, Private


@pytest.mark.parametrize("parameter", [1, 3, 30, 1000])
def test_samples_have_the_discrete_gaussian_distribution(parameter: int) -> None:
    drawn = sample(parameter, 100_000, Stream(bytes([parameter % 256]) * 32))
    reach = int(6 * parameter**0.5) + 1
    values = np.arange(-reach, reach + 1)
    chances = np.exp(-(values**2) / (2 * parameter))
    expected = len(drawn) * chances / chances.sum()
    found = np.bincount(drawn + reach, minlength=len(values))[: len(values)]
    often = expected > 5
    scale = found[often].sum() / expected[often].sum()
    assert stats.chisquare(found[often], expected[often] * scale).pvalue > 1e-3


def test_samples_of_a_fine_grid_are_as_wide_as_they_should_be() -> None:
    for parameter in (2**40, 2**74, 10**29):
        drawn = sample(parameter, 50_000, Stream(bytes(range(32)))) / parameter**0.5
        assert abs(drawn.std() - 1) < 0.02 and abs(drawn.mean()) < 0.02
        assert stats.kstest(drawn, "norm").pvalue > 1e-3


def test_floating_point_never_decides_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison in arithmetic of any precision gives the samples of the fast way."""
    fast = sample(50, 300, Stream(bytes(32)))
    monkeypatch.setattr(discrete_gaussian, "MARGIN", 2.0)
    assert sample(50, 300, Stream(bytes(32))).tolist() == fast.tolist()
    # The first 64 bits of a number may equal the chance's: then more are drawn.
    more = iter([0, 2**64 - 1])
    word = int(np.exp(-0.25) * 2**64)
    drawn = []

    def draw(count: int) -> Any:
        drawn.append(next(more))
        return np.array([drawn[-1]], dtype=np.uint64)

    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        word = int(Decimal("-0.25").exp() * 2**64)
    assert discrete_gaussian._decided(word, 0, 0, 1, draw) is True
    assert discrete_gaussian._decided(word, 0, 0, 1, draw) is False
    assert drawn == [0, 2**64 - 1]


def test_the_sum_of_shares_has_the_noise_that_was_promised() -> None:
    bound = Sensitivity((Portion(3.0, 10),), ("counts",), 0, "")
    noise = Noise(rho=0.01, adders=4)
    assert bound.deviation(noise) == pytest.approx(3 / 0.02**0.5)
    share = bound.site_deviation(noise)
    assert 4 * share**2 >= bound.deviation(noise) ** 2
    assert 0.99 * noise.rho < bound.charged(noise) <= noise.rho
    # One site's own sum has just its share over it.
    assert bound.charged_at_site(noise) == pytest.approx(4 * noise.rho, rel=0.02)


def test_portions_have_noise_of_their_own_and_share_what_is_spent() -> None:
    bound = Sensitivity((Portion(1.0, 4000), Portion(3.0, 6000)), ("a", "b"), 0, "")
    for first, expected in ((0.0, (0.1, 0.9)), (0.5, (0.5, 0.5))):
        noise = Noise(rho=0.02, adders=2, first_share=first)
        assert bound.shares(noise) == pytest.approx(expected)
        wide = [p.l2 / (2 * 0.02 * s) ** 0.5 for p, s in zip(bound.portions, expected, strict=True)]
        assert bound.deviations(noise) == pytest.approx(wide)
        assert 0.95 * noise.rho < bound.charged(noise) <= noise.rho
        # The portions' boundary lies within a field.
        layout = Layout((Field("a", (1000,)), Field("none", (7,)), Field("b", (9000,))))
        added = SumNoise(noise, bound, bytes(range(32)), "").add(layout.zero()).vector
        own = np.concatenate([added[:1000], added[1007:]])
        found = own[:4000].std(), own[4000:].std()
        assert found == pytest.approx([w / 2**0.5 for w in wide], rel=0.06)
        assert not added[1000:1007].any()
    short = Layout((Field("a", (1000,)),)).zero()
    with pytest.raises(ValueError, match="10000 entries"):
        SumNoise(noise, bound, bytes(32), "").add(short)


@pytest.mark.parametrize(("deviation", "shares"), [(2.5, 1), (6.0, 3), (20.0, 10)])
def test_discrete_noise_is_no_worse_than_the_gaussian_that_is_charged(
    deviation: float, shares: int
) -> None:
    """Exact hockey-stick divergence of sums of shares, entry by entry convolved, for 40 counts."""
    entries = 40
    bound = Sensitivity((Portion(entries**0.5, entries),), ("counts",), 0, "")
    noise = Noise(entries / (2 * deviation**2), shares)
    (parameter,) = bound.parameters(noise)
    reach = math.ceil(14 * parameter**0.5)
    values = np.arange(-reach, reach + 1)
    one = np.exp(-(values**2) / (2 * parameter))
    total = one = one / one.sum()
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    values = np.arange(len(total)) - len(total) // 2
    # A row moves each entry by 1: the loss is the sum over entries of log p(x) - log p(x - 1).
    inner = np.abs(values) < 6 * (shares * parameter) ** 0.5
    loss = np.log(total[inner] / total[np.roll(inner, -1)])
    # That is a line in x but for rounding, so that the sum of entries is all that counts.
    slope = np.polyfit(values[inner], loss, 1)
    assert np.abs(np.polyval(slope, values[inner]) - loss).max() < 1e-9
    rho = bound.charged(noise)
    # N entries' sum x has variance N s^2, and the loss is (2 x + N) / (2 s^2).
    variance = float(total @ values**2)
    wide = np.arange(-14 * int((entries * variance) ** 0.5), 14 * int((entries * variance) ** 0.5))
    weight = np.exp(-(wide**2) / (2 * entries * variance))
    weight /= weight.sum()
    for epsilon in (0.5, 1.0, 3.0):
        gain = 1 - np.exp(np.minimum(epsilon - (2 * wide + entries) / (2 * variance), 0))
        exact = float(weight @ gain)
        mu = (2 * rho) ** 0.5
        curve = stats.norm.cdf(mu / 2 - epsilon / mu)
        curve -= np.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        assert exact <= curve * (1 + 1e-9) + 1e-15


def neighbours(frame: pd.DataFrame, count: int) -> Any:
    """Tables with one row less, and with one odd row more."""
    for place in np.linspace(0, len(frame) - 1, count).astype(int):
        yield frame.drop(index=frame.index[place])
    row = frame.iloc[[0]].copy()
    for name, value in (("age", "90"), ("weight kg", "1e9"), ("gain", "-7"), ("member", "?")):
        row[name] = value
    yield pd.concat([frame.iloc[:3], row, frame.iloc[3:]])
    yield pd.concat([row.assign(group="c", sex="x", outcome=""), frame])


def test_no_neighbour_moves_a_sum_by_more_than_its_sensitivity(tmp_path: Path, kit: Any) -> None:
    """Brute force, without noise: counts, moments, leaves; with one row less or more."""
    frame = kit.people(240)
    own = Private(tmp_path / "own", frame, kit)
    agreed = agree_privately(own.exchange, own.columns, own.spec, own.noise)
    order = own.plan(agreed)
    plan = Plan.of(order)
    group_clip, clip = (0.8 * own for own in choose_clips(plan.coordinates))
    name = fingerprint(order)
    every = np.ones((plan.conditions.width + 1, plan.coordinates.width), dtype=bool)
    every[-1] = False
    drafted = Schema(tuple(declared_column(n, own.spec.columns[n]) for n in own.columns))
    counted = own.exchange.requests[0].order
    coding = Coding.of(plan.codec, plan.conditions, 128)
    rng = np.random.default_rng(0)
    made = (rng.random((500, len(coding.sizes))) * np.array(coding.sizes)).astype(np.int16)
    trees = [grow_critic(made, coding, 10, rng) for _ in range(7)]
    leaves = CountLeaves(
        name,
        1,
        128,
        tuple(t.target for t in trees),
        tuple(len(t.column) for t in trees),
        tuple(t.size(coding.sizes) for t in trees),
        Noise(1.0, 1),
    )
    moments = SumMoments(name, to_text(every), Noise(1.0, 1, clip, group_clip=group_clip))
    assert drafted.names == own.columns and isinstance(counted, CountHistograms)

    def answers(site: Site) -> list[Any]:
        compute(order, {}, site)
        asked = [(counted, {}), (moments, {}), (leaves, trees_to_tensors(trees))]
        return [compute(o, t, site) for o, t in asked]

    def vector(answer: Any) -> Any:
        return answer.layout.pack(answer.sums).vector

    base = [vector(answer) for answer in answers(own.site)]
    bounds = [sensitivity(o, plan.conditions) for o in (counted, moments, leaves)]
    reached = np.zeros(3)
    for number, other in enumerate(neighbours(frame, 12)):
        there = Private(tmp_path / str(number), other, kit)
        for k, (bound, answer) in enumerate(zip(bounds, answers(there.site), strict=True)):
            units = vector(answer) - base[k]
            moved = float(np.linalg.norm(units.astype(np.float64))) / 2.0**bound.bits
            assert moved <= bound.l2 * (1 + 1e-12), (k, number)
            reached[k] = max(reached[k], moved / bound.l2)
    # The bounds are no larger than they have to be: the clip bites, counts are reached exactly.
    assert reached[0] == 1.0 and reached[2] == 1.0 and reached[1] > 0.9


def encoded(own: Private, order: EncodeData) -> Any:
    plan = Plan.of(order)
    return open_dataset(own.site).encode(plan.schema, plan.conditions, order).rows


def test_the_control_a_row_changes_more_where_rows_are_jittered(tmp_path: Path, kit: Any) -> None:
    """Jitter of one row hangs on the rows before it; without a private plan sums move by more."""
    frame = kit.people(240)
    found = []
    for number, rows in enumerate((frame, frame.iloc[1:])):
        own = Private(tmp_path / str(number), rows, kit)
        if not number:
            agreed = agree_privately(own.exchange, own.columns, own.spec, own.noise)
        found.append(encoded(own, replace(own.plan(agreed), noised=False)))
    assert len(found[0]) == len(found[1]) + 1
    assert not np.array_equal(found[0][1:], found[1])
    private_rows = []
    for number, rows in enumerate((frame, frame.iloc[1:])):
        own = Private(tmp_path / f"p{number}", rows, kit)
        private_rows.append(encoded(own, own.plan(agreed)))
    assert np.array_equal(private_rows[0][1:], private_rows[1])


def prepared(folder: Path, kit: Any) -> tuple[Private, EncodeData]:
    own = Private(folder / "own", kit.people(240), kit)
    agreed = agree_privately(own.exchange, own.columns, own.spec, own.noise)
    order = own.plan(agreed)
    own.ask(order)
    return own, order


def test_the_same_question_gets_the_same_noise_and_another_gets_other(
    tmp_path: Path, kit: Any
) -> None:
    own, order = prepared(tmp_path, kit)
    plan = Plan.of(order)
    asked = np.zeros((plan.conditions.width + 1, plan.coordinates.width), dtype=bool)
    asked[0] = True
    moments = SumMoments(fingerprint(order), to_text(asked), Noise(0.5, 1, 1.0, 0, 5.0))
    first, again = own.ask(moments), own.ask(moments)
    assert np.array_equal(first.vector, again.vector)
    plain = compute(moments, {}, own.site)
    noise = first.vector - plain.layout.pack(plain.sums).vector
    deviation = noise.std() / 2.0**30
    assert deviation == pytest.approx(5.0, rel=0.1)
    context = build_context(moments, RUN, "north")
    keys = set()
    for other in (moments, replace(moments, noise=Noise(0.25, 1, 1.0, 0, 5.0))):
        made = build_noise(other, {}, context, own.site)
        assert made is not None
        keys.add(made.key)
    assert len(keys) == 2
    stated = json.loads(first.mechanisms[0])
    assert stated["name"] == "discrete Gaussian" and stated["rho"] == pytest.approx(0.5, rel=1e-6)
    secret = (own.site.workspace / SECRET).read_bytes()
    assert len(secret) == 32 and not any(secret.hex() in text for text in first.mechanisms)
    (own.site.workspace / SECRET).write_bytes(b"short")
    with pytest.raises(StateError, match="holds 5 bytes"):
        own.ask(moments)


def test_a_private_plan_answers_nothing_without_noise(tmp_path: Path, kit: Any) -> None:
    own, order = prepared(tmp_path, kit)
    name, plan = fingerprint(order), Plan.of(order)
    asked = np.ones((plan.conditions.width + 1, plan.coordinates.width), dtype=bool)
    with pytest.raises(RefusedError, match="'moments' without noise"):
        own.ask(SumMoments(name, to_text(asked)))
    frame = kit.people(5)
    bins = Marginals.of(plan.schema, frame[list(own.columns)])
    groups = len(plan.conditions.groups)
    with pytest.raises(RefusedError, match="'audit' without noise"):
        own.ask(CountMarginals(name, bins.to_json(), groups, own.spec.missing))
    # Nor does encoding say anything of rows.
    answer = own.ask(order)
    assert answer.vector.tolist() == [1]
    assert json.loads(answer.mechanisms[0]) == {"name": "no rows"}
    # A plan that follows noisy counts cannot be made one without noise.
    with pytest.raises(RefusedError, match="noise"):
        own.ask(replace(order, noised=False))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"noise": Noise(0.0, 1)}, "0.0 zCDP"),
        ({"noise": Noise(float("inf"), 1)}, "holds inf"),
        ({"noise": Noise(1.0, 0)}, "0 sites that add noise"),
        ({"noise": Noise(1.0, 1, first_share=1.0)}, "first portion's share of 1.0"),
        ({"noise": Noise(1.0, 1, first_share=-0.1)}, "first portion's share of -0.1"),
    ],
)
def test_noise_that_is_none_is_refused(
    tmp_path: Path, kit: Any, change: dict[str, Any], problem: str
) -> None:
    own = Private(tmp_path / "own", kit.people(240), kit)
    agree_privately(own.exchange, own.columns, own.spec, own.noise)
    order = own.exchange.requests[0].order
    with pytest.raises(RefusedError, match=problem):
        own.ask(replace(order, **change))


@pytest.mark.parametrize("clips", [(0.0, 4.0), (4.0, 0.0), (4.0, 1e9)])
def test_clips_that_bound_nothing_are_refused(
    tmp_path: Path, kit: Any, clips: tuple[float, float]
) -> None:
    own, order = prepared(tmp_path, kit)
    asked = to_text(np.ones((Plan.of(order).conditions.width + 1, 1), dtype=bool))
    noise = Noise(1.0, 1, clips[0], group_clip=clips[1])
    with pytest.raises(RefusedError, match="clips of"):
        own.ask(SumMoments(fingerprint(order), asked, noise))


def test_a_site_with_a_floor_adds_no_noise(tmp_path: Path, kit: Any) -> None:
    own = Private(tmp_path / "own", kit.people(240), kit)
    own.exchange.sites[0] = replace(own.site, floor=5)
    with pytest.raises(RefusedError, match="set the floor to 0"):
        agree_privately(own.exchange, own.columns, own.spec, own.noise)


def test_orders_without_noise_are_spelt_as_before() -> None:
    order = SumMoments("0" * 16, ("1",))
    assert "noise" not in to_json(order)
    noisy = replace(order, noise=Noise(0.5, 3, 2.0))
    assert from_json(to_json(noisy)) == noisy
    space = ConditionSpace((), None, ((),), ("all",), (), ((0,),))
    plain = EncodeData({"columns": []}, space.to_json(), (1.0,), RECIPE.to_json(), 0, "none")
    assert "noised" not in to_json(plain)


def bounded(own: Private, **policy: Any) -> Private:
    own.site = replace(own.site, simulated=False, policy=Policy(**policy))
    own.exchange.sites[0] = own.site
    return own


def counts(own: Private, rho: float) -> CountHistograms:
    """The question for counts of a run."""
    own.site = replace(own.site, simulated=True)
    own.exchange.sites[0] = own.site
    agree_privately(own.exchange, own.columns, own.spec, Noise(rho, 2))
    order = own.exchange.requests[-1].order
    assert isinstance(order, CountHistograms)
    return order


def test_a_site_spends_what_its_policy_allows_over_all_runs(tmp_path: Path, kit: Any) -> None:
    own = Private(tmp_path / "own", kit.people(240), kit)
    order = counts(own, 0.05)
    bounded(own, epsilon=2.3)
    asked = sensitivity(order).charged_at_site(Noise(0.05, 2))
    allowed = rho_for(2.3, 1e-5)
    fits = int(allowed / asked)
    assert 0.09 < asked < 0.11 and fits == 1

    def ask(run: str, mask: bool = False) -> None:
        masks = (lambda layout, vector: vector) if mask else None
        handle_at_site(order, {}, own.site, run, masks)

    ask("00000000000000a1")
    # The same question again costs nothing, another run's as much again.
    ask("00000000000000a1")
    assert total_spent(own.site.workspace) == pytest.approx(asked)
    with pytest.raises(RefusedError, match=r"policy epsilon: 'ranks': .* privacy\.trusted_sites"):
        ask("00000000000000a2")
    # With masks the coordinator sees the total alone, which is half of it here.
    ask("00000000000000a2", mask=True)
    spent = sensitivity(order).charged(Noise(0.05, 2))
    assert total_spent(own.site.workspace) == pytest.approx(asked + spent)
    # Nothing was spent by what was refused, and a larger bound lets it pass.
    bounded(own, epsilon=20.0)
    ask("00000000000000a3")
    path = own.site.workspace / "spent.jsonl"
    assert len(path.read_text().splitlines()) == 3
    path.write_text(path.read_text() + "nonsense\n")
    with pytest.raises(StateError, match=r"spent\.jsonl, line 4: not what a site writes"):
        ask("00000000000000a4")


def test_what_a_run_will_spend_is_refused_when_it_is_announced(tmp_path: Path, kit: Any) -> None:
    own = Private(tmp_path / "own", kit.people(240), kit)
    order = counts(own, 0.01)
    run = "00000000000000a1"

    def ask(announced: Announcement | None) -> None:
        handle(Request(order, run=run, announced=announced), [own.site])

    bounded(own, epsilon=1.0)
    small, large = (Announcement(("ranks",), rho=rho_for(e, 1e-5)) for e in (0.9, 1.1))
    with pytest.raises(RefusedError, match=r"policy epsilon: .* 0 is spent.* make it 1\.1"):
        ask(large)
    with pytest.raises(RefusedError, match=r"policy epsilon: .* \[privacy\] epsilon"):
        ask(replace(small, rho=0.0))
    assert not (own.site.workspace / "spent.jsonl").exists()
    ask(small)
    # A run that goes on has not spent the rest of what it announces.
    ask(small)
    run = "00000000000000a2"
    with pytest.raises(RefusedError, match="policy epsilon"):
        ask(small)
    bounded(own, masking=True)
    with pytest.raises(RefusedError, match="policy masking"):
        ask(small)


def test_a_bound_on_epsilon_refuses_exact_sums(tmp_path: Path, kit: Any) -> None:
    own = bounded(Private(tmp_path / "own", kit.people(240), kit), epsilon=5.0)
    with pytest.raises(RefusedError, match=r"policy epsilon: .* answers with noise only"):
        own.ask(DescribeColumns(own.columns))
