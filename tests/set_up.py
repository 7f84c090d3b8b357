"""Set-up as one module, which it is not: a package that runs before anything is installed."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from tests.project import REPOSITORY

_PARTS = (
    "registry",
    "decide",
    "steps",
    "debian",
    "python",
    "go",
    "programs",
    "guest",
    "demo",
    "whole",
)


class SetUp:
    """All names of set-up."""

    def __init__(self) -> None:
        place = str(REPOSITORY / "tools/setup")
        if place not in sys.path:
            sys.path.append(place)
        self.parts = [import_module(f"talosmake_setup.{part}") for part in _PARTS]

    def __getattr__(self, name: str) -> Any:
        for part in self.parts:
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)


setup = SetUp()
