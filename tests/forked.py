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


def _serve(connection: socket.socket) -> None:
    from snakemake.cli import main

    for package in _PACKAGES:
        import_module(package)
    gc.collect()
    gc.freeze()  # what is there already, forked processes do not look through again
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 1)
        if not message:
            return
        while not message.endswith(b"\n"):
            message += connection.recv(1 << 20)
        request = json.loads(message)
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become(request, descriptors[0])
            main()
        os.close(descriptors[0])
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(request: dict[str, object], output: int) -> None:
    """Be what a person would have started."""
    os.setsid()
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    variables, argv = request["env"], request["argv"]
    assert isinstance(variables, dict)
    assert isinstance(argv, list)
    os.environ.update(variables)
    sys.argv = argv
    sys.path[0] = str(Path(argv[0]).parent)  # not the tests'
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, as_number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, as_number)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
