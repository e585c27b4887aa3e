"""Aggregation that withstands hostile sites: formulas, breakdown, and rounds with such sites."""

import itertools
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.control_variates import ControlVariates
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.sums import ReplyError
from everymode.server.federation.aggregation import (
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    Robust,
    TrimmedMean,
    capped,
)
from everymode.server.federation.bounds import UpdateBound
from everymode.server.federation.participation import Absence, Participation
from everymode.server.federation.recipe import Federation
from everymode.server.in_process import simulate
from everymode.server.training.aggregation import means
from everymode.server.training.participation import ClientSampler
from everymode.wgan.errors import NumericalError, SettingsError

Floats = npt.NDArray[np.float64]

RULES: tuple[type[Robust], ...] = (Median, TrimmedMean, GeometricMedian, Krum, MultiKrum)

rng = np.random.default_rng(0)
UPDATES = rng.normal(size=(9, 40))


@pytest.mark.parametrize("sites", [7, 8])
def test_sites_of_equal_weight_are_counted_as_in_the_papers(sites: int) -> None:
    updates, equal = UPDATES[:sites], np.full(sites, 0.1)
    assert Mean().combine(updates, equal) == pytest.approx(updates.mean(0))
    assert Median(2).combine(updates, equal) == pytest.approx(np.median(updates, axis=0))
    trimmed = np.sort(updates, axis=0)[2:-2].mean(0)
    assert TrimmedMean(2).combine(updates, equal) == pytest.approx(trimmed)
    scores = []
    for own in updates:
        near = sorted(float(np.sum((own - other) ** 2)) for other in updates)
        # The nearest is the update itself.
        scores.append(sum(near[1 : sites - 2 - 2 + 1]))
    assert Krum(2).combine(updates, equal) == pytest.approx(updates[int(np.argmin(scores))])
    best = np.argsort(scores)[: sites - 2]
    assert MultiKrum(2).combine(updates, equal) == pytest.approx(updates[best].mean(0))


def test_the_geometric_median_has_no_gradient() -> None:
    weights = np.linspace(0.5, 1.0, 9)
    found = GeometricMedian(2).combine(UPDATES, weights)
    gaps = UPDATES - found
    pull = (weights[:, None] * gaps / np.linalg.norm(gaps, axis=1)[:, None]).sum(0)
    assert np.linalg.norm(pull) < 1e-5 * weights.sum()
    # As in the plane, where it is known: of a triangle's corners, the Fermat point.
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    assert GeometricMedian(1).combine(corners, np.ones(3)) == pytest.approx(
        corners.mean(0), abs=1e-5
    )


def test_weights_count_as_copies_of_a_site_would() -> None:
    copies = np.array([2, 1, 1, 1, 1, 1, 1, 1, 1])
    repeated = np.repeat(UPDATES, copies, axis=0)
    weights = copies.astype(np.float64)
    assert Median(2).combine(UPDATES, weights) == pytest.approx(np.median(repeated, axis=0))
    for rule in (Mean(), GeometricMedian(2)):
        pooled = rule.combine(repeated, np.ones(len(repeated)))
        assert rule.combine(UPDATES, weights) == pytest.approx(pooled, abs=1e-5)


@pytest.mark.parametrize("weight", [0.1, 1e6], ids=["as the others", "of all rows"])
@pytest.mark.parametrize("size", [1.0, 1e6, 1e30])
@pytest.mark.parametrize("rule", RULES)
def test_two_of_nine_sites_cannot_move_it_far(
    rule: type[Robust], size: float, weight: float
) -> None:
    weights = np.full(9, 0.1)
    weights[:2] = weight
    updates = UPDATES.astype(np.float32)
    updates[:2] = size * (np.sign(UPDATES[0]) + 1e-3 * UPDATES[:2])
    found = rule(2).combine(updates, weights)
    honest = UPDATES[2:]
    assert np.linalg.norm(found) < 2 * np.linalg.norm(honest, axis=1).max()
    if size > 1:
        # The control: the mean goes wherever they want, and so does a rule built for one of them.
        assert np.linalg.norm(Mean().combine(updates, weights)) > 1e4


