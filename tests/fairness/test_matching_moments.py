"""Matching of second moments: sums, unbiasedness, and where it pulls."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from everymode.clients.protocol.messages import EncodeData
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import (
    MINIMUM,
    LevelMoments,
    MomentMatching,
    eligible_strata,
    second_moments,
    share_strata,
    size_of_moments,
    stratum_memberships,
    width_of_moments,
)
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.frame import read_table
from everymode.wgan.penalties import GeneratorStep
from everymode.wgan.recipe import Recipe

GROUPS, LABELS, WIDTH = 3, 2, 4
LEVELS = GROUPS + LABELS
CHOICES = np.array([False, True, True, False])
TABLE = np.array([[0.4, 0.2], [0.15, 0.15], [0.02, 0.08]])


def encode(cells):
    out = np.zeros((len(cells), LEVELS), dtype=np.float32)
    out[np.arange(len(cells)), cells // LABELS] = 1
    out[np.arange(len(cells)), GROUPS + cells % LABELS] = 1
    return out


def table(count, seed=0, shift=0.0):
    """Rows whose moments differ by cell: a number, a category of two, a correlated number."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(GROUPS * LABELS, count, p=TABLE.ravel())
    number = rng.normal(size=count) * (1 + cells / 6)
    state = (number + rng.normal(size=count) > cells / 4).astype(np.float64)
    other = 0.7 * number + (cells % LABELS) + 0.5 * rng.normal(size=count) + shift
    rows = np.stack([number, state, 1 - state, other], 1).astype(np.float32)
    return rows, encode(cells)


def matching_of(rows, conditions, weights=None, weight=1.0, published=None):
    """In float64, so that what is compared is the formula, not the rounding."""
    weights = np.ones(len(rows)) / len(rows) if weights is None else weights
    found = LevelMoments.of_rows(rows, conditions, weights, CHOICES, published)
    made = MomentMatching.of(found, weight)
    return replace(
        made,
        moments=made.moments.double(),
        scale=made.scale.double(),
        known=made.known.double(),
        loose=made.loose.double(),
        crossed=made.crossed.double(),
    )


def at(matching, rows, conditions):
    fake = torch.as_tensor(np.asarray(rows), dtype=matching.moments.dtype)
    condition = torch.as_tensor(conditions, dtype=matching.moments.dtype)
    return matching(GeneratorStep(fake, condition))


def members(conditions):
    """Who belongs to each level, the last being all rows."""
    return np.concatenate([conditions > 0, np.ones((len(conditions), 1), bool)], 1)


def joined(matching, rows, conditions):
    return np.concatenate([rows, conditions], 1).astype(np.float64) * matching.scale.numpy()


def entries(matching, level):
    """Which products a level knows, `(W, W)`: those of coordinates, and shares of categories."""
    known, loose = matching.known[level].numpy(), matching.loose[level].numpy()
    found = np.outer(known, known) + np.diag(loose)
    few = matching.crossed[level].numpy()
    if few.any():
        found = found * (few[:, None] != few[None, :]) + np.diag(loose)
    if level < LEVELS:
        own = WIDTH + level
        others = loose * (np.arange(len(loose)) != own)
        found[own] += others
        found[:, own] += others
    return found


def by_hand(matching, rows, conditions, unbiased=True):
    """The sum over levels, each counted for its share of the rows, with plain loops."""
    z = joined(matching, rows, conditions)
    total = 0.0
    for level, held in enumerate(members(conditions).T):
        part = z[held]
        n = len(part)
        if not matching.active[level] or n < 2:
            continue
        moment = matching.moments[level].numpy()
        outer = [np.outer(v, v) * entries(matching, level) for v in part]
        pairs = sum((outer[i] * outer[j]).sum() for i in range(n) for j in range(n) if i != j)
        norm = pairs / (n * (n - 1)) if unbiased else (np.mean(outer, 0) ** 2).sum()
        total += n / len(z) * (norm - 2 * (np.mean(outer, 0) * moment).sum())
    return total


