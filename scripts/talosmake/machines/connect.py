"""Connecting to a libvirt."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from talosmake.base.errors import MachineError
from talosmake.base.program import is_clone
from talosmake.base.wait import cancelled
from talosmake.machines.hypervisor import Hypervisor

_T = TypeVar("_T")
_CONNECT_TIMEOUT = 20.0
_PERMISSION_HINT = (
    "Your user may not use it: sudo usermod -aG libvirt $USER, then log in again "
    "(on the host of the URI, as the user in it)."
)
_NOT_RUNNING_HINT = (
    "Is libvirt installed and running there? On Debian and Ubuntu:\n"
    "  sudo apt-get install libvirt-daemon-system qemu-system-x86 ovmf\n"
    "  sudo systemctl enable --now libvirtd"
)


def _library() -> ModuleType:
    """libvirt-python, imported when it is needed only."""
    try:
        import libvirt
    except ImportError:
        raise MachineError(
            "the Python package libvirt-python is not installed; virtual machines need it",
            hint="Install what it is built with, then it:\n"
            "  sudo apt-get install libvirt-dev pkg-config gcc python3-dev\n"
            f"  {'rm -r .venv && make setup' if is_clone() else 'pip install libvirt-python'}",
        ) from None
    # It would print every error, also those that are caught.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    library: ModuleType = libvirt
    return library


def connect(uri: str) -> Hypervisor:
    """Connect to a libvirt; the same connection serves all threads.

    :raises MachineError: when libvirt-python is missing, or the URI does not answer within 20 s.
    """
    library = _library()
    opened = _within(_CONNECT_TIMEOUT, lambda: _opened(library, uri))
    if opened is None:
        raise MachineError(
            f"{uri} does not answer within {_CONNECT_TIMEOUT:.0f} s",
            hint=f"Is the host in LIBVIRT_URI right and reachable?  virsh -c '{uri}' version",
        )
    # At the very end libvirt-python's own clean-up would come too late and complain.
    atexit.register(opened.close)
    return Hypervisor(uri, library, opened)


def _opened(library: ModuleType, uri: str) -> Any:
    parts = urlsplit(uri)
    # Nobody is there to answer ssh's questions in the midst of a run.
    quiet = parts.scheme.endswith("+ssh") and "no_tty" not in parts.query
    asked = f"{uri}{'&' if parts.query else '?'}no_tty=1" if quiet else uri
    try:
        connection = library.open(asked)
        with contextlib.suppress(library.libvirtError):
            connection.setKeepAlive(5, 3)
        return connection
    except library.libvirtError as error:
        return _connect_error(uri, str(error))


def _connect_error(uri: str, message: str) -> MachineError:
    lower = message.lower()
    if "host key verification" in lower:
        hint = "Connect once by hand with ssh, and accept the host's key."
    elif "permission denied (" in lower or "publickey" in lower:
        hint = "ssh takes no password here: load a key into ssh-agent that the host knows."
    elif any(word in lower for word in ("permission denied", "authentication", "polkit")):
        hint = _PERMISSION_HINT
    elif "failed to connect socket" in lower or "cannot recv data" in lower:
        hint = _NOT_RUNNING_HINT
    else:
        hint = f"Try it by hand:  virsh -c '{uri}' version"
    return MachineError(f"{uri} cannot be used: {message}", hint=hint)


def _within(seconds: float, call: Callable[[], _T]) -> _T | None:
    """What a call returns, or None when it takes too long; it is then left behind.

    A MachineError that it returns is raised.
    """
    answers: list[_T] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < end and not cancelled():
        thread.join(0.1)
    if answers and isinstance(answers[0], MachineError):
        raise answers[0]
    return answers[0] if answers else None
