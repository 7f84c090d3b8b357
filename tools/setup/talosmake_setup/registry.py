"""The programs that are provided, as tools/tools.toml has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

# What debuggers read is left out when programs are linked; not making it saves a tenth of the time.
BUILD_FLAGS = (
    *("-mod=readonly", "-trimpath", "-buildvcs=false"),
    *("-gcflags=all=-dwarf=false", "-ldflags", "-s -w"),
)
TOOLS = Path(__file__).resolve().parents[2]
# The module of Talos's that has its JSON schema.
MACHINERY = "github.com/siderolabs/talos/pkg/machinery"
SCHEMA = "config.schema.json"


@dataclass(frozen=True)
class Tool:
    """A program that the workflow calls; tools/tools.toml says what its fields mean.

    :ivar name: of its table; with the minor version of Talos, where it goes by that.
    :ivar directory: below ``tools/``: its ``go.mod`` pins the version, or it is our own source.
    :ivar programs: what is put into ``.venv/bin``.
    :ivar minutes: about how long building takes on two cores, with nothing in Go's caches.
    :ivar parts: the parts of set-up that need it.
    :ivar minor: the minor version of Talos that it is for, e.g. ``1.13``; "" for all.
    :ivar default: whether its programs have their plain names, too.
    """

    name: str
    directory: str
    programs: tuple[str, ...]
    minutes: float
    parts: tuple[str, ...]
    module: str = ""
    own: bool = False
    version_command: tuple[str, ...] = ()
    exact: bool = False
    version_variable: str = ""
    fact: str = ""
    guest: bool = False
    minor: str = ""
    default: bool = True

    def names(self, program: str) -> tuple[str, ...]:
        """What a program is called in ``.venv/bin``: the default's has its plain name, too."""
        plain = (program,) if self.default else ()
        return (f"{program}-{self.minor}", *plain) if self.minor else plain

    def build_flags(self, version: str) -> tuple[str, ...]:
        """What Go is told when it builds this version."""
        if not self.version_variable:
            return BUILD_FLAGS
        return (*BUILD_FLAGS[:-1], f"{BUILD_FLAGS[-1]} -X {self.version_variable}=v{version}")


@cache
def registry() -> Mapping[str, Tool]:
    """All tools, by the names of their tables."""
    # Not above: an older Python, which only looks for a newer one, has no such module.
    import tomllib

    tables = tomllib.loads((TOOLS / "tools.toml").read_text(encoding="utf-8"))
    tools = (tool for name, table in tables.items() for tool in _tools(name, table))
    return {tool.name: tool for tool in tools}


def _tools(name: str, table: dict[str, Any]) -> Iterator[Tool]:
    tool = Tool(
        name=name,
        directory=table.get("directory", name),
        programs=tuple(table.get("programs", [name])),
        minutes=table["minutes"],
        parts=tuple(table["with"]),
        module=table.get("module", ""),
        own=table.get("own", False),
        version_command=tuple(table.get("version", ())),
        exact=table.get("exact", False),
        version_variable=table.get("version-variable", ""),
        fact=table.get("fact", ""),
        guest=table.get("guest", False),
    )
    if "minors" not in table:
        yield tool
    for minor in table.get("minors", ()):
        yield replace(
            tool,
            name=f"{name}-{minor}",
            directory=f"{tool.directory}/{minor}",
            minor=minor,
            default=minor == table["default"],
        )
