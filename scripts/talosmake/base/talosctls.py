"""Which talosctl serves which Talos: one is pinned for each minor version."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from talosmake.base import interruption, tools
from talosmake.base.errors import ToolError
from talosmake.base.program import set_up
from talosmake.base.tools import TALOSCTL, Tool, numbers

Minor = tuple[int, ...]


def minor(version: str) -> Minor:
    """The first two numbers of a version: ``v1.13.0`` is of (1, 13)."""
    return numbers(version)[:2]


def text(version: Minor) -> str:
    """As it is written: ``1.13``."""
    return ".".join(map(str, version))


@cache
def minors() -> tuple[Minor, ...]:
    """The minor versions of Talos that a talosctl is pinned for, the oldest first."""
    return tuple(sorted(minor(name) for name in tools.minors_of("talosctl")))


def default() -> str:
    """The version of the talosctl for what is done for no environment, e.g. ``1.13.9``."""
    return TALOSCTL.pinned


def serving(talos: str) -> Minor | None:
    """Of which minor version the talosctl is that serves a Talos.

    A talosctl serves the Talos of its own minor version. What is older than all that are pinned is
    served by the oldest: an older talosctl does not know what a newer Talos has, but a newer one
    knows what an older one has.

    :returns: None for a Talos that is newer than all of them.
    """
    one = minor(talos)
    return one if one in minors() else minors()[0] if one < minors()[0] else None


def pinned(one: Minor) -> Tool:
    """The talosctl that is pinned for a minor version of Talos."""
    name = text(one)
    return replace(TALOSCTL, name=f"talosctl-{name}", directory=f"talosctl/{name}")


def version_for(talos: str) -> str:
    """The version of the talosctl that is pinned for a Talos; the newest where none is.

    :param talos: e.g. ``v1.13.0``.
    """
    return pinned(serving(talos) or minors()[-1]).pinned


@cache
def require(version: str) -> str:
    """The path of the talosctl of exactly this version; asked for its version once a process.

    It is the one that set-up put beside this Python, or any on PATH: mise puts all its versions
    there.

    :param version: without a leading v, e.g. ``1.13.9``.
    :raises ToolError: when there is none.
    """
    seen = []
    for path in _candidates(version):
        try:
            found = tools.version_of(path, TALOSCTL)
        except ToolError as error:
            if interruption.is_told():
                raise
            seen.append(error.message)
            continue
        if found == version:
            return path
        seen.append(f"{path}: {f'version {found}' if found else 'does not tell its version'}")
    lines = "".join(f"\n{line}" for line in seen)
    raise ToolError(f"talosctl {version} is needed, and not there{lines}", hint=_how(version))


def _how(version: str) -> str:
    serves = minor(version)
    if serves in minors() and pinned(serves).pinned == version:
        return f"Run '{set_up()}': it takes it from PATH or builds it."
    return (
        "TALOSCTL_VERSION in cluster.env asks for it, and only pinned ones are built: install this "
        "one so that it is on PATH (mise use talosctl@" + version + "), or remove the line."
    )


def _candidates(version: str) -> Iterator[str]:
    """All talosctl that may be it, the likely ones first, each file once.

    What goes by the name that it is called by, like a shim of mise's, is another one by each name.
    """
    own = Path(sys.executable).parent
    directories = [str(own), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    seen = set()
    for name in (f"talosctl-{text(minor(version))}", "talosctl"):
        for directory in directories:
            path = shutil.which(name, path=directory) if directory else None
            real = os.path.realpath(path) if path else ""
            one = real, "" if Path(real).name.startswith("talosctl") else name
            if path and one not in seen:
                seen.add(one)
                yield path
