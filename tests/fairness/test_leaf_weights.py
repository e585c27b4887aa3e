"""Weights of rows by counts in leaves of trees: the fit, its tolerance, and what is kept."""

import numpy as np
import pytest
import torch

import everymode.fairness.postprocessing.leaf_weights as leaf_weights
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.trees import NO_COLUMN, Tree, leaf_counts, split_counts
from everymode.fairness.postprocessing.leaf_weights import LeafProblem, LeafWeights
from everymode.server.synthesis.critic_trees import balanced_columns, distance, grow_critic
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

HALVES = tuple((np.arange(11) - 0.5).tolist())
RANKS = tuple((np.arange(11) / 10).tolist())
SCHEMA = Schema(
    (
        Column("a", "category", categories=("p", "q")),
        Column("n", "integer", edges=HALVES, cumulative=RANKS, high=9),
        Column("b", "category", categories=("p", "q")),
    )
)
CONDITIONS = ConditionSpace(("sex",), None, (("f",), ("m",)), ("all",), (), ((600,), (400,)))
CODING = Coding.of(TableCodec(SCHEMA), CONDITIONS, 8)


def rows(count: int, seed: int, tied: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes and cells; with the chance `tied` the last column is an exclusive or of two others."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((count, 5), dtype=np.int16)
    codes[:, 0] = rng.random(count) < 0.4
    codes[:, 2] = rng.integers(0, 2, count)
    codes[:, 3] = rng.integers(0, 10, count)
    exclusive = codes[:, 2] ^ (codes[:, 3] > 4)
    codes[:, 4] = np.where(rng.random(count) < tied, exclusive, rng.integers(0, 2, count))
    return codes, codes[:, 0].astype(np.int64)


def problem(
    real: np.ndarray, made: np.ndarray, cells: np.ndarray, trees: list[Tree]
) -> tuple[LeafProblem, list[np.ndarray]]:
    counts = split_counts(trees, leaf_counts(trees, real, CODING.sizes), CODING.sizes)
    leaves = [tree.apply(made) for tree in trees]
    return LeafProblem.of(leaves, [c[:, 0] for c in counts], cells, np.array([600, 400])), leaves


def grown(codes: np.ndarray, count: int, seed: int = 0) -> list[Tree]:
    rng = np.random.default_rng(seed)
    return [grow_critic(codes, CODING, 100, rng) for _ in range(count)]


def tie(codes: np.ndarray, weights: np.ndarray) -> float:
    equal = (codes[:, 2] ^ (codes[:, 3] > 4)) == codes[:, 4]
    return float((weights * equal).sum() / weights.sum())


def test_weights_bring_a_tie_of_three_columns_that_leaves_show() -> None:
    real, _ = rows(10_000, 0, 0.6)
    made, cells = rows(20_000, 1, 0.0)
    trees = grown(made, 40)
    assert {tree.target for tree in trees} == {NO_COLUMN}
    fit, _ = problem(real, made, cells, trees)
    theta = fit.solved()
    assert float(fit.off(0 * theta).max()) > 10
    assert float(fit.off(theta).max()) <= 1.5
    weights = fit.weights(theta).numpy()
    assert abs(tie(made, weights) - tie(real, np.ones(len(real)))) < 0.03
    assert tie(made, np.ones(len(made))) < 0.52
    # Conditions keep the data's shares, to rounding.
    held = np.bincount(cells, weights=weights)
    assert held == pytest.approx([0.6, 0.4])


def test_what_chance_explains_moves_nothing() -> None:
    """The control: both tables are of one distribution."""
    real, _ = rows(2_000, 2, 0.5)
    made, cells = rows(50_000, 3, 0.5)
    fit, _ = problem(real, made, cells, grown(made, 20))
    theta = fit.solved()
    weights = fit.weights(theta).numpy() * len(made)
    assert float((theta == 0).double().mean()) > 0.5
    assert weights.std() < 0.15


def test_the_fit_is_the_optimum_of_its_penalised_likelihood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dudik, Phillips and Schapire's conditions: within tolerance where 0, at it elsewhere."""
    real, _ = rows(3_000, 4, 0.4)
    made, cells = rows(6_000, 5, 0.0)
    fit, _ = problem(real, made, cells, grown(made, 3))
    monkeypatch.setattr(leaf_weights, "STEPS", 3000)
    monkeypatch.setattr(leaf_weights, "CLOSE", 0.01)
    theta = fit.solved()
    gap = (fit.shares - fit.held(theta)) / fit.tolerance
    assert bool((gap.abs() <= 1.02).all())
    # Where shares stay off, they are on the side that they came from.
    moved = theta.abs() > 0.05
    assert moved.any() and bool((gap[moved] * theta[moved].sign() > 0).all())


def test_steps_that_go_astray_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    real, _ = rows(3_000, 4, 0.4)
    made, cells = rows(6_000, 5, 0.0)
    fit, _ = problem(real, made, cells, grown(made, 3))
    wanted = fit.off(fit.solved()).max()
    monkeypatch.setattr(leaf_weights, "MARGIN", 0.02)
    assert float(fit.off(fit.solved()).max()) == pytest.approx(float(wanted), abs=0.3)


def test_rows_are_kept_in_proportion_to_their_weights_within_a_cell() -> None:
    real, _ = rows(10_000, 6, 0.6)
    made, cells = rows(20_000, 7, 0.0)
    trees = grown(made, 20)
    fit, _ = problem(real, made, cells, trees)
    theta = fit.solved()
    scores = np.split(theta.numpy(), np.cumsum([t.leaves for t in trees])[:-1])
    weights = LeafWeights(CODING, tuple(trees), tuple(scores), fit.log_envelopes(theta))
    encoded = CODING.rows(made, np.random.default_rng(0))
    assert (CODING.codes(encoded, cells) == made).all()
    kept = weights.accept(encoded, cells, torch.Generator().manual_seed(0))
    assert 0.2 < kept.mean() < 0.9
    assert abs(tie(made[kept], np.ones(kept.sum())) - tie(real, np.ones(len(real)))) < 0.04
    saved = LeafWeights.from_tensors(CODING, len(trees), weights.tensors())
    again = saved.accept(encoded, cells, torch.Generator().manual_seed(0))
    assert (again == kept).mean() > 0.999


@pytest.mark.parametrize("what", ["nodes", "scores", "log_envelopes", "infinite"])
def test_tensors_that_are_none_of_its_own_are_refused(what: str) -> None:
    made, cells = rows(3_000, 8, 0.0)
    trees = grown(made, 2)
    fit, _ = problem(made, made, cells, trees)
    theta = fit.solved()
    scores = np.split(theta.numpy(), np.cumsum([t.leaves for t in trees])[:-1])
    tensors = LeafWeights(CODING, tuple(trees), tuple(scores), fit.log_envelopes(theta)).tensors()
    match what:
        case "nodes":
            tensors["critic_1_nodes"][0, 0] = 9
        case "scores":
            tensors["critic_0_scores"] = tensors["critic_0_scores"][1:]
        case "infinite":
            tensors["critic_0_scores"][0] = torch.inf
        case _:
            tensors["critic_log_envelopes"] = tensors["critic_log_envelopes"][:1]
    with pytest.raises(ValueError, match=r"critic tree|envelopes"):
        LeafWeights.from_tensors(CODING, 2, tensors)


def test_cells_and_leaves_without_rows_are_no_fault() -> None:
    made, _ = rows(2_000, 9, 0.0)
    cells = np.zeros(len(made), dtype=np.int64)
    trees = grown(made, 3)
    counts = [np.zeros(tree.leaves, dtype=np.int64) for tree in trees]
    counts[0][0] = 40
    fit = LeafProblem.of([t.apply(made) for t in trees], counts, cells, np.array([40, 0]))
    theta = fit.solved()
    assert bool(torch.isfinite(theta).all()) and np.isfinite(fit.log_envelopes(theta)).all()


def test_the_distance_is_that_of_two_counts() -> None:
    rng = np.random.default_rng(0)
    leaf = rng.integers(0, 8, 80_000)
    same = [distance(rng.multinomial(1000, [1 / 8] * 8), leaf) for _ in range(200)]
    assert np.mean(same) == pytest.approx(7 / 8, abs=0.1)
    assert distance(np.array([1000] + [0] * 7), leaf) > 100


def test_columns_of_one_value_are_split_on_by_no_tree() -> None:
    none = np.zeros((500, 5), dtype=np.int16)
    assert grow_critic(none, CODING, 10, np.random.default_rng(0)).leaves == 1
    none[:, 3] = np.arange(500) % 10
    tree = grow_critic(none, CODING, 10, np.random.default_rng(0))
    assert tree.leaves > 1 and set(tree.column.tolist()) == {3, -1}


def test_tables_of_trees_give_the_scores_of_their_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = rows(5_000, 10, 0.3)
    trees = grown(made, 20)
    rng = np.random.default_rng(0)
    scores = tuple(rng.normal(size=tree.leaves) for tree in trees)
    fast = LeafWeights(CODING, tuple(trees), scores, np.zeros(2))
    assert None not in fast._grids
    expected = sum(own[tree.apply(made)] for own, tree in zip(scores, trees, strict=True))
    assert fast.score(made) == pytest.approx(expected)
    monkeypatch.setattr(leaf_weights, "GRID", 3)
    slow = LeafWeights(CODING, tuple(trees), scores, np.zeros(2))
    assert None in slow._grids and slow.score(made) == pytest.approx(expected)


def test_columns_of_balanced_trees_meet_about_equally_often():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 5, (300, 14)).astype(np.int16)
    codes[:, 6] = 2
    chosen = balanced_columns(codes, 60, rng)
    had = np.zeros((14, 14))
    for places in chosen:
        assert 2 <= len(places) <= 4 and places == sorted(set(places)) and 6 not in places
        had[np.ix_(places, places)] += 1
    pairs = np.delete(np.delete(had, 6, 0), 6, 1)[np.triu_indices(13, 1)]
    assert pairs.min() >= 1 and pairs.max() <= pairs.min() + 3
    # The control: drawn at random, some pairs never meet.
    drawn = np.zeros((14, 14))
    for places in chosen:
        other = rng.choice(13, len(places), replace=False)
        drawn[np.ix_(other, other)] += 1
    assert drawn[:13, :13][np.triu_indices(13, 1)].min() == 0
    assert balanced_columns(codes[:, 6:7], 2, rng) == [[], []]
