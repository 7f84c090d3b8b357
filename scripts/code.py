"""Which of our own modules a step runs through, as a digest that changes when one of them does."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


@cache
def digest(*modules: str) -> str:
    """A digest of modules of this package and all they import from it; templates are inputs.

    Snakemake re-runs a job when this changes as a parameter; it does not look into imported
    modules itself, and as inputs they would weigh on every job.
    """
    names: set[str] = set()
    for module in modules:
        names |= _closure(module)
    hashed = hashlib.sha256()
    for name in sorted(names):
        hashed.update(name.encode() + b"\0" + _source(name))
    return hashed.hexdigest()


@cache
def _closure(module: str) -> frozenset[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += _imports(name)
    return frozenset(found)


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of this package that a module imports anywhere in its text."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(_source(module))):
        if isinstance(statement, ast.ImportFrom) and statement.module == "scripts":
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            package, _, name = statement.module.partition(".")
            names |= {name} if package == "scripts" else set()
    return frozenset(names)


@cache
def _source(module: str) -> bytes:
    return (_PACKAGE / f"{module}.py").read_bytes()
