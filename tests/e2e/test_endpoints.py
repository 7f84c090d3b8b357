"""Nodes reached by name and by a forwarded port, whose host names have a domain."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.project import Project

FACTS = "NODE_TIMEOUT=30\nETCD_TIMEOUT=30\nCALL_TIMEOUT=10\n"


@contextlib.contextmanager
def forwarded(family: socket.AddressFamily, host: str, target: str) -> Iterator[int]:
    """A port of a loopback address that leads to the Talos API of another one."""
    with socket.create_server((host, 0), family=family, backlog=64) as server:
        threading.Thread(target=_serve, args=(server, target), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket, target: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = server.accept()
            threading.Thread(target=_join, args=(near, target), daemon=True).start()


def _join(near: socket.socket, target: str) -> None:
    to = (target, 50000)
    with near, contextlib.suppress(OSError), socket.create_connection(to, timeout=30) as far:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def remote(project: Project, network: str) -> Iterator[Project]:
    """site: a control plane at localhost:PORT, a worker at [::1]:PORT, with names in a domain."""
    project.environment("site", FACTS)
    disk = "machine:\n  install:\n    disk: /dev/vda\n  certSANs:\n    - ${NODE_ENDPOINT_HOST}\n"
    project.write("patches/envs/site/common.yaml", disk)
    nodes = [{"address": f"{network}.{last}", "mac": f"52:54:00:00:00:{last}"} for last in (11, 21)]
    with (
        project.fleet(nodes),
        forwarded(socket.AF_INET, "127.0.0.1", f"{network}.11") as first,
        forwarded(socket.AF_INET6, "::1", f"{network}.21") as second,
    ):
        facts = "NODE_MAC=52-54-00-00-00-{}\nNODE_ENDPOINT={}\nNODE_HOSTNAME={}.k8s.example.com\n"
        project.node(
            "site",
            "control_planes",
            "cp_1",
            f"{network}.11",
            facts.format("11", f"LocalHost:{first}", "cp-1"),
        )
        project.node(
            "site",
            "workers",
            "w_1",
            f"{network}.21",
            facts.format("21", f"[0:0::1]:{second}", "w-1"),
        )
        project.ok("secrets", "--config", "env=site")
        yield project


def test_all_targets_reach_them(remote: Project, network: str) -> None:
    run = remote.ok("up", "-j2", "--config", "env=site")
    assert "site: 1 control plane and 1 worker: 2 applied; bootstrapped" in run.output
    marker = json.loads(remote.read("rendered_configs/site/state/controlplane-cp_1.applied"))
    assert marker["mode"] == "maintenance"
    port = json.loads(remote.read("rendered_configs/site/state/worker-w_1.machine"))["endpoint"]
    assert port.startswith("[::1]:")
    # The name without its domain is the one that etcd knows.
    talosconfig = ("--talosconfig", "rendered_configs/site/talosconfig")
    members = remote.run("talosctl", "etcd", "members", *talosconfig, "-n", f"{network}.11")
    assert members.code == 0, members.output
    assert members.output.splitlines()[1].split()[2] == "cp-1"
    assert "hostname: cp-1.k8s.example.com" in remote.read(
        "rendered_configs/site/controlplane-cp_1.yaml"
    )

    table = remote.ok("nodes", "--config", "env=site").output
    assert table.count("running") == 2
    remote.ok("diff", "--config", "env=site")
    assert remote.ok("up", "-j2", "--config", "env=site").jobs == set()
    report = remote.ok("report", "--config", "env=site", "live=true")
    assert report.code == 0
    assert "<dt>Reached at</dt><dd>[::1]:" in remote.read("rendered_configs/site/report.html")

    script = remote.run("rendered_configs/site/apply.sh")
    assert script.code == 0, script.output

    remote.ok("reset", "--config", "env=site", "node=w_1", "confirm=w_1")
    again = remote.ok("up", "-j2", "--config", "env=site")
    assert "2 applied; bootstrapped" in again.output


def test_a_name_that_the_certificate_will_lack_is_told_with_what_to_write(remote: Project) -> None:
    assert "[node-endpoint]" not in remote.ok("lint", "--config", "env=site").output
    remote.write("patches/envs/site/common.yaml", "machine: {install: {disk: /dev/vda}}\n")
    lint = remote.ok("lint", "--config", "env=site").output
    assert "localhost is not in the node's machine.certSANs" in lint
    assert "${NODE_ENDPOINT_HOST}" in lint
