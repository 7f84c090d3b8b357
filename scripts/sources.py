"""What a config is made of, as a digest of contents.

Snakemake compares times, and a file may be older than what was made without it: copied with its
time, moved there, or changed while a run was at work that had read it before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from scripts import files
from scripts.model import Environment, Node


def of_node(environment: Environment, node: Node) -> str:
    """Of the facts of a node as they were read, its patches, and the bundle that is in Git."""
    bundle = [] if environment.cluster.throwaway else [environment.bundle]
    return _digest(node.facts, [*node.patches, *bundle])


def of_files(environment: Environment, paths: Iterable[Path]) -> str:
    """Of the facts of an environment as they were read, and of files."""
    return _digest(environment.facts, paths)


def _digest(facts: Mapping[str, object], paths: Iterable[Path]) -> str:
    hashed = hashlib.sha256(json.dumps(dict(facts), sort_keys=True, default=str).encode())
    for path in paths:
        hashed.update(f"\0{path}\0{_content(path)}".encode())
    return hashed.hexdigest()


@cache
def _content(path: Path) -> str:
    """As it was when it was first asked for; "" for a file that is not there."""
    try:
        return files.sha256_of(path)
    except OSError:
        return ""
