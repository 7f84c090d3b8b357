"""Waiting with a time-out, which Ctrl-C and SIGTERM end at once."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from talosmake.base import interruption, this_run
from talosmake.base.errors import NodeError
from talosmake.base.progress import say

_FIRST_POLL = 0.1
_SLOWEST_POLL = 2.0
_SAY_AFTER = 3.0
_SAY_EVERY = 15.0
# By which a run is told to end without a terminal, and by one that is closed.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def stop_waiting_on_interrupt() -> None:
    """Let Ctrl-C end every wait at once; Snakemake otherwise waits for its jobs to time out.

    The handler that was there still runs after ours, and a signal that is ignored, as in what a
    shell runs in the background, stays ignored. Only the main thread may set handlers; in any other
    this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, *_ENDING):
        _chain(number)


def end_as_on_interrupt() -> None:
    """Let a run that is told to end, or whose terminal is gone, end as on Ctrl-C.

    To be called when jobs are about to run: Snakemake sets a handler of its own before, which waits
    for all of them to end by themselves. A signal that was ignored stays ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            if number not in this_run.current().ignored_signals:
                signal.signal(number, _interrupted)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    if not interruption.is_told():
        interruption.stop()
        raise KeyboardInterrupt


def cancelled() -> bool:
    """Whether the run was interrupted."""
    return interruption.is_told()


def _chain(number: signal.Signals) -> None:
    previous = signal.getsignal(number)
    if previous is signal.SIG_IGN:
        this_run.current().ignored_signals.add(number)
        return

    def handler(received: int, frame: FrameType | None) -> None:
        interruption.stop()
        if callable(previous):
            previous(received, frame)
        else:
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(number, handler)


class Wait:
    """A wait with a time-out that says what it waits for.

    Loop over it, and leave the loop when what is waited for has come::

        for attempt in Wait("dev/cp_1", "its API", timeout=60):
            if answers():
                break
            attempt.because("connection refused")

    :param who: whom the wait is about, as shown.
    :param what: what it waits for, as shown.
    :param timeout: in seconds, infinite where it ends by itself; the condition is tried once in any
        case.
    :param slowest: the most between two tries, in seconds.
    :raises NodeError: from the loop, when the time is over or the run is cancelled.
    """

    def __init__(
        self, who: str, what: str, timeout: float, hint: str = "", slowest: float = _SLOWEST_POLL
    ) -> None:
        self.who = who
        self.what = what
        self.timeout = timeout
        self.hint = hint
        self.slowest = slowest
        self.reason = ""

    def because(self, reason: str) -> None:
        """Set why it still waits; shown while it waits and when the time is over.

        Of an error of gRPC's only its last description is kept: what is around it is the same each
        time.
        """
        first = reason.splitlines()[0] if reason else ""
        last = first.rpartition("desc = ")[2].strip('"').removeprefix("transport: ")
        self.reason = last[:300]

    def __iter__(self) -> Iterator[Wait]:
        start, said, pause = time.monotonic(), _SAY_AFTER - _SAY_EVERY, _FIRST_POLL
        while True:
            yield self
            elapsed = time.monotonic() - start
            if elapsed >= self.timeout:
                raise NodeError(self._over(), hint=self.hint)
            if elapsed >= said + _SAY_EVERY:
                said = elapsed
                most = "" if math.isinf(self.timeout) else f" of {self.timeout:.0f}"
                say(
                    f"{self.who}: waiting for {self.what} ({elapsed:.0f}{most} s)"
                    + (f": {self.reason}" if self.reason else "")
                )
            if interruption.wait(min(pause, self.timeout - elapsed)):
                raise NodeError(f"{self.who}: stopped waiting for {self.what}: interrupted")
            pause = min(pause * 1.5, self.slowest)

    def _over(self) -> str:
        text = f"{self.who}: timed out after {self.timeout:.0f} s waiting for {self.what}"
        return f"{text}; last: {self.reason}" if self.reason else text
