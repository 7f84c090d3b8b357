"""Running Snakemake many times without starting Python and importing Snakemake each time.

A process imports Snakemake and other people's packages once, and forks for each run, with the
run's own directory, variables and output. Of this project's code it has imported nothing, so a run
is the one that a person has; what is saved is more than a second of processor time each.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

# What each run imports beside Snakemake's own, or many do.
_PACKAGES = (
    *("cryptography.x509", "dotenv", "jinja2", "jsonmerge", "jsonschema", "requests"),
    *("smart_open", "yaml", "yte", "snakemake.assets", "snakemake.profiles"),
    *("snakemake.report.html_reporter", "snakemake.storage"),
)


class Server:
    """The process that forks, and asking it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [sys.executable, __file__, str(theirs.fileno())]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._socket = ours
        self._answers = ours.makefile("r")

    def close(self) -> None:
        """End the process; it keeps nothing that would be lost."""
        self._answers.close()
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def run(
        self, argv: list[str], cwd: Path, env: dict[str, str], timeout: float
    ) -> tuple[int, str]:
        """Run Snakemake; its exit code and output.

        :param timeout: in seconds; then it is killed.
        :raises subprocess.TimeoutExpired: when it was.
        """
        mine, its = os.pipe()
        request = json.dumps({"argv": argv, "cwd": str(cwd), "env": env}) + "\n"
        rights = array.array("i", [its])
        self._socket.sendmsg([request.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(its)
        pid = int(self._answers.readline())
        timer = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
        timer.start()
        with os.fdopen(mine, "rb") as output:
            # Nodes that a run starts have their own output, so this ends with the run.
            shown = output.read().decode(errors="replace")
        code = int(self._answers.readline())
        late = not timer.is_alive()
        timer.cancel()
        if late and code == -signal.SIGKILL:
            raise subprocess.TimeoutExpired(argv, timeout, shown.encode())
        return code, shown


_free: list[Server] = []


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """One that nobody else uses meanwhile, so that threads run side by side.

    It is kept for the next who asks, whatever thread that is, until Python ends.
    """
    try:
        taken = _free.pop()  # in one step, so it needs no lock
    except IndexError:
        taken = Server()
    try:
        yield taken
    except subprocess.TimeoutExpired:
        _free.append(taken)
        raise
    except BaseException:
        taken.close()  # in the middle of an answer
        raise
    _free.append(taken)


@atexit.register
def close() -> None:
    """End those that nobody uses."""
    while _free:
        _free.pop().close()


_CLIENT = """\
#!{python} -IS
import json, os, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = {{"argv": [{program!r}, *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
socket.send_fds(server, [json.dumps(request).encode() + b"\\n"], [0, 1, 2])
answers = server.makefile()
answers.readline()
code = int(answers.readline())
sys.exit(code if code >= 0 else 128 - code)
"""


@contextlib.contextmanager
def program(directory: Path, original: Path) -> Iterator[Path]:
    """A program ``snakemake`` that a shell runs in place of the original, to be put on PATH.

    It has the shell's own input and output, and ends as the run does. Signals reach it alone.

    :returns: the directory that it is in.
    """
    address = directory / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        command = [sys.executable, __file__, str(listening.fileno())]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        process = subprocess.Popen(command, pass_fds=[listening.fileno()], env=environment)
    client = directory / "snakemake"
    values = {"python": sys.executable, "address": str(address), "program": str(original)}
    client.write_text(_CLIENT.format(**values))
    client.chmod(0o755)
    try:
        yield directory
    finally:
        process.kill()
        process.wait()


def _prepare() -> None:
    for package in ("snakemake.cli", *_PACKAGES):
        import_module(package)
    gc.collect()
    gc.freeze()  # what is there already, forked processes do not look through again


def _serve(connection: socket.socket) -> None:
    """Answer one who asks, request by request, until there is none."""
    while _answer(connection):
        pass


def _listen(listening: socket.socket) -> None:
    """Answer all who ask, at once."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _answer(connection)
            os._exit(0)
        connection.close()


def _answer(connection: socket.socket) -> bool:
    """Run what one request says; False where there is none any more."""
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    if not message:
        return False
    while not message.endswith(b"\n"):
        message += connection.recv(1 << 20)
    request = json.loads(message)
    pid = os.fork()
    if pid == 0:
        from snakemake.cli import main

        connection.close()
        _become(request, descriptors)
        main()
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return True


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Be what a person would have started."""
    os.setsid()
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    variables, argv = request["env"], request["argv"]
    assert isinstance(variables, dict)
    assert isinstance(argv, list)
    os.environ.update(variables)
    sys.argv = argv
    paths = str(variables.get("PYTHONPATH", "")).split(os.pathsep)
    # As Python begins, in place of what it began with here.
    sys.path[:1] = [str(Path(argv[0]).parent), *filter(None, paths)]
    if len(descriptors) == 1:
        descriptors = [os.open(os.devnull, os.O_RDONLY), *descriptors, *descriptors]
    for as_number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, as_number)


if __name__ == "__main__":
    _socket = socket.socket(fileno=int(sys.argv[1]))
    _prepare()
    if _socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        _listen(_socket)
    else:
        _serve(_socket)
    os._exit(0)
