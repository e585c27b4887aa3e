"""No file of the product is written but by `everymode.wgan.files`, read off the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("wgan", "fairness", "clients", "server", "simulations")

ALLOWED = {
    # The one way to write, and the one to append.
    "wgan/files.py": {"os.open", "os.fdopen", "temporary.replace"},
    # What holds a lock is not content.
    "server/outputs/locks.py": {"os.open"},
    # Lines are read and appended under one lock; a line cut short is passed over.
    "clients/gate/ledger.py": {"os.open"},
    # The log of Flower and Ray is a descriptor that C++ code writes to; a terminal is no file.
    "simulations/streams.py": {"os.open", "os.fdopen"},
    "simulations/compare/command.py": {"os.fdopen"},
    # A folder goes to its place as a whole, its files written by `write_bytes`.
    "server/partition.py": {"os.rename"},
    "simulations/api/model.py": {"os.rename"},
    "server/deployment/kit.py": {"os.rename"},
    "server/deployment/addition.py": {"os.rename"},
}

METHODS = {"write_text", "write_bytes", "to_json", "to_pickle", "to_feather", "to_excel", "tofile"}
FUNCTIONS = {
    *("json.dump", "pickle.dump", "torch.save", "shutil.copy", "shutil.copy2", "shutil.copyfile"),
    *("shutil.copytree", "shutil.move", "np.savez", "np.savetxt", "safetensors.torch.save_file"),
    *("os.replace", "os.rename", "save_file", "tempfile.NamedTemporaryFile", "tempfile.mkstemp"),
}
PANDAS = {"to_csv", "to_parquet"}
HANDLES = {"savefig", "np.save"}
"""What may write to the open file that `write_whole` gives, and to nothing else."""


def strays(source: str) -> set[str]:
    """Calls that write a file by themselves."""
    found: set[str] = set()

    def look(node: ast.AST, whole: bool) -> None:
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            if last in ("open", "fdopen") and _writes(node, name):
                found.add(name)
            if name in FUNCTIONS or (last in METHODS and name != last and last != "to_json"):
                found.add(name)
            if last in PANDAS and node.args:
                found.add(name)
            if (last in HANDLES or name in HANDLES) and not whole:
                found.add(name)
            if last in ("replace", "rename") and "temporary" in name:
                found.add(name)
            whole = whole or last == "write_whole"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in HANDLES and not whole:
            found.add(ast.unparse(node))
        for child in ast.iter_child_nodes(node):
            look(child, whole)

    look(ast.parse(source), False)
    return found


def _writes(call: ast.Call, name: str) -> bool:
    """Whether a call of `open` may write: by its mode, or by the flags of `os.open`."""
    if name == "os.open":
        flags = " ".join(ast.unparse(a) for a in call.args[1:])
        return "O_RDONLY" not in flags
    place = 1 if name in ("open", "os.fdopen") else 0
    modes = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    texts = [m.value for m in modes if isinstance(m, ast.Constant) and isinstance(m.value, str)]
    return any(set(text) & set("wax+") for text in texts)


def test_every_file_is_written_by_the_one_way() -> None:
    found = {}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if left := strays(path.read_text(encoding="utf-8")) - ALLOWED.get(name, set()):
                found[name] = left
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "open(path, mode='ab')",
        "path.open('w')",
        "os.open(path, os.O_WRONLY)",
        "path.write_text('x')",
        "path.write_bytes(b'x')",
        "frame.to_csv(path, index=False)",
        "frame.to_parquet(path)",
        "figure.savefig(path)",
        "np.save(path, array)",
        "write(partial(np.save, arr=array))",
        "json.dump(value, file)",
        "os.replace(a, b)",
        "shutil.copy(a, b)",
    ],
)
def test_the_checker_sees_a_stray_writer(source: str) -> None:
    assert strays(source)


@pytest.mark.parametrize(
    "source",
    [
        "path.open('rb')",
        "open(path)",
        "os.open(path, os.O_RDONLY)",
        "write_bytes(path, frame.to_csv(index=False).encode())",
        "frame.to_parquet(index=False)",
        "write_whole(path, lambda file: figure.savefig(file, dpi=100))",
        "write_whole(path, partial(np.save, arr=array))",
        "text.replace('a', 'b')",
        "schema.to_json()",
    ],
)
def test_the_checker_lets_the_one_way_pass(source: str) -> None:
    assert not strays(source)
