"""The one module that calls talosctl."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path

import yaml

from scripts.errors import PatchError, SecretsError, ToolError, ValidationError
from scripts.model import Cluster, Role
from scripts.process import Result, piped, run
from scripts.tools import TALOSCTL, require

PORT = 50000
# How a crash of talosctl itself starts what it prints.
CRASHED = "panic: "
_LOCAL_TIMEOUT = 60.0


class Failure(StrEnum):
    """Why a node did not do what it was asked, as far as talosctl's words tell."""

    UNREACHABLE = auto()
    UNKNOWN_AUTHORITY = auto()
    CERTIFICATE_REQUIRED = auto()
    CERTIFICATE_EXPIRED = auto()
    FINGERPRINT = auto()
    ALREADY_EXISTS = auto()
    FAILED_PRECONDITION = auto()
    REJECTED = auto()
    OTHER = auto()


# Looked for in this order: an error of the TLS handshake is also an "Unavailable".
_WORDS: tuple[tuple[Failure, tuple[str, ...]], ...] = (
    (Failure.FINGERPRINT, ("fingerprint",)),
    (Failure.CERTIFICATE_EXPIRED, ("has expired or is not yet valid", "expired certificate")),
    (
        Failure.UNKNOWN_AUTHORITY,
        ("certificate signed by unknown authority", "unknown certificate authority"),
    ),
    (Failure.CERTIFICATE_REQUIRED, ("certificate required",)),
    (Failure.ALREADY_EXISTS, ("AlreadyExists",)),
    (Failure.FAILED_PRECONDITION, ("FailedPrecondition",)),
    (Failure.REJECTED, ("InvalidArgument", "PermissionDenied", "Unimplemented")),
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


def classify(stderr: str) -> Failure:
    """What kind of failure talosctl's error output tells of."""
    return next(
        (failure for failure, words in _WORDS if any(word in stderr for word in words)),
        Failure.OTHER,
    )


def gen_secrets(contract: str) -> bytes:
    """A new secrets bundle, for a version contract such as ``v1.13``."""
    return _local("gen", "secrets", "--talos-version", contract, "--output-file", "-").stdout


def gen_config(cluster: Cluster, role: Role, bundle: bytes, patches: Sequence[str]) -> bytes:
    """A complete machine config: the generated base with the patches applied in order.

    :raises PatchError: with talosctl's own message when it refuses the base or a patch.
    """
    with piped(bundle, *(patch.encode() for patch in patches)) as (names, descriptors):
        result = _run(
            *_gen_config_arguments(cluster, names[0], str(role)),
            *(argument for name in names[1:] for argument in ("--config-patch", f"@{name}")),
            pass_fds=descriptors,
        )
    if not result.ok:
        raise PatchError(_without_noise(result.stderr))
    return result.stdout


def gen_talosconfig(cluster: Cluster, bundle: bytes) -> bytes:
    """A new talosconfig: an admin certificate of the cluster's CA. It differs at each call."""
    with piped(bundle) as (names, descriptors):
        result = _run(
            *_gen_config_arguments(cluster, names[0], "talosconfig"), pass_fds=descriptors
        )
    if not result.ok:
        raise SecretsError(f"talosctl cannot use the bundle: {_without_noise(result.stderr)}")
    return result.stdout


def _gen_config_arguments(cluster: Cluster, bundle: str, output: str) -> list[str]:
    return [
        *("gen", "config", cluster.name, cluster.endpoint),
        *("--with-secrets", bundle),
        *("--talos-version", cluster.talos_contract),
        *("--kubernetes-version", cluster.kubernetes_version),
        *("--install-image", cluster.installer_image),
        *("--with-docs=false", "--with-examples=false"),
        *("--output-types", output, "--output", "-"),
    ]


def with_endpoints(talosconfig: bytes, endpoints: Sequence[str]) -> bytes:
    """A talosconfig with these endpoints in its context, and no nodes.

    Nodes are left out on purpose: a forgotten ``-n`` then is an error, not a call to all of them.
    """
    document = yaml.safe_load(talosconfig)
    for context in document["contexts"].values():
        context["endpoints"] = list(endpoints)
        context.pop("nodes", None)
    return yaml.safe_dump(document, sort_keys=False).encode()


def validate(config: bytes) -> str:
    """``talosctl validate --mode metal``; returns its warnings, if any.

    :raises ValidationError: with talosctl's own message.
    """
    with piped(config) as ([name], descriptors):
        result = _run("validate", "--mode", "metal", "--config", name, pass_fds=descriptors)
    if not result.ok:
        raise ValidationError(_without_noise(result.stderr))
    return "\n".join(line for line in result.stderr.splitlines() if line.strip())


@dataclass(frozen=True)
class Node:
    """The Talos API of one node, over mTLS with a talosconfig.

    :ivar address: both ``--nodes`` and ``--endpoints`` of every call, so that none can reach
        another node.
    :ivar timeout: the most that one call may take, in seconds.
    """

    address: str
    talosconfig: Path
    timeout: float

    def machine_config(self) -> bytes:
        """The config that the node runs with, as it was sent."""
        # As JSON, because there the bytes come back exactly as they were sent.
        answer = self._call("get", "machineconfig", "v1alpha1", "--output", "json")
        try:
            return str(json.loads(answer)["spec"]).encode()
        except (ValueError, KeyError, TypeError):
            message = "the node's answer holds no machine config"
            raise CallError(Failure.OTHER, message) from None

    def macs(self) -> list[str]:
        """The hardware addresses of its network links, in lower case."""
        return _macs(self._result("get", "links", "--output", "yaml"))

    def version(self) -> str:
        """What the node says of its version, on one line."""
        answer = self._call("version", "--short").decode(errors="replace")
        tag = re.search(r"Tag:\s*(\S+)", answer.partition("Server:")[2])
        platform = re.search(r"Platform:\s*(\S+)", answer)
        return " ".join(found[1] for found in (tag, platform) if found)

    def apply(self, config: bytes, mode: str) -> str:
        """``apply-config``; returns what the node answered."""
        return _answer(
            self._result("apply-config", "--file", "/dev/stdin", "--mode", mode, stdin=config)
        )

    def bootstrap(self) -> None:
        self._call("bootstrap")

    def etcd_members(self) -> list[str]:
        """The host names of etcd's members as this node knows them, learners left out.

        :raises CallError: when etcd does not run there.
        """
        header, *rows = self._call("etcd", "members").decode().splitlines() or [""]
        name, after, learner = (header.find(c) for c in ("HOSTNAME", "PEER URLS", "LEARNER"))
        if min(name, after, learner) < 0:
            raise CallError(Failure.OTHER, "talosctl etcd members answers with an unknown table")
        # By position, because a member that has not started yet has no name.
        return [row[name:after].strip() for row in rows if row[learner:].strip() != "true"]

    def etcd_state(self) -> str:
        """The state of the etcd service, e.g. ``Running`` or ``Preparing``, or "" if unknown."""
        answer = self._call("service", "etcd").decode(errors="replace")
        found = re.search(r"^STATE\s+(\S+)", answer, re.MULTILINE)
        return found[1] if found else ""

    def kubeconfig(self) -> bytes:
        """The cluster's admin kubeconfig."""
        return self._call("kubeconfig", "--merge=false", "-")

    def _call(self, *arguments: str) -> bytes:
        return self._result(*arguments).stdout

    def _result(self, *arguments: str, stdin: bytes = b"") -> Result:
        target = ("--talosconfig", str(self.talosconfig), "-n", self.address, "-e", self.address)
        return _checked(_remote(*arguments, *target, stdin=stdin, timeout=self.timeout))


@dataclass(frozen=True)
class MaintenanceNode:
    """The Talos API of a node in maintenance mode: not encrypted to anybody yet known.

    :ivar fingerprint: the SHA-256 fingerprint that its certificate must have, or "".
    """

    address: str
    fingerprint: str
    timeout: float

    def macs(self) -> list[str]:
        """The hardware addresses of its network links, in lower case."""
        return _macs(self._result("get", "links", "--output", "yaml"))

    def apply(self, config: bytes) -> str:
        """``apply-config --insecure``; returns what the node answered."""
        return _answer(self._result("apply-config", "--file", "/dev/stdin", stdin=config))

    def _result(self, *arguments: str, stdin: bytes = b"") -> Result:
        target = ["--insecure", "-n", self.address, "-e", self.address]
        # Only apply-config knows --cert-fingerprint (talosctl 1.13).
        if self.fingerprint and arguments[0] == "apply-config":
            target += ["--cert-fingerprint", self.fingerprint]
        return _checked(_remote(*arguments, *target, stdin=stdin, timeout=self.timeout))


def _macs(links: Result) -> list[str]:
    found = re.findall(rb"(?:hardwareAddr|permanentAddr): (\S+)", links.stdout)
    return sorted({mac.decode().strip("\"'").lower() for mac in found})


def _answer(result: Result) -> str:
    """What apply-config printed, on one line; talosctl prints it to stderr."""
    text = result.stdout.decode(errors="replace") + result.stderr
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _remote(*arguments: str, stdin: bytes, timeout: float) -> Result:
    try:
        return _run(*arguments, stdin=stdin, timeout=timeout)
    except ToolError as error:
        raise CallError(Failure.UNREACHABLE, error.message) from None


def _checked(result: Result) -> Result:
    if result.ok:
        return result
    message = _without_noise(result.stderr)
    raise CallError(classify(message), message)


def _local(*arguments: str) -> Result:
    result = _run(*arguments)
    if not result.ok:
        raise ToolError(f"talosctl {' '.join(arguments[:2])}: {_without_noise(result.stderr)}")
    return result


def _run(
    *arguments: str,
    stdin: bytes = b"",
    timeout: float = _LOCAL_TIMEOUT,
    pass_fds: Sequence[int] = (),
) -> Result:
    require(TALOSCTL)
    # One-shot calls end before a garbage collection would pay: 3 of 33 ms.
    return run(
        ["talosctl", *arguments],
        stdin=stdin,
        timeout=timeout,
        env={"GOGC": "off"},
        pass_fds=pass_fds,
    )


def _without_noise(stderr: str) -> str:
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    return "\n".join(line for line in lines if line != "generating PKI and tokens")
