"""Public names use the field's words: those that the glossary has retired do not come back.

The glossary is in `.github/CONTRIBUTING.md`; a test holds both lists equal. Keys of the
configuration and of files keep their names, so fields of settings classes are not names here.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("wgan", "fairness", "clients", "server", "simulations")

RETIRED: Mapping[str, str] = {
    # Messages and sums.
    "orders": "messages",
    "questions": "schema_messages",
    "Look": "DescribeColumns",
    "look": "describe_columns",
    "Values": "CollectVocabulary",
    "Ranks": "CountHistograms",
    "Cluster": "KMeansStep",
    "Prepare": "EncodeData",
    "Profile": "SiteStatistics",
    "profile": "site_statistics",
    "profiles": "site_statistics",
    "Feel": "HeldOutFeatureSums",
    "feel": "held_out_feature_sums",
    "clients.Measure": "CountBatchRows",
    "clients.Audit": "CountMarginals",
    "Recall": "CountNeighbours",
    "Letter": "SitePayload",
    "letter": "site_payload",
    "LETTER": "SITE_PAYLOAD",
    "Letters": "SiteStates",
    "letters": "per_site",
    "travels": "nbytes",
    "weight_of": "payload_nbytes",
    "Ground": "SimulationPaths",
    "ground": "simulation_paths",
    "serve": "handle",
    "Apart": "PerSiteAccounting",
    "apart": "per_site_updates",
    "server.APART": "NEEDS_PER_SITE_UPDATES",
    "clients.own": "local_players",
    "private": "local_optimizer_state",
    # Server.
    "roster": "participation",
    "Roster": "ClientSampler",
    "introduce": "exchange_site_statistics",
    "generating": "generator_step",
    "Turn": "GeneratorSteps",
    "Critics": "CriticEnsemble",
    "wgan.Judge": "ScoreFn",
    "Memory": "ServerState",
    "Progress": "TrainingState",
    "observing": "monitor",
    "Watch": "Monitor",
    "looks": "is_evaluation_round",
    "strengthen": "update_augmentation_strength",
    "fired": "has_plateaued",
    "stage": "simulated_sites",
    "Stage": "SimulatedSites",
    "set_up": "create_simulated_sites",
    "wishes": "conditions",
    "conflicts": "check_compatibility",
    "calibrating": "calibration",
    "projecting": "projection",
    "like_data": "sample_matching_data",
    "untrained": "build_generator",
    "whole_shares": "apportion",
    "switched": "apply_strategy",
    "FREE": "SHARED_KEYS",
    "RIVALS": "BASELINES",
    "server.Trained": "TrainingResult",
    # Engine.
    "Packed": "FlatModule",
    "follow": "update_ema",
    "settle": "project_critic",
    "flushed": "flush_denormals",
    "View": "Augmentation",
    "wgan.Learner": "Stateful",
    "Guard": "UpdateBound",
    "Mixed": "Interpolates",
    "canonical": "parse_column",
    "spelled": "category_labels",
    "grain": "resolution",
    # Fairness.
    "Conditions": "ConditionSpace",
    "Told": "ConditionedOn",
    "fairness.told": "conditioned_on",
    "described": "eligible_strata",
    "fairness.Description": "FeatureMap",
    "Tilt": "MarginalCalibration",
    "Shares": "CategoryMarginals",
    "keeps": "accept",
    "ceilings": "log_envelopes",
    "taken": "from_tensors",
    "following": "dependencies",
    "Following": "FunctionalDependency",
    "followings": "dependencies",
    "filled": "impute_dependents",
    "reading": "membership",
    "fairness.Reader": "Membership",
    "BinReader": "BinMembership",
    "readers": "build_memberships",
    "BiasHead": "GroupAdversary",
    "Effort": "SamplingLimits",
    "held_against": "evaluate_thresholds",
    "fairness.SEEN": "MIN_COUNT",
    "fairness.LIMIT": "MAX_TILT",
    "fairness.CEILING": "MAX_WEIGHT",
    "fairness.SETTLED": "CONVERGED",
}
"""Retired names, of one layer where it is named, and what is written instead."""

VERBS = "a verb: build_, compute_, parse_, request_"
"""Instead of a function called `..._of`, which hides what a call costs."""


def public_names(source: str) -> Iterator[str]:
    """Classes, functions, methods, fields and constants of a module that are for others."""

    def names(body: list[ast.stmt], settings: bool) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield node.name
                if not node.name.startswith("_"):
                    # A settings class's fields are keys of the configuration.
                    yield from names(node.body, any("Section" in ast.dump(b) for b in node.bases))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name
            elif isinstance(node, ast.AnnAssign | ast.Assign) and not settings:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (
                    child.id
                    for target in targets
                    for child in ast.walk(target)
                    if isinstance(child, ast.Name)
                )

    return (name for name in names(ast.parse(source).body, False) if not name.startswith("_"))


def retired(files: Mapping[str, str]) -> list[str]:
    """What files `path -> source` call by a retired name, with what to write instead."""
    problems = []
    for path, source in files.items():
        layer = path.partition("/")[0]
        for name in (Path(path).stem, *public_names(source)):
            for known in (name, f"{layer}.{name}"):
                if known in RETIRED:
                    problems.append(f"{path}: {name}; write {RETIRED[known]}")
            if name.endswith("_of") and name not in RETIRED:
                problems.append(f"{path}: {name}; begin with {VERBS}")
    return problems


def test_no_public_name_is_retired() -> None:
    files = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for layer in LAYERS
        for path in sorted((ROOT / layer).rglob("*.py"))
    }
    assert len(files) > 40
    assert retired(files) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("server/a.py", "class Roster: ...", ["server/a.py: Roster; write ClientSampler"]),
        ("server/roster.py", "", ["server/roster.py: roster; write participation"]),
        (
            "wgan/a.py",
            "class A:\n    def follow(self): ...",
            ["wgan/a.py: follow; write update_ema"],
        ),
        ("clients/a.py", "class A:\n    own: int", ["clients/a.py: own; write local_players"]),
        ("fairness/a.py", "LIMIT, A = 1, 2", ["fairness/a.py: LIMIT; write MAX_TILT"]),
        ("wgan/a.py", "def moments_of(): ...", [f"wgan/a.py: moments_of; begin with {VERBS}"]),
        # Not of the layer that it was retired in; not public; a parameter; a key; a constructor.
        ("wgan/a.py", "LIMIT = 1", []),
        ("server/a.py", "class _Roster:\n    letters: int\ndef _seed_of(): ...", []),
        ("server/a.py", "def f(letters): roster = letters", []),
        ("server/a.py", "class A(Section):\n    private: int", []),
        ("server/a.py", "class A:\n    def of(): ...", []),
    ],
)
def test_the_checker_sees_public_names_and_no_others(
    path: str, source: str, expected: list[str]
) -> None:
    assert retired({path: source}) == expected


def test_the_glossary_has_the_same_words() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("### Retired names")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", table, re.MULTILINE)
    assert dict(rows) == dict(RETIRED)
    assert len(rows) == len(RETIRED)
