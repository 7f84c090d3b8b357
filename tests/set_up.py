"""The set-up script as a module, which it is not: it runs before anything is installed."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.project import REPOSITORY


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "talosmake_setup", REPOSITORY / "tools/setup/setup.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


setup = _load()
