"""The documentation runs: Python blocks, the outputs shown under them, commands and file names."""

import argparse
import ast
import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from openmimo.cli import _parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`([\w.-]+(?:/[\w.*-]+)*(?:/|\.(?:py|pyi|md|cpp|h|inc|toml|txt|js|html|css|jinja)))`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
GENERATED = {"MODEL_CARD.md", "chat_template.jinja", "report.html"}
"""Names of files that exist in checkpoint and run folders, not in the repository."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and its line in the page."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 1) for m in FENCE.finditer(text)]


def prose(page: Path) -> str:
    return COMMENT.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))


def every_page(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)(test)


@every_page
def test_python_blocks_print_what_the_page_shows(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    for block, following in pairwise([*found, Block("", "", 0)]):
        if block.language == "python":
            code = compile(block.text, f"{page.name}:{block.line}", "exec")
            if following.language == "output":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(code, names)
                assert printed.getvalue() == following.text, f"{page.name}:{block.line}"


def commands(page: Path) -> list[str]:
    """The `openmimo` commands of a page's bash blocks, continued lines joined."""
    lines = [
        line.strip()
        for block in blocks(page)
        if block.language == "bash"
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|", line)]
    return [part for part in parts if re.match(r"(\S*/)?openmimo ", part)]


@every_page
def test_commands_exist(page):
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        try:
            parsed = _parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: {command!r} is not a command of the program")
        assert isinstance(parsed, argparse.Namespace)


@every_page
def test_named_files_exist(page):
    places = (ROOT, ROOT / "src" / "openmimo", page.parent)
    bare = {path.name for folder in ("src", "csrc", "tests", "scripts") for path in (ROOT / folder).rglob("*")}
    for name in set(PATH.findall(prose(page))) - GENERATED - bare:
        is_there = any((place / name).exists() or ("*" in name and [*place.glob(name)]) for place in places)
        assert is_there, f"{page.name} names {name}, which does not exist"


@every_page
def test_links_lead_to_files(page):
    for target in LINK.findall(prose(page)):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_the_readme_has_two_set_up_commands():
    bash = [block for block in blocks(ROOT / "README.md") if block.language == "bash"]
    installing = [block for block in bash if re.search(r"pip install|scripts/check", block.text)]
    assert len(installing) == 2
    assert all(len(block.text.strip().splitlines()) == 1 for block in installing)


def error_codes(source: str) -> set[str]:
    """Codes that a module gives its errors: `code=`, the third argument of `problem` and `_body`, values of `code`."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            found += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            found += node.args[2:3] if name in ("problem", "_body") else []
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "code":
            found.append(node.value)
    found += [part for value in found if isinstance(value, ast.IfExp) for part in (value.body, value.orelse)]
    return {value.value for value in found if isinstance(value, ast.Constant) and isinstance(value.value, str)}


def test_serving_lists_every_error_code():
    modules = [*(ROOT / "src" / "openmimo" / "server").glob("*.py"), *(ROOT / "src" / "openmimo").glob("*.py")]
    given = {"invalid_value"}.union(*(error_codes(path.read_text(encoding="utf-8")) for path in modules))
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    table = [line for line in page.partition("## Errors")[2].splitlines() if line.startswith("| ")]
    listed = {code for line in table for code in re.findall(r"`(\w+_\w+|overloaded)`", line)}
    assert sorted(given - listed) == []
    assert sorted(listed - given) == []
