"""The names of environments and nodes: which there are, and what may be one."""

from __future__ import annotations

import re
from pathlib import Path

from talosmake.base.errors import InventoryError

ENVIRONMENTS = Path("patches/envs")
ALL = "all"

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


def environment_names() -> list[str]:
    """The names of all environments: the directories below patches/envs."""
    if not ENVIRONMENTS.is_dir():
        return []
    return sorted(
        entry.name for entry in ENVIRONMENTS.iterdir() if entry.is_dir() and entry.name[0] != "."
    )


def check_name(name: str, path: Path) -> None:
    """Refuse a directory whose name can be none of an environment or a node."""
    if not _NAME.fullmatch(name):
        raise InventoryError(
            f"{path}: {name!r} is no name for an environment or a node",
            hint="Use small letters, digits, - and _ in between, 63 characters at most; "
            "the host name is made of it (with - for _).",
        )
    if _is_number(name):
        raise InventoryError(
            f"{path}: {name!r} is no name for an environment or a node: Snakemake reads a number",
            hint="env= and node= could not name it; put letters before it, e.g. node_1.",
        )


def _is_number(text: str) -> bool:
    """Whether Snakemake takes a value of --config for a number: 01, 1_0, 1e3, but also nan."""
    try:
        float(text)
    except ValueError:
        return False
    return True