def test_second_moments_are_what_they_say():
    rows, conditions = table(60)
    rng = np.random.default_rng(1)
    member = stratum_memberships(conditions)
    weights = rng.uniform(size=(60, LEVELS + 1)) * member
    published = rng.random((LEVELS + 1, WIDTH + LEVELS)) < 0.6
    z = np.concatenate([rows, conditions], 1)
    sums = second_moments(z, weights, published)
    assert sums.shape == (size_of_moments(published),) < (6 * width_of_moments(WIDTH, LEVELS),)
    rest = sums
    for own, known in zip(weights.T, published, strict=True):
        part = z[:, known].astype(np.float64)
        expected = sum(w * np.outer(v, v) for v, w in zip(part, own, strict=True))
        upper = np.triu_indices(known.sum())
        np.testing.assert_allclose(rest[: len(upper[0])], expected[upper], rtol=1e-9, atol=1e-12)
        rest = rest[len(upper[0]) :]
    assert not len(rest)


def test_second_moments_add_up_over_any_split():
    rows, conditions = table(200)
    weights = np.random.default_rng(2).uniform(size=(200, LEVELS + 1)) * stratum_memberships(
        conditions
    )
    joined = np.concatenate([rows, conditions], 1)
    published = np.random.default_rng(4).random((LEVELS + 1, WIDTH + LEVELS)) < 0.6
    whole = second_moments(joined, weights, published)
    site = np.random.default_rng(3).integers(4, size=200)
    # One site more than hold rows: an empty one adds nothing.
    parts = [second_moments(joined[site == k], weights[site == k], published) for k in range(5)]
    assert not parts[4].any() and parts[4].shape == whole.shape
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12, atol=1e-12)


