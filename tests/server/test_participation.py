"""Who takes part, and what is carried for single sites."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from server.config.federation import FederationSettings
from server.training.participation import ClientSampler, Letters, uniform
from wgan.errors import SettingsError

NAMES = tuple(f"site-{k}" for k in range(5))


def roster(names: tuple[str, ...] = NAMES, **keys: object) -> ClientSampler:
    return ClientSampler(names, FederationSettings.model_validate(keys), 0, uniform)


def test_all_take_part_unless_told_otherwise() -> None:
    assert roster().chosen(3) == NAMES and roster().scale(3, 0.4) == 1.0


def test_a_sample_differs_from_round_to_round_and_repeats_itself() -> None:
    sampled = roster(sites_per_round=2)
    drawn = [sampled.chosen(n) for n in range(1, 40)]
    assert drawn == [sampled.chosen(n) for n in range(1, 40)]
    assert all(len(set(names)) == 2 for names in drawn) and len(set(drawn)) > 5
    assert {name for names in drawn for name in names} == set(NAMES)


def test_a_samples_mean_update_is_unbiased() -> None:
    """Over all rounds it is the mean over all sites; without the scale it is not."""
    weight = dict(zip(NAMES, (0.6, 0.2, 0.1, 0.05, 0.05), strict=True))
    change = dict(zip(NAMES, (1.0, -2.0, 3.0, 8.0, 0.0), strict=True))
    exact = sum(weight[n] * change[n] for n in NAMES)
    sampled = roster(sites_per_round=2)
    moved, plain = [], []
    for number in range(1, 6001):
        names = sampled.chosen(number)
        total = sum(weight[n] for n in names)
        mean = sum(weight[n] * change[n] for n in names) / total
        moved.append(mean * sampled.scale(number, total))
        plain.append(mean)
    error = np.std(moved) / len(moved) ** 0.5
    assert abs(np.mean(moved) - exact) < 4 * error
    assert abs(np.mean(plain) - exact) > 10 * error


def test_sites_join_and_leave() -> None:
    coming = roster(away=["site-1:1-3", "site-2:5-9", "site-2:12-99"])
    assert "site-1" not in coming.chosen(3) and "site-1" in coming.chosen(4)
    absent = [n for n in range(1, 20) if "site-2" not in coming.chosen(n)]
    assert absent == [*range(5, 10), *range(12, 20)]


def test_what_cannot_be() -> None:
    with pytest.raises(SettingsError) as caught:
        roster(sites_per_round=9, away=["nobody:1-2"]).check()
    assert "there are only 5 sites" in str(caught.value) and "names nobody" in str(caught.value)


def test_sums_alone_are_not_those_of_a_single_site() -> None:
    with pytest.raises(SettingsError, match="there is one site, site-0"):
        roster(NAMES[:1], sums_only=True).check()
    roster(NAMES[:1]).check()
    others = [f"{name}:{k + 1}-{9 - k}" for k, name in enumerate(NAMES[1:])]
    with pytest.raises(SettingsError, match=r"\(federation.away\) leave site-0 alone in round 4"):
        roster(sums_only=True, away=others).check()
    with pytest.raises(SettingsError, match="leave no site in round 4"):
        roster(sums_only=True, away=[*others, "site-0:4-4"]).check()
    roster(sums_only=True, away=others[1:]).check()
    roster(away=others).check()
    # Who is away after the last round is not missed.
    late = ClientSampler(NAMES, roster(sums_only=True, away=others).settings, 0, uniform, rounds=3)
    late.check()


def test_swapped_critics_all_move_and_none_is_lost() -> None:
    letters = Letters({n: {"critic": torch.tensor([float(k)])} for k, n in enumerate(NAMES)})
    for number in range(1, 20):
        before = {n: float(own["critic"]) for n, own in letters.states.items()}
        letters.swap(0, number)
        after = {n: float(own["critic"]) for n, own in letters.states.items()}
        assert sorted(after.values()) == sorted(before.values())
        assert all(after[n] != before[n] for n in NAMES)
    assert any(a != b for a, b in pairwise([after, before]))


def test_letters_survive_a_checkpoint() -> None:
    letters = Letters({"site/odd name": {"critic": torch.ones(2), "seen": torch.zeros(2)}})
    again = Letters.of(letters.tensors() | {"generator": torch.ones(1)})
    assert again.states.keys() == letters.states.keys()
    assert torch.equal(again.states["site/odd name"]["critic"], torch.ones(2))
