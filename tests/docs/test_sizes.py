"""No module and no function is too long to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import REPOSITORY

# The most lines that a module may have, by where it stands.
_MODULES = {"scripts/talosmake": 400, "tools/setup": 250, "plugins": 250}
_FUNCTION = 50
# The same for rules; what they have in common is to be read first, and on one screen.
_COMMON, _RULES = 120, 130
_FILES = {directory: sorted((REPOSITORY / directory).rglob("*.py")) for directory in _MODULES}


def _functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _too_long(path: Path, text: str) -> list[str]:
    """The functions of a module that are too long, with their lines."""
    return [
        f"{path}:{function.lineno}: {function.name} has {_lines_of(function)} lines"
        for function in _functions(text)
        if _lines_of(function) > _FUNCTION
    ]


@pytest.mark.parametrize("directory", _MODULES)
def test_modules_are_short(directory: str) -> None:
    lines = {
        str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines())
        for path in _FILES[directory]
    }
    assert lines, directory
    assert {path: n for path, n in lines.items() if n > _MODULES[directory]} == {}


def test_rules_are_short() -> None:
    files = sorted((REPOSITORY / "rules").glob("*.smk"))
    lines = {path.name: len(path.read_text().splitlines()) for path in files}
    assert lines["common.smk"] <= _COMMON
    assert {name: n for name, n in lines.items() if n > _RULES} == {}


@pytest.mark.parametrize("directory", _MODULES)
def test_functions_are_short(directory: str) -> None:
    found = [line for path in _FILES[directory] for line in _too_long(path, path.read_text())]
    assert found == []


def test_a_long_function_is_found() -> None:
    body = "    pass\n" * _FUNCTION
    assert _too_long(Path("a.py"), f"class A:\n  def short(self):\n{body[9:]}") == []
    assert _too_long(Path("a.py"), f"def long():\n{body}") == ["a.py:1: long has 51 lines"]
