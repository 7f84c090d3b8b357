"""The one module that calls talosctl."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from talosmake.base.errors import ToolError, ToolTimeoutError
from talosmake.base.process import Result, run
from talosmake.base.redact import without_unknown_values
from talosmake.base.talosctls import require

# How a crash of talosctl itself starts what it prints.
CRASHED = "panic: "
_LOCAL_TIMEOUT = 60.0


class Failure(StrEnum):
    """Why a node did not do what it was asked, as far as talosctl's words tell."""

    UNREACHABLE = auto()
    UNKNOWN_AUTHORITY = auto()
    CERTIFICATE_REQUIRED = auto()
    CERTIFICATE_EXPIRED = auto()
    CERTIFICATE_NAME = auto()
    FINGERPRINT = auto()
    ALREADY_EXISTS = auto()
    FAILED_PRECONDITION = auto()
    NEEDS_REBOOT = auto()
    NOT_AUTHORIZED = auto()
    REJECTED = auto()
    NOT_FOUND = auto()
    OTHER = auto()


# The code of a node's answer says most: what follows it may quote a config or a path, in which any
# word can stand (https://grpc.io/docs/guides/status-codes/).
_CODE = re.compile(r"\bcode = (\w+) desc = (.*)", re.DOTALL)
_CODES = {
    "AlreadyExists": Failure.ALREADY_EXISTS,
    "FailedPrecondition": Failure.FAILED_PRECONDITION,
    "PermissionDenied": Failure.NOT_AUTHORIZED,
    "InvalidArgument": Failure.REJECTED,
    "Unimplemented": Failure.REJECTED,
    "NotFound": Failure.NOT_FOUND,
    "DeadlineExceeded": Failure.UNREACHABLE,
}
_NEEDS_REBOOT = "this config change can't be applied in immediate mode"
# Why there is no connection: looked for in this order, where there is no answer to speak of.
_HANDSHAKE: tuple[tuple[Failure, tuple[str, ...]], ...] = (
    (Failure.FINGERPRINT, ("doesn't match the provided fingerprint",)),
    (Failure.CERTIFICATE_EXPIRED, ("has expired or is not yet valid", "expired certificate")),
    # Go compares the name before it looks who signed.
    (Failure.CERTIFICATE_NAME, ("certificate is valid for", "contain any IP SANs")),
    (
        Failure.UNKNOWN_AUTHORITY,
        ("certificate signed by unknown authority", "unknown certificate authority"),
    ),
    (Failure.CERTIFICATE_REQUIRED, ("certificate required",)),
)
_NO_WAY: tuple[tuple[Failure, tuple[str, ...]], ...] = (
    (
        Failure.UNREACHABLE,
        (
            "connection refused",
            "connection reset",
            "no route to host",
            "network is unreachable",
            "i/o timeout",
            "DeadlineExceeded",
            "deadline exceeded",
            "Unavailable",
            "broken pipe",
            "EOF",
            "closing transport",
        ),
    ),
)


class CallError(ToolError):
    """A node, or the way to it, answered a talosctl call with an error."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure

    @property
    def in_short(self) -> str:
        """The last line, where talosctl says what happened."""
        return (self.message.splitlines() or ["no answer"])[-1].strip()


def classify(stderr: str) -> Failure:
    """What kind of failure talosctl's error output tells of: by its gRPC code, then by words."""
    answer = _CODE.search(stderr)
    code, said = (answer[1], answer[2]) if answer else ("", stderr)
    if code == "InvalidArgument" and said.startswith(_NEEDS_REBOOT):
        return Failure.NEEDS_REBOOT
    if code in _CODES:
        return _CODES[code]
    # Of other codes, a node's `Unknown` may be about a connection of its own, but not about ours.
    words = _NO_WAY if code not in ("", "Unavailable") else _HANDSHAKE + _NO_WAY
    found = (failure for failure, texts in words if any(text in said for text in texts))
    return next(found, Failure.UNREACHABLE if code == "Unavailable" else Failure.OTHER)


@dataclass(frozen=True)
class EtcdStatus:
    """What the etcd of a node says of itself.

    :ivar member: its identifier, as in :class:`talosmake.talos.api.Member`.
    :ivar trouble: what it complains of; "" if it is a healthy member with a leader.
    """

    member: str
    trouble: str = ""


@dataclass(frozen=True)
class RunningTalos:
    """What a node says of the Talos that it runs.

    :ivar version: its tag, e.g. ``v1.13.0``; "" where it tells none.
    :ivar extensions: name and version of each system extension in its image.
    """

    version: str
    extensions: tuple[tuple[str, str], ...] = ()


def remote(version: str, *arguments: str, stdin: bytes, timeout: float) -> Result:
    """A call to a node: only one that takes too long says something of the node.

    :param version: of the talosctl that calls, as the environment has it.
    :raises CallError: when it takes longer than the timeout, in seconds.
    :raises ToolError: when there is no talosctl of this version.
    """
    require(version)
    try:
        return run_talosctl(version, *arguments, stdin=stdin, timeout=timeout)
    except ToolTimeoutError as error:
        raise CallError(Failure.UNREACHABLE, error.message) from None


def checked(result: Result) -> Result:
    """A node's answer.

    :raises CallError: when it is an error.
    """
    if result.ok:
        return result
    # What follows is a difference of machine configs, with their secrets.
    message = without_unknown_values(without_noise(result.stderr).partition("\ndiff:")[0])
    raise CallError(classify(message), message)


def local(version: str, *arguments: str) -> Result:
    """A call that asks no node.

    :raises ToolError: when it fails.
    """
    result = run_talosctl(version, *arguments)
    if not result.ok:
        raise ToolError(f"talosctl {' '.join(arguments[:2])}: {without_noise(result.stderr)}")
    return result


def run_talosctl(
    version: str,
    *arguments: str,
    stdin: bytes = b"",
    timeout: float = _LOCAL_TIMEOUT,
    pass_fds: Sequence[int] = (),
) -> Result:
    """One call of the talosctl of exactly this version.

    :raises ToolError: when there is none.
    """
    # One-shot calls end before a garbage collection would pay: 3 of 33 ms.
    return run(
        [require(version), *arguments],
        stdin=stdin,
        timeout=timeout,
        env={"GOGC": "off"},
        pass_fds=pass_fds,
    )


def without_noise(stderr: str) -> str:
    """What talosctl says, without what it always says."""
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    return "\n".join(line for line in lines if line != "generating PKI and tokens")
