"""What the READMEs promise: their Python runs; links, files and packages that they name exist."""

import functools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import everymode
from tests.test_layers import ORDER

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / "README.md", ROOT / "CHANGELOG.md"),
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted(page for layer in (*ORDER, "tests") for page in (ROOT / layer).rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`([\w/.-]+\.(?:py|json|toml|lock))`")
MADE = {
    "privacy.json",
    "releases.json",
    "released.jsonl",
    "attack.json",
    "audit.json",
    "summary.json",
    "schema.json",
    "config.toml",
    # In the folders of a deployment.
    "site.toml",
    "policy.toml",
    "compare.json",
}
"""Files of a run directory or of a comparison, which no repository holds."""
LINES = 150
"""Of the first page: what is longer stands with the packages."""


def examples(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    problems = []
    for link in LINK.findall(text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            problems.append(link)
    return problems


def missing(page: Path, files: list[str]) -> list[str]:
    """Files that a page names, by the end of their path, and that are not there."""
    named = {n.removeprefix("./") for n in FILE.findall(page.read_text(encoding="utf-8"))} - MADE
    known = [f"/{file}" for file in files]
    return sorted(
        n for n in named if "NAME" not in n and not any(k.endswith(f"/{n}") for k in known)
    )


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LINES


def test_the_readme_leads_from_a_csv_to_a_judged_table(tmp_path, monkeypatch, capsys):
    """As it is written, but for the length of the training."""
    rng, rows = np.random.default_rng(0), 600
    values = {"sex": ["Female", "Male"], "race": ["a", "b"], "income": ["<=50K", ">50K"]}
    people = pd.DataFrame({name: rng.choice(given, rows) for name, given in values.items()})
    people["age"] = rng.integers(18, 90, rows)
    people.to_csv(tmp_path / "people.csv", index=False)
    brief = {"train.rounds": 2, "model.projection": False}
    fit, audit = everymode.fit, everymode.audit
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        everymode, "fit", functools.partial(fit, overrides=brief, progress=False), raising=False
    )
    monkeypatch.setattr(everymode, "audit", functools.partial(audit, progress=False), raising=False)
    space: dict = {}
    (example,) = examples(ROOT / "README.md")
    exec(example, space)
    assert capsys.readouterr().out.split() == [space["report"].verdict]
    assert len(space["table"]) == 1000
    assert list(space["table"].columns) == list(people.columns)
    assert set(space["women"]["sex"]) == {"Female"}
    assert len(everymode.load(tmp_path / "people-model").sample(10)) == 10


def test_the_readme_and_the_citation_file_cite_alike():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    file = (ROOT / ".github" / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("title", "version"):
        cited = re.search(rf"^  {key} += \{{+(.+?)\}}+,?$", page, re.M).group(1)
        assert cited == re.search(rf'^{key}: "?(.+?)"?$', file, re.M).group(1)
    assert cited == everymode.__version__


def test_the_example_of_the_engine_learns_its_gaussian():
    (engine,) = examples(ROOT / "wgan" / "README.md")
    space: dict = {}
    exec(engine, space)
    assert (space["samples"].mean(0) - space["real"](1000, space["rng"]).real.mean(0)).norm() < 1


def test_the_example_of_the_audit_fails_the_table_that_lacks_a_group(capsys):
    audit, _ = examples(ROOT / "fairness" / "README.md")
    exec(audit, {})
    assert capsys.readouterr().out.strip() == re.search(r"# (fail .*)$", audit, re.M).group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_compile_and_links_lead_somewhere(page):
    for example in examples(page):
        compile(example, str(page), "exec")
    assert broken(page) == []


def test_files_that_pages_name_exist():
    tops = [ROOT / name for name in (*ORDER, "tests", ".ci")]
    files = [p.relative_to(ROOT).as_posix() for top in tops for p in top.rglob("*.*")]
    files += ["pyproject.toml"]
    lacking = {str(page): missing(page, files) for page in PAGES if missing(page, files)}
    assert lacking == {}


def test_a_file_that_is_not_there_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`a/b.py` `b.py` `c.py` `audit.json` `presets/NAME.toml`\n")
    assert missing(page, ["x/a/b.py", "cc.py"]) == ["c.py"]


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n[a](#a-b-c) [b](#none) [c](gone.md) [d](https://example.org)\n")
    assert broken(page) == ["#none", "gone.md"]


def test_the_layout_in_contributing_is_the_order_of_the_layers():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+)`\]\(\S+\) \| (.+) \|$", text, re.M)
    drawn = {layer: tuple(re.findall(r"`(\w+)`", names)) for layer, names in rows}
    assert drawn == ORDER


@pytest.mark.parametrize("layer", ORDER)
def test_a_package_readme_describes_every_subpackage(layer):
    text = (ROOT / layer / "README.md").read_text(encoding="utf-8")
    lacking = [name for name in ORDER[layer] if f"`{name}/`" not in text]
    assert lacking == []
