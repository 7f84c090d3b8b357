"""What a process remembers of its run: the one place of state that outlives a call.

It is no guarantee: another process of the same run has a :class:`Run` of its own. What has to hold
for all of them is a lock or a marker below ``state/``.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class _Thread(threading.local):
    """What belongs to one thread.

    :ivar log: the log file of the job that it runs.
    """

    log: IO[str] | None = None


@dataclass(eq=False, repr=False)  # of what it remembers, much is secret
class Run:
    """What one process knows of its run, and nothing that another has to know.

    :ivar began: when this process joined it, Unix time.
    :ivar stopped: set once the run was told to stop.
    :ivar children: the programs that are waited for, to be ended when the run is told to stop.
    :ivar ignored_signals: the signals that this process ignored when it started.
    :ivar silent: set where Snakemake shows nothing.
    :ivar thread: what belongs to the thread that looks at it.
    :ivar held: the files of locks that are kept until the process ends.
    :ivar exit_codes: those that jobs asked for although they succeeded.
    :ivar journals: the journals that this process writes into.
    """

    began: float = field(default_factory=time.time)
    stopped: threading.Event = field(default_factory=threading.Event)
    children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    ignored_signals: set[int] = field(default_factory=set)
    silent: threading.Event = field(default_factory=threading.Event)
    thread: _Thread = field(default_factory=_Thread)
    held: list[IO[str]] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    journals: set[Path] = field(default_factory=set)
    _answers: dict[tuple[object, Hashable], Any] = field(default_factory=dict)
    _asking: dict[tuple[object, Hashable], threading.RLock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, memo: object, key: Hashable, ask: Callable[[], Any]) -> Any:
        """See :meth:`Memo.of`."""
        place = (memo, key)
        if place in self._answers:
            return self._answers[place]
        with self._lock:
            asking = self._asking.setdefault(place, threading.RLock())
        with asking:
            if place not in self._answers:
                self._answers[place] = ask()
            return self._answers[place]

    def keep(self, memo: object, key: Hashable, value: object) -> None:
        """See :meth:`Memo.put`."""
        self._answers[memo, key] = value

    def drop(self, memo: object, key: Hashable) -> None:
        """See :meth:`Memo.forget`."""
        self._answers.pop((memo, key), None)

    def note(self, memo: object, key: Hashable) -> bool:
        """See :meth:`Noted.add`."""
        with self._lock:
            is_new = (memo, key) not in self._answers
            self._answers[memo, key] = True
            return is_new

    def knows(self, memo: object, key: Hashable) -> bool:
        """Whether there is an answer for a key."""
        return (memo, key) in self._answers


class Memo(Generic[_K, _V]):
    """A question that a run asks once for each key; it keeps no answer itself, the run does.

    :param what: what is asked, for people who debug.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __repr__(self) -> str:
        return f"<{self._what}>"

    def of(self, key: _K, ask: Callable[[], _V]) -> _V:
        """The answer for a key; of several threads that need it first, one asks.

        What ``ask`` raises is not kept: the next one asks again.
        """
        found: _V = current().answer(self, key, ask)
        return found

    def put(self, key: _K, answer: _V) -> None:
        """Keep another answer for a key, as what was asked has changed."""
        current().keep(self, key, answer)

    def forget(self, key: _K) -> None:
        """Have the next one ask again."""
        current().drop(self, key)

    def __contains__(self, key: _K) -> bool:
        return current().knows(self, key)


class Noted(Generic[_K]):
    """What happened in this run, by a key; as :class:`Memo` it keeps nothing itself.

    :param what: what is noted, for people who debug.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __repr__(self) -> str:
        return f"<{self._what}>"

    def add(self, key: _K) -> bool:
        """Note it; whether it is new."""
        return current().note(self, key)

    def __contains__(self, key: _K) -> bool:
        return current().knows(self, key)


@dataclass(eq=False)
class _Process:
    run: Run


_process = _Process(Run())


def current() -> Run:
    """What this process knows of its run."""
    return _process.run


def begin() -> Run:
    """Forget all and let go of what is locked, as in a new process; for tests."""
    for handle in _process.run.held:
        handle.close()
    _process.run = Run()
    return _process.run
