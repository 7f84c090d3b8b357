from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talosmake.base import tools
from talosmake.base.errors import ToolError
from talosmake.base.process import Result
from talosmake.base.tools import AGE, AGE_KEYGEN, SCHEMATIC_ID, SOPS, TALOSCTL, Tool

ALL = (TALOSCTL, SOPS, AGE, AGE_KEYGEN, SCHEMATIC_ID)


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_tool_is_pinned_and_there(tool: Tool) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", tool.pinned)
    assert Path(tools.require(tool)).name == tool.name


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.13.0", (1, 13, 0)), ("v1.13.0-alpha.1", (1, 13, 0)), ("3.10", (3, 10)), ("", ())],
)
def test_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert tools.numbers(version) == numbers


def pinned(monkeypatch: pytest.MonkeyPatch, version: str, *, exact: bool) -> Tool:
    monkeypatch.setattr(tools, "_pin", lambda *_: version)
    return Tool("t", "t", "example.org/t", ("--version",), exact)


@pytest.mark.parametrize(
    ("found", "exact", "others"),
    [
        ("3.13.3", True, True),
        ("3.13.4", False, True),
        ("3.14.0", False, True),
        ("3.13.2", False, False),
        ("3.9.9", False, False),
        ("4.0.0", False, False),
        ("2.99.0", False, False),
    ],
)
def test_fits(monkeypatch: pytest.MonkeyPatch, found: str, exact: bool, others: bool) -> None:
    assert tools.fits(pinned(monkeypatch, "3.13.3", exact=True), found) is exact
    assert tools.fits(pinned(monkeypatch, "3.13.3", exact=False), found) is others


Says = Callable[[Result], None]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    def saying(result: Result) -> None:
        def run(*_: Any, **__: Any) -> Result:
            return result

        monkeypatch.setattr(tools, "run", run)
        monkeypatch.setattr(tools, "find", lambda name: f"/usr/bin/{name}")
        tools.require.cache_clear()

    return saying


@pytest.mark.parametrize("version", ["1.12.9", "1.13.1", "2.0.0", "1.9.0"])
def test_talosctl_must_be_exactly_the_pinned_one(says: Says, version: str) -> None:
    says(Result(0, f"Client:\nTalos v{version}\n".encode(), ""))
    with pytest.raises(ToolError) as error:
        tools.require(TALOSCTL)
    wanted = TALOSCTL.pinned
    assert error.value.message == (
        f"/usr/bin/talosctl: version {version}, but exactly {wanted} is needed"
    )
    assert "make setup" in error.value.hint


def test_too_old_sops_is_refused(says: Says) -> None:
    says(Result(0, b"sops 3.7.1 (latest)\n", ""))
    with pytest.raises(ToolError, match=r"sops: version 3\.7\.1, but at least 3\."):
        tools.require(SOPS)


@pytest.mark.parametrize("result", [Result(1, b"1.3.2", ""), Result(0, b"(devel)", "")])
def test_tool_that_does_not_tell_its_version_is_refused(says: Says, result: Result) -> None:
    says(result)
    with pytest.raises(ToolError, match=r"age: does not tell its version; at least .* is needed"):
        tools.require(AGE)


def test_version_on_standard_error_counts(says: Says) -> None:
    says(Result(0, b"", f"v{AGE.pinned}\n"))
    assert tools.require(AGE) == "/usr/bin/age"


def test_tool_without_a_pin_is_an_error(tmp_path: Path) -> None:
    go_mod = tmp_path / "go.mod"
    go_mod.write_text("require filippo.io/agenda v1.0.0\n")
    with pytest.raises(ToolError, match=r"go\.mod: does not pin filippo\.io/age$"):
        tools._pin(go_mod, "filippo.io/age")


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    tools.require.cache_clear()
