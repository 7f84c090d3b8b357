"""An installed talosmake: the wheel in a Python environment of its own, not this checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.project import BIN, REPOSITORY, Run
from tests.set_up import setup

TOOLS = ("talosctl", "sops", "age", "age-keygen", "helm", "talos-simulator")


def uv(*arguments: str | Path) -> None:
    """uv, with what set-up has brought into its cache and nothing from elsewhere."""
    command = [setup.ensure_uv(), *map(str, arguments), "--offline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def uv_cache() -> str:
    command = [setup.ensure_uv(), "cache", "dir"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Installed:
    """A Python environment with a talosmake in it."""

    home: Path

    def make(self, wheel: Path) -> Installed:
        uv("venv", "--python", BIN / "python", self.home)
        python = ("--python", self.home / "bin/python")
        uv("pip", "install", *python, "-r", REPOSITORY / "requirements/main.txt")
        uv("pip", "install", *python, "--no-deps", wheel)
        for name in TOOLS:
            (self.home / "bin" / name).symlink_to((BIN / name).resolve())
        return self


@dataclass(frozen=True)
class Repository:
    """A directory with a person's data, and the talosmake that is used there.

    :ivar home: where the person's age key is.
    """

    root: Path
    installed: Installed
    home: Path

    def run(
        self,
        *arguments: str,
        program: str = "talosmake",
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SOPS_", "TALOS", "PY"))}
        kept |= {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache")}
        places = [self.installed.home / "bin", Path(setup.ensure_uv()).parent, "/usr/bin", "/bin"]
        kept["PATH"] = os.pathsep.join(map(str, places))
        # As `uv` above: nothing is fetched.
        kept |= {"UV_OFFLINE": "1", "UV_CACHE_DIR": uv_cache()}
        done = subprocess.run(
            [program, *arguments],
            cwd=self.root,
            env={**kept, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def ok(self, *arguments: str, program: str = "talosmake") -> str:
        run = self.run(*arguments, program=program)
        assert run.code == 0, run.output
        return run.output

    def untracked(self) -> list[str]:
        """What Git shows as new or changed."""
        return self.ok("status", "--porcelain", "-uall", program="git").splitlines()

    def commit(self) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.com")
        self.ok("add", "-A", program="git")
        self.ok(*identity, "commit", "-qm", "x", "--no-verify", program="git")


def build(source: Path, target: Path) -> Path:
    uv("build", "--wheel", "--no-build-isolation", "--python", BIN / "python", "-o", target, source)
    return next(target.glob("talosmake-*.whl"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def newer_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same program in a later version: other defaults, and another format of repositories."""
    source = tmp_path_factory.mktemp("newer") / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, source / name)
    project = source / "pyproject.toml"
    changed = re.sub(r'^version = ".*"', 'version = "99.0.0"', project.read_text(), flags=re.M)
    project.write_text(changed)
    fit = source / "scripts/talosmake/render/fit.py"
    text = fit.read_text()
    before = 'hostname: {hostname}\\nauto: off\\n"'
    assert before in text
    fit.write_text(text.replace(before, f"{before[:10]}new-{before[10:]}"))
    form = source / "scripts/talosmake/inventory/repository_format.py"
    form.write_text(re.sub(r"^FORMAT = .*", "FORMAT = 99", form.read_text(), flags=re.M))
    return build(source, tmp_path_factory.mktemp("newer-dist"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed") / "venv").make(wheel)


@pytest.fixture(scope="session")
def newer(newer_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("newer-installed") / "venv").make(newer_wheel)
