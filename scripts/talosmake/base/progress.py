"""Telling the person at the terminal what is going on, and hearing Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from logging.handlers import QueueListener
from pathlib import Path
from typing import TypeVar

from talosmake.base import this_run

_P = TypeVar("_P")
_T = TypeVar("_T")
# Snakemake shows what it gets by this logger; by name, as only `workflow` imports Snakemake.
logger = logging.getLogger("snakemake.logging")
_SETTLE = 2.0
_TIME = r"\d{4}-\d\d-\d\dT\S+Z"


def say(text: str) -> None:
    """Show a line of progress."""
    _record(text)
    logger.info(text)


def warn(text: str) -> None:
    """Show something that does not stop the work but should be looked at."""
    _record(text)
    logger.warning(text)


def fail(text: str) -> None:
    """Show why a job fails, also where Snakemake was told to show nothing (``--quiet all``)."""
    _record(text)
    if this_run.current().silent.is_set():
        print(text, file=sys.stderr)
    else:
        logger.error(text)


def silence() -> None:
    """Expect Snakemake to show nothing."""
    this_run.current().silent.set()


@contextlib.contextmanager
def also_into(log: Path) -> Iterator[None]:
    """Write what this thread says in the meantime into a log file, too."""
    file = log.open("w", encoding="utf-8")
    thread = this_run.current().thread
    thread.log = file
    try:
        yield
    finally:
        thread.log = None
        with contextlib.suppress(OSError):
            file.close()


def in_this_log(step: Callable[[_P], _T]) -> Callable[[_P], _T]:
    """The same step for another thread, where it writes into this thread's log file, too."""
    file = this_run.current().thread.log

    def run(argument: _P) -> _T:
        this_run.current().thread.log = file
        return step(argument)

    return run


def _record(text: str) -> None:
    file = this_run.current().thread.log
    if file is not None:
        # What is said is shown, also where the disk is full; a step does not fail for its log.
        with contextlib.suppress(OSError):
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")
            file.flush()


def settle(listener: QueueListener | None) -> None:
    """Wait until all that was said is shown, so that what is printed next stands below it.

    :param listener: Snakemake's own, which shows from another thread; None where there is none.
    """
    end = time.monotonic() + _SETTLE
    queue = getattr(listener, "queue", None)
    while getattr(queue, "unfinished_tasks", 0) and time.monotonic() < end:
        time.sleep(0.005)


def leave_screen(listener: QueueListener | None) -> None:
    """Let others have the terminal: what is said from now on stands on it as it is.

    :param listener: as for :func:`settle`.
    """
    for handler in getattr(listener, "handlers", ()):
        if getattr(handler, "screen", None) is not None:
            handler.close()


def error_in(log: Path) -> str:
    """The error that a job ended with, by its log file; "" where there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.findall(rf"^{_TIME} (Error: .*?)(?=^{_TIME} |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[-1].strip() if found else ""
