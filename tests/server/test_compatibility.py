"""What does not go together: refused with the reason, with what to write instead, all at once."""

from pathlib import Path

import pytest

from everymode.server.config.files import load
from everymode.wgan.errors import SettingsError


def problems(source: Path, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(source, overrides)
    return list(caught.value.problems)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text('[data]\npath = "table.csv"\n', encoding="utf-8")
    return path


def test_conflicts_of_all_sections_come_at_once(file: Path) -> None:
    overrides = (
        "data.clusters=1",
        "data.sensitive=['a', 'b', 'a']",
        "data.drop=b",
        "federation.swap_every=2",
        "groups.weights=minimax",
        "fairness.parity=demographic",
        "device=cpu",
        "simulation.num_gpus=0.5",
        "model.norm=batch",
    )
    found = problems(file, overrides)
    assert all(p.startswith(f"{file}: ") for p in found)
    for words in (
        "data.clusters = 1",
        "names a twice",
        "data.drop leaves out b",
        "no critics to swap",
        "data.held_out is 0",
        "name data.sensitive and data.target",
        "asks for a GPU",
        "[model]: ",
    ):
        assert sum(words in p for p in found) == 1, words
    assert len(found) == 8


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("data.sensitive=sex", "data.drop=sex"), "data.drop leaves out sex"),
        (("data.sensitive=['a', 'b', 'a']",), "data.sensitive names a twice"),
        (("device=cpu", "simulation.num_gpus=0.5"), "asks for a GPU while device is 'cpu'"),
        (
            ("gradients.noise=2", "gradients.sampling=fixed"),
            "gradients.noise and gradients.sampling: nothing is clipped, as gradients.clip is 0",
        ),
        (
            ("gradients.clip=1", "federation.generator=sites"),
            "gradients.clip = 1.0 bounds what a row changes in critics",
        ),
        (("gradients.clip=1", "model.penalty_points=manifold"), "depends on other rows"),
        (("gradients.clip=1", "model.condition_penalty=1"), "depends on other rows"),
        (("gradients.clip=1", "model.pack=2"), "one row more would shift the others"),
        (
            ("split.by=column", "split.column=ward", "data.target=ward"),
            "split.column = ward says whose a row is",
        ),
        (
            ("split.by=column", "split.column=ward", "data.sensitive=ward"),
            "split.column = ward says whose a row is",
        ),
        (("split.by=column",), "by = 'column' needs the column"),
        (("data.clusters=1",), "data.clusters = 1"),
        (("data.condition=none",), "model.matching = 0"),
        (
            ("data.sensitive=g", "groups.weights=uniform", "data.condition=label"),
            "write groups.weights = 'share'",
        ),
    ],
)
def test_tables_and_what_is_told(file: Path, overrides: tuple[str, ...], expected: str) -> None:
    (problem,) = problems(file, overrides)
    assert expected in problem


def test_a_holdout_that_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[data]\npath = "a.csv"\nholdout = "./a.csv"\n', encoding="utf-8")
    (problem,) = problems(path)
    assert "rows that were trained on cannot test" in problem


# Switches of the federation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("generator=own", "right for none"),
        ("swap_every=2", "no critics to swap"),
        ("mixture=odds", "the sites' own critics"),
        ("mixture=odds", "logits"),
        ("mixture=odds critic=own", "logits"),
        ("critic=own statistics=frozen", "has none"),
        ("critic=own proximal=0.1", "federation.proximal: nothing is shared"),
        ("critic=own optimizer=adam", "federation.optimizer: nothing is shared"),
        ("critic=own control_variates=true", "federation.control_variates: nothing is shared"),
        ("critic=own generator=sites control_variates=true", "mean gradient"),
        ("critic=own weights=afl", "nothing is averaged"),
        ("glide=true generator=sites", "generator = 'server'"),
        ("sums_only=true weights=afl", "'afl' looks at every site's update"),
        ("sums_only=true critic=own", "seen one by one by the server's generator"),
        ("sums_only=true sites_per_round=1", "every sum that of a single site"),
        ("sites_per_round=30", "only 10 sites"),
    ],
)
def test_switches_of_the_federation(file: Path, keys: str, expected: str) -> None:
    found = problems(file, tuple(f"federation.{key}" for key in keys.split()))
    assert sum(expected in problem for problem in found) == 1


def test_the_sums_of_one_site_are_no_sums(file: Path) -> None:
    one = ("federation.sums_only=true", "split.sites=1")
    (problem,) = problems(file, one)
    assert "split.sites = 1 leaves one site, whose sums are the total" in problem
    load(file, (one[0], "split.sites=2"))
    load(file, (one[1],))
    (problem,) = problems(file, (one[0], "strategy=pooled"))
    assert "strategy = 'pooled' leaves one site" in problem


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), "data.held_out is 0"),
        (("data.condition=label",), "rows of each group on demand"),
        (("federation.draw=rows",), "federation.draw = 'groups'"),
    ],
)
def test_minimax_weights(file: Path, overrides: tuple[str, ...], expected: str) -> None:
    found = problems(file, ("groups.weights=minimax", *overrides))
    assert sum(expected in problem for problem in found) == 1


