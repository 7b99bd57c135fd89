"""Who may import whom: an AST walk over the package, so that a function-level import counts too."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "openmimo"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    {"errors"},
    {"config", "costs", "formats", "names", "storage", "tensorfile", "checkpoint"}
    | {"tokenizer", "messages", "reply", "chat", "batch"},
    {"_native", "native", "model"},
    {"engine", "environments"},
    {
        "agent",
        "bench",
        "doctor",
        "episodes",
        "evals",
        "loading",
        "play",
        "quantize",
        "server",
        "show",
        "terminal",
        "train",
    },
    {"cluster"},
    {"__init__", "__main__", "cli"},
)
"""A module may import from its own layer and from the ones before it."""

STRANGERS = (
    ("engine", "environments"),
    ("engine", "model"),
    ("engine", "native"),
    ("environments", "model"),
    ("environments", "native"),
    ("server", "train"),
    ("native", "model"),
)
"""Pairs that never import each other, whatever their layers."""

MESSAGE_TYPES = {"Message", "ToolCall"}
ENVIRONMENTS_MAY_USE = {*sys.stdlib_module_names, "numpy", "scipy", "openmimo.environments", "openmimo.errors"}
TORCH = {"torch", "triton"}


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Dotted names that a module's source imports, as tuples; `package` is where its relative imports start."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def home(path: Path) -> str:
    """The part of the package that a file belongs to: its top folder, or its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path: Path) -> list[tuple[str, ...]]:
    package = ("openmimo", *path.relative_to(PACKAGE).parent.parts)
    return list(imports(path.read_text(encoding="utf-8"), package))


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


def own_part(imported: tuple[str, ...]) -> str | None:
    """The part of the package that an import reaches; a name that is no part is one of `openmimo` itself."""
    if imported[0] != "openmimo":
        return None
    is_part = len(imported) > 1 and any(imported[1] in names for names in LAYERS)
    return imported[1] if is_part else "__init__"


def offences(name: str, imported: list[tuple[str, ...]]) -> list[str]:
    reached = sorted({part for part in map(own_part, imported) if part is not None and part != name})
    upward = [f"{name} imports {part}, a later layer" for part in reached if layer(part) > layer(name)]
    strange = [f"{name} and {part} never meet" for part in reached if {name, part} in map(set, STRANGERS)]
    return upward + strange


def test_every_module_has_a_layer():
    found = {home(path) for path in MODULES}
    listed = set().union(*LAYERS) - {"_native"}
    assert found == listed, f"no layer: {sorted(found - listed)}; no file: {sorted(listed - found)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stay_within_the_layers(path):
    assert not offences(home(path), imports_of(path))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_is_imported_by_model_and_train_only(path):
    found = {imported[0] for imported in imports_of(path)} & TORCH
    assert not found or home(path) in ("model", "train")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_ray_is_imported_by_the_cluster_only(path):
    assert home(path) == "cluster" or "ray" not in {imported[0] for imported in imports_of(path)}


@pytest.mark.parametrize("path", sorted((PACKAGE / "environments").rglob("*.py")), ids=lambda path: path.name)
def test_environments_import_little(path):
    for imported in imports_of(path):
        is_message_type = imported[:2] in {("openmimo", "chat"), ("openmimo", "messages")}
        if is_message_type:
            assert imported[2] in MESSAGE_TYPES
        else:
            assert {imported[0], ".".join(imported[:2])} & ENVIRONMENTS_MAY_USE, ".".join(imported)


def test_nanobind_is_included_by_the_bindings_only():
    sources = [path for path in (ROOT / "csrc").iterdir() if path.is_file()]
    assert [path.name for path in sources if "nanobind" in path.read_text(encoding="utf-8")] == ["bindings.cpp"]


def test_the_walk_sees_relative_and_function_level_imports():
    source = "def f():\n    from ..train import loss\n    from . import guard\n    import torch.nn"
    found = list(imports(source, ("openmimo", "server")))
    assert found == [("openmimo", "train", "loss"), ("openmimo", "server", "guard"), ("torch", "nn")]
    assert offences("server", found) == ["server and train never meet"]
    assert offences("engine", [("openmimo", "loading", "load")]) == ["engine imports loading, a later layer"]
    assert offences("errors", [("openmimo", "nothing")]) == ["errors imports __init__, a later layer"]
