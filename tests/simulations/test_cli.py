"""The command line as a person meets it: output, exit codes, and what is left behind."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

import everymode.simulations.cli
import everymode.simulations.inline
import everymode.simulations.simulate
from everymode.server.config.files import keys, load
from everymode.server.outputs.run_directory import RunFolder
from everymode.simulations import cli
from everymode.simulations.commands.examples import EXAMPLES
from everymode.simulations.streams import Stop
from everymode.wgan.data.frame import read_table
from tests.command_line import Call

TINY = (
    "--backend=inline",
    "--set=model.generator_hidden=[16]",
    "--set=model.critic_hidden=[16]",
    "--set=model.noise=8",
    "--set=train.rounds=4",
    "--set=train.critic_steps=2",
    "--set=train.generator_steps=1",
    "--set=train.batch=40",
    "--set=train.generator_batch=20",
    "--set=output.checkpoint_every=2",
)


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The same in an empty working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "100")
    return call


@pytest.fixture
def config(kit: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes a table, or several into a folder, and a configuration for it."""

    def write(*frames: pd.DataFrame, extra: str = "", sensitive: str = '["group"]') -> Path:
        path = tmp_path / "tables"
        path.mkdir()
        for i, frame in enumerate(frames or (kit.people(),)):
            frame.to_csv(path / f"site-{i}.csv", index=False)
        source = path if len(frames) > 1 else path / "site-0.csv"
        file = tmp_path / "mine.toml"
        file.write_text(
            f'[data]\npath = "{source}"\nsensitive = {sensitive}\ntarget = "outcome"\n{extra}\n'
            "[split]\nsites = 3\n",
            encoding="utf-8",
        )
        return file

    return write


def refused(answer: tuple[int, str, str], *words: str, lines: int = 1) -> None:
    """Exit code 2, so many lines of errors with those words, no traceback, nothing on stdout."""
    code, out, err = answer
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(errors) == lines, err
    assert "Traceback" not in err + out
    assert out == ""
    for word in words:
        assert word in " ".join(errors), err


def left_behind() -> list[str]:
    return sorted(str(p) for p in Path().rglob("*"))


# Runs that work -------------------------------------------------------------------------------


def test_simulate_writes_a_run_and_says_where(call: Call, config: Any) -> None:
    code, out, err = call("simulate", config(), *TINY)
    assert code == 0
    # Progress goes to standard error, results to standard output.
    assert "results in runs/mine" in out and "round" not in out
    assert "round 4/4" in err
    run = RunFolder(Path("runs/mine"))
    assert len(read_table(run.synthetic)) == 400
    # The simulated sites' tables do not outlive the run.
    assert not run.sites.exists()
    assert not run.log.exists()
    code, _, err = call("simulate", "../mine.toml", *TINY, "--quiet")
    assert (code, err) == (0, "")
    assert Path("runs/mine-2/synthetic.csv").read_bytes() == run.synthetic.read_bytes()


def test_stop_keeps_a_checkpoint_and_resume_ends_the_same(
    call: Call, config: Any, monkeypatch: pytest.MonkeyPatch, kit: Any
) -> None:
    file = config()
    assert call("simulate", file, *TINY, "--out", "whole")[0] == 0
    stop = kit.stop_after(3)
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", lambda self: stop())
        code, out, err = call("simulate", file, *TINY, "--out", "part run")
    assert (code, out) == (130, "")
    assert "stopped after round 3 of 4" in err
    # What the message says can be pasted.
    assert "everymode simulate --resume 'part run'" in err
    # Private rows do not outlive the command, stopped or not.
    assert not Path("part run/sites").exists()
    assert call("simulate", "--resume", "part run", "--backend", "inline")[0] == 0
    one, other = Path("whole/synthetic.csv"), Path("part run/synthetic.csv")
    assert one.read_bytes() == other.read_bytes()
    assert not Path("part run/sites").exists()


def test_resume_may_change_what_does_not_change_the_result(call: Call, config: Any) -> None:
    assert call("simulate", config(), *TINY, "--out", "run")[0] == 0
    resume = ("simulate", "--resume", "run", "--backend", "inline")
    assert call(*resume, "--set", "output.keep=1", "--set", "device=cpu")[0] == 0
    refused(call(*resume, "--set", "train.rounds=9"), "train.rounds=9", "would change the result")
    refused(call(*resume, "--set", "output.kep=1"), "output.kep", "did you mean output.keep?")
    refused(call("simulate", "quick", "--resume", "run"), "leave out CONFIG and --out")
    refused(call("simulate", "--out", "x", "--resume", "run"), "leave out CONFIG and --out")
    Path("empty").mkdir()
    refused(call("simulate", "--resume", "empty"), "--resume empty", "no run directory")
    refused(call("simulate", "--resume", "nowhere"), "--resume nowhere", "no run directory")


