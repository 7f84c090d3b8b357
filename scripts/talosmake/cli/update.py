"""Raising the pinned talosmake: what that changes is shown before anything is written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from talosmake.artifact import diff
from talosmake.base.errors import ConfigError, ToolError
from talosmake.base.program import version
from talosmake.inventory.repository_format import FILE

PIN = Path("requirements.txt")
# What of a repository decides what is rendered; secrets are left behind, as a check needs none.
_DATA = ("patches", "config", ".sops.yaml", "secrets", "Snakefile", "profiles", str(FILE))
_PINNED = re.compile(r"^talosmake\s*==\s*(\S+)", re.MULTILINE)


def update(wanted: str, confirm: Callable[[str], bool]) -> Iterator[str]:
    """Render with this version and the wanted one, show the differences, and raise the pin.

    Both render copies with one throw-away bundle each, so nothing here changes but the pin.

    :param wanted: a version, a wheel's file, or "" for the newest that the package index has.
    :param confirm: asked before the pin is written.
    :raises ConfigError: where nothing is pinned.
    :raises ToolError: when the wanted version, or its tools, cannot be had, or one of the two does
        not render.
    """
    text = pin()
    with tempfile.TemporaryDirectory(prefix="talosmake-update-") as directory:
        root = Path(directory)
        new = _installed(wanted, root / "venv")
        yield f"talosmake {version()} -> {new}"
        _set_up(root / "venv/bin/talosmake")
        before = _rendered(Path(sys.executable), root / "before")
        after = _rendered(root / "venv/bin/python", root / "after")
        yield from diff.markdown(diff.read(before), diff.read(after))
        yield from _files_changed(root / "venv/bin/talosmake")
    if confirm(f"Raise the pin in {PIN} to {new}?"):
        PIN.write_text(_PINNED.sub(f"talosmake=={new}", text), encoding="utf-8")
        yield f"{PIN}: talosmake=={new}. Install it, then its tools:"
        yield f"  pip install -r {PIN} && talosmake setup && talosmake migrate"
    else:
        yield f"{PIN} stays as it is"


def pin() -> str:
    """The file that pins talosmake here.

    :raises ConfigError: where there is none, or nothing is pinned.
    """
    try:
        text = PIN.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{PIN}: cannot be read: {error.strerror}",
            hint="Run it in a repository that 'talosmake init' made. A clone is updated by git.",
        ) from None
    if not _PINNED.search(text):
        raise ConfigError(f"{PIN}: does not pin talosmake", hint="Add a line  talosmake==VERSION")
    return text


def _installed(wanted: str, venv: Path) -> str:
    """Install the wanted version into an environment of its own; returns which one it is."""
    is_file = wanted.endswith(".whl")
    named = wanted if is_file else f"talosmake=={wanted}" if wanted else "talosmake"
    python = str(venv / "bin/python")
    if uv := shutil.which("uv"):
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        make = [sys.executable, "-m", "venv", str(venv)]
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(make, Path(), "make a Python environment")
    _run([*install, named], Path(), f"install {named}")
    asked = "from importlib.metadata import version; print(version('talosmake'))"
    return _run([python, "-c", asked], Path(), "ask for its version").strip()


def _set_up(talosmake: Path) -> None:
    """Provide the tools that the wanted version pins; what is built is kept in the cache.

    :raises ToolError: when one cannot be had; set-up has said why.
    """
    if subprocess.run([str(talosmake), "setup"], stdin=subprocess.DEVNULL, check=False).returncode:
        raise ToolError("the tools of this talosmake cannot be provided; why stands above")


def _rendered(python: Path, directory: Path) -> Path:
    """Render a copy of this repository; returns where the redacted configs are."""
    directory.mkdir()
    for name in _DATA:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, directory / name, symlinks=True)
        elif source.exists():
            shutil.copyfile(source, directory / name)
    # What is made of a repository names its commit.
    identity = ("-c", "user.name=talosmake", "-c", "user.email=talosmake@localhost")
    for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "copy")):
        _run(["git", *arguments], directory, "copy the repository")
    command = [str(python.with_name("talosmake")), "artifact_check", "all"]
    _run(command, directory, f"render with {python}")
    return directory / "rendered_configs/.check"


def _files_changed(talosmake: Path) -> Iterator[str]:
    """What a version would change in the files that talosmake wrote here, where it can tell."""
    command = [str(talosmake), "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        yield from ("In the files that talosmake wrote:", *done.stdout.splitlines())


def _run(command: Sequence[str], directory: Path, what: str) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise ToolError(f"cannot {what}:\n" + "\n".join(told[-8:]))
    return done.stdout
