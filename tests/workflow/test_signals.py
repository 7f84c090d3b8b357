"""Told to end, a run ends what it waits for, and the same command goes on later."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.project import Project

APPLY = ("apply", "-j4", "--config", "env=metal")
# Much less than any of the time-outs that it would wait for.
SOON = 40.0


@pytest.fixture
def waiting(project: Project, network: str) -> Project:
    """An environment whose machine is not there yet."""
    timeouts = "NODE_TIMEOUT=120\nCALL_TIMEOUT=100\nETCD_TIMEOUT=120\n"
    project.environment("metal", timeouts)
    project.node("metal", "control_planes", "cp_1", f"{network}.11")
    project.ok("secrets", "--config", "env=metal")
    project.ok("validate", "-j4", "--config", "env=metal")
    return project


def _until(process: subprocess.Popen[str], project: Project, what: str) -> None:
    log = project.root / "logs/metal/controlplane-cp_1.apply.log"
    end = time.monotonic() + 60
    while not (log.exists() and what in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def _ends_soon(process: subprocess.Popen[str]) -> str:
    begun = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - begun < SOON
    assert process.returncode > 0, output
    assert "Traceback" not in output
    return output


@contextlib.contextmanager
def _silent(address: str) -> Iterator[None]:
    """Something that takes connections there and says nothing, once talosctl waits for it to."""
    with socket.create_server((address, 50000), backlog=64):
        yield


def _until_talosctl_runs(
    process: subprocess.Popen[Any], meanwhile: Callable[[], None] = lambda: None
) -> None:
    children = ["pgrep", "-P", str(process.pid), "-x", r"talosctl(-[0-9.]+)?"]
    end = time.monotonic() + 60
    while subprocess.run(children, capture_output=True, check=False).returncode:
        assert process.poll() is None
        assert time.monotonic() < end
        meanwhile()
        time.sleep(0.05)
    time.sleep(0.3)
    meanwhile()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_wait_for_a_node_ends_and_the_same_command_goes_on(
    waiting: Project, network: str, number: signal.Signals
) -> None:
    process = waiting.start(*APPLY)
    _until(process, waiting, "waiting for")
    os.kill(process.pid, number)
    output = _ends_soon(process)
    assert "interrupted" in output
    assert not list((waiting.root / "rendered_configs/metal/state").glob("*.applied"))
    with waiting.fleet([{"address": f"{network}.11", "mac": "52:54:00:00:00:11"}]):
        waiting.ok(*APPLY)
        assert waiting.ok(*APPLY).jobs == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_call_of_talosctl_ends(waiting: Project, network: str, number: signal.Signals) -> None:
    with _silent(f"{network}.11"):
        process = waiting.start(*APPLY)
        _until_talosctl_runs(process)
        os.kill(process.pid, number)
        assert "interrupted" in _ends_soon(process)
    with waiting.fleet([{"address": f"{network}.11", "mac": "52:54:00:00:00:11"}]):
        waiting.ok(*APPLY)


def test_terminal_that_is_closed_ends_a_run_and_what_it_started(
    waiting: Project, network: str
) -> None:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(ours, 1 << 20)

    with _silent(f"{network}.11"):
        process = subprocess.Popen(
            ["setsid", "--ctty", *waiting.command(*APPLY)],
            cwd=waiting.root,
            env={**waiting.variables, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        _until_talosctl_runs(process, read)
        assert b"metal/cp_1" in shown
        os.close(ours)
        begun = time.monotonic()
        assert process.wait(60) > 0
        assert time.monotonic() - begun < SOON
    left = ["pgrep", "-s", str(process.pid)]
    assert subprocess.run(left, capture_output=True, check=False).stdout == b""


def test_run_without_hangups_goes_on(waiting: Project) -> None:
    """As below nohup."""
    command = ["nohup", *waiting.command("--logger-talosmake-off", *APPLY)]
    with (waiting.root / "out").open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=waiting.root,
            env=waiting.variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
    _until(process, waiting, "waiting for")
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(SOON) > 0
