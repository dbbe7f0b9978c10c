"""Imports point down the list of layers only, in Python and in C++."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fico"
NATIVE = ROOT / "native"

# From the top to the bottom: each may import those below it.
PYTHON_LAYERS = ("cli", "report", "bench", "profiling", "sim", "runtime", "records", "_native")

# What each layer may include besides itself.
NATIVE_LAYERS = {
    "base": set[str](),
    "arena": {"base"},
    "profile": {"base"},
    "policy": {"base", "profile"},
    "sched": {"base", "profile", "policy"},
    "seat": {"base", "arena", "profile", "policy", "sched"},
    "device": {"base", "profile"},
    "sim": {"base", "profile", "policy", "sched", "device"},
    "cuda": {"base"},
    "hook": {"base", "arena", "profile", "policy", "sched", "seat", "cuda"},
    "emulator": {"base", "profile", "device"},
    "collector": {"base"},
    "neighbour": {"base"},
    "bindings": {"base", "arena", "profile", "policy", "sched", "seat", "device", "sim"},
}
PYTHON_SOURCES = sorted(PACKAGE.rglob("*.py"))
NATIVE_SOURCES = sorted(p for p in NATIVE.rglob("*") if p.suffix in (".cpp", ".hpp", ".def"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "fico" and len(parts) > 1 and parts[1] in PYTHON_LAYERS else None


def wrong_imports(layer: str, source: str) -> list[str]:
    """What a module of a layer imports against the rules."""
    below = PYTHON_LAYERS[PYTHON_LAYERS.index(layer) :]
    wrong = []
    for module in imported(ast.parse(source)):
        target = layer_of(module)
        if target is not None and target not in below:
            wrong.append(module)
        root = module.split(".")[0]
        if layer == "records" and root != "fico" and root not in sys.stdlib_module_names:
            wrong.append(module)
    return wrong


def wrong_includes(layer: str, source: str) -> list[str]:
    """What a file of a native layer includes against the rules.

    What its CMakeLists.txt generates is the layer's own.
    """
    allowed = NATIVE_LAYERS[layer] | {layer}
    build = (NATIVE / layer / "CMakeLists.txt").read_text()
    included = re.findall(r'^\s*#\s*include\s+"([^"]+)"', source, re.MULTILINE)
    foreign = [path for path in included if path.split("/")[0] not in allowed]
    return [path for path in foreign if "/" in path or path not in build]


def prints_or_exits(source: str) -> list[str]:
    """Uses of print, exit and the standard streams, outside of a main block."""
    tree = ast.parse(source)
    body = [node for node in tree.body if not _is_main_block(node)]
    found = []
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id in ("print", "exit", "quit"):
            found.append(f"{node.lineno}: {node.id}")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "sys.exit",
            "sys.stdout",
            "sys.stderr",
        ):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def test_every_folder_is_a_layer() -> None:
    folders = {
        path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    data = {"emulated", "profiles"}
    assert not [path for name in data for path in (PACKAGE / name).rglob("*.py")]
    assert folders - data <= set(PYTHON_LAYERS)
    assert {path.name for path in NATIVE.iterdir() if path.is_dir()} <= set(NATIVE_LAYERS)
    assert PYTHON_SOURCES
    assert NATIVE_SOURCES


@pytest.mark.parametrize("path", PYTHON_SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_python_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    if layer in PYTHON_LAYERS:
        assert wrong_imports(layer, path.read_text()) == []
        if layer != "cli":
            assert prints_or_exits(path.read_text()) == []


@pytest.mark.parametrize("path", NATIVE_SOURCES, ids=lambda path: str(path.relative_to(NATIVE)))
def test_native_includes_point_down(path: Path) -> None:
    layer = path.relative_to(NATIVE).parts[0]
    assert wrong_includes(layer, path.read_text()) == []


def test_only_the_bindings_see_python() -> None:
    for path in NATIVE_SOURCES:
        if "bindings" not in path.parts:
            assert not re.search(r"#\s*include\s+<(Python\.h|nanobind)", path.read_text()), path


def test_the_rules_catch_what_breaks_them() -> None:
    assert wrong_imports("runtime", "def f():\n    from fico.cli import main\n") != []
    assert wrong_imports("runtime", "from fico import cli\n") != []
    assert wrong_imports("records", "import rich.table\n") != []
    assert wrong_imports("records", "from fico import _native\n") == []
    assert wrong_includes("bindings", '#include "hook/tenant.hpp"\n') == ["hook/tenant.hpp"]
    assert wrong_includes("base", '  #  include "arena/arena.hpp"\n') == ["arena/arena.hpp"]
    assert prints_or_exits("def f():\n    print(1)\n") == ["2: print"]
    assert prints_or_exits("import sys\nsys.exit(1)\n") == ["2: sys.exit"]
    assert prints_or_exits("if __name__ == '__main__':\n    print(1)\n") == []
