"""What the documentation says of the code's places is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import PAGES
from tests.project import REPOSITORY

_PACKAGE = REPOSITORY / "scripts/talosmake"
_PAGE = (REPOSITORY / "docs/architecture.md").read_text()


def _table() -> dict[str, list[str]]:
    """The modules of each package, as the page's table has them."""
    _, _, section = _PAGE.partition("\n## The house\n")
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\w ]+) \|$", section.partition("\n## ")[0], re.M)
    return {package: modules.split() for package, modules in rows}


def test_table_has_all_modules() -> None:
    there = {
        path.name: sorted(each.stem for each in path.glob("*.py") if each.stem != "__init__")
        for path in _PACKAGE.iterdir()
        if (path / "__init__.py").is_file()
    }
    assert {package: sorted(modules) for package, modules in _table().items()} == there


def test_table_is_in_the_order_that_is_checked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    [layers] = [c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    names = list(_table())
    for layer in reversed(layers["layers"]):
        beside = layer.split(" | ")
        assert sorted(names[: len(beside)]) == sorted(beside)
        del names[: len(beside)]
    assert names == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_places_in_the_code_are_there(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(r"\b((?:scripts|rules|tests|plugins)/[\w/.<>*-]*[\w>])(?:: (\w+))?", text)
    for path, name in paths:
        if "<" in path or "*" in path:
            continue
        place = REPOSITORY / path
        assert place.exists(), path
        if name and place.is_file():
            assert re.search(rf"^(?:def |class )?{name}\b", place.read_text(), re.M), (path, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_that_are_run_are_there(page: Path) -> None:
    for module in re.findall(r"python -m ([a-z][\w.]+\w)", page.read_text()):
        place = REPOSITORY / module.replace(".", "/")
        if module.startswith("talosmake."):
            place = _PACKAGE.parent / f"{module.replace('.', '/')}.py"
        assert place.exists() or module == "venv", module


def test_unit_tests_stand_where_their_modules_do() -> None:
    """Beside the packages' directories are tests of what is in none, or in several of them."""
    unit = REPOSITORY / "tests/unit"
    modules: dict[str, set[str]] = {name: set() for name in _table()}
    for path in _PACKAGE.glob("*/*.py"):
        modules[path.parent.name].add(path.stem)
    every = set().union(*modules.values())
    for path in unit.rglob("test_*.py"):
        subject = path.stem.removeprefix("test_")
        if path.parent == unit:
            assert subject not in every, f"{path} is to stand in its package's directory"
            continue
        names = modules[path.parent.name] | {path.parent.name}
        assert subject.startswith(tuple(names)), f"{path} is named after no module"
