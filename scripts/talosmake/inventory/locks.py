"""Locks that hold for every process, and that the kernel drops with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from talosmake.base import files, marker
from talosmake.base.errors import ConfigError
from talosmake.base.this_run import Memo
from talosmake.base.wait import Wait
from talosmake.inventory.model import Cluster, Environment

# In seconds: whoever has the turn next should not wait long after it came.
_SLOWEST_POLL = 0.3


def roll_out_path(cluster: Cluster) -> Path:
    """The file that is locked (``flock``) by who changes a control plane of a cluster.

    It is the same for all checkouts of a user on a machine, and for apply.sh: a cluster is known by
    its name and its endpoint. ``TALOSMAKE_CACHE`` does not count, which may differ per checkout.

    :raises ConfigError: when the user has no cache directory.
    """
    identity = f"{cluster.name}\0{cluster.endpoint}".encode()
    # Part of a file's name, and of apply.sh; the digest tells names apart.
    name = re.sub(r"[^A-Za-z0-9._-]", "_", cluster.name)
    return _directory() / f"{name}-{hashlib.sha256(identity).hexdigest()[:12]}.lock"


def _directory() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]).absolute() / "talosmake/locks"
    try:
        return Path.home() / ".cache/talosmake/locks"
    except RuntimeError:
        raise ConfigError(
            "neither HOME nor XDG_CACHE_HOME is set, so that nothing can be locked",
            hint="Set XDG_CACHE_HOME to a directory that all your runs on this machine share.",
        ) from None


@contextlib.contextmanager
def secrets_lock() -> Iterator[None]:
    """Make age keys and bundles while no other process of this user does, in any checkout.

    :raises ConfigError: when the lock cannot be made.
    """
    path = _directory() / "secrets.lock"
    with _opened(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_lock(path, error) from None
        yield


@contextlib.contextmanager
def roll_out_lock(environment: Environment, node: str, *, shared: bool = False) -> Iterator[None]:
    """Change a control plane while no other process does: of any checkout, or any executor's job.

    Two files are locked, in this order: the cluster's in the user's cache directory, and the
    environment's own, for processes on other machines that share its directory. The kernel drops
    both with the process. Within the same thread it may be taken again; taken for itself alone
    inside one that is shared, it is for itself alone until the outer one ends.

    :param node: who waits, and is named to those who wait for it.
    :param shared: others may share it, too: before the bootstrap there is no quorum to lose, but
        nobody may bootstrap meanwhile.
    :raises NodeError: when the run is interrupted while it waits.
    :raises ConfigError: when there can be no lock.
    """
    mine = (threading.get_ident(), environment.name)
    is_inner = mine in _held
    lock = _held.of(mine, lambda: _RollOut(environment))
    if is_inner:
        lock.take(node, shared=shared)
        yield
        return
    try:
        lock.take(node, shared=shared)
        yield
    finally:
        _held.forget(mine)
        lock.release()


class _RollOut:
    """The locks that one thread holds to change control planes of one environment."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._handles: list[IO[str]] = []
        self._shared = False

    def take(self, node: str, *, shared: bool) -> None:
        """Take the locks, unless they are held in this way or for this thread alone."""
        if self._handles and (shared or not self._shared):
            return
        # Who keeps a shared lock while waiting for the other would wait for its like for ever.
        self.release()
        self._shared = shared
        own = self._environment.paths.state / "roll-out.lock"
        for path in (roll_out_path(self._environment.cluster), own):
            self._handles.append(self._locked(path, node))

    def release(self) -> None:
        """Let others have their turn."""
        while self._handles:
            with self._handles.pop() as handle:
                if not self._shared:
                    handle.truncate(0)

    def _locked(self, path: Path, node: str) -> IO[str]:
        handle = _opened(path)
        name = self._environment.name
        what = f"its turn to change control planes of {self._environment.cluster.name}"
        try:
            for attempt in Wait(f"{name}/{node}", what, math.inf, slowest=_SLOWEST_POLL):
                if _try(handle, path, shared=self._shared):
                    break
                attempt.because(f"{path} is held by process {_holder(handle)}")
        except BaseException:
            handle.close()
            raise
        handle.truncate(0)
        handle.write(
            f"{os.getpid()} on {socket.gethostname()}, for {name}/{node}, in {Path.cwd()}\n"
        )
        handle.flush()
        return handle


_held: Memo[tuple[int, str], _RollOut] = Memo("the locks of a thread in an environment")


def _opened(path: Path) -> IO[str]:
    files.private_directory(path.parent)
    try:
        return path.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise _no_lock(path, error) from None


def _try(handle: IO[str], path: Path, *, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _no_lock(path, error) from None
    return True


def _no_lock(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be locked: {error.strerror}; nothing is changed without",
        hint="Make it writable for you, on a file system that has locks; XDG_CACHE_HOME says where "
        "your cache directory is.",
    )


def _holder(handle: IO[str]) -> str:
    """Who holds a lock, as far as it says; apply.sh says its number alone."""
    handle.seek(0)
    return handle.read().strip() or "unknown"


# --- a roll-out that stopped ----------------------------------------------------------------------


def begin_roll_out(environment: Environment) -> None:
    """Forget where an earlier run's roll-out stopped; for the process that a run begins with."""
    _stopped_file(environment).unlink(missing_ok=True)


def stop_roll_out(environment: Environment, node: str) -> None:
    """Have all processes of this run change no other control plane, as one failed."""
    marker.write(_stopped_file(environment), step="stopped", node=node)


def stopped_at(environment: Environment) -> str:
    """The control plane at which this run's roll-out stopped; "" if it did not."""
    return str(marker.read(_stopped_file(environment)).get("node", ""))


def _stopped_file(environment: Environment) -> Path:
    return environment.paths.state / "roll-out.stopped"
