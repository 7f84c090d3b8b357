"""What talosctl is answered: one table of calls, for real and for simulated nodes.

An answer is reduced to what the workflow relies on: the exit code, the gRPC code or TLS alert, and
the named fields. How the rest of it reads may differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.project import Run

# Stages in the life of a cluster, in order.
MAINTENANCE, CONFIGURED, RUNNING = "maintenance", "configured", "running"


@dataclass(frozen=True)
class Call:
    """A call of talosctl.

    :ivar credentials: "" for none (``--insecure``), else whose talosconfig: admin, foreign, reader
        or expired.
    :ivar fields: patterns whose matches, in the order they appear, are part of the answer.
    :ivar stdin: "" or the config to send: valid, changed (a sysctl) or broken.
    :ivar patience: after so many seconds it counts as not answered.
    """

    name: str
    stage: str
    node: str
    credentials: str
    arguments: tuple[str, ...]
    fields: tuple[str, ...] = ()
    stdin: str = ""
    patience: float = 180


@dataclass(frozen=True)
class Answer:
    """What is relied on in an answer."""

    code: int
    status: str
    fields: tuple[tuple[str, ...], ...]


_STATUS = (
    r"tls: [a-z ]+",
    r"x509: [a-z ]+",
    r"code = (\w+)",
    r"fingerprint",
)


def reduced(call: Call, run: Run, addresses: Mapping[str, tuple[str, str]]) -> Answer:
    """What is relied on in what talosctl showed; addresses of nodes become their names."""
    text = run.output
    for name, both in addresses.items():
        for address in both:
            text = re.sub(rf"\b{re.escape(address)}\b", f"<{name}>", text)
    status = (
        next((found[0] for p in _STATUS if (found := re.search(p, text))), "") if run.code else ""
    )
    return Answer(
        run.code, status, tuple(tuple(re.findall(p, text, re.MULTILINE)) for p in call.fields)
    )


def _calls() -> tuple[Call, ...]:
    apply = ("apply-config", "--file", "/dev/stdin")
    stage = (r"^\s+stage: (\w+)",)
    macs = (r"(?:hardwareAddr|permanentAddr): [\"']?(52:54:00:[\w:]+)",)
    calls = [
        # Maintenance mode.
        Call(
            "maintenance version",
            MAINTENANCE,
            "cp_1",
            "",
            ("version",),
            (r"Server:", r"Tag: +(v\S+)$"),
        ),
        Call("maintenance links", MAINTENANCE, "cp_1", "", ("get", "links", "-o", "yaml"), macs),
        Call("maintenance machineconfig", MAINTENANCE, "cp_1", "", ("get", "machineconfig")),
        Call(
            "maintenance machinestatus",
            MAINTENANCE,
            "cp_1",
            "",
            ("get", "machinestatus", "-o", "yaml"),
            stage,
        ),
        Call("maintenance members", MAINTENANCE, "cp_1", "", ("get", "members")),
        Call("maintenance admin", MAINTENANCE, "cp_1", "admin", ("version",)),
        Call("maintenance bootstrap", MAINTENANCE, "cp_1", "admin", ("bootstrap",)),
        Call("maintenance broken", MAINTENANCE, "cp_1", "", apply, stdin="broken"),
        Call(
            "maintenance dry-run",
            MAINTENANCE,
            "cp_1",
            "",
            (*apply, "--dry-run"),
            (r"Dry run summary", r"^(Applied configuration.*) \(skipped"),
            "valid",
        ),
        Call(
            "maintenance fingerprint",
            MAINTENANCE,
            "cp_1",
            "",
            (*apply, "--cert-fingerprint", "AA" * 32),
            stdin="valid",
        ),
        # Configured, not bootstrapped.
        Call(
            "version",
            CONFIGURED,
            "cp_1",
            "admin",
            ("version",),
            (r"Server:", r"Tag: +(v\S+)$", r"NODE: +(\S+)"),
        ),
        Call("links", CONFIGURED, "cp_1", "admin", ("get", "links", "-o", "yaml"), macs),
        Call(
            "machineconfig",
            CONFIGURED,
            "cp_1",
            "admin",
            ("get", "machineconfig", "v1alpha1", "-o", "json"),
            (r'"node": "(\S+)"', r"type: (controlplane|worker)\\n"),
        ),
        Call(
            "machinetype",
            CONFIGURED,
            "worker_1",
            "admin",
            ("get", "machinetype", "-o", "yaml"),
            (r"spec: (\w+)",),
        ),
        Call("members", CONFIGURED, "cp_1", "admin", ("get", "members")),
        Call("etcd members before", CONFIGURED, "cp_1", "admin", ("etcd", "members"), patience=20),
        Call("etcd status before", CONFIGURED, "cp_1", "admin", ("etcd", "status"), patience=20),
        Call(
            "etcd service before",
            CONFIGURED,
            "cp_1",
            "admin",
            ("service", "etcd"),
            (r"^STATE +(\w+)",),
        ),
        Call(
            "etcd data before",
            CONFIGURED,
            "cp_1",
            "admin",
            ("list", "/var/lib/etcd"),
            (r"(no such file)", r"^(member)$"),
        ),
        Call("etcd service of a worker", CONFIGURED, "worker_1", "admin", ("service", "etcd")),
        Call(
            "snapshot before",
            CONFIGURED,
            "cp_1",
            "admin",
            ("etcd", "snapshot", "before.snapshot"),
            patience=20,
        ),
        Call(
            "kubeconfig before",
            CONFIGURED,
            "cp_1",
            "admin",
            ("kubeconfig", "--merge=false", "--force", "before"),
        ),
        Call("bootstrap a worker", CONFIGURED, "worker_1", "admin", ("bootstrap",)),
        Call("insecure when configured", CONFIGURED, "cp_1", "", ("get", "links")),
        Call("insecure apply when configured", CONFIGURED, "cp_1", "", apply, stdin="valid"),
        Call("foreign", CONFIGURED, "cp_1", "foreign", ("version",)),
        Call("foreign apply", CONFIGURED, "worker_1", "foreign", apply, stdin="valid"),
        Call(
            "persistent machineconfig",
            CONFIGURED,
            "cp_1",
            "admin",
            ("get", "machineconfig", "persistent", "-o", "json"),
            (r'"node": "(\S+)"', r"type: (controlplane|worker)\\n"),
        ),
        Call("no machineconfig", CONFIGURED, "cp_1", "admin", ("get", "machineconfig", "none")),
        # Running.
        Call("etcd data", RUNNING, "cp_1", "admin", ("list", "/var/lib/etcd"), (r"^(member)$",)),
        Call("bootstrap twice", RUNNING, "cp_1", "admin", ("bootstrap",)),
        Call(
            "etcd members",
            RUNNING,
            "cp_1",
            "admin",
            ("etcd", "members"),
            (r"(HOSTNAME) +PEER URLS", r"^\S+ +\w{16} +(\S+)", r"(true|false)\s*$"),
        ),
        Call("etcd members of a worker", RUNNING, "worker_1", "admin", ("etcd", "members")),
        Call(
            "etcd status",
            RUNNING,
            "cp_1",
            "admin",
            ("etcd", "status"),
            (r"(MEMBER)", r"^(\S+) +\w{16} "),
        ),
        Call(
            "etcd service",
            RUNNING,
            "cp_1",
            "admin",
            ("service", "etcd"),
            (r"^STATE +(\w+)", r"^HEALTH +(\w+)"),
        ),
        Call(
            "snapshot",
            RUNNING,
            "cp_1",
            "admin",
            ("etcd", "snapshot", "after.snapshot"),
            (r"snapshot info",),
        ),
        Call(
            "kubeconfig",
            RUNNING,
            "cp_1",
            "admin",
            ("kubeconfig", "--merge=false", "--force", "after"),
        ),
        Call(
            "kubeconfig of a worker",
            RUNNING,
            "worker_1",
            "admin",
            ("kubeconfig", "--merge=false", "--force", "worker"),
        ),
        Call("machinestatus", RUNNING, "cp_1", "admin", ("get", "machinestatus", "-o", "yaml")),
        Call(
            "apply unchanged",
            RUNNING,
            "cp_1",
            "admin",
            apply,
            (r"(Applied configuration.*)$",),
            "valid",
        ),
        Call(
            "dry-run unchanged",
            RUNNING,
            "cp_1",
            "admin",
            (*apply, "--dry-run"),
            (r"(No changes\.)", r"^(Applied configuration.*) \(skipped"),
            "valid",
        ),
        Call(
            "dry-run changed",
            RUNNING,
            "worker_1",
            "admin",
            (*apply, "--dry-run"),
            (r"^(Applied configuration.*) \(skipped", r"^(\+.*sysctls:)"),
            "changed",
        ),
        Call(
            "no-reboot",
            RUNNING,
            "worker_1",
            "admin",
            (*apply, "--mode=no-reboot"),
            (r"(Applied configuration.*)$",),
            "changed",
        ),
        Call(
            "try",
            RUNNING,
            "worker_1",
            "admin",
            (*apply, "--mode=try", "--timeout=20s"),
            (r"(Applied configuration.*)$", r"reverted back in (\S+)"),
            "valid",
        ),
        Call(
            "staged",
            RUNNING,
            "worker_1",
            "admin",
            (*apply, "--mode=staged"),
            (r"(Staged configuration.*)$",),
            "valid",
        ),
        Call(
            "no-reboot back",
            RUNNING,
            "worker_1",
            "admin",
            (*apply, "--mode=no-reboot"),
            (r"(Applied configuration.*)$",),
            "valid",
        ),
        Call("apply broken", RUNNING, "worker_1", "admin", apply, stdin="broken"),
        Call(
            "services",
            RUNNING,
            "worker_1",
            "admin",
            ("service",),
            (r"^\S+ +(apid|containerd|etcd|machined|trustd)\b",),
        ),
        Call("reader reads", RUNNING, "cp_1", "reader", ("version",), (r"Server:",)),
        Call("reader config", RUNNING, "cp_1", "reader", ("get", "machineconfig")),
        Call("reader applies", RUNNING, "cp_1", "reader", apply, stdin="valid"),
        Call("reader bootstraps", RUNNING, "cp_1", "reader", ("bootstrap",)),
        Call("expired", RUNNING, "cp_1", "expired", ("version",)),
    ]
    return tuple(calls)


CALLS = _calls()