def test_a_rule_built_for_fewer_breaks_down() -> None:
    updates = UPDATES[:5].copy()
    updates[:2] = 1e9
    assert np.abs(TrimmedMean(1).combine(updates, np.ones(5))).max() > 1e8
    assert np.abs(TrimmedMean(2).combine(updates, np.ones(5))).max() < 10


@pytest.mark.parametrize("rule", RULES)
def test_equal_updates_are_what_they_are(rule: type[Robust]) -> None:
    updates = np.repeat(UPDATES[:1], 7, axis=0)
    assert rule(2).combine(updates, np.arange(1.0, 8.0)) == pytest.approx(UPDATES[0], abs=1e-5)


def test_weights_are_cut_at_a_third_for_all_hostile_sites_together() -> None:
    for hostile in (1, 2, 3):
        for seed in range(20):
            weights = np.random.default_rng(seed).pareto(1.0, 10) + 0.01
            cut = capped(weights, hostile)
            top = np.sort(cut)[::-1][:hostile].sum() / cut.sum()
            assert top <= 1 / 3 + 1e-9
            if np.sort(weights)[::-1][:hostile].sum() <= weights.sum() / 3:
                assert np.array_equal(cut, weights)
            else:
                assert top == pytest.approx(1 / 3)
            assert np.array_equal(cut, np.minimum(weights, cut.max()))
    assert capped(np.array([5.0, 1.0, 2.0]), 1) == pytest.approx(np.ones(3))


def order(**changes: Any) -> Train:
    usual: dict[str, Any] = {
        "plan": "p",
        "round": 1,
        "critic_steps": 2,
        "generator_steps": 0,
        "batch": 8,
        "minimum": 1,
        "factor": 1.0,
        "critic_seen": 0,
        "generator_seen": 0,
        "device": "cpu",
        "sizes": (3, 40),
        "groups": 1,
        "sites": 9,
        "training": LocalTraining(single_updates=True),
    }
    return Train(**usual | changes)


def answers(asked: Train, sites: int = 9) -> list[Any]:
    layout, found = asked.layout(), []
    for k in range(sites):
        values = {f.name: np.zeros(f.shape) for f in layout.fields}
        values |= {"sites": np.array([1]), "weight": np.array([0.1])}
        own = dict.fromkeys(asked.updates(), UPDATES[k]) | {"share": np.array([0.1])}
        found.append(layout.pack(values, layout.site_payload(f"site-{k}", own)))
    return found


@pytest.mark.parametrize("rule", [Mean, *RULES])
def test_the_order_of_replies_changes_no_bit(rule: Any) -> None:
    asked, made = order(), rule() if rule is Mean else rule(2)
    found = []
    for turn in itertools.islice(itertools.permutations(answers(asked)), 0, 40000, 9973):
        total = asked.layout().zero()
        for reply in turn:
            total += reply
        found.append(means(asked, total, rule=made)["critic"].tobytes())
    assert len(found) > 3 and len(set(found)) == 1


def test_a_round_with_too_few_sites_says_so() -> None:
    asked = order()
    one, two, *_ = answers(asked)
    with pytest.raises(NumericalError, match=r"2 sites took part, .*'krum' .* = 1 needs 5"):
        means(asked, one + two, rule=Krum(1))