def test_a_full_disk_is_an_error_and_resume_works(
    call: Call, config: Any, monkeypatch: pytest.MonkeyPatch, kit: Any
) -> None:
    with monkeypatch.context() as patch:
        kit.full_disk(patch, "round-000004")
        answer = call("simulate", config(), *TINY, "--out", "run")
    refused(answer, "No space left on device", "round-000002.safetensors", "--resume run")
    assert call("simulate", "--resume", "run", "--backend", "inline")[0] == 0
    assert Path("run/summary.json").exists()


# Runs that cannot begin -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("qick",), ("qick", "no preset of that name", "adult", "quick")),
        (("quick", "--set", "train.rouns=3"), ("train.rouns", "did you mean train.rounds?")),
        (("quick", "--set", "data.path=no.csv"), ("data.path", "no.csv", "no such file")),
        (("quick", "--set", "data.holdout=no.csv"), ("data.holdout", "no.csv", "no such file")),
        (("quick", "--set", "data.path=builtin:no.csv.gz"), ("no such built-in table",)),
        (("quick", "--set", "data.target=incme"), ("data.target", "did you mean 'income'?")),
        (("quick", "--set", "data.sensitive=['sexx']"), ("data.sensitive", "'sex'?")),
        (("quick", "--set", "split.column=rce", "--out", "o"), ("did you mean 'race'?",)),
        (("quick", "--set", "data.sensitive=['hours']"), ("data.sensitive", "'hours'")),
        (("quick", "--set", "split.sites=99999"), ("split.sites = 99999", "16281 rows")),
    ],
)
def test_a_wrong_configuration(call: Call, arguments: Any, words: Any) -> None:
    refused(call("simulate", *arguments, "--backend=inline"), *words)
    assert left_behind() == []


def test_all_problems_of_a_configuration_at_once(call: Call) -> None:
    answer = call("simulate", "quick", "--set=train.rouns=3", "--set=seed=x", "--set=split.by=y")
    refused(answer, "train.rouns", "seed", "split.by", lines=3)


def spoil(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    match how:
        case "rows":
            return frame.iloc[:0]
        case "twice":
            return frame.rename(columns={"age": "sex"})
        case "missing":
            return frame.assign(age="")
        case "infinite":
            return frame.assign(age=["inf", *["3"] * (len(frame) - 1)])
        case "identifier":
            return frame.assign(constant=[f"person {i:05d}" for i in range(len(frame))])
        case _:
            return frame.assign(group=[str(i) for i in range(len(frame))])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("rows", ("no rows",)),
        ("twice", ("have the same header as another",)),
        ("missing", ("'age'", "every value is missing", 'data.drop = ["age"]')),
        ("infinite", ("'age'", "infinite")),
        ("identifier", ("'constant'", "distinct values", 'data.drop = ["constant"]')),
        ("groups", ("data.sensitive", "'group'", "column of bands")),
    ],
)
def test_a_table_that_cannot_be_used(
    call: Call, config: Any, kit: Any, how: str, words: Any
) -> None:
    file = config(spoil(kit.people(3000 if how in ("identifier", "groups") else 100), how))
    refused(call("simulate", file, *TINY), *words)
    assert left_behind() == []


def test_a_sensitive_float(call: Call, config: Any) -> None:
    file = config(sensitive='["weight kg"]')
    refused(call("simulate", file, *TINY), "data.sensitive", "'weight kg'", "column of bands")
    assert left_behind() == []


def test_sites_that_do_not_fit(call: Call, config: Any, kit: Any) -> None:
    good, bad = kit.people(60), kit.people(60).rename(columns={"age": "Age"})
    file = config(good, bad, good.drop(columns="sex"))
    answer = call("simulate", file, *TINY)
    refused(answer, "site 'site-1'", "site 'site-2'", "'age'", "'Age'", "'sex'", lines=3)
    assert left_behind() == []


def test_an_empty_site(call: Call, config: Any, kit: Any, tmp_path: Path) -> None:
    file = config(kit.people(60), kit.people(60))
    (tmp_path / "tables" / "site-1.csv").write_bytes(b"")
    refused(call("simulate", file, *TINY), "site-1.csv", "empty file")
    assert left_behind() == []


