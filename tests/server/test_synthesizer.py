"""Rows from a finished generator: shares, conditions, seeds."""

import dataclasses
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.session import Interrupted
from everymode.server.synthesis.generator_file import load_generator, save_generator
from everymode.server.synthesis.synthesizer import Synthesizer, apportion
from everymode.server.training.penalties import advantage
from everymode.wgan.errors import DataError, SettingsError, StateError
from everymode.wgan.state import read_tensors, write_tensors


def save(synthesizer: Synthesizer, run: RunFolder, like: RunFolder) -> None:
    """Saves a generator as if the run `like` had made it."""
    _, meta = read_tensors(like.generator)
    save_generator(synthesizer, run, meta["plan"], meta["settings"])


@pytest.fixture(scope="module")
def synthesizer(finished: Any) -> Synthesizer:
    return load_generator(finished[0])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any), st.integers(0, 10**5))
def test_whole_shares_add_up_and_are_within_one_of_exact(counts: list[int], rows: int) -> None:
    table = np.array(counts, dtype=np.int64)
    shares = apportion(table, rows)
    assert shares.sum() == rows
    assert (np.abs(shares - table * (rows / table.sum())) < 1 + 1e-6).all()
    assert (shares[table == 0] == 0).all()


def test_a_generator_comes_back_as_it_was_saved(
    synthesizer: Synthesizer, finished: Any, tmp_path: Any
) -> None:
    state = torch.get_rng_state()
    again = load_generator(finished[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.generators[0].vector, synthesizer.generators[0].vector)
    assert again.draw(30, 1).equals(synthesizer.draw(30, 1))
    other = Synthesizer.from_players(synthesizer.plan, [synthesizer.generators[0].vector])
    other = dataclasses.replace(other, post=synthesizer.post)
    assert other.draw(30, 1).equals(synthesizer.draw(30, 1))
    save(other, RunFolder(tmp_path), finished[0])
    files = (RunFolder(tmp_path).generator, finished[0].generator)
    (one, told), (two, said) = (read_tensors(path) for path in files)
    assert told == said
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_generator_of_another_schema_is_refused(finished: Any, tmp_path: Any) -> None:
    run = RunFolder(tmp_path)
    shutil.copy(finished[0].plan, run.plan)
    with pytest.raises(StateError, match=r"is not finished, .* everymode simulate --resume"):
        load_generator(run)
    tensors, meta = read_tensors(finished[0].generator)
    write_tensors(run.generator, tensors, {**meta, "schema": "0" * 16})
    with pytest.raises(StateError, match="was not made under the plan"):
        load_generator(run)


def test_every_cell_has_its_share(synthesizer: Synthesizer) -> None:
    plan = synthesizer.plan
    table = plan.conditions.table
    made = synthesizer.sample_matching_data(int(table.sum()), 0)
    cells = plan.conditions.cell_index(made, plan.schema)
    assert np.bincount(cells, minlength=table.size).reshape(table.shape).tolist() == table.tolist()
    # Shuffled: groups do not come in blocks.
    assert len(set(made["group"].head(30))) > 1
    assert len(synthesizer.sample_matching_data(7, 0)) == 7


def test_cells_give_their_group_and_label(synthesizer: Synthesizer) -> None:
    conditions = synthesizer.plan.conditions
    cells = np.array([3, 0, 3])
    made = synthesizer.table(cells, 0)
    for row, cell in enumerate(cells):
        group, label = divmod(int(cell), len(conditions.labels))
        assert (made["group"][row], made["sex"][row]) == conditions.groups[group]
        assert made["outcome"][row] == conditions.labels[label]


def test_no_rows_are_a_table_too(synthesizer: Synthesizer) -> None:
    made = synthesizer.table(np.zeros(0, dtype=np.int64), 0)
    assert tuple(made.columns) == synthesizer.plan.schema.names
    assert len(made) == 0


def test_seeds(synthesizer: Synthesizer) -> None:
    assert synthesizer.draw(50, 3).equals(synthesizer.draw(50, 3))
    assert not synthesizer.draw(50, 3).equals(synthesizer.draw(50, 4))


def test_uniform_groups_keep_the_labels_within_each(synthesizer: Synthesizer) -> None:
    table = synthesizer.plan.conditions.table
    made = synthesizer.draw(6000, 0, "uniform")
    cells = synthesizer.plan.conditions.cell_index(made, synthesizer.plan.schema)
    found = np.bincount(cells, minlength=table.size).reshape(table.shape) / 6000
    expected = table / table.sum(1, keepdims=True) / len(table)
    assert np.abs(found - expected).max() < 0.03


@pytest.mark.parametrize(
    ("where", "check"),
    [
        ({"group": "b", "outcome": "no"}, lambda t: (t["group"] == "b") & (t["outcome"] == "no")),
        ({"member": "true"}, lambda t: t["member"]),
        ({"gain": "0"}, lambda t: t["gain"] == 0),
        ({"gain": "0.0"}, lambda t: t["gain"] == 0),
        ({"weight kg": MISSING}, lambda t: t["weight kg"].isna()),
        ({"sex": "f", "constant": "k"}, lambda t: (t["sex"] == "f") & (t["constant"] == "k")),
    ],
)
def test_conditions_hold_in_every_row(
    synthesizer: Synthesizer, where: dict[str, str], check: Any
) -> None:
    made = synthesizer.draw(40, 0, where=where)
    assert len(made) == 40
    assert list(made.index) == list(range(40))
    assert bool(check(made).all())


def test_dates_and_numbers_can_be_asked_for(synthesizer: Synthesizer) -> None:
    many = synthesizer.draw(3000, 1)
    day = many["joined"].mode()[0].strftime("%Y-%m-%d")
    made = synthesizer.draw(2, 0, where={"joined": day})
    assert set(made["joined"].dt.strftime("%Y-%m-%d")) == {day}
    age = str(many["age"].mode()[0])
    assert set(synthesizer.draw(2, 0, where={"age": age})["age"].astype(str)) == {age}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"nosuch": "1"}, ["no such column", "age, weight kg"]),
        ({"group": "z"}, ["group=z", "a, b, c"]),
        ({"member": "yes"}, ["member=yes", "false, true"]),
        ({"age": "old"}, ["age=old", "integer"]),
        ({"age": "1000"}, ["age=1000", "outside the range"]),
        ({"age": MISSING}, ["age=(missing)"]),
        ({"joined": "tomorrow"}, ["joined=tomorrow", "datetime"]),
        ({"constant": ""}, ["constant=", "one of k"]),
    ],
)
def test_conditions_that_cannot_hold(
    synthesizer: Synthesizer, where: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        synthesizer.draw(5, 0, where=where)
    assert len(caught.value.problems) == 1
    for word in ["--where", *words]:
        assert word in str(caught.value)


def test_all_conditions_that_cannot_hold_are_named_at_once(synthesizer: Synthesizer) -> None:
    with pytest.raises(DataError) as caught:
        synthesizer.draw(5, 0, where={"group": "z", "sex": "x", "age": "old", "member": "?"})
    assert len(caught.value.problems) == 4


def test_groups_that_never_come_together(synthesizer: Synthesizer) -> None:
    conditions = synthesizer.plan.conditions
    counts = [[0 if g[0] == "c" else n for n in row] for g, row in
              zip(conditions.groups, conditions.counts, strict=True)]  # fmt: skip
    emptied = dataclasses.replace(conditions, counts=tuple(map(tuple, counts)))
    plan = dataclasses.replace(synthesizer.plan, conditions=emptied)
    with pytest.raises(DataError, match="group=c"):
        dataclasses.replace(synthesizer, plan=plan).draw(3, 0, where={"group": "c"})


def test_booleans_are_asked_for_in_the_spelling_of_the_data(synthesizer: Synthesizer) -> None:
    plan = synthesizer.plan
    schema = plan.schema
    columns = tuple(
        dataclasses.replace(c, categories=tuple(v.title() for v in c.categories))
        if c.name == "member"
        else c
        for c in schema.columns
    )
    other = dataclasses.replace(plan, schema=dataclasses.replace(schema, columns=columns))
    made = dataclasses.replace(synthesizer, plan=other).draw(5, 0, where={"member": "True"})
    assert bool(made["member"].all())


@pytest.fixture(scope="module")
def even(synthesizer: Synthesizer) -> Synthesizer:
    return dataclasses.replace(synthesizer, parity=ParityMixture(0.0))


def test_parity_moves_the_labels_within_groups_and_nothing_else(
    synthesizer: Synthesizer, even: Synthesizer
) -> None:
    plan = even.plan
    table = plan.conditions.table
    made = even.sample_matching_data(int(table.sum()), 0)
    cells = plan.conditions.cell_index(made, plan.schema)
    found = np.bincount(cells, minlength=table.size).reshape(table.shape)
    assert found.sum(1).tolist() == table.sum(1).tolist()
    assert (np.abs(found - ParityMixture(0.0).counts(plan.conditions)) < 1 + 1e-9).all()
    assert np.abs(found - table).max() > 5
    made_rates, rates = (
        (t["outcome"] == "yes").groupby(t["sex"]).mean()
        for t in (made, synthesizer.sample_matching_data(int(table.sum()), 0))
    )
    assert abs(made_rates["f"] - made_rates["m"]) < 0.01 < 0.1 < rates["f"] - rates["m"]
    own = dataclasses.replace(synthesizer, parity=ParityMixture(1.0))
    assert own.sample_matching_data(300, 0).shape == synthesizer.sample_matching_data(300, 0).shape
    same = own.sample_matching_data(int(table.sum()), 0)
    assert same.equals(synthesizer.sample_matching_data(int(table.sum()), 0))


@pytest.mark.parametrize("groups", ["data", "uniform"])
def test_rows_drawn_at_random_have_parity_too(even: Synthesizer, groups: Any) -> None:
    made = even.draw(8000, 0, groups)
    made = made[made["group"] != "c"]  # of which not everyone has both outcomes
    rates = (made["outcome"] == "yes").groupby([made["group"], made["sex"]]).mean()
    assert rates.max() - rates.min() < 0.09
    one = even.draw(50, 0, groups, {"outcome": "yes", "group": "b"})
    assert set(one["outcome"]) == {"yes"}


def test_parity_is_saved_and_runs_without_it_load_as_before(
    synthesizer: Synthesizer, tmp_path: Any, finished: Any
) -> None:
    assert synthesizer.parity is None
    mixture = ParityMixture(0.25, ("sex",))
    run = RunFolder(tmp_path)
    shutil.copy(finished[0].plan, run.plan)
    save(dataclasses.replace(synthesizer, parity=mixture), run, finished[0])
    assert load_generator(run).parity == mixture
    save(synthesizer, run, finished[0])
    assert run.generator.read_bytes() == finished[0].generator.read_bytes()


@pytest.mark.parametrize(
    ("parity", "data", "level"),
    [
        ("demographic", {}, 0.0),
        ("demographic", {"condition": "group"}, 0.5),
        ("demographic", {"condition": "label"}, 0.0),
        ("equal_opportunity", {}, 0.5),
        ("equal_opportunity", {"condition": "none"}, 0.0),
        ("demographic", {"condition": "group", "target": "age"}, 0.0),
        ("equal_opportunity", {"condition": "group", "target": "gain"}, 0.0),
    ],
)
def test_runs_with_parity(
    kit: Any, table: Any, tmp_path: Any, parity: str, data: Any, level: float
) -> None:
    told = data.get("condition", "group_and_label")
    settings = kit.tiny(
        table,
        data={"sensitive": ["group", "sex"], **data},
        model={"matching": 0.0 if told == "none" else 0.3},
        groups={"weights": "tempered" if "group" in told else "share"},
        fairness={"parity": parity, "parity_level": level},
    )
    assert settings.penalised == (parity != "demographic" or bool(data))
    summary = kit.run(settings, tmp_path / "run")
    gaps = summary["parity"]["gaps_real"]
    assert set(gaps) == {"group", "sex", "group x sex"}
    rows = pd.read_csv(tmp_path / "run" / "synthetic.csv")
    if settings.data.target == "outcome":
        rates = pd.crosstab(rows["sex"], rows["outcome"], normalize="index")
        assert summary["parity"]["gaps_made"]["sex"] == pytest.approx(np.ptp(rates["yes"]))
    made = load_generator(RunFolder(tmp_path / "run"))
    if settings.penalised:
        assert made.parity is None
        assert "gaps_asked" not in summary["parity"]
    else:
        assert summary["parity"]["gaps_asked"]["sex"] < 1e-9 < 0.1 < gaps["sex"]
        by_sex = (
            made.sample_matching_data(400, 0).groupby("sex")["outcome"].value_counts(normalize=True)
        )
        assert abs(by_sex["f", "yes"] - by_sex["m", "yes"]) < 0.03


def test_runs_with_parity_resume_bit_for_bit_and_differ_from_those_without(
    kit: Any, table: Any, tmp_path: Any
) -> None:
    fairness = {"parity": "equal_opportunity", "parity_level": 0.5}
    states = {}
    for name, chosen in (("with", fairness), ("again", fairness), ("without", {})):
        settings = kit.tiny(table, fairness=chosen)
        folder = tmp_path / name
        if name == "again":
            with pytest.raises(Interrupted):
                kit.run(settings, folder, kit.stop_after(2))
            kit.run(settings, folder, resume=True)
        else:
            kit.run(settings, folder)
        states[name] = RunFolder(folder).generator.read_bytes()
    assert states["with"] == states["again"] != states["without"]


def test_parity_that_a_table_cannot_have_is_refused(kit: Any, table: Any, tmp_path: Any) -> None:
    number = kit.tiny(
        table,
        data={"target": "age", "condition": "group"},
        fairness={"parity": "equal_opportunity", "parity_level": 0.5},
    )
    with pytest.raises(SettingsError, match=r"'age' is a number .*condition = 'group_and_label'"):
        kit.run(number, tmp_path / "number")
    stranger = kit.tiny(table, fairness={"parity": "equal_opportunity", "parity_label": "maybe"})
    with pytest.raises(SettingsError, match=r"parity_label = 'maybe'.*write one of no, yes"):
        kit.run(stranger, tmp_path / "stranger")


@pytest.mark.parametrize(
    ("labels", "edges", "counts", "expected"),
    [
        (("no", "yes"), (), ((9, 4), (1, 1)), "yes"),
        (("a", "b", "c"), (), ((9, 0, 4), (1, 0, 1)), "c"),
        (("bin 1", "bin 2", MISSING), (0.5,), ((1, 9, 5), (1, 1, 1)), "bin 2"),
    ],
)
def test_the_advantage_is_the_rarest_class_or_the_highest_bin(
    labels: Any, edges: Any, counts: Any, expected: str
) -> None:
    conditions = ConditionSpace(("s",), "t", (("f",), ("m",)), labels, edges, counts)
    assert advantage(conditions, None) == expected


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tensors, meta: tensors.popitem(), "does not hold the generator"),
        (lambda tensors, meta: tensors.update(more=torch.ones(2)), "Unexpected key"),
        (lambda tensors, meta: tensors.update({k: t[:1] for k, t in tensors.items()}), "shape"),
        (lambda tensors, meta: tensors.update({k: t * torch.nan for k, t in tensors.items()}), ""),
        (lambda tensors, meta: tensors.update(projection_levels=torch.ones(2, 2, 2)), "shape"),
        (lambda tensors, meta: tensors.update(projection_ceilings=torch.ones(1)), "shape"),
        (lambda tensors, meta: tensors.update(counts=torch.ones(1, 2)), "counts has shape"),
        (lambda tensors, meta: tensors.update(counts=torch.tensor(1.0)), "IndexError"),
        (lambda tensors, meta: meta.update(following="[[[0, 1], [2, 3]]]"), "following_0"),
        (lambda tensors, meta: meta.update(following="[[0, 1]]"), "does not hold"),
        (lambda tensors, meta: meta.update(following="{"), "JSONDecodeError"),
        (lambda tensors, meta: meta.update(parity="[]"), "does not hold the generator"),
        (lambda tensors, meta: meta.update(parity="NaN"), "holds NaN"),
        (lambda tensors, meta: meta.clear(), "is no generator of this version"),
        (lambda tensors, meta: meta.update(format="{}"), "is no generator of this version"),
        (lambda tensors, meta: meta.pop("plan"), "was not made under the plan"),
        (lambda tensors, meta: meta.update(plan="0" * 16), "was not made under the plan"),
    ],
)
def test_an_odd_generator_file_is_an_error(
    finished: Any, tmp_path: Any, spoil: Any, words: str
) -> None:
    run = RunFolder(tmp_path)
    shutil.copy(finished[0].plan, run.plan)
    tensors, meta = read_tensors(finished[0].generator)
    spoil(tensors, meta)
    # With a digest that is right, so that nothing but the content is wrong.
    write_tensors(run.generator, tensors, meta)
    with pytest.raises(StateError) as caught:
        load_generator(run)
    assert str(run.generator) in str(caught.value)
    assert words in str(caught.value)


def test_a_generator_file_with_a_flipped_bit_is_told(finished: Any, tmp_path: Any) -> None:
    run = RunFolder(tmp_path)
    shutil.copy(finished[0].plan, run.plan)
    content = bytearray(finished[0].generator.read_bytes())
    content[-4] ^= 1
    run.generator.write_bytes(content)
    with pytest.raises(StateError, match="does not match the digest"):
        load_generator(run)
    # One from before there were digests cannot be told from one whose digest was damaged.
    tensors, _ = read_tensors(finished[0].generator)
    run.generator.write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(StateError, match="lacks a digest"):
        load_generator(run)
