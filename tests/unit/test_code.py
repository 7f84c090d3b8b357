from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import code
from tests.project import REPOSITORY

Digest = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that may be changed."""
    copy = tmp_path / "scripts"
    shutil.copytree(REPOSITORY / "scripts", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_PACKAGE", copy)
    forget()
    yield copy
    forget()


def parsed_imports(source: bytes) -> set[str]:
    """What a module imports from the package, as Python's own parser has it."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.ImportFrom) and statement.module:
            package, _, name = statement.module.partition(".")
            if package == "scripts":
                names |= {name} if name else {alias.name for alias in statement.names}
    return names


@pytest.mark.parametrize(
    "module", sorted(path.stem for path in (REPOSITORY / "scripts").glob("*.py"))
)
def test_imports_are_those_that_python_sees(module: str) -> None:
    source = (REPOSITORY / f"scripts/{module}.py").read_bytes()
    assert code._imports(module) == parsed_imports(source)


def forget() -> None:
    for cached in (code.digest, code._closure, code._imports, code._source):
        cached.cache_clear()


def changed(package: Path, path: str) -> None:
    with (package / path).open("a") as file:
        file.write("\n# changed\n")
    forget()


@pytest.mark.parametrize(
    ("step", "module"),
    [
        ("render", "render"),
        ("render", "inject"),
        ("render", "talosctl"),
        ("render", "process"),  # by way of talosctl
        ("validate", "redact"),
        ("apply_script", "files"),
    ],
)
def test_changed_module_changes_the_steps_through_it(package: Path, step: str, module: str) -> None:
    before = code.digest(step)
    changed(package, f"{module}.py")
    assert code.digest(step) != before


@pytest.mark.parametrize(
    ("step", "module"),
    [("render", "deploy"), ("validate", "simulator"), ("talosconfig", "apply_script")],
)
def test_other_modules_do_not(package: Path, step: str, module: str) -> None:
    before = code.digest(step)
    changed(package, f"{module}.py")
    assert code.digest(step) == before


def test_new_import_counts_at_once(package: Path) -> None:
    (package / "extra.py").write_text("X = 1\n")
    with (package / "inject.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    from scripts.extra import X\n")
    forget()
    before = code.digest("render")
    changed(package, "extra.py")
    assert code.digest("render") != before


def test_imports_in_a_circle_come_to_an_end(package: Path) -> None:
    (package / "one.py").write_text("from scripts import two\n")
    (package / "two.py").write_text("from scripts.one import x\n")
    before = code.digest("one")
    assert before == code.digest("two")
    changed(package, "two.py")
    assert code.digest("one") != before


def test_digest_is_the_same_every_time() -> None:
    forget()
    before = code.digest("render", "validate")
    forget()
    assert code.digest("validate", "render") == before
