"""Whose process holds an address of this machine that nodes are to answer at: read from /proc."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from talosmake.base.errors import NodeError
from talosmake.inventory.endpoints import PORT

_PROC = Path("/proc")
_LISTENS = "0A"
# Directories of what nodes keep, by the target that stops them.
_STATES = {".simulator": "simulator_stop", ".lab": "lab_stop"}


@dataclass(frozen=True)
class Holder:
    """A process that listens at an address.

    :ivar program: its name.
    :ivar checkout: the directory that it was started in; "" where that is not known.
    :ivar stop: the command that ends it.
    """

    pid: int
    program: str
    checkout: str
    stop: str

    @property
    def shown(self) -> str:
        where = f", started in {self.checkout}" if self.checkout else ""
        return f"{self.program} (process {self.pid}{where})"


def check(who: str, addresses: Collection[str]) -> None:
    """Refuse to start nodes at addresses where something listens for Talos's port.

    :param who: whose nodes are to be started, for the message.
    :raises NodeError: with the directory it was started in, and the command that stops it.
    """
    taken = _listening(addresses)
    if not taken:
        return
    holders = {address: _holder_of(inode) for address, inode in taken.items()}
    first = next(iter(holders.values()))
    held = ", ".join(address for address, holder in holders.items() if holder == first)
    raise NodeError(
        f"{who}: port {PORT} of {held} is held by {first.shown if first else 'another process'}",
        hint=(f"Stop it:  {first.stop}\n" if first else "")
        + "Or give these nodes other addresses.",
    )


def _listening(addresses: Collection[str]) -> dict[str, str]:
    """The addresses, of those, at which something listens, with the inode of its socket."""
    sockets = [*_sockets("tcp"), *_sockets("tcp6")]
    return {
        wanted: inode
        for wanted in addresses
        for address, inode in sockets
        if str(address) == wanted or address.is_unspecified
    }


def _sockets(table: str) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]]:
    """The addresses of this network where something listens for Talos's port (man 5 proc)."""
    try:
        lines = (_PROC / "self/net" / table).read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state, *rest = line.split()
        text, _, port = local.partition(":")
        if state == _LISTENS and int(port, 16) == PORT:
            # In words of 32 bits, each as a little-endian machine has it in memory.
            words = [text[start : start + 8] for start in range(0, len(text), 8)]
            packed = b"".join(bytes.fromhex(word)[::-1] for word in words)
            yield ipaddress.ip_address(packed), rest[5]


def _holder_of(inode: str) -> Holder | None:
    """The process that has a socket; None where it is another user's."""
    for process in _PROC.iterdir():
        if process.name.isdigit() and _has(process, f"socket:[{inode}]"):
            try:
                return _holder(process)
            except (OSError, ValueError):
                return None
    return None


def _has(process: Path, link: str) -> bool:
    try:
        return any(_target(fd) == link for fd in (process / "fd").iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _holder(process: Path) -> Holder:
    arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    checkout, pid = (process / "cwd").readlink(), int(process.name)
    stop = f"kill {pid}"
    for option in ("--state", "-pidfile"):
        if option not in arguments:
            continue
        path = checkout / arguments[arguments.index(option) + 1]
        pid_file = path if option == "-pidfile" else path / "pid"
        way = pid_file.relative_to(checkout).parts if checkout in pid_file.parents else ()
        if way and way[0] in _STATES and _holds(pid_file, pid):
            target = f"{_STATES[way[0]]} --config env={way[1]}"
            stop = f"cd {shlex.quote(str(checkout))} && snakemake {target}"
    return Holder(pid, Path(arguments[0]).name, str(checkout), stop)


def _holds(pid_file: Path, pid: int) -> bool:
    """Whether a directory still knows of a process; not where it was removed."""
    try:
        return int(pid_file.read_text()) == pid
    except (OSError, ValueError):
        return False
