"""The one module that calls talosctl."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from scripts.errors import PatchError, SecretsError, ToolError, ToolTimeoutError, ValidationError
from scripts.model import Cluster, Role
from scripts.process import MemoryFiles, Result, in_memory, piped, run
from scripts.redact import without_unknown_values
from scripts.tools import TALOSCTL, require

# How a crash of talosctl itself starts what it prints.
CRASHED = "panic: "
_LOCAL_TIMEOUT = 60.0
# Not --config-patch: that one is applied to the bases of both roles, whichever is printed, so what
# only one of them has could not be deleted (machinery v1.13: config/bundle/bundle.go).
_PATCH_OPTIONS = {
    Role.CONTROLPLANE: "--config-patch-control-plane",
    Role.WORKER: "--config-patch-worker",
}


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
            *(argument for name in names[1:] for argument in (_PATCH_OPTIONS[role], f"@{name}")),
            pass_fds=descriptors,
        )
    if not result.ok:
        raise PatchError(_without_noise(result.stderr))
    return result.stdout


def gen_talosconfig(name: str, bundle: bytes, role: str, hours: int) -> bytes:
    """A new talosconfig with a client certificate of the bundle's CA. It differs at each call.

    CA, key and certificate are files in memory only.

    :param name: of its context.
    :param role: in the certificate, e.g. ``os:admin``.
    :param hours: how long it is valid.
    :raises SecretsError: when talosctl cannot use the bundle's CA.
    """
    ca, ca_key = _os_ca(bundle)
    with in_memory(ca_crt=ca, ca_key=ca_key, new_key=b"", new_csr=b"", new_crt=b"") as files:
        base, key, csr = files.path("new"), files.path("new.key"), files.path("new.csr")
        _gen(files, "key", "--name", base)
        # The address is of no use in a client's certificate; talosctl wants one.
        _gen(files, "csr", "--key", key, "--ip", "127.0.0.1", "--roles", role)
        signing = ("--ca", files.path("ca"), "--csr", csr, "--hours", str(hours))
        _gen(files, "crt", "--name", base, *signing)
        made = {"ca": ca, "crt": files.read("new.crt"), "key": files.read("new.key")}
    context = {key: base64.b64encode(pem).decode() for key, pem in made.items()}
    document = {"context": name, "contexts": {name: {"endpoints": [], **context}}}
    return yaml.safe_dump(document, sort_keys=False).encode()


def _gen(files: MemoryFiles, *arguments: str) -> None:
    result = _run("gen", *arguments, "--force", pass_fds=files.descriptors)
    if not result.ok:
        raise SecretsError(f"talosctl cannot use the bundle: {_without_noise(result.stderr)}")


def _os_ca(bundle: bytes) -> tuple[bytes, bytes]:
    """Certificate and key of the CA of Talos's API in a bundle, as PEM."""
    try:
        pair = yaml.safe_load(bundle)["certs"]["os"]
        return base64.b64decode(pair["crt"]), base64.b64decode(pair["key"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SecretsError("talosctl cannot use the bundle: it has no certs.os") from None


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
        raise ValidationError(without_unknown_values(_without_noise(result.stderr)))
    return "\n".join(line for line in result.stderr.splitlines() if line.strip())


@dataclass(frozen=True)
class Member:
    """A member of etcd, as a node lists it.

    :ivar identifier: in hex, as ``talosctl etcd remove-member`` takes it.
    :ivar hostname: "" for a member that has not started yet.
    :ivar address: of its first peer URL.
    :ivar others: the addresses of its other peer URLs.
    """

    identifier: str
    hostname: str
    address: str
    learner: bool = False
    others: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that it is reached at by other members."""
        return (self.address, *self.others)


@dataclass(frozen=True)
class EtcdStatus:
    """What the etcd of a node says of itself.

    :ivar member: its identifier, as in :class:`Member`.
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


@dataclass(frozen=True)
class Node:
    """The Talos API of one node, over mTLS with a talosconfig.

    :ivar address: the ``--nodes`` of every call.
    :ivar endpoint: the ``--endpoints`` of every call: the node itself, so that none can reach
        another.
    :ivar timeout: the most that one call may take, in seconds.
    """

    address: str
    endpoint: str
    talosconfig: Path
    timeout: float

    def machine_config(self) -> bytes:
        """The config that the node runs with, as it was sent."""
        return self._machine_config("v1alpha1")

    def persistent_config(self) -> bytes:
        """The config that it starts with: another one while one is staged, or tried.

        A node of an older Talos that does not tell is taken at its running config.
        """
        try:
            return self._machine_config("persistent")
        except CallError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise
            return self.machine_config()

    def _machine_config(self, identifier: str) -> bytes:
        # As JSON, because there the bytes come back exactly as they were sent.
        answer = self._call("get", "machineconfig", identifier, "--output", "json")
        try:
            return str(json.loads(answer)["spec"]).encode()
        except (ValueError, KeyError, TypeError):
            message = "the node's answer holds no machine config"
            raise CallError(Failure.OTHER, message) from None

    def macs(self) -> list[str]:
        """The hardware addresses of its network links, in lower case."""
        return _macs(self._result("get", "links", "--output", "yaml"))

    def uuid(self) -> str:
        """The machine's UUID as its firmware tells it, in lower case; "" if it tells none."""
        return _uuid(self._result("get", "systeminformation", "--output", "yaml"))

    def boot_id(self) -> str:
        """Another one after each boot.

        :raises CallError: when the answer is empty: two of these are no two boots.
        """
        answer = self._call("read", "/proc/sys/kernel/random/boot_id").decode().strip()
        if not answer:
            raise CallError(Failure.UNREACHABLE, "the node does not tell its boot ID")
        return answer

    def nodename(self) -> str:
        """Its name to Kubernetes; "" where it does not tell."""
        found = re.search(
            rb"^\s*nodename: (\S+)", self._call("get", "nodename", "--output", "yaml"), re.MULTILINE
        )
        return found[1].decode().strip("\"'") if found else ""

    def version(self) -> str:
        """What the node says of its version, on one line."""
        answer = self._call("version", "--short").decode(errors="replace")
        tag = re.search(r"Tag:\s*(\S+)", answer.partition("Server:")[2])
        platform = re.search(r"Platform:\s*(\S+)", answer)
        return " ".join(found[1] for found in (tag, platform) if found)

    def running_talos(self) -> RunningTalos:
        """The Talos that it runs: its version, and the extensions in its image; two calls."""
        return RunningTalos(
            self.version().partition(" ")[0],
            _extensions(self._call("get", "extensions", "--output", "yaml")),
        )

    def apply(self, config: bytes, mode: str) -> str:
        """``apply-config``; returns what the node answered."""
        return _answer(
            self._result("apply-config", "--file", "/dev/stdin", "--mode", mode, stdin=config)
        )

    def dry_run(self, config: bytes) -> str:
        """What ``apply-config --mode auto`` would do; the difference it shows is left out.

        A config that is only tried (``--mode try``) becomes permanent by it.
        """
        arguments = ("apply-config", "--file", "/dev/stdin", "--mode", "auto", "--dry-run")
        return _answer(self._result(*arguments, stdin=config)).partition("Config diff:")[0]

    def bootstrap(self) -> None:
        self._call("bootstrap")

    def reset(self, *, graceful: bool) -> None:
        """Wipe config and data, and reboot into maintenance mode; returns when it was accepted.

        Talos itself stays on the disk (only STATE and EPHEMERAL are wiped), as do user volumes.

        :param graceful: drain the node and leave etcd first.
        """
        labels = ("--system-labels-to-wipe", "STATE", "--system-labels-to-wipe", "EPHEMERAL")
        self._call(
            "reset", f"--graceful={str(graceful).lower()}", "--reboot", "--wait=false", *labels
        )

    def etcd_members(self) -> list[Member]:
        """Etcd's members as this node knows them, learners too.

        :raises CallError: when etcd does not run there.
        """
        rows = _table(self._call("etcd", "members"), "ID", "HOSTNAME", "PEER URLS", "LEARNER")
        return [_member(*row) for row in rows]

    def etcd_status(self) -> EtcdStatus:
        """What the etcd on this node is, and complains of.

        :raises CallError: when etcd does not run there, or does not say which member it is.
        """
        rows = _table(self._call("etcd", "status"), "MEMBER", "LEADER", "LEARNER", "ERRORS")
        member, leader, learner, errors = rows[0] if rows else ("", "", "", "")
        if not member.strip("0"):
            raise CallError(Failure.OTHER, "its etcd does not say which member it is")
        if not errors and learner == "true":
            errors = "it is still a learner"
        return EtcdStatus(member, errors or ("" if leader.strip("0") else "it has no leader"))

    def etcd_remove_member(self, member: Member) -> None:
        """Take a member that is gone for good out of etcd."""
        self._call("etcd", "remove-member", member.identifier)

    def etcd_state(self) -> str:
        """The state of the etcd service, e.g. ``Running`` or ``Preparing``, or "" if unknown."""
        try:
            answer = self._call("service", "etcd").decode(errors="replace")
        except CallError as error:
            # For a moment after bootstrap, while Talos puts the service in anew.
            if "is not registered" in error.message:
                return ""
            raise
        found = re.search(r"^STATE\s+(\S+)", answer, re.MULTILINE)
        return found[1] if found else ""

    def has_etcd_data(self) -> bool:
        """Whether etcd has been on the node's disk, running or not."""
        try:
            listed = self._call("list", "/var/lib/etcd").decode(errors="replace")
        except CallError as error:
            if "no such file or directory" in error.message:
                return False
            raise
        return "member" in listed.split()

    def kubeconfig(self) -> bytes:
        """The cluster's admin kubeconfig."""
        return self._call("kubeconfig", "--merge=false", "-")

    def _call(self, *arguments: str) -> bytes:
        return self._result(*arguments).stdout

    def _result(self, *arguments: str, stdin: bytes = b"") -> Result:
        target = ("--talosconfig", str(self.talosconfig), "-n", self.address, "-e", self.endpoint)
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

    def uuid(self) -> str:
        """The machine's UUID as its firmware tells it, in lower case; "" if it tells none."""
        return _uuid(self._result("get", "systeminformation", "--output", "yaml"))

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
    macs = {mac.decode().strip("\"'").lower() for mac in found}
    # Loopback and tunnels have none, or one of zeros.
    return sorted(mac for mac in macs if mac.strip("0:"))


def _uuid(information: Result) -> str:
    found = re.search(rb"^\s*uuid: (\S+)", information.stdout, re.MULTILINE)
    return found[1].decode().strip("\"'").lower() if found else ""


def _extensions(answer: bytes) -> tuple[tuple[str, str], ...]:
    """Name and version of each extension in a list of ExtensionStatus resources.

    :raises CallError: when it is no such list.
    """
    try:
        # All scalars as they are written: a version may look like a number.
        resources = yaml.load_all(answer, Loader=yaml.BaseLoader)
        listed = [one["spec"]["metadata"] for one in resources if one]
        return tuple((one["name"], one["version"]) for one in listed)
    except (yaml.YAMLError, KeyError, TypeError):
        message = "the node's answer holds no list of extensions"
        raise CallError(Failure.OTHER, message) from None


def _table(answer: bytes, *columns: str) -> list[tuple[str, ...]]:
    """What a table says below these columns. By position, because cells may be empty.

    :raises CallError: when a column is not there.
    """
    header, *rows = answer.decode(errors="replace").splitlines() or [""]
    names = re.split(r"\s{2,}", header.strip())
    starts = sorted((header.find(name), name) for name in names)
    if not set(columns) <= set(names):
        raise CallError(Failure.OTHER, f"talosctl answers with an unknown table: {header}")
    ends = [*(start for start, _ in starts[1:]), None]
    place = {name: slice(start, end) for (start, name), end in zip(starts, ends, strict=True)}
    return [tuple(row[place[name]].strip() for name in columns) for row in rows if row.strip()]


def _member(identifier: str, hostname: str, peers: str, learner: str) -> Member:
    address, *others = [urlsplit(url.strip()).hostname or "" for url in peers.split(",")]
    return Member(identifier, hostname, address, learner == "true", tuple(filter(None, others)))


def _answer(result: Result) -> str:
    """What apply-config printed, on one line; talosctl prints it to stderr."""
    text = result.stdout.decode(errors="replace") + result.stderr
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _remote(*arguments: str, stdin: bytes, timeout: float) -> Result:
    """A call to a node: only one that takes too long says something of the node.

    :raises CallError: when it takes longer than the timeout, in seconds.
    :raises ToolError: when talosctl is missing, or of another version than the pinned one.
    """
    require(TALOSCTL)
    try:
        return _run(*arguments, stdin=stdin, timeout=timeout)
    except ToolTimeoutError as error:
        raise CallError(Failure.UNREACHABLE, error.message) from None


def _checked(result: Result) -> Result:
    if result.ok:
        return result
    # What follows is a difference of machine configs, with their secrets.
    message = without_unknown_values(_without_noise(result.stderr).partition("\ndiff:")[0])
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
