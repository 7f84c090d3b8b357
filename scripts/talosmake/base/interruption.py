"""Whether the run was told to stop, and ending at once what it waits for."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from talosmake.base import this_run


def stop() -> None:
    """Tell all who wait to stop, and end the programs that are waited for.

    Called by signal handlers, so it waits for no lock: who starts a program looks afterwards
    whether the run was told to stop.
    """
    run = this_run.current()
    run.stopped.set()
    for child in tuple(run.children):
        _end(child)


def is_told() -> bool:
    """Whether the run was told to stop."""
    return this_run.current().stopped.is_set()


def wait(seconds: float) -> bool:
    """Wait that long at most; whether the run was told to stop."""
    return this_run.current().stopped.wait(seconds)


@contextlib.contextmanager
def ending(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a program that runs in the meantime when the run is told to stop."""
    children = this_run.current().children
    children.add(child)
    if is_told():
        _end(child)
    try:
        yield
    finally:
        children.discard(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        child.terminate()