def test_moments_are_weighted_means_within_levels():
    rows, conditions = table(300)
    group_weights = np.array([0.5, 1.0, 4.0])
    weights = conditions[:, :GROUPS] @ group_weights
    matching = matching_of(rows, conditions, weights / weights.sum())
    z = joined(matching, rows, conditions)
    assert matching.active.all() and matching.active.shape == (LEVELS + 1,)
    for level, held in enumerate(members(conditions).T):
        expected = np.einsum("n,ni,nj->ij", weights[held], z[held], z[held]) / weights[held].sum()
        np.testing.assert_allclose(matching.moments[level].numpy(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(matching.moments[level], matching.moments[level].T)


def test_rare_categories_count_more_and_the_balance_stays():
    rows, conditions = table(500)
    scale = matching_of(rows, conditions).scale.numpy()
    assert (scale[[0, 3]] == 1).all()
    share = np.concatenate([rows[:, CHOICES], conditions], 1).mean(0)
    raw = (share + 0.01) ** -0.25
    factors = scale[np.concatenate([CHOICES, np.ones(LEVELS, bool)])]
    np.testing.assert_allclose(factors / factors[0], raw / raw[0], rtol=1e-5)
    np.testing.assert_allclose((factors * share).sum(), share.sum(), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_mean_equals_the_u_statistic_by_hand(count):
    matching = matching_of(*table(300))
    fake = table(count, seed=count, shift=0.4)
    values = at(matching, *fake)
    assert values.shape == (count,) and values.isfinite().all()
    assert values.mean().item() == pytest.approx(by_hand(matching, *fake), rel=1e-10, abs=1e-12)


def test_every_size_of_level_equals_the_u_statistic_by_hand():
    matching = matching_of(*table(300))
    rows, _ = table(9, seed=5)
    # Groups with five rows, one and none; a label with one row; all rows of one cell.
    for cells in ([0, 0, 1, 1, 0, 0, 0, 1, 2], [0] * 8 + [5], [3] * 9, [0, 2, 4, 0, 2, 4, 0, 2, 5]):
        conditions = encode(np.array(cells))
        expected = by_hand(matching, rows, conditions)
        assert at(matching, rows, conditions).mean().item() == pytest.approx(expected, rel=1e-10)


def test_levels_of_which_products_with_some_coordinates_are_known_equal_the_u_statistic():
    whole = matching_of(*table(300))
    crossed = torch.zeros_like(whole.known)
    crossed[0, [1, 2]] = 1
    crossed[-1, [0, WIDTH]] = 1
    few = crossed[:, :, None] != crossed[:, None, :]
    partly = crossed.any(1)[:, None, None]
    moments = torch.where(partly & ~few, torch.zeros(()).double(), whole.moments)
    matching = replace(whole, crossed=crossed, moments=moments)
    fake = table(25, seed=3, shift=0.4)
    expected = by_hand(matching, *fake)
    assert at(matching, *fake).mean().item() == pytest.approx(expected, rel=1e-10)
    assert expected != pytest.approx(by_hand(whole, *fake), rel=1e-3)


def test_a_single_row_has_no_pair_and_no_pull():
    matching = matching_of(*table(300))
    rows, conditions = table(1)
    fake = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    values = matching(GeneratorStep(fake, torch.tensor(conditions, dtype=torch.float64)))
    values.sum().backward()
    assert values.item() == 0.0 and not fake.grad.any()


def test_values_go_where_their_rows_go():
    matching = matching_of(*table(300))
    rows, conditions = table(30, seed=6)
    before = torch.get_rng_state()
    values = at(matching, rows, conditions)
    order = np.random.default_rng(7).permutation(30)
    torch.testing.assert_close(at(matching, rows[order], conditions[order]), values[order])
    assert torch.equal(torch.get_rng_state(), before)


def test_float32_is_close_to_float64():
    exact = matching_of(*table(300))
    rough = replace(
        exact,
        moments=exact.moments.float(),
        scale=exact.scale.float(),
        known=exact.known.float(),
        loose=exact.loose.float(),
        crossed=exact.crossed.float(),
    )
    fake = table(200, seed=8)
    torch.testing.assert_close(at(rough, *fake).double(), at(exact, *fake), rtol=1e-4, atol=1e-3)


def exact_distance(matching, rows, conditions, shares):
    """Sum over levels of share (|E zz^T - M|^2 - |M|^2) for rows that are a population."""
    z = joined(matching, rows, conditions)
    total = 0.0
    for level, held in enumerate(members(conditions).T):
        if matching.active[level]:
            gap = z[held].T @ z[held] / held.sum() - matching.moments[level].numpy()
            total += shares[level] * ((gap**2).sum() - (matching.moments[level].numpy() ** 2).sum())
    return total


def test_the_mean_is_unbiased():
    matching = matching_of(*table(300))
    rows, conditions = table(80, seed=9, shift=0.3)
    rng = np.random.default_rng(10)
    batch, draws = 8, 1500
    share = members(conditions).mean(0)
    # A level counts only in batches with two rows of it: E[n 1(n > 1)] / batch.
    expected = exact_distance(
        matching, rows, conditions, share - share * (1 - share) ** (batch - 1)
    )
    found, biased = [], []
    for _ in range(draws):
        index = rng.integers(80, size=batch)
        found.append(at(matching, rows[index], conditions[index]).mean().item())
        if len(biased) < 300:
            biased.append(by_hand(matching, rows[index], conditions[index], unbiased=False))
    error = np.std(found) / np.sqrt(draws)
    assert abs(np.mean(found) - expected) < 3 * error
    # The control: the plug-in estimate, pairs of a row with itself included, is seen to be off.
    assert np.mean(biased) - expected > 5 * np.std(biased) / np.sqrt(300)


def test_the_data_themselves_are_the_minimum():
    rows, conditions = table(1500)
    matching = matching_of(rows, conditions)
    share = members(conditions).mean(0)
    least = -sum(s * (m.numpy() ** 2).sum() for s, m in zip(share, matching.moments, strict=True))
    floor = exact_distance(matching, rows, conditions, share)
    assert floor == pytest.approx(least, rel=1e-6)
    index = np.random.default_rng(11).integers(1500, size=1500)
    drawn = at(matching, rows[index], conditions[index]).mean().item()
    assert drawn == pytest.approx(least, rel=0.03)
    # What damages the moments shows: a shift, a lost correlation, a lost category.
    damaged = rows.copy()
    damaged[:, 3] += 0.5
    alone = rows.copy()
    alone[:, 3] = np.random.default_rng(12).permutation(alone[:, 3])
    collapsed = rows.copy()
    collapsed[:, 1], collapsed[:, 2] = 0, 1
    for other in (damaged, alone, collapsed):
        assert at(matching, other, conditions).mean().item() > least + 0.2


def test_a_dependence_lost_within_one_group_shows():
    rows, conditions = table(1500, seed=13)
    matching = matching_of(rows, conditions)
    broken = rows.copy()
    held = np.flatnonzero(conditions[:, 1] > 0)
    broken[held, 3] = np.random.default_rng(14).permutation(broken[held, 3])
    change = (at(matching, broken, conditions) - at(matching, rows, conditions)).numpy()
    inside = conditions[:, 1] > 0
    assert change[inside].mean() > 5 * abs(change[~inside].mean())
    assert change.mean() > 0


def test_its_gradient_leads_to_the_data():
    """A generator A z + b of fixed conditions, followed on fresh batches; distance on a table."""
    matching = matching_of(*table(4000))
    parameters = torch.cat(
        [torch.eye(WIDTH, dtype=torch.float64), torch.zeros(1, WIDTH, dtype=torch.float64)]
    ).requires_grad_(True)
    rng = np.random.default_rng(15)
    noise = rng.normal(size=(2000, WIDTH))
    conditions = table(2000, seed=16)[1]
    share = members(conditions).mean(0)

    def rows_of(noise):
        return torch.as_tensor(noise) @ parameters[:-1] + parameters[-1]

    def distance():
        return exact_distance(matching, rows_of(noise).detach().numpy(), conditions, share)

    seen = [distance()]
    for _ in range(4):
        for _ in range(10):
            cells = rng.choice(GROUPS * LABELS, 128, p=TABLE.ravel())
            step = GeneratorStep(
                rows_of(rng.normal(size=(128, WIDTH))), torch.tensor(encode(cells)).double()
            )
            (gradient,) = torch.autograd.grad(matching(step).mean(), parameters)
            parameters.data -= 3e-3 * gradient
        seen.append(distance())
    assert all(after < before for before, after in pairwise(seen))


def test_its_gradient_equals_finite_differences():
    matching = matching_of(*table(300))
    rows, conditions = table(7, seed=17)
    condition = torch.tensor(conditions).double()
    weights = torch.rand(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def cost(fake):
        return (weights * matching(GeneratorStep(fake, condition))).sum()

    assert torch.autograd.gradcheck(cost, torch.tensor(rows).double().requires_grad_(True))


def test_levels_without_weight_take_no_part():
    rows, conditions = table(300)
    weights = np.full((300, LEVELS + 1), 1 / 300)
    weights[:, 2] = 0
    matching = matching_of(rows, conditions, weights)
    assert matching.active.tolist() == [True, True, False, True, True, True]
    assert not matching.moments[2].any() and matching.moments.isfinite().all()
    fake = table(40, seed=18)
    assert at(matching, *fake).mean().item() == pytest.approx(by_hand(matching, *fake), rel=1e-10)
    # Rows of that group still count among all rows and in their label.
    whole = matching_of(rows, conditions)
    for level in (0, 1, 3, 4, 5):
        torch.testing.assert_close(matching.moments[level], whole.moments[level])


def test_what_a_level_does_not_know_pulls_nothing_there():
    rows, conditions = table(300)
    published = np.ones((LEVELS + 1, WIDTH + LEVELS), dtype=bool)
    published[0, 3] = published[LEVELS, 0] = False
    matching = matching_of(rows, conditions, published=published)
    assert not matching.moments[0, 3].any() and not matching.moments[LEVELS, :, 0].any()
    published[1, 1:3] = published[3, [2, WIDTH + 1]] = published[2, WIDTH + 2] = False
    matching = matching_of(rows, conditions, published=published)
    assert matching.loose.sum(1).tolist() == [0, 2, 1, 2, 0, 0]
    fake, condition = table(40, seed=18)
    assert at(matching, fake, condition).mean().item() == pytest.approx(
        by_hand(matching, fake, condition), rel=1e-10
    )
    # The last coordinate of rows of the first group counts in their labels and among all rows.
    alone = replace(matching, active=torch.arange(LEVELS + 1) == 0)
    moved = fake + np.array([0, 0, 0, 1], dtype=np.float32)
    torch.testing.assert_close(at(alone, fake, condition), at(alone, moved, condition))
    assert (at(matching, fake, condition) != at(matching, moved, condition)).all()


def test_shares_of_categories_are_known_even_where_their_products_are_not():
    rows, conditions = table(300)
    published = np.ones((LEVELS + 1, WIDTH + LEVELS), dtype=bool)
    published[0, 1:3] = False
    found = LevelMoments.of_rows(rows, conditions, np.ones(300), CHOICES, published)
    whole = LevelMoments.of_rows(rows, conditions, np.ones(300), CHOICES)
    np.testing.assert_allclose(found.means[:, [1, 2], [1, 2]], whole.means[:, [1, 2], [1, 2]])
    assert found.pairs[0, 1, 1] and not found.pairs[0, 1, 2] and not found.means[0, 1, 2]
    # A share is also the product with the level's own coordinate, which all of its rows have.
    assert found.pairs[0, 1, WIDTH] and not found.pairs[0, 1, WIDTH + 1]
    np.testing.assert_allclose(found.means[0, 1, WIDTH], whole.means[0, 1, WIDTH])
    assert found.pairs[0, 0, 3] and found.pairs[1:].all()


def test_a_table_without_rows_pulls_nowhere():
    rows, conditions = table(10)
    matching = matching_of(rows, conditions, np.zeros(10))
    assert not matching.active.any()
    assert matching.moments.isfinite().all() and matching.scale.isfinite().all()
    fake = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    values = matching(GeneratorStep(fake, torch.tensor(conditions).double()))
    values.sum().backward()
    assert not values.any() and not fake.grad.any()


def test_sums_of_another_width_are_refused():
    rows, conditions = table(50)
    with pytest.raises(IndexError, match="size of axis is 9"):
        LevelMoments.of_rows(rows, conditions, np.ones(50), CHOICES[:-1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_values():
    rows, conditions = table(300)
    moments = LevelMoments.of_rows(rows, conditions, np.ones(300), CHOICES)
    fake, condition = (torch.tensor(a) for a in table(50, seed=19))
    values = [
        MomentMatching.of(moments, 1.0, device)(
            GeneratorStep(fake.to(device), condition.to(device))
        ).cpu()
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rare", [MINIMUM - 1, MINIMUM])
def test_sites_leave_out_groups_of_few_rows(tmp_path, rare):
    common = 2 * MINIMUM
    numbers = np.random.default_rng(20).normal(size=common + rare)
    lines = [f"{'a' if i < common else 'b'},{x:.3f}" for i, x in enumerate(numbers)]
    path = tmp_path / "site.csv"
    path.write_text("\n".join(["s,x", *lines]) + "\n")
    frame = read_table(path)
    schema = fit_schema(frame)
    conditions = ConditionSpace(("s",), None, (("a",), ("b",)), ("all",), (), ((common,), (rare,)))
    order = EncodeData(
        schema=schema.to_json(),
        conditions=conditions.to_json(),
        mass=(0.5, 0.5),
        recipe=Recipe().to_json(),
        seed=0,
        matching="moments",
    )
    sums = handle_at_site(order, {}, Site("one", path, tmp_path / "work"))
    counts = sums.units("counts")
    everyone = common + rare * (rare >= MINIMUM)
    assert counts.max(1).tolist() == [common, everyone - common, everyone, everyone]


def test_rows_of_a_small_group_are_in_no_sum() -> None:
    # Were they in the labels' sums, the difference to the large groups' sums would be theirs.
    conditions = ConditionSpace(
        sensitive=("sex",),
        target="income",
        groups=(("f",), ("m",), ("x",)),
        labels=("high", "low", "none"),
        label_edges=(),
        counts=((MINIMUM, MINIMUM, 0), (MINIMUM, 7, 0), (MINIMUM - 2, 1, 0)),
    )
    groups, levels = eligible_strata(conditions)
    assert groups.tolist() == [True, True, False]
    assert levels.tolist() == [True, True, False, True, True, False]


def test_where_all_groups_are_small_their_shares_are_summed_over_all_rows_alone() -> None:
    # A table of such groups (msleep, by diet) had no sums at all: 4 % missing instead of 61 %.
    small = ConditionSpace(
        ("diet",), None, (("a",), ("b",), ("c",)), ("all",), (), ((MINIMUM - 1,), (1,), (2,))
    )
    groups, levels = share_strata(small)
    assert groups.tolist() == [True] * 3 and levels.tolist() == [False] * 3 + [False]
    # Products, from which the shapes of numbers follow, are summed of no row, as before.
    assert not eligible_strata(small)[0].any()
    # Fewer rows than a level needs are in no sum.
    fewer = replace(small, counts=((MINIMUM - 4,), (1,), (2,)))
    assert not share_strata(fewer)[0].any()
    # Beside a large group, the difference to its sums would be the small ones'.
    mixed = replace(small, counts=((MINIMUM,), (MINIMUM - 1,), (2,)))
    assert share_strata(mixed)[0].tolist() == [True, False, False]


@pytest.mark.parametrize("told", ["group_and_label", "group", "label", "none"])
@pytest.mark.parametrize("clusters", [1, 3])
def test_moments_of_all_rows_are_known_whatever_is_told(told, clusters):
    counts = np.full((2, 2 * clusters), 60)
    conditions = ConditionSpace(
        ("g",), "t", (("a",), ("b",)), ("x", "y"), (), tuple(map(tuple, counts.tolist())), told
    )
    if clusters > 1:
        conditions = conditions.clustered(np.zeros((clusters, 2)), counts)
    if not conditions.width:
        groups, levels = eligible_strata(conditions)
        assert groups.all() and levels.shape == (0,)
        return
    rng = np.random.default_rng(0)
    cells = np.repeat(np.arange(counts.size), 60)
    rows = rng.normal(size=(len(cells), 2)).astype(np.float32)
    encoded = conditions.encode(cells)
    _, levels = eligible_strata(conditions)
    assert levels.all() and levels.shape == (conditions.width,)
    weights = np.full(len(rows), 1 / len(rows))
    numbers = np.zeros(2, dtype=bool)
    found = MomentMatching.of(LevelMoments.of_rows(rows, encoded, weights, numbers), 1.0)
    joined = np.concatenate([rows, encoded], 1) * found.scale.numpy()
    np.testing.assert_allclose(found.moments[-1], joined.T @ joined / len(rows), atol=1e-5)


def test_groups_that_are_not_told_are_never_left_out():
    small = ConditionSpace(("g",), None, (("a",), ("b",)), ("all",), (), ((900,), (9,)))
    assert eligible_strata(small)[0].tolist() == [True, False]
    untold = replace(small, conditioned_on="label")
    assert [part.tolist() for part in eligible_strata(untold)] == [[True, True], [True]]
    apart = untold.clustered(np.zeros((2, 1)), np.array([[870, 30], [0, 9]]))
    assert eligible_strata(apart)[1].tolist() == [True, True, False]
