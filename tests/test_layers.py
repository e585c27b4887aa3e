"""The walls of the house, read off the imports."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("wgan", "fairness", "clients", "server", "simulations")
LAZY = "from everymode.wgan.lazy import lazy_exports"
FLOWER = {
    "clients/app.py",
    "clients/executor.py",
    "clients/protocol/wire.py",
    "clients/protocol/wire_arrays.py",
    "clients/secure/wire.py",
    "clients/supernode.py",
    "server/app.py",
    "server/secure/channel.py",
    "server/transport/deployment.py",
    "server/transport/grid.py",
}
ORDER: dict[str, tuple[str, ...]] = {
    "wgan": ("data", "theory"),
    "fairness": (
        "groups",
        "weighting",
        "metrics",
        "matching",
        "parity",
        "postprocessing",
        "attacks",
        "audit",
        "report",
    ),
    "clients": ("protocol", "gate", "datasets", "tasks", "secure"),
    "server": (
        "federation",
        "replies",
        "transport",
        "secure",
        "privacy",
        "schema",
        "datasets",
        "training",
        "config",
        "outputs",
        "synthesis",
        "evaluation",
        "stages",
        "deployment",
    ),
    "simulations": ("scenarios", "claims", "compare", "api", "commands"),
}
"""Subpackages of each layer; a file of one imports none that comes after it."""
CONFIGURED = (
    "server/config/",
    "server/outputs/",
    "server/stages/",
    "server/deployment/",
    "simulations/",
)
SETTINGS = {f"server.config.{name}" for name in ("settings", "sections", "federation")}
"""Configuration is translated into parts once, by the stages of a run; outputs write it down. Below
them nothing knows a settings class."""


def imports(source: str, module: str) -> set[str]:
    """Dotted names that a module imports anywhere, `from a import b` as both `a` and `a.b`.

    Those of the product are named as the folders are, without the package that they are installed
    in.
    """
    names = dotted(source, module)
    return {name.removeprefix("everymode.") for name in names if name != "everymode"}


def dotted(source: str, module: str) -> set[str]:
    """The same as they are written."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(module.split(".")[: -node.level]) if node.level else ""
            base = ".".join(part for part in (parent, node.module or "") if part)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def violations(files: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of files `path -> source`."""
    problems = []
    starters = {path for path in files if path.startswith("simulations/")}
    starters = {p for p in starters if _tops(files[p], p) & {"flwr", "ray"}}
    if len(starters) > 1:
        problems.append(f"more than one file of simulations starts Flower: {sorted(starters)}")
    for path, source in files.items():
        layer = path.partition("/")[0]
        tops = _tops(source, path)
        above = set(LAYERS[LAYERS.index(layer) + 1 :])
        problems += [f"{path} imports upward: {top}" for top in sorted(tops & above)]
        bare = {n.partition(".")[0] for n in dotted(source, "everymode." + _module(path))}
        problems += [
            f"{path} imports {top}, installed as everymode.{top}" for top in bare & {*LAYERS}
        ]
        if "tests" in tops:
            problems.append(f"{path} imports tests")
        if "flwr" in tops and path not in FLOWER | starters:
            problems.append(f"{path} imports flwr")
        if "ray" in tops and path not in starters:
            problems.append(f"{path} imports ray")
        if "fairlearn" in tops and layer != "fairness":
            problems.append(f"{path} imports fairlearn")
        problems += [f"{path} imports upward: {name}" for name in sorted(_later(source, path))]
        if not path.startswith(CONFIGURED) and path.count("/") > 1:
            names = imports(source, _module(path))
            problems += [f"{path} imports a configuration: {n}" for n in sorted(names & SETTINGS)]
    return problems + [f"circular: {' -> '.join(c)}" for c in cycles(files)]


def _later(source: str, path: str) -> set[str]:
    """Subpackages of the same layer that a file imports, though they come after its own."""
    layer, _, rest = path.partition("/")
    order = ORDER[layer]
    own, inside, _ = rest.partition("/")
    if not inside:
        return set()
    names = {
        name.split(".")[1]
        for name in imports(source, _module(path))
        if name.startswith(f"{layer}.")
    }
    return {f"{layer}.{name}" for name in names if name in order[order.index(own) + 1 :]}


def cycles(files: Mapping[str, str]) -> list[list[str]]:
    """Circles of modules that import one another."""
    # Exports of a package are imported when they are used (`everymode.wgan.lazy`), not with the
    # package.
    modules = {_module(path): path for path in files if LAZY not in files[path]}
    edges = {
        module: {
            name for name in imports(files[path], module) if name in modules and name != module
        }
        for module, path in modules.items()
    }
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
            return
        if module in done:
            return
        for name in sorted(edges[module]):
            visit(name, [*trail, module])
        done.add(module)

    for module in sorted(edges):
        visit(module, [])
    return found


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _tops(source: str, path: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(source, _module(path))}


def _tree(layers: Iterable[str] = LAYERS) -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for layer in layers
        for path in sorted((ROOT / layer).rglob("*.py"))
    }


def test_imports_run_downward_and_flower_is_kept_apart() -> None:
    files = _tree()
    assert len(files) > 40
    assert violations(files) == []


def test_every_subpackage_has_its_place() -> None:
    for layer, order in ORDER.items():
        found = {path.parent.name for path in (ROOT / layer).glob("*/__init__.py")}
        assert found == set(order)


def test_the_checker_sees_the_imports_there_are() -> None:
    files = _tree()
    for path in FLOWER:
        assert "flwr" in _tops(files[path], path)
    assert "flwr" in _tops(files["simulations/flower.py"], "simulations/flower.py")
    assert "server" in _tops(files["simulations/cli.py"], "simulations/cli.py")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"wgan/a.py": "import everymode.fairness.b"}, "wgan/a.py imports upward: fairness"),
        (
            {"clients/a.py": "def f():\n    from everymode.server import rounds"},
            "clients/a.py imports upward: server",
        ),
        ({"server/a.py": "import flwr.app"}, "server/a.py imports flwr"),
        ({"server/app.py": "import ray"}, "server/app.py imports ray"),
        ({"server/a.py": "from fairlearn.metrics import x"}, "server/a.py imports fairlearn"),
        (
            {"server/config/a.py": "from everymode.server.outputs.locks import x"},
            "server/config/a.py imports upward: server.outputs",
        ),
        (
            {"server/synthesis/a.py": "from everymode.server.config.settings import Settings"},
            "server/synthesis/a.py imports a configuration: server.config.settings",
        ),
        ({"server/a.py": "import wgan.b"}, "server/a.py imports wgan, installed as everymode.wgan"),
        ({"wgan/a.py": "import tests.conftest"}, "wgan/a.py imports tests"),
        (
            {"simulations/a.py": "import ray", "simulations/b.py": "import flwr"},
            "more than one file of simulations starts Flower: "
            "['simulations/a.py', 'simulations/b.py']",
        ),
        (
            {
                "wgan/a.py": "from everymode.wgan import b",
                "wgan/b.py": "from . import a",
                "wgan/c.py": "",
            },
            "circular: wgan.a -> wgan.b -> wgan.a",
        ),
    ],
)
def test_the_checker_fails_on_what_is_wrong(files: dict[str, str], expected: str) -> None:
    assert violations(files) == [expected]


def test_the_command_line_does_not_import_flower_at_the_top() -> None:
    tree = ast.parse((ROOT / "simulations/cli.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {name for node in top for name in imports(ast.unparse(node), "simulations.cli")}
    assert not any(name.startswith(("simulations.flower", "flwr", "ray")) for name in named)
