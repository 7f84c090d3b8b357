"""Programs that run on after a run ends: whether one that was just started came up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from talosmake.base.errors import NodeError
from talosmake.base.wait import Wait

_START_TIMEOUT = 20.0


def wait_until_started(
    who: str,
    what: str,
    process: subprocess.Popen[bytes],
    started: Callable[[], bool],
    log: Path,
    timeout: float = _START_TIMEOUT,
) -> None:
    """Wait until a program that was just started is there for others.

    :param who: what it is of: an environment or a node, for messages.
    :param what: the program, for messages.
    :param started: asked again and again; whether it is there.
    :param log: what it wrote, in which it says why it ended.
    :param timeout: in seconds.
    :raises NodeError: when it ended, or is not there in time.
    """
    for attempt in Wait(who, f"{what} to start", timeout):
        # First: what it left behind when it ended is no sign that it is there.
        if process.poll() is not None:
            last = log.read_text(errors="replace").splitlines()[-1:]
            said = ": ".join([f"{who}: {what} did not start", *last])
            raise NodeError(said, hint=f"The whole log: {log}")
        if started():
            return
        attempt.because(f"process {process.pid} is not ready")