def test_folders_that_were_there_stay(call: Call, config: Any, kit: Any) -> None:
    file = config(spoil(kit.people(60), "missing"))
    Path("old/inner").mkdir(parents=True)
    refused(call("simulate", file, *TINY, "--out", "old/inner"), "'age'")
    refused(call("simulate", file, *TINY, "--out", "old/new/run"), "'age'")
    assert left_behind() == ["old", "old/inner"]


def test_out_that_holds_something(call: Call) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("precious")
    Path("file").write_text("precious")
    refused(call("simulate", "quick", "--out", "full"), "--out full", "is not empty")
    refused(call("simulate", "quick", "--out", "file"), "--out file", "is a file")
    assert left_behind() == ["file", "full", "full/mine.txt"]


def test_ctrl_c_before_training_leaves_nothing(
    call: Call, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(everymode.simulations.simulate, "create_simulated_sites", interrupted)
    code, _, err = call("simulate", config(), *TINY)
    assert code == 130
    assert "Traceback" not in err
    assert left_behind() == []


def test_a_fault_in_the_program_is_not_hidden(
    call: Call, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(everymode.simulations.simulate, "run_inline", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        call("simulate", config(), *TINY)


# Help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["simulate", "sample", "split", "init"])
def test_help(call: Call, command: str) -> None:
    code, out, err = call(command, "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert command in call("--help")[1]


def test_help_of_simulate_lists_every_key_in_a_line_of_its_own(call: Call) -> None:
    lines = call("simulate", "--help")[1].splitlines()
    # Wrapped explanations are indented further than keys are.
    first = [line.split()[0] for line in lines if line.strip() and line[:4].strip()]
    for key, _, _ in keys():
        assert first.count(key) == 1, key


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_ends_with_two_examples_whose_options_there_are(call: Call, command: str) -> None:
    out = call(*command.split(), "--help")[1].rstrip().splitlines()
    first, second = EXAMPLES[command]
    assert out[-3:] == ["Examples", f"  {first}", f"  {second}"]
    described = typer.main.get_command(cli.app)
    for part in command.split():
        described = described.commands[part]
    for example in EXAMPLES[command]:
        name, *words = shlex.split(example)
        assert [name, *words][: 1 + len(command.split())] == ["everymode", *command.split()]
        words = words[len(command.split()) :]
        # Options that there are, with values that they take, and all that must be given.
        described.make_context(command, words)


def test_every_command_has_examples() -> None:
    top = typer.main.get_command(cli.app).commands
    inside = {f"{a} {b}" for a, group in top.items() for b in getattr(group, "commands", ())}
    assert top.keys() | inside == EXAMPLES.keys()


def test_the_examples_of_split_do_what_they_say(call: Call, kit: Any) -> None:
    kit.people().to_csv("people.csv", index=False)
    shares = []
    for example in EXAMPLES["split"]:
        words = shlex.split(example)[1:]
        words[words.index("sites")] = out = f"sites-{len(shares)}"
        assert call(*words)[0] == 0
        sites = [read_table(path)["sex"].eq("f").mean() for path in sorted(Path(out).iterdir())]
        shares.append(max(sites) - min(sites))
    # Alike, and dealt out by sex.
    assert shares[0] < 0.3 < shares[1]


def test_a_pipe_and_no_color_get_plain_lines(config: Any, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("everymode"))
    words = [command, "simulate", str(config()), *TINY, "--out", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "round 4/4" in done.stderr
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    # The control: there are colours where nobody asks for none. Bold type is no colour.
    assert colours([command, "--help"], environment)
    assert not colours([command, "--help"], {**environment, "NO_COLOR": "1"})


def colours(command: list[str], environment: dict[str, str]) -> list[str]:
    """The commands for colours in what a program shows."""
    shown = subprocess.run(command, capture_output=True, text=True, env=environment)
    return re.findall(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m", shown.stdout)


HEAVY = ("torch", "flwr", "ray", "pandas", "pyarrow", "sklearn", "matplotlib", "scipy", "fairlearn")


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), *((c, "--help") for c in ("simulate", "audit", "compare"))],
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    # PyTorch alone takes seconds and hundreds of megabytes. The control: what is imported shows.
    program = """
import contextlib, io, sys
if "--control" in sys.argv:
    sys.argv.remove("--control")
    import scipy
import everymode.simulations.cli
with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
    everymode.simulations.cli.main()
print("loaded", *sys.modules)
"""

    def loaded(*arguments: str) -> set[str]:
        command = [sys.executable, "-c", program, *arguments]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        names = out.splitlines()[-1].split()
        assert {"loaded", "everymode.simulations.cli"} <= set(names)
        return set(HEAVY) & set(names)

    assert loaded(*arguments) == set()
    if arguments == ("--help",):
        assert loaded("--control", *arguments) == {"scipy"}


def test_version(call: Call) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert out.startswith("everymode ")


@pytest.mark.parametrize("arguments", [("simulat",), ("sample",), ("split", "--sites=0", "x.csv")])
def test_usage(call: Call, arguments: Any) -> None:
    code, _, err = call(*arguments)
    assert code == 2
    assert "Traceback" not in err


# sample ---------------------------------------------------------------------------------------


def test_sample(call: Call, finished: Any) -> None:
    run, _ = finished
    code, out, err = call("sample", run.path, "-n", 50, "-o", "s.csv")
    assert (code, err) == (0, "")
    assert "wrote 50 rows to s.csv" in out
    made = read_table(Path("s.csv"))
    assert len(made) == 50
    assert list(made.columns) == list(read_table(run.synthetic).columns)
    call("sample", run.path, "-n", 50, "-o", "again.csv")
    call("sample", run.path, "-n", 50, "-o", "other.csv", "--seed", 1)
    assert Path("s.csv").read_bytes() == Path("again.csv").read_bytes()
    assert Path("s.csv").read_bytes() != Path("other.csv").read_bytes()
    call("sample", run.path, "-n", 50, "-o", "s.parquet")
    typed = pd.read_parquet("s.parquet")
    assert typed["age"].astype(str).tolist() == made["age"].tolist()
    assert pd.api.types.is_integer_dtype(typed["age"])


def test_sample_where(call: Call, finished: Any) -> None:
    run, _ = finished
    city = "--where", 'city, "old"=東京'
    where = ("--where", "group=c", "--where", "sex=f", "--where", "member=true", *city)
    assert call("sample", run.path, "-n", 20, "-o", "s.csv", *where)[0] == 0
    made = read_table(Path("s.csv"))
    assert len(made) == 20
    for name, value in (("group", "c"), ("sex", "f"), ("member", "true"), ('city, "old"', "東京")):
        assert set(made[name]) == {value}


def test_sample_groups_uniform(call: Call, finished: Any) -> None:
    run, _ = finished
    call("sample", run.path, "-n", 1200, "-o", "d.csv")
    call("sample", run.path, "-n", 1200, "-o", "u.csv", "--groups", "uniform")
    shares = [
        read_table(Path(f)).groupby(["group", "sex"]).size() / 1200 for f in ("d.csv", "u.csv")
    ]
    assert shares[0].min() < 0.06
    assert shares[0].max() > 0.25
    assert shares[1].between(0.11, 0.23).all()


def test_sample_at_a_level_of_parity(call: Call, finished: Any) -> None:
    run, _ = finished
    gaps = {}
    for level in (0, 1):
        name = f"{level}.csv"
        asked = ("--parity-level", level, "--parity-feature", "sex", "-o", name)
        assert call("sample", run.path, "-n", 6000, *asked)[0] == 0
        made = read_table(Path(name))
        rates = made["outcome"].eq(made["outcome"].mode()[0]).groupby(made["sex"]).mean()
        gaps[level] = rates.max() - rates.min()
    assert gaps[0] < 0.04 < gaps[1]
    some = ("sample", run.path, "-n", 5, "-o", "s.csv")
    refused(call(*some, "--parity-level", 0, "--parity-feature", "x"), "not among", "group, sex")
    refused(call(*some, "--parity-feature", "sex"), "name the level too")


def test_sample_refuses(call: Call, finished: Any, config: Any) -> None:
    run, _ = finished
    some = ("sample", run.path, "-n", 5, "-o", "s.csv")
    refused(call(*some, "--where", "group=z"), "group=z", "write one of a, b, c")
    refused(call(*some, "--where", "member=maybe"), "write one of false, true")
    refused(call(*some, "--where", "gruop=a"), "--where gruop: no such column", "group")
    refused(call(*some, "--where", "group"), "expected COLUMN=VALUE")
    refused(call("sample", run.path, "-n", 5, "-o", "s.xls"), "s.xls", ".parquet")
    refused(call("sample", run.path, "-n", 5, "-o", "no/such/s.csv"), "no/such/s.csv")
    refused(call("sample", ".", "-n", 5, "-o", "s.csv"), "schema.json is missing")
    RunFolder(Path("begun")).create(load(config()))
    refused(call("sample", "begun", "-n", 5, "-o", "s.csv"), "begun")
    both = ("--where", "group=z", "--where", "member=maybe")
    refused(call(*some, *both), "group=z", "member=maybe", lines=2)
    assert left_behind() == ["begun", "begun/config.toml"]


# split and init -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["iid", "dirichlet", "group", "quantity"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_split_deals_every_row_once(
    call: Call, table: Path, kit: Any, by: str, suffix: str
) -> None:
    if suffix == ".parquet":
        kit.people().to_parquet(table.with_suffix(".parquet"))
    source = table.with_suffix(suffix)
    code, out, _ = call(
        "split", source, "--out", "sites", "--sites", 4, "--by", by, "--column", "group"
    )
    assert code == 0
    files = sorted(Path("sites").iterdir())
    assert [f.name for f in files] == [f"site-0{i}{suffix}" for i in range(4)]
    assert all(f.name in out for f in files)
    parts = pd.concat([read_table(f) for f in files]).fillna("")
    whole = read_table(source).fillna("")
    order = list(whole.columns)
    assert parts.sort_values(order).to_numpy().tolist() == (
        whole.sort_values(order).to_numpy().tolist()
    )
    refused(call("split", source, "--out", "sites"), "sites is not empty")


def test_split_prints_numbers_that_fit_the_screen(call: Call, table: Path) -> None:
    _, out, _ = call("split", table, "--out", "a", "--sites", 2)
    assert out.count("200") == 2
    _, out, _ = call("split", table, "--out", "b", "--sites", 2, "--column", "age")
    assert max(map(len, out.splitlines())) <= 100
    assert "more" in out
    refused(
        call("split", table, "--out", "c", "--column", "gruop"), "gruop", "did you mean 'group'?"
    )
    refused(call("split", "no.csv", "--out", "c"), "no.csv: no such file")
    assert not Path("c").exists()


def test_init_writes_what_simulate_runs(call: Call, table: Path, kit: Any) -> None:
    frame = kit.people()
    frame.insert(0, "id", [f"P{i:05d}" for i in range(400)])
    frame["nothing"] = ""
    frame.to_csv(table, index=False)
    options = ("--sensitive", "group", "--sensitive", "sex", "--target", "outcome")
    code, out, _ = call("init", table, "-o", "my conf.toml", *options)
    assert code == 0
    assert "next: everymode simulate 'my conf.toml'" in out
    data = load("my conf.toml").data
    assert data.drop == ("nothing",) and data.columns["id"].kind == "id"
    code, _, err = call("simulate", "my conf.toml", *TINY)
    assert code == 0, err
    made = read_table(Path("runs/my conf/synthetic.csv"))
    assert list(made.columns) == [n for n in frame.columns if n != "nothing"]
    # New codes in the pattern of the real ones, no two alike.
    assert made["id"].is_unique and made["id"].str.fullmatch("P[0-9]{5}").all()
    assert not set(made["id"]) & set(frame["id"])
    refused(call("init", table, "-o", "my conf.toml"), "exists", "--force")
    assert load("my conf.toml").data.target == "outcome"
    assert call("init", table, "-o", "my conf.toml", "--force")[0] == 0
    assert load("my conf.toml").data.target is None


@pytest.mark.parametrize("rows", [12, 120])
def test_init_of_a_table_alone_runs_too(call: Call, kit: Any, tmp_path: Path, rows: int) -> None:
    kit.people(rows).to_csv(tmp_path / "p.csv", index=False)
    assert call("init", tmp_path / "p.csv", "-o", "c.toml")[0] == 0
    code, _, err = call("simulate", "c.toml", *TINY)
    assert code == 0, err


# Signals --------------------------------------------------------------------------------------


def test_the_first_signal_asks_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop().listening() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_split_by_values_needs_to_know_which(call: Call, table: Path) -> None:
    for by in ("group", "dirichlet"):
        refused(
            call("split", str(table), "--by", by, "--out", "sites"), f"--by {by}", "--column NAME"
        )
    assert not Path("sites").exists()


def test_a_second_interrupt_ends_the_command_whatever_threads_still_wait(tmp_path: Path) -> None:
    program = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from everymode.simulations import cli, simulate

def interrupted(*_):
    ThreadPoolExecutor(1).submit(threading.Event().wait)
    raise KeyboardInterrupt

simulate.create_simulated_sites = interrupted
sys.argv = ["everymode", "simulate", "quick", "--out", sys.argv[1]]
cli.main()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    # Of a command that waits for its threads, this would be the end of patience.
    assert subprocess.run(command, timeout=120, check=False).returncode == 130
    assert not (tmp_path / "run").exists()