def test_updates_are_shortened_to_a_multiple_of_the_median() -> None:
    updates = np.array([[3.0, 4.0], [0.0, 5.0], [-5.0, 0.0], [0.0, 5e6]])
    assert UpdateBound(3.0).factors(updates) == pytest.approx([1, 1, 1, 15 / 5e6])
    # Second moments are squares.
    assert UpdateBound(3.0).factors(updates, squared=True)[-1] == pytest.approx(45 / 5e6)
    # One of two does not bound itself.
    assert UpdateBound(2.0).factors(updates[2:])[-1] == pytest.approx(10 / 5e6)
    assert UpdateBound(2.0).factors(np.array([[0.0], [0.0], [9.0]])).tolist() == [1, 1, 0]
    asked, shortened = order(), dict[str, float]()
    total = asked.layout().zero()
    for reply in answers(asked):
        total += reply
    means(asked, total, None, Mean(), UpdateBound(1.0), shortened)
    lengths = np.linalg.norm(UPDATES, axis=1)
    longer = {f"site-{k}" for k in np.flatnonzero(lengths > np.median(lengths))}
    assert set(shortened) == longer and all(0 < f < 1 for f in shortened.values())


def told(**parts: Any) -> list[str]:
    return list(Federation(**parts).incompatibilities())


def test_what_does_not_go_together_is_refused_with_what_to_write() -> None:
    assert told(aggregation=Median(2)) == told(update_bound=UpdateBound(3.0)) == []
    (problem,) = told(aggregation=Median(0))
    assert "federation.hostile_sites is 0; write their number" in problem
    only = Participation(sums_only=True)
    for parts in ({"aggregation": Krum(1)}, {"update_bound": UpdateBound(3.0)}):
        (problem,) = told(**parts, participation=only)
        assert problem.startswith("federation.sums_only: federation.")
        assert "no sum over sites contains; write aggregation = 'mean'" in problem
    own = LocalTraining(Placement("own", "own"))
    (problem,) = told(aggregation=Median(1), training=own)
    assert "nothing is shared between sites" in problem
    scaffold = LocalTraining(corrections=(ControlVariates(),))
    (problem,) = told(aggregation=Median(1), training=scaffold)
    assert "correction control_variates adds up over sites" in problem


def test_the_number_of_hostile_sites_is_checked_against_those_of_every_round() -> None:
    names = tuple("abcdefg")
    ClientSampler(names, Participation(), 0).check(Krum(2))
    ClientSampler(names, Participation(), 0).check(Median(3))
    with pytest.raises(SettingsError, match=r"= 3: .*'krum' needs 9 .* 7 take .* at most 2,"):
        ClientSampler(names, Participation(), 0).check(Krum(3))
    with pytest.raises(SettingsError, match=r"'median' needs 7 .* 3 take part in round 1; .* 1,"):
        ClientSampler(names, Participation(3), 0).check(Median(3))
    away = Participation(absences=(Absence("a", 5, 9), Absence("b", 7, 8)))
    with pytest.raises(SettingsError, match=r"needs 7 .* 6 take part in round 5;"):
        ClientSampler(names, away, 0).check(TrimmedMean(3))


def test_a_run_ends_before_training_where_one_site_claims_too_much(
    kit: Any, table: Any, tmp_path: Any
) -> None:
    settings = kit.tiny(table, federation={"largest_share": 0.2})
    with pytest.raises(ReplyError, match=r"^site 'site-0\d': .* share of 0.2 that federation"):
        simulate(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_run_records_that_single_updates_left_the_sites(
    kit: Any, table: Any, tmp_path: Any
) -> None:
    robust = {"aggregation": "trimmed_mean", "hostile_sites": 1, "update_bound": 1.001}
    run = simulate(kit.tiny(table, federation=robust), tmp_path / "run")
    releases = json.loads((run.folder.path / "releases.json").read_text(encoding="utf-8"))
    (train,) = (r for r in releases["releases"] if r["task"] == "train")
    forms = {array["name"]: array["form"] for array in train["arrays"]}
    assert forms["critic"] == forms["critic_second"] == forms["share"] == "per site"
    assert forms["weight"] == "sum"
    lines = (run.folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("shortened_updates" in json.loads(line) for line in lines)
