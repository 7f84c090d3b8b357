"""The Python environment .venv from hashed requirements."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from talosmake_setup.debian import apt_install
from talosmake_setup.decide import (
    FAILED_LIBVIRT,
    LIBVIRT,
    OLDEST_PYTHON,
    Environment,
    choose_python,
    digest,
    libvirt_packages,
    numbers,
    read_stamp,
    wanted_files,
)
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

STAMP = VENV / "talosmake-setup.json"
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
OLDEST_UV = (0, 5, 0)
OLDEST_UV_TO_LOCK = (0, 7, 0)  # the first to compile dependency groups


def find_python() -> str:
    """A Python to make the environment with: this one, else the first on PATH that will do."""
    if sys.version_info >= OLDEST_PYTHON and sys.prefix == sys.base_prefix:
        return sys.executable
    paths = [path for path in map(which, PYTHONS) if path]
    return choose_python((path, output_of([path, "--version"])) for path in paths)


def python_package(python: str) -> str | None:
    """The Debian package of a Python, like python3.11; None when it is not Debian's."""
    code = "import sys; print('python%d.%d' % sys.version_info[:2], sys.base_prefix)"
    name, _, prefix = output_of([python, "-c", code]).strip().partition(" ")
    return name if prefix == "/usr" else None


def ensure_uv(oldest: tuple[int, ...] = OLDEST_UV) -> str:
    """The uv to make the environment with: from PATH, else a pinned one in the cache."""
    found = which("uv")
    if found and numbers(output_of([found, "--version"])) >= oldest:
        return found
    lock = REQUIREMENTS / "setup.txt"
    home = cache_directory(os.environ) / "uv" / digest([lock.read_bytes()])
    make_once(home, ["bin/uv"], lambda temporary: _install_uv(temporary, lock))
    return str(home / "bin/uv")


def _install_uv(home: Path, lock: Path) -> None:
    say("installing uv, the installer of Python packages, into the cache")
    python = find_python()
    if not output_of([python, "-c", "import venv, ensurepip; print(ensurepip.version())"]):
        package = python_package(python)
        if package is None:
            raise SetupError(f"{python} lacks ensurepip: install uv, or another Python, first")
        apt_install([f"{package}-venv"], "to make Python environments")
    step = Step("python -m venv", log_file("uv"))
    step.run([python, "-m", "venv", str(home)])
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--require-hashes", "-r", str(lock)]
    Step("pip install uv", log_file("uv")).run(pip)


def libvirt_gaps(python: str) -> list[str] | None:
    """The Debian packages missing to build libvirt-python; None when packages do not help."""
    code = "import os, sysconfig as s; open(os.path.join(s.get_path('include'), 'Python.h'))"
    headers = bool(output_of([python, "-c", f"{code}; print('there')"]))
    package = python_package(python)
    if not headers and package is None:
        return None
    return libvirt_packages(
        package or "",
        library=bool(output_of(["pkg-config", "--modversion", "libvirt"])),
        compiler=which("cc") is not None or which("gcc") is not None,
        headers=headers,
    )


def ensure_libvirt_headers(python: str) -> bool:
    """Whether libvirt-python can be built, for which Debian packages are installed."""
    try:
        gaps = libvirt_gaps(python)
        if gaps:
            apt_install(gaps, "to build libvirt-python")
        if gaps is None:
            raise SetupError(f"{python} comes without the header files to build libvirt-python")
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without libvirt-python: no VMs, everything else works")
        return False
    return True


def ensure_environment(wanted: Sequence[str]) -> None:
    """Make .venv from the hashed requirements, unless it is made of just these already."""
    have = _environment()
    locks = {
        name: digest([(REQUIREMENTS / name).read_bytes()])
        for name in ("main.txt", "dev.txt", LIBVIRT)
    }
    if have.place:
        python = str(BIN / "python")
        libvirt = bool({LIBVIRT, FAILED_LIBVIRT} & have.files.keys()) or libvirt_gaps(python) == []
    else:
        python = find_python()
        libvirt = ensure_libvirt_headers(python)
    files = wanted_files(locks, wanted, have, libvirt=libvirt)
    if files.items() <= have.files.items():
        return
    _make_environment(python, files, have)


def _environment() -> Environment:
    """What .venv is, if it is one that works, was finished and not moved."""
    try:
        have = read_stamp(STAMP.read_text())
    except OSError:
        return Environment()
    works = (BIN / "python").exists() and (BIN / "snakemake").exists()
    return have if works and have.place == str(VENV) else Environment()


def _make_environment(python: str, files: Mapping[str, str], have: Environment) -> None:
    uv = ensure_uv()
    log = log_file("venv")
    if VENV.is_symlink():  # to another checkout's, which is not ours to change
        VENV.unlink()
    STAMP.unlink(missing_ok=True)
    if not have.place:
        say(f"making the Python environment .venv with {python}")
        shutil.rmtree(VENV, ignore_errors=True)
        Step("uv venv", log).run([uv, "venv", "--python", python, str(VENV)])
    install = [uv, "pip", "install", "--python", str(BIN / "python"), "--require-hashes"]
    # What packages without a wheel are built with: by hash, too.
    install += ["--build-constraints", str(REQUIREMENTS / "build.txt")]
    install.append("--compile-bytecode")  # once, now, instead of at each start where it is off
    done = {**have.files, **files}
    needed = [name for name in files if name != LIBVIRT]
    say(f"installing Python packages ({' and '.join(needed)} in requirements/)")
    arguments = [part for name in needed for part in ("-r", str(REQUIREMENTS / name))]
    Step("uv pip install", log, "about 20 s").run([*install, *arguments])
    if LIBVIRT in files:
        say("installing libvirt-python, for VMs")
        done.pop(FAILED_LIBVIRT, None)
        try:
            Step("libvirt-python", log).run([*install, "-r", str(REQUIREMENTS / LIBVIRT)])
        except SetupError as error:
            say(f"warning: {error}")
            say("warning: going on without libvirt-python: no VMs, everything else works")
            done[FAILED_LIBVIRT] = done.pop(LIBVIRT)
    STAMP.write_text(json.dumps({"place": str(VENV), "files": done}, indent=1) + "\n")


def ensure_plugins() -> None:
    """Make .venv know the repository's own plugins of Snakemake (Python docs: site, .pth files)."""
    for directory in VENV.glob("lib/python*/site-packages"):
        path, text = directory / "talosmake.pth", f"{ROOT / 'plugins'}\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def ensure_command() -> None:
    """Make ``talosmake`` a command of .venv, with the code of this checkout."""
    path = BIN / "talosmake"
    text = (
        f"#!{BIN / 'python'}\n"
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from talosmake.cli.main import main\n"
        "main()\n"
    )
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)


def lock_requirements(*, upgrade: bool) -> None:
    """Pin what pyproject.toml names, with hashes and for all Pythons and machines."""
    uv = ensure_uv(OLDEST_UV_TO_LOCK)
    command = [uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--universal"]
    command += ["--python-version", ".".join(map(str, OLDEST_PYTHON))]
    command += ["--upgrade"] if upgrade else []
    for name in ("main", "dev", "libvirt", "build", "setup", "go"):
        target = f"requirements/{name}.txt"
        source = ["pyproject.toml"] if name == "main" else ["--group", f"pyproject.toml:{name}"]
        within = ["-c", "requirements/main.txt"] if name in ("dev", "libvirt") else []
        Step(target, log_file("lock")).run([*command, *source, *within, "-o", target])
