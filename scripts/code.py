"""Which of our own modules a step runs through, as a digest that changes when one of them does."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
# By a pattern: every process that Snakemake starts reads it, and parsing takes half a second.
_IMPORT = re.compile(r"^\s*from scripts(?:\.(\w+))? import (\([^)]*\)|[^\n#]+)", re.MULTILINE)


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
    for within, imported in _IMPORT.findall(_source(module).decode()):
        # Only words at the start of each part: `name as other`, one to a line or with commas.
        parts = re.sub(r"#.*", "", imported).strip("()").split(",")
        names |= {within} if within else {part.split()[0] for part in parts if part.strip()}
    return frozenset(names)


@cache
def _source(module: str) -> bytes:
    return (_PACKAGE / f"{module}.py").read_bytes()
