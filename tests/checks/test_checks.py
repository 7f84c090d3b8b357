"""The linters and the Go tests, so that one command runs all there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.project import BIN, REPOSITORY
from tests.set_up import setup

_WORKFLOWS = sorted(
    str(path.relative_to(REPOSITORY))
    for below in (".github/workflows", "examples/github")
    for path in (REPOSITORY / below).glob("*.yml")
)


def _check(
    command: Sequence[str | Path],
    directory: Path = REPOSITORY,
    env: Mapping[str, str] | None = None,
) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports", "--no-cache"),
        ("snakefmt", "--check", "Snakefile", "rules"),
        ("snakemake", "--lint", "--config", "env=demo"),
        # Needs shellcheck on PATH for the steps' own scripts, which a test below insists on.
        ("actionlint", *_WORKFLOWS),
        ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "examples/gitlab-ci.yml"),
    ],
    ids=" ".join,
)
def test_linter_is_clean(command: tuple[str, ...]) -> None:
    _check([BIN / command[0], *command[1:]], env={"PYTHONPATH": str(REPOSITORY / "scripts")})


def test_actions_are_pinned_by_commit() -> None:
    texts = [(REPOSITORY / name).read_text() for name in _WORKFLOWS]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    uses = [line for line in lines if re.match(r"(- )?uses:", line)]
    # The project's own, and those that init writes.
    assert len(uses) >= len(_WORKFLOWS) >= 5
    pinned = re.compile(r"(- )?uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert not [line for line in uses if not pinned.fullmatch(line)]


def test_shell_scripts_are_clean() -> None:
    listed = subprocess.run(
        # Golden files have their own check, which knows what is awkward in them on purpose.
        ["git", "grep", "-lE", r"^#!.*\b(ba)?sh$", "--", ":!tests/golden"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    scripts = [name for name in listed.stdout.split() if not name.endswith((".j2", ".py"))]
    assert ".ci/run" in scripts
    shellcheck = shutil.which("shellcheck")
    assert shellcheck, "shellcheck is not installed; 'make test' installs it"
    _check([shellcheck, *scripts])


def go() -> str:
    """Go from PATH, else the one that set-up brought."""
    found = shutil.which("go")
    if found:
        return found
    cache = os.environ.get("TALOSMAKE_CACHE") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "talosmake"
    )
    brought = sorted(Path(cache).glob("go/*/go/bin/go"))
    assert brought, "Go is not installed; 'make test' brings it where it is missing"
    return str(brought[-1])


@pytest.mark.parametrize("program", ["simulator", "schematic", "platforms"])
@pytest.mark.parametrize("arguments", [("vet", "./..."), ("test", "./...")], ids=" ".join)
def test_our_own_go_programs(arguments: tuple[str, ...], program: str) -> None:
    env = {"TALOSCTL": str(BIN / "talosctl"), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    # As set-up compiles it (linking is apart), so that nothing is compiled twice.
    compiling = setup.BUILD_FLAGS[: setup.BUILD_FLAGS.index("-ldflags")]
    env["GOFLAGS"] = " ".join(compiling)
    _check([go(), *arguments], REPOSITORY / "tools" / program, env)


@pytest.mark.parametrize("program", ["simulator", "schematic", "platforms", "versions"])
def test_our_own_go_programs_are_formatted(program: str) -> None:
    gofmt = Path(go()).resolve().with_name("gofmt")
    done = subprocess.run(
        [str(gofmt), "-l", "."],
        cwd=REPOSITORY / "tools" / program,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
