"""Running things: long steps with a name, locks, and directories that are filled at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Where programs go: of an installed talosmake its own Python environment.
INTO = os.environ.get("TALOSMAKE_PREFIX", "")
VENV = Path(INTO) if INTO else ROOT / ".venv"
BIN = VENV / "bin"
REQUIREMENTS = ROOT / "requirements"
HEARTBEAT = 10.0


class SetupError(Exception):
    """Something that a person has to fix, with what to do."""


def cache_directory(env: Mapping[str, str]) -> Path:
    """Where built tools are kept, for all checkouts of this user."""
    if env.get("TALOSMAKE_CACHE"):
        return Path(env["TALOSMAKE_CACHE"]).absolute()
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"]).absolute() / "talosmake"
    if env.get("HOME"):
        return Path(env["HOME"]).absolute() / ".cache/talosmake"
    raise SetupError("neither HOME nor TALOSMAKE_CACHE is set: say where built tools may be kept")


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
    return next(every(program), None)


def every(program: str) -> Iterator[str]:
    """All programs of a name on PATH, in its order, .venv/bin left out."""
    own = BIN.resolve()
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if directory and Path(directory).resolve() != own:
            found = shutil.which(program, path=directory)
            if found:
                yield found


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
