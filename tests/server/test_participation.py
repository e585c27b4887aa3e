"""Who takes part, and what is carried for single sites."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from everymode.clients.protocol.parts.states import PlayerState, SiteState
from everymode.server.config.federation import FederationSettings
from everymode.server.config.training import build_participation
from everymode.server.training.participation import ClientSampler
from everymode.server.training.site_states import swapped
from everymode.server.training.state import ServerState, TrainingState, generators_in
from everymode.wgan.errors import SettingsError, StateError

NAMES = tuple(f"site-{k}" for k in range(5))


def roster(names: tuple[str, ...] = NAMES, **keys: object) -> ClientSampler:
    participation = build_participation(FederationSettings.model_validate(keys))
    return ClientSampler(names, participation, 0)


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
    late = ClientSampler(NAMES, roster(sums_only=True, away=others).participation, 0, rounds=3)
    late.check()


def test_swapped_critics_all_move_and_none_is_lost() -> None:
    states = {n: SiteState({"critic": torch.tensor([float(k)])}) for k, n in enumerate(NAMES)}
    for number in range(1, 20):
        before = {n: float(site.vectors["critic"]) for n, site in states.items()}
        states = swapped(states, 0, number)
        after = {n: float(site.vectors["critic"]) for n, site in states.items()}
        assert sorted(after.values()) == sorted(before.values())
        assert all(after[n] != before[n] for n in NAMES)
    assert any(a != b for a, b in pairwise([after, before]))


def test_the_whole_state_survives_a_checkpoint() -> None:
    """Names of sites may hold what separates the names of tensors."""
    player = PlayerState(torch.ones(2), torch.zeros(2), torch.zeros(2), torch.zeros(0), 7)
    site = SiteState(
        {"critic": torch.ones(2)},
        {"critic": (torch.ones(2), torch.zeros(2))},
        None,
        {"generator": {"control_own": torch.ones(3)}},
        {"critic": 4, "generator": 0},
        torch.full((3,), 2.0),
    )
    state = ServerState(
        {"critic": player, "generator": player},
        torch.ones(2),
        0.25,
        {"critic": {"first": torch.ones(2)}},
        {"control_variates": {"generator": {"control": torch.ones(3)}}},
        {"group adversary": {"layers.0/weight": torch.ones(1)}},
        {"site/odd name": site},
        TrainingState(3, 7, 7),
    )
    tensors = state.to_tensors()
    again = ServerState.from_tensors(tensors, state.training)
    assert again.to_tensors().keys() == tensors.keys() and again.training == state.training
    assert all(torch.equal(t, tensors[n]) for n, t in again.to_tensors().items())
    assert again.sites["site/odd name"].steps == site.steps and again.strength == 0.25
    assert generators_in(tensors)["site/odd name"].tolist() == [2.0] * 3
    del tensors["average"]
    with pytest.raises(StateError, match="average"):
        ServerState.from_tensors(tensors, state.training)
