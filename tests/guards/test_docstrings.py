"""Public names explain themselves: docstrings for all of them, sections where there is something to say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "openmimo"
MODULES = sorted(PACKAGE.rglob("*.py"))
ARGS = re.compile(r"^\s*(Args|Attributes):", re.MULTILINE)
RESULT = re.compile(r"^\s*(Returns|Yields):", re.MULTILINE)
ELSEWHERE = re.compile(r"\b(as (in |for )?|see )`")
"""Arguments that are described where the backticks point."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_names(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST, bool]]:
    """Every public class, function and method defined here: its name, its node, and whether it is a method."""
    names = public_names(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and node.name in names:
            yield node.name, node, False
            if isinstance(node, ast.ClassDef):
                inherited = inherited_methods(tree, node)
                for item in node.body:
                    if isinstance(item, Function) and not item.name.startswith("_") and item.name not in inherited:
                        yield f"{node.name}.{item.name}", item, True


def inherited_methods(tree: ast.Module, owner: ast.ClassDef) -> set[str]:
    """Methods that a base class, of the same module or imported from another of ours, has explained already."""
    bases = {base.id for base in owner.bases if isinstance(base, ast.Name)}
    found: set[str] = set()
    for home in (tree, *imported_modules(tree, bases)):
        for parent in (node for node in home.body if isinstance(node, ast.ClassDef) and node.name in bases):
            found |= {item.name for item in parent.body if isinstance(item, Function)}
            found |= inherited_methods(home, parent)
    return found


def imported_modules(tree: ast.Module, names: set[str]) -> Iterator[ast.Module]:
    """Our modules that these names are imported from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names}:
            path = PACKAGE.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")
            if path.is_file():
                yield ast.parse(path.read_text(encoding="utf-8"))


def num_parameters(function: Function, is_method: bool) -> int:
    is_static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in function.decorator_list)
    arguments = function.args
    return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - (is_method and not is_static)


def returns_something(function: Function) -> bool:
    return function.returns is not None and not (
        isinstance(function.returns, ast.Constant) and function.returns.value is None
    )


def problems(tree: ast.Module) -> list[str]:
    """What is missing. Functions and methods of several parameters need sections, for less one line may be enough."""
    found = []
    for name, node, is_method in public_definitions(tree):
        docstring = ast.get_docstring(node)  # type: ignore[arg-type]
        if not docstring:
            found.append(f"{name} has no docstring")
        elif isinstance(node, Function) and num_parameters(node, is_method) > 1 and not ELSEWHERE.search(docstring):
            found += [f"{name} has no Args section"] * (not ARGS.search(docstring))
            found += [f"{name} has no Returns section"] * (returns_something(node) and not RESULT.search(docstring))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_have_docstrings(path):
    assert not problems(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_are(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    is_listed = public_names(tree) or path.name in ("__init__.py", "__main__.py")
    assert is_listed, "a module lists its public names in __all__"


def test_the_check_finds_missing_sections():
    source = '__all__ = ["f", "C"]\ndef f(a, b) -> int:\n    """Add."""\nclass C:\n    def g(self):\n        pass'
    expected = ["f has no Args section", "f has no Returns section", "C has no docstring", "C.g has no docstring"]
    assert problems(ast.parse(source)) == expected
