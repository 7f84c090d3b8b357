"""The table of versions is what Talos's own modules say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from talosmake.base import talosctls
from talosmake.inventory import versions
from tests.checks.test_checks import go
from tests.project import REPOSITORY

TABLE = json.loads(versions.TABLE.read_text())


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    path = REPOSITORY / "tools/versions/refresh.py"
    spec = importlib.util.spec_from_file_location("refresh", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _go_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(go()).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GOTOOLCHAIN", "local")


def modules(version: str) -> bool:
    """Whether Talos's machinery of a version can be had."""
    module = f"github.com/siderolabs/talos/pkg/machinery@v{version}"
    command = ["go", "mod", "download", "-json", module]
    where = REPOSITORY / "tools/talosctl/1.14"
    done = subprocess.run(command, cwd=where, capture_output=True, check=False, timeout=300)
    return done.returncode == 0


def test_each_minor_version_has_a_table(refresh: ModuleType) -> None:
    assert list(TABLE) == refresh.minors() == [talosctls.text(one) for one in talosctls.minors()]


@pytest.mark.usefixtures("_go_on_path")
@pytest.mark.parametrize("minor", TABLE)
def test_table_is_what_the_modules_say(refresh: ModuleType, minor: str) -> None:
    missing = [one for one in ("1.10.0", TABLE[minor]["talosctl"]) if not modules(one)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"Talos's modules of {', '.join(missing)} cannot be had here")
    assert refresh.table(minor) == TABLE[minor], "run: make versions"


def test_only_what_is_new_is_told(refresh: ModuleType) -> None:
    kind: dict[str, Any] = {"enum": ["OldConfig"]}
    old: dict[str, dict[str, Any]] = {"": {"a": {}}, "OldConfig": {"kind": kind, "b": {}}}
    new: dict[str, dict[str, Any]] = {
        "": {"a": {"$ref": "#/$defs/A"}},
        "OldConfig": {"kind": kind, "b": {}, "c": {"items": {"properties": {"d": {}}}}},
        "NewConfig": {"kind": {"enum": ["NewConfig"]}},
    }
    found = refresh.since({"1.1.0": schema(old), "1.2.0": schema(new)})
    assert found == {"1.2": {"": ["a.*.x"], "OldConfig": ["c"], "NewConfig": []}}


def schema(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    definitions = {f"D{kind}": {"properties": fields} for kind, fields in documents.items()}
    inner: dict[str, Any] = {".*": {"properties": {"x": {}}}}
    shared = {"A": {"properties": {}, "patternProperties": inner}}
    return {
        "$defs": {**definitions, **shared},
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in definitions],
    }
