"""A real and a simulated cluster, brought up side by side by the workflow, once for these tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.lab import clusters
from tests.lab.clusters import ADMIN, ENV, Cluster
from tests.lab.contract import CALLS, CONFIGURED, MAINTENANCE, RUNNING, Answer, reduced
from tests.project import BIN, Project, Run


@dataclass
class Life:
    """A cluster from power-on to bootstrapped, and what its nodes answered on the way."""

    cluster: Cluster
    answers: dict[str, Answer] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def live(self) -> None:
        """Bring the cluster up, stage by stage, with the workflow."""
        self.cluster.workflow("validate")
        self.runs[MAINTENANCE] = self.cluster.workflow(self._machines())
        _wait_for_maintenance(self.cluster)
        self._ask_all(MAINTENANCE)
        self.runs[CONFIGURED] = self.cluster.workflow("apply")
        self._foreign()
        self._ask_all(CONFIGURED)
        self.runs[RUNNING] = self.cluster.workflow()
        self._client_certificates()
        self._ask_all(RUNNING)

    def _machines(self) -> str:
        simulated = not (self.cluster.project.root / ".lab").exists()
        facts = self.cluster.project.read(f"patches/envs/{ENV}/cluster.env")
        return (
            f".simulator/{ENV}/ready" if simulated and "SIMULATED" in facts else f".lab/{ENV}/ready"
        )

    def _ask_all(self, stage: str) -> None:
        role = {"cp_1": "controlplane", "worker_1": "worker"}
        for call in CALLS:
            if call.stage != stage:
                continue
            sent = b""
            if call.stdin:
                sent = self.cluster.config(role[call.node], call.node)
            if call.stdin == "changed":
                sent = sent.replace(
                    b"machine:\n", b'machine:\n    sysctls: {vm.swappiness: "7"}\n', 1
                )
            if call.stdin == "broken":
                sent = sent.replace(b"type: ", b"type: no-", 1)
            run = self.cluster.ask(
                call.node,
                *call.arguments,
                talosconfig=ADMIN if call.credentials == "admin" else call.credentials,
                stdin=sent,
                timeout=call.patience,
            )
            self.answers[call.name] = reduced(call, run, self.cluster.addresses)
            self.shown[call.name] = run.output

    def _foreign(self) -> None:
        """A talosconfig of another cluster, in the file ``foreign``."""
        command = ("gen", "config", "other", "https://10.0.0.1:6443", "--output-types")
        run = self.cluster.project.run(BIN / "talosctl", *command, "talosconfig", "-o", "foreign")
        assert run.code == 0, run.output

    def _client_certificates(self) -> None:
        """A reader's talosconfig, and one whose certificate has expired."""
        for name, options in (("reader", ("--crt-ttl=1h",)), ("expired", ("--crt-ttl=1s",))):
            run = self.cluster.admin("cp_1", "config", "new", name, "--roles=os:reader", *options)
            assert run.code == 0, run.output
        time.sleep(2)


def _wait_for_maintenance(cluster: Cluster) -> None:
    end = time.monotonic() + 600
    for node in cluster.addresses:
        while cluster.ask(node, "version").code:
            assert time.monotonic() < end, f"{node} is not in maintenance mode"
            time.sleep(1)


def _project(tmp_path_factory: pytest.TempPathFactory, name: str) -> Project:
    root = tmp_path_factory.mktemp(name)
    (root / "home").mkdir()
    return Project(root, {"HOME": str(root / "home")})


@pytest.fixture(scope="package")
def simulated(tmp_path_factory: pytest.TempPathFactory, network_prefix: str) -> Iterator[Life]:
    project = _project(tmp_path_factory, "simulated")
    life = Life(clusters.simulated(project, f"{network_prefix}.251"))
    try:
        life.live()
        yield life
    finally:
        project.stop_simulators()


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory, network_prefix: str) -> Iterator[Life]:
    project = _project(tmp_path_factory, "real")
    life = Life(clusters.real(project, f"{network_prefix}.252"))
    try:
        life.live()
        yield life
    finally:
        clusters.kill_machines(project)


@pytest.fixture(scope="package")
def network_prefix(worker_id: str) -> str:
    """The first two numbers of loopback addresses that only this session's worker uses."""
    worker = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 99
    return f"127.{100 + worker}"
