"""Each rule file can be read alone: all that it uses it imports or defines, or common.smk does.

Snakemake runs all files in one namespace, where a name that is missing in one may come from
another, or be another's of the same name.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import forked
from tests.project import BIN, REPOSITORY

_FILES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "rules").glob("*.smk"))]
_COMMON = "common.smk"
# What Snakemake gives to each file.
_SNAKEMAKE = {"workflow", "config", "ancient"}


@dataclass(frozen=True)
class Names:
    """The names of a rule file.

    :ivar imported: by what they stand for.
    :ivar defined: functions and values of its own; those that begin with _ are for itself.
    :ivar used: wherever it is.
    """

    imported: dict[str, str]
    defined: frozenset[str]
    used: frozenset[str]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def names_of(code: str) -> Names:
    """The names in a file as Snakemake compiled it."""
    imported = {
        alias.asname or alias.name: f"{getattr(node, 'module', '')}.{alias.name}"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    top = symtable.symtable(code, "rules", "exec")
    used = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    made = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    defined = {name for name in made - imported.keys() if not name.startswith("__")}
    return Names(imported, frozenset(defined), frozenset(used))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Names]:
    root = tmp_path_factory.mktemp("compiled")
    return {path.name: names_of(_compiled(path, root)) for path in _FILES}


def _compiled(path: Path, root: Path) -> str:
    command = [str(BIN / "snakemake"), "--workflow-profile", "none", "--print-compilation"]
    variables = {"HOME": str(root), "PATH": str(BIN)}
    with forked.server() as server:
        code, text = server.run([*command, "-s", str(path)], root, variables, 60)
    assert code == 0, text
    return text


def test_each_file_imports_what_it_uses(files: dict[str, Names]) -> None:
    given = _SNAKEMAKE | set(dir(builtins)) | files[_COMMON].defined
    missing = {
        name: sorted(file.used - file.imported.keys() - file.defined - given)
        for name, file in files.items()
    }
    assert {name: names for name, names in missing.items() if names} == {}


def test_no_file_imports_what_it_does_not_use(files: dict[str, Names]) -> None:
    left = {name: sorted(file.imported.keys() - file.used) for name, file in files.items()}
    assert {name: names for name, names in left.items() if names} == {}


def test_a_name_is_one_thing_in_all_files(files: dict[str, Names]) -> None:
    meanings: dict[str, set[str]] = defaultdict(set)
    for where, file in files.items():
        for name, what in file.imported.items():
            meanings[name].add(what)
        for name in file.defined:
            meanings[name].add(where)
    assert {name: what for name, what in meanings.items() if len(what) > 1} == {}


def test_what_is_missing_twice_or_too_much_is_found() -> None:
    names = names_of("from a import b, c\ndef d(x):\n    return b(x, E)\nf = [d(y) for y in z]\n")
    assert names.imported == {"b": "a.b", "c": "a.c"}
    assert names.defined == {"d", "f"}
    assert names.used == {"b", "E", "d", "z"}
