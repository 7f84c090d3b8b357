"""A program that was just started is there, has ended, or does not come in time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from talosmake.base.errors import NodeError
from talosmake.machines.daemon import wait_until_started


@contextmanager
def _started(script: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(["sh", "-c", script], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_returns_once_it_is_there(tmp_path: Path) -> None:
    ready, log = tmp_path / "ready", tmp_path / "log"
    with _started(f"touch {ready}; exec sleep 60", log) as process:
        wait_until_started("lab", "the nodes", process, ready.exists, log)
        assert ready.exists()
        assert process.poll() is None


@pytest.mark.parametrize("leaves", [False, True])
def test_last_line_of_what_ended_is_told(tmp_path: Path, leaves: bool) -> None:
    """Also when it was nearly there, and left what says so."""
    ready, log = tmp_path / "ready", tmp_path / "log"
    with _started("echo starting; echo 'no room on /dev/shm' >&2; exit 1", log) as process:
        process.wait()
        if leaves:
            ready.touch()
        with pytest.raises(NodeError) as error:
            wait_until_started("lab/cp_1", "QEMU", process, ready.exists, log)
    assert error.value.message == "lab/cp_1: QEMU did not start: no room on /dev/shm"
    assert error.value.hint == f"The whole log: {log}"


def test_silent_end_is_told_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _started("exit 3", log) as process:
        process.wait()
        with pytest.raises(NodeError) as error:
            wait_until_started("lab", "the nodes", process, lambda: False, log)
    assert error.value.message == "lab: the nodes did not start"


def test_what_runs_and_is_not_there_in_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _started("exec sleep 60", log) as process:
        with pytest.raises(NodeError) as error:
            wait_until_started("lab", "the nodes", process, lambda: False, log, timeout=0.2)
        assert f"process {process.pid} is not ready" in str(error.value)
    assert "the nodes to start" in error.value.message
