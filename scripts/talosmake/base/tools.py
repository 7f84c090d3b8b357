"""The pinned external programs: which version, and whether what is there fits."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from talosmake.base.errors import ToolError
from talosmake.base.process import find, run
from talosmake.base.program import ROOT, set_up

_TOOLS = ROOT / "tools"


@dataclass(frozen=True)
class Tool:
    """A program pinned by ``tools/<directory>/go.mod``.

    :ivar exact: only the pinned version will do, because its output must be the same everywhere.
    """

    name: str
    directory: str
    module: str
    version_command: tuple[str, ...]
    exact: bool = False

    @property
    def pinned(self) -> str:
        """The pinned version without a leading v, e.g. ``1.13.0``."""
        return _pin(_TOOLS / self.directory / "go.mod", self.module)


def _tool(name: str, program: str = "") -> Tool:
    """A tool as tools/tools.toml, which set-up reads, too, has it.

    :param program: which of its programs, where it has several.
    """
    table = _registry()[name]
    directory = table.get("directory", name)
    return Tool(
        program or table.get("programs", [name])[0],
        f"{directory}/{table['default']}" if "minors" in table else directory,
        table["module"],
        tuple(table["version"]),
        exact=table.get("exact", False),
    )


@cache
def _registry() -> dict[str, Any]:
    return tomllib.loads((_TOOLS / "tools.toml").read_text(encoding="utf-8"))


def minors_of(name: str) -> list[str]:
    """The minor versions of Talos that a tool is pinned for, e.g. ``1.13``."""
    return list(_registry()[name]["minors"])


# The default one, and how any of them is asked; talosctls.py knows the others.
TALOSCTL = _tool("talosctl")
SOPS = _tool("sops")
AGE = _tool("age")
AGE_KEYGEN = _tool("age", "age-keygen")
# Our own program around the Image Factory's package, whose version it tells.
SCHEMATIC_ID = _tool("schematic")
HELM = _tool("helm")


@cache
def _pin(go_mod: Path, module: str) -> str:
    found = re.search(rf"^\s*{re.escape(module)} v(\S+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise ToolError(f"{go_mod}: does not pin {module}")
    return found[1]


def numbers(version: str) -> tuple[int, ...]:
    """``1.13.0`` as numbers that compare; what follows the patch level is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def fits(tool: Tool, found: str) -> bool:
    """Whether a version may stand in for the pinned one: the same, or a newer one of its major.

    Pre-releases and builds from changed sources (``1.13.0-dirty``) never do.
    """
    have, want = numbers(found), numbers(tool.pinned)
    if tool.exact or "-" in found:
        return found == tool.pinned
    return have[:1] == want[:1] and have >= want


@cache
def require(tool: Tool) -> str:
    """The tool's path, its version checked once a process.

    :raises ToolError: when it is missing, answers oddly, or its version does not fit.
    """
    path = find(tool.name)
    found = version_of(path, tool)
    wanted = f"{'exactly' if tool.exact else 'at least'} {tool.pinned}"
    hint = f"Run '{set_up()}': it builds the pinned version."
    if not found:
        raise ToolError(f"{path}: does not tell its version; {wanted} is needed", hint=hint)
    if not fits(tool, found):
        raise ToolError(f"{path}: version {found}, but {wanted} is needed", hint=hint)
    return path


def version_of(path: str, tool: Tool) -> str:
    """The version that a program tells, without a leading v; "" if it tells none.

    :param tool: what it should be, and so how it is asked.
    """
    answer = run([path, *tool.version_command], timeout=30)
    text = answer.stdout.decode(errors="replace") + answer.stderr
    found = re.search(r"v?(\d+\.\d+\.\d+\S*)", text)
    return found[1] if answer.ok and found else ""
