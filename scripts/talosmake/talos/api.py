"""The Talos API of one node, running or in maintenance mode."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from talosmake.base import interruption
from talosmake.base.process import Result
from talosmake.talos.talosctl import CallError, EtcdStatus, Failure, RunningTalos, checked, remote

# A certificate that is so new may come from a clock that is ahead of the node's; in seconds.
_NEW = 20.0
_BETWEEN = 2.0


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
class NodeApi:
    """The Talos API of one node, over mTLS with a talosconfig.

    :ivar address: the ``--nodes`` of every call.
    :ivar endpoint: the ``--endpoints`` of every call: the node itself, so that none can reach
        another.
    :ivar timeout: the most that one call may take, in seconds.
    :ivar talosctl: the version of the talosctl that calls.
    """

    address: str
    endpoint: str
    talosconfig: Path
    timeout: float
    talosctl: str

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

    def reboot(self) -> None:
        """Reboot; returns when it was accepted. Pods are stopped, and not drained."""
        self._call("reboot", "--wait=false")

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
            # For a moment after bootstrap, while Talos puts the service in again.
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
        while True:
            try:
                call = (self.talosctl, *arguments, *target)
                return checked(remote(*call, stdin=stdin, timeout=self.timeout))
            except CallError as error:
                refused = error.failure is Failure.CERTIFICATE_EXPIRED
                # "Not yet valid" is "expired" to Go: the node's clock may be a little behind.
                if not (refused and self._is_new()) or interruption.wait(_BETWEEN):
                    raise

    def _is_new(self) -> bool:
        """Whether the talosconfig was written in the last seconds."""
        try:
            return 0 <= time.time() - self.talosconfig.stat().st_mtime < _NEW
        except OSError:
            return False


@dataclass(frozen=True)
class MaintenanceApi:
    """The Talos API of a node in maintenance mode: not encrypted to anybody yet known.

    :ivar fingerprint: the SHA-256 fingerprint that its certificate must have, or "".
    :ivar talosctl: the version of the talosctl that calls.
    """

    address: str
    fingerprint: str
    timeout: float
    talosctl: str

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
        call = (self.talosctl, *arguments, *target)
        return checked(remote(*call, stdin=stdin, timeout=self.timeout))


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
