"""Running external programs, with secrets handed over through pipes only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from talosmake.base import interruption
from talosmake.base.errors import ToolError, ToolTimeoutError
from talosmake.base.program import set_up


@dataclass(frozen=True)
class Result:
    """What a program answered."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        return self.code == 0


@cache
def find(program: str) -> str:
    """The path of a program: beside this Python (where set-up puts the pinned ones), else on PATH.

    :raises ToolError: when it is in neither place.
    """
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        raise ToolError(
            f"{program} is not installed",
            hint=f"Run '{set_up()}': it takes it from PATH or builds it.",
        )
    return found


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a program to its end.

    :param argv: the program (see :func:`find`) and its arguments; never a secret among them.
    :param timeout: in seconds; after it the program is ended.
    :param env: variables beside the inherited ones.
    :raises ToolTimeoutError: when it takes longer.
    :raises ToolError: when it is not there or cannot be started, or the run is told to stop.
    """
    command = [find(argv[0]), *argv[1:]]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            pass_fds=tuple(pass_fds),
        ) as child:
            stdout, stderr = _ended(child, stdin, timeout)
    except subprocess.TimeoutExpired:
        raise ToolTimeoutError(
            f"{Path(argv[0]).name} did not answer within {timeout:g} s"
        ) from None
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from None
    if child.returncode and interruption.is_told():
        raise ToolError(f"{Path(argv[0]).name} was ended: interrupted")
    return Result(child.returncode, stdout, stderr.decode(errors="replace"))


def _ended(
    child: subprocess.Popen[bytes], stdin: bytes, timeout: float | None
) -> tuple[bytes, bytes]:
    """Standard output and standard error, once the program has ended, whatever ends it."""
    try:
        with interruption.ending(child):
            return child.communicate(stdin, timeout)
    except BaseException:
        child.kill()
        raise


# What a program needs of the environment to run. Listed are not those that are secret, as nobody
# knows them all: the age key, a registry's password, what a pipeline hands to its jobs.
_PLAIN_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH")
_PLAIN_PREFIXES = ("LC_", "XDG_")


def daemon_environment() -> dict[str, str]:
    """The environment for a program that stays when this one ends: without anything secret.

    It can be read from ``/proc`` for as long as the program runs.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PLAIN_VARIABLES or name.startswith(_PLAIN_PREFIXES)
    }


@contextlib.contextmanager
def piped(*contents: bytes) -> Iterator[tuple[list[str], list[int]]]:
    """Offer each content through a pipe of its own, for programs that want a file name.

    Nothing is written to a disk. What fits into the pipe is put there at once, what does not is fed
    by a thread. Use the names as arguments and pass the descriptors on::

        with piped(bundle) as ([name], descriptors):
            run(["talosctl", "--with-secrets", name], pass_fds=descriptors)
    """
    readers: list[int] = []
    writers: list[threading.Thread] = []
    try:
        for content in contents:
            reader, writer = os.pipe()
            readers.append(reader)
            if len(content) <= fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ):
                _feed(writer, content)
                continue
            thread = threading.Thread(target=_feed, args=(writer, content), daemon=True)
            thread.start()
            writers.append(thread)
        yield [f"/dev/fd/{reader}" for reader in readers], readers
    finally:
        # Closing the read ends lets a writer go whose pipe the program did not read to its end.
        for reader in readers:
            os.close(reader)
        for thread in writers:
            thread.join()


@dataclass(frozen=True)
class MemoryFiles:
    """Files that are in memory alone, with names in a directory for programs that want those.

    :ivar directory: holds nothing but links to the descriptors, so it is of use to those processes
        only that were given them.
    """

    directory: Path
    _descriptors: Mapping[str, int]

    @property
    def descriptors(self) -> list[int]:
        """What to pass on to the program."""
        return list(self._descriptors.values())

    def path(self, name: str) -> str:
        """The name to give as an argument."""
        return str(self.directory / name)

    def read(self, name: str) -> bytes:
        """What is in a file by now."""
        return os.pread(self._descriptors[name], 1 << 20, 0)


@contextlib.contextmanager
def in_memory(**contents: bytes) -> Iterator[MemoryFiles]:
    """Files for programs that read and write several by names that belong together.

    :param contents: by name, with ``_`` for a dot; the program may write over them.
    """
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="talosmake-")))
        descriptors = {}
        for name, content in contents.items():
            file = stack.enter_context(os.fdopen(os.memfd_create(name), "r+b", buffering=0))
            file.write(content)
            descriptors[name.replace("_", ".")] = file.fileno()
        for name, descriptor in descriptors.items():
            (directory / name).symlink_to(f"/dev/fd/{descriptor}")
        yield MemoryFiles(directory, descriptors)


def _feed(descriptor: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(content)