@pytest.mark.parametrize("name", ["table.tsv", "TABLE.CSV", "table.tsv.gz", "table.parquet"])
def test_more_sites_a_round_than_any_table_is_dealt_to(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'[data]\npath = "{name}"\n', encoding="utf-8")
    (problem,) = problems(path, ("federation.sites_per_round=30",))
    assert "only 10 sites" in problem
    load(path, ("federation.sites_per_round=30", "strategy=pooled"))
    load(path, ("federation.sites_per_round=30", "split.by=column", "split.column=ward"))


# Parts of the training ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "reason", "instead"),
    [
        (("model.norm=batch",), "depends on the whole batch", "norm = 'layer'"),
        (("model.lipschitz=none",), "twice as large", "spectral_norm"),
        (
            ("model.lipschitz=spectral_norm", "model.norm=layer"),
            "no bound on the slope",
            "norm = 'none'",
        ),
        (
            ("model.lipschitz=spectral_norm", "model.multipliers=true"),
            "class multipliers",
            "without them",
        ),
        (
            ("views.use=noise", "views.rule=adaptive", "views.statistic=sign"),
            "every sign",
            "statistic = 'held_out'",
        ),
        (
            ("views.use=noise", "views.rule=adaptive"),
            "data.held_out is 0",
            "data.held_out = 0.05",
        ),
    ],
)
def test_parts_that_do_not_go_together_say_why_and_what_to_write_instead(
    file: Path, overrides: tuple[str, ...], reason: str, instead: str
) -> None:
    (problem,) = problems(file, overrides)
    assert problem.startswith(f"{file}: ")
    assert reason in problem
    assert instead in problem


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.norm=batch", "model.lipschitz=clipping"),
        ("model.lipschitz=none", "model.objective=hinge"),
        ("model.gradient_penalty=0", "model.objective=jensen_shannon"),
        ("model.lipschitz=spectral_norm", "model.committee=2"),
        ("views.use=noise", "views.rule=adaptive", "data.held_out=0.1"),
        ("views.rule=adaptive",),
        (
            "views.use=noise",
            "views.rule=adaptive",
            "views.statistic=sign",
            "model.objective=hinge",
        ),
    ],
)
def test_their_neighbours_that_do_go_together_are_taken(
    file: Path, overrides: tuple[str, ...]
) -> None:
    load(file, overrides)


def test_all_parts_that_do_not_go_together_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[data]\npath = "x.csv"\n[model]\nlipschitz = "spectral_norm"\nnorm = "group"\n'
        'multipliers = true\n[views]\nrule = "adaptive"\nuse = "table"\nstatistic = "sign"\n',
        encoding="utf-8",
    )
    found = problems(path)
    assert len(found) == 3
    assert all(p.startswith(f"{path}: ") for p in found)
    for word in ("normalised critic", "class multipliers", "sign of scores"):
        assert sum(word in p for p in found) == 1, word


# Parity ----------------------------------------------------------------------------------------

NAMED = ("data.sensitive=sex", "data.target=income")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("fairness.parity=demographic",), "name data.sensitive and data.target"),
        (
            ("fairness.parity=demographic", "data.sensitive=sex", "data.target=sex"),
            "take it out of data.sensitive",
        ),
        (
            (*NAMED, "fairness.parity=demographic", "fairness.parity_features=race"),
            "race not among data.sensitive; write some of sex",
        ),
        (
            (*NAMED, "fairness.parity=equal_opportunity", "federation.generator=sites"),
            "write federation.generator = 'server'",
        ),
        (
            (
                *NAMED,
                "fairness.parity=demographic",
                "data.condition=group",
                "federation.generator=sites",
            ),
            "or data.condition = 'group_and_label'",
        ),
        (
            (
                *NAMED,
                "fairness.parity=equal_opportunity",
                "fairness.parity_level=0.5",
                "model.matching=0",
            ),
            "or parity_level = 0",
        ),
        (("fairness.bias_head=1",), "name data.sensitive"),
        (
            (*NAMED, "fairness.bias_head=1", "federation.generator=sites"),
            "fairness.bias_head acts on the server's generator",
        ),
        (("fairness.parity=equalised",), "'equal_opportunity'"),
        (("fairness.parity_level=1.5",), "less than or equal to 1"),
        (("fairness.parity_shape=signed",), "'absolute'"),
    ],
)
def test_parity_that_does_not_go_with_the_rest(
    file: Path, overrides: tuple[str, ...], expected: str
) -> None:
    (problem,) = problems(file, overrides)
    assert expected in problem


def test_parity_that_does(file: Path) -> None:
    assert load(file).fairness.parity == "none"
    told = (*NAMED, "fairness.parity=demographic", "fairness.parity_features=sex")
    settings = load(file, (*told, "federation.generator=sites"))
    assert settings.fairness.parity_features == ("sex",)
    assert not settings.penalised
    assert load(file, (*told, "data.condition=group")).penalised
    load(file, (*NAMED, "fairness.parity=equal_opportunity", "fairness.parity_level=0.5"))
