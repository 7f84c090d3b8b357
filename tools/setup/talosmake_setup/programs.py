"""The pinned programs: from PATH where the version fits, else built into the cache."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from talosmake_setup.decide import (
    build_name,
    fits,
    is_source,
    oldest_go,
    pinned_version,
    told_version,
)
from talosmake_setup.go import ensure_go, go_version
from talosmake_setup.registry import MACHINERY, SCHEMA, Tool
from talosmake_setup.steps import (
    BIN,
    ROOT,
    VENV,
    SetupError,
    Step,
    cache_directory,
    every,
    log_file,
    make_once,
    output_of,
    say,
)


def ensure_tool(tool: Tool) -> None:
    """Put a tool's programs into .venv/bin: from PATH when the version fits, else built."""
    programs = None if is_built(tool) else _installed(tool)
    if programs is None:
        home = ensure_built(tool)
        programs = {program: home / program for program in tool.programs}
    _link(tool, programs)


def is_built(tool: Tool) -> bool:
    """Whether the cache has it, and it is what it is named; what is not is removed.

    A program is asked for its version: that it is in the cache is no proof.
    """
    home, _ = home_of(tool)
    if not all((home / program).exists() for program in tool.programs):
        return False
    wrong = _wrong_version(tool, home)
    if wrong:
        say(f"warning: {wrong}; it is built again")
        shutil.rmtree(home)
    return not wrong


def _wrong_version(tool: Tool, directory: Path) -> str:
    """What is wrong with the programs in a directory, or ""."""
    if not tool.version_command:
        return ""
    pinned = pin_of(tool)
    for program in tool.programs:
        told = told_version(output_of([str(directory / program), *tool.version_command]))
        if told != pinned:
            return f"{directory / program} tells version {told or 'none'}, and {pinned} is pinned"
    return ""


def pin_of(tool: Tool) -> str:
    """The version of its module that a tool pins."""
    return pinned_version((ROOT / "tools" / tool.directory / "go.mod").read_text(), tool.module)


def home_of(tool: Tool) -> tuple[Path, str]:
    """Where in the cache a tool is built, and the version that is pinned; "" for our own source."""
    source = ROOT / "tools" / tool.directory
    pinned = "" if tool.own else pin_of(tool)
    paths = [path for path in source.rglob("*") if is_source(path.name)]
    sources = {str(path.relative_to(source)): path.read_bytes() for path in paths}
    go = go_version(oldest_go((source / "go.mod").read_text()))
    flags = tool.build_flags(pinned)
    name = build_name(pinned or "own", platform.machine(), go, sources, flags)
    return cache_directory(os.environ) / "tools" / tool.directory / name, pinned


def ensure_built(tool: Tool) -> Path:
    """Build a tool into the cache; returns the directory of its programs.

    :raises SetupError: when it is not of the version that is pinned.
    """
    home, pinned = home_of(tool)
    source = ROOT / "tools" / tool.directory
    flags = tool.build_flags(pinned)

    def make(temporary: Path) -> None:
        _build(tool, source, home, temporary, flags)
        if wrong := _wrong_version(tool, temporary):
            raise SetupError(wrong)

    make_once(home, tool.programs, make)
    return home


def ensure_schema(tool: Tool) -> None:
    """Talos's schema of machine configs, for editors: .venv/share/talos-schema/<minor version>.

    Only where this talosctl was built: then Go is there, and the module mostly, too.
    """
    built = (BIN / tool.names(tool.programs[0])[0]).resolve()
    if not built.is_relative_to(cache_directory(os.environ).resolve()):
        return
    source = ROOT / "tools" / tool.directory
    version = pinned_version((source / "go.mod").read_text(), MACHINERY)
    home = cache_directory(os.environ) / "schemas" / version
    try:
        make_once(home, [SCHEMA], lambda temporary: _copy_schema(source, temporary))
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without 'snakemake schemas'")
        return
    link = VENV / "share/talos-schema" / tool.minor
    if link.parent.is_symlink():  # as it was when there was one talosctl
        link.parent.unlink()
    link.parent.mkdir(parents=True, exist_ok=True)
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


def _installed(tool: Tool) -> dict[str, Path] | None:
    """The tool's programs on PATH, if all are there and fit."""
    if tool.own:
        return None
    found: dict[str, Path] = {}
    for program in tool.programs:
        fitting = _fitting(tool, program)
        if fitting is None:
            return None
        found[program] = fitting
    return found


def _fitting(tool: Tool, program: str) -> Path | None:
    """The first of all that PATH has which fits: mise puts several versions there."""
    pinned, others = pin_of(tool), []
    names = dict.fromkeys((*tool.names(program), program))
    for path in [path for name in names for path in every(name)]:
        version = told_version(output_of([path, *tool.version_command]))
        if fits(version, pinned, exact=tool.exact):
            return Path(path).absolute()
        others.append(f"{path} is {version or 'of no known version'}")
    if others:
        need = pinned if tool.exact else f"{pinned} or newer"
        say(f"{'; '.join(others)}; {need} is needed")
    return None


def _link(tool: Tool, programs: Mapping[str, Path]) -> None:
    for program, target in programs.items():
        for name in tool.names(program):
            link, script = BIN / name, _script(program, name, target)
            if _is_there(link, script, target):
                continue
            temporary = BIN / f".{name}.tmp"
            temporary.unlink(missing_ok=True)
            if script:
                temporary.write_text(script, encoding="utf-8")
                temporary.chmod(0o755)
            else:
                temporary.symlink_to(target)
            temporary.replace(link)
            shown = link.relative_to(ROOT) if link.is_relative_to(ROOT) else link
            say(f"{shown} is {target}")


def _is_there(link: Path, script: str, target: Path) -> bool:
    if link.is_symlink() or not script:
        return link.is_symlink() and not script and link.readlink() == target
    return link.is_file() and link.read_bytes() == script.encode()


def _script(program: str, name: str, target: Path) -> str:
    """What calls a program that does what its name says, as mise's shims do; "" for others.

    By a link of another name it would be another program.
    """
    if name == target.name or target.resolve().name.startswith(program):
        return ""
    return f'#!/bin/sh\nexec {shlex.quote(str(target))} "$@"\n'


def _build(tool: Tool, source: Path, home: Path, target: Path, flags: Sequence[str]) -> None:
    go, env = ensure_go(oldest_go((source / "go.mod").read_text()))
    names = ", ".join(name for program in tool.programs for name in tool.names(program)[:1])
    log = log_file(f"{tool.directory}-{home.name}")
    expected = f"about {tool.minutes * 60:.0f} s"
    say(f"building {names} ({expected} at first, on two cores); log: {log}")
    if not tool.own:
        command = [go, "install", *flags, "tool"]
        env["GOBIN"] = str(target)
    else:
        command = [go, "build", *flags, "-o", str(target / tool.programs[0]), "."]
    Step(names, log, expected).run(command, env, source)
