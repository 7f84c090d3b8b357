"""Two clusters of a control plane and a worker each: real Talos nodes, and simulated ones."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.project import BIN, CLUSTER_ENV, REPOSITORY, Project, Run

ENV = "lab"
ADMIN = f"rendered_configs/{ENV}/talosconfig"
UP = ("-j4", "--config", f"env={ENV}")
# Two cores emulate what has a machine of its own elsewhere, while other tests run beside it.
PATIENCE = "GOAL=bootstrapped\nNODE_TIMEOUT=900\nETCD_TIMEOUT=600\nCALL_TIMEOUT=60\n"
RUN = 1200.0


@dataclass
class Cluster:
    """A project with the environment ``lab``, and how to ask its nodes without the workflow.

    :ivar addresses: of each node by name: what talosctl is told as ``-n`` and as ``-e``.
    """

    project: Project
    addresses: dict[str, tuple[str, str]]

    def workflow(self, *arguments: str) -> Run:
        return self.project.ok(*arguments, *UP, timeout=RUN)

    def ask(
        self,
        node: str,
        *arguments: str,
        talosconfig: str = "",
        stdin: bytes = b"",
        timeout: float = 300,
    ) -> Run:
        """Run talosctl for one node; without a talosconfig, as for one in maintenance mode.

        What does not answer in time ends with code 124, as with timeout(1).
        """
        address, endpoint = self.addresses[node]
        if not talosconfig:
            target = ["--insecure", "-n", endpoint, "-e", endpoint]
        else:
            target = ["--talosconfig", talosconfig, "-n", address, "-e", endpoint]
        try:
            return self.project.run(
                BIN / "talosctl", *arguments, *target, stdin=stdin, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return Run(124, "no answer")

    def admin(self, node: str, *arguments: str) -> Run:
        return self.ask(node, *arguments, talosconfig=ADMIN)

    def config(self, role: str, node: str) -> bytes:
        return (self.project.root / f"rendered_configs/{ENV}/{role}-{node}.yaml").read_bytes()


def real(project: Project, network: str) -> Cluster:
    """A cluster of real Talos nodes in QEMU, from the repository's own lab environment."""
    cluster_env = (REPOSITORY / "patches/envs/lab/cluster.env").read_text()
    project.environment(ENV, PATIENCE, cluster_env=cluster_env.replace("GOAL=bootstrapped\n", ""))
    for path in ("common.yaml", "control_planes/common.yaml"):
        text = (REPOSITORY / "patches/envs/lab" / path).read_text()
        project.write(f"patches/envs/{ENV}/{path}", text)
    addresses = {}
    for role, name, last in (("control_planes", "cp_1", 11), ("workers", "worker_1", 21)):
        address, endpoint = f"10.5.0.{last}", f"{network}.{last}"
        facts = f"NODE_ENDPOINT={endpoint}\nNODE_MAC=52:54:00:00:00:{last}\n"
        project.node(ENV, role, name, address, facts)
        addresses[name] = (address, endpoint)
    return Cluster(project, addresses)


def simulated(project: Project, network: str) -> Cluster:
    """The same cluster of simulated nodes."""
    cluster_env = CLUSTER_ENV.replace("10.9.0.10", f"{network}.11") + "SIMULATED=true\n"
    project.environment(ENV, PATIENCE, cluster_env=cluster_env)
    addresses = {}
    for role, name, last in (("control_planes", "cp_1", 11), ("workers", "worker_1", 21)):
        address = f"{network}.{last}"
        project.node(ENV, role, name, address, f"NODE_MAC=52:54:00:00:00:{last}\n")
        addresses[name] = (address, address)
    return Cluster(project, addresses)


def kill_machines(project: Project) -> None:
    """End every QEMU that a project started, as power failure would."""
    for pid_file in project.root.glob(".lab/*/*/pid"):
        pid = int(pid_file.read_text())
        place = Path(f"/proc/{pid}/cwd")
        if place.exists() and place.readlink() == project.root:
            os.kill(pid, signal.SIGKILL)
