"""The whole mission with real Talos nodes: from power-on to bootstrapped, and afterwards.

The tests go on with the same two nodes, in this order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest

from talosmake.inventory import environments
from talosmake.inventory.model import Environment, Node
from talosmake.machines import lab
from tests.lab.clusters import ENV, RUN, UP, Cluster
from tests.lab.conftest import Life
from tests.lab.contract import CONFIGURED, MAINTENANCE, RUNNING

STATE = f"rendered_configs/{ENV}/state"
WORKER = ("worker", "worker_1")
CONTROL_PLANE = ("controlplane", "cp_1")


@pytest.fixture
def cluster(real: Life, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.chdir(real.cluster.project.root)
    return real.cluster


def running_config(cluster: Cluster, role: str, node: str) -> bytes:
    """The config that a node runs with, once it answers."""
    end = time.monotonic() + 600
    while True:
        answer = cluster.admin(node, "get", "machineconfig", "v1alpha1", "-o", "json")
        if answer.code == 0:
            return str(answer.answer["spec"]).encode()
        assert time.monotonic() < end, answer.output
        time.sleep(2)


def environment_and(node: str) -> tuple[Environment, Node]:
    environment = environments.load(ENV)
    return environment, next(one for one in environment.nodes if one.name == node)


def run_until(cluster: Cluster, seen: str) -> str:
    """Start the workflow, and kill it with all it started once it shows a text."""
    process = cluster.project.start(*UP)
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if seen in line:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return shown
    pytest.fail(f"{seen!r} was not shown:\n{shown}")


def test_from_power_on_to_bootstrapped(real: Life) -> None:
    assert "2 real Talos nodes run in QEMU" in real.runs[MAINTENANCE].output
    applied = real.runs[CONFIGURED].output
    assert "lab/cp_1: applying in maintenance mode" in applied
    assert "lab/worker_1: applying in maintenance mode" in applied
    up = real.runs[RUNNING].output
    assert "lab: bootstrapped etcd on cp_1" in up
    assert "lab: 1 control plane and 1 worker: 2 applied; bootstrapped" in up
    project = real.cluster.project
    marker = json.loads(project.read(f"{STATE}/worker-worker_1.applied"))
    assert (marker["mode"], marker["address"]) == ("maintenance", "10.5.0.21")
    assert "server: https://10.5.0.11:6443" in project.read(f"rendered_configs/{ENV}/kubeconfig")
    snapshot = project.root / "after.snapshot"
    assert snapshot.stat().st_size > 10_000  # a real etcd's, taken on the way


def test_nodes_run_what_was_rendered_and_a_second_run_does_nothing(cluster: Cluster) -> None:
    for role, node in (CONTROL_PLANE, WORKER):
        assert running_config(cluster, role, node) == cluster.config(role, node)
    assert "Nothing to be done" in cluster.workflow().output


def test_changed_sysctl_reaches_one_node(cluster: Cluster) -> None:
    cluster.project.patch(ENV, "workers", "worker_1", "machine: {sysctls: {vm.swappiness: '17'}}\n")
    run = cluster.workflow()
    steps = ("render_config", "validate_config", "apply_worker")
    assert run.jobs - {f"lint_environment:{ENV}"} == {f"{step}:{ENV}/worker_1" for step in steps}
    assert "Applied configuration without a reboot" in run.output
    setting = ("read", "/proc/sys/vm/swappiness")
    assert cluster.admin("worker_1", *setting).output.strip() == "17"
    assert cluster.admin("cp_1", *setting).output.strip() != "17"


def test_apply_sh_leaves_a_running_cluster_as_it_is(cluster: Cluster) -> None:
    script = ("bash", f"rendered_configs/{ENV}/apply.sh", "--bootstrap")
    run = cluster.project.run(*script, timeout=RUN)
    assert run.code == 0, run.output
    assert "etcd runs on 10.5.0.11 already; not bootstrapped again" in run.output
    assert "etcd has its 1 members" in run.output
    # Whom apply.sh sent a config is asked again, and left alone.
    again = cluster.workflow()
    assert {f"apply_controlplane:{ENV}/cp_1", f"apply_worker:{ENV}/worker_1"} <= again.jobs
    assert again.output.count("unchanged: the node already runs this config") == 2


def test_another_role_is_refused(cluster: Cluster) -> None:
    workers = cluster.project.root / f"patches/envs/{ENV}/workers"
    moved = cluster.project.root / f"patches/envs/{ENV}/control_planes/worker_1"
    (workers / "worker_1").rename(moved)
    try:
        error = cluster.project.fails(*UP, timeout=RUN)
    finally:
        moved.rename(workers / "worker_1")
    assert "another machine.type: it has worker, the config says controlplane" in error
    assert b"type: worker" in running_config(cluster, *WORKER)
    cluster.workflow()  # the talosconfig is for one control plane again


def test_another_cluster_is_refused(cluster: Cluster) -> None:
    kept = [cluster.project.root / name for name in ("secrets", "rendered_configs")]
    for path in kept:
        path.rename(path.with_suffix(".kept"))
    try:
        error = cluster.project.fails("apply", *UP, timeout=RUN)
    finally:
        for path in kept:
            shutil.rmtree(path, ignore_errors=True)
            path.with_suffix(".kept").rename(path)
    assert "belongs to another cluster" in error
    assert "nothing was sent" in error
    cluster.workflow()  # Snakemake remembers how the other cluster's talosconfig was made


def test_powered_off_node_is_powered_on_and_keeps_its_config(cluster: Cluster) -> None:
    environment, node = environment_and("worker_1")
    lab.power_off(environment, node)
    assert not lab.running(environment, node)
    run = cluster.workflow()
    assert run.jobs == {f"start_lab:{ENV}"}
    assert running_config(cluster, *WORKER) == cluster.config(*WORKER)


def test_power_lost_while_a_config_is_applied(cluster: Cluster) -> None:
    environment, node = environment_and("worker_1")
    lab.power_off(environment, node)
    shutil.rmtree(lab.state_directory(environment, node))
    cluster.project.remove(f"{STATE}/worker-worker_1.applied")
    run_until(cluster, "lab/worker_1: applying in maintenance mode")
    lab.power_off(environment, node)
    run = cluster.workflow()
    assert {f"start_lab:{ENV}", f"apply_worker:{ENV}/worker_1"} <= run.jobs
    assert running_config(cluster, *WORKER) == cluster.config(*WORKER)
    assert "Nothing to be done" in cluster.workflow().output


def test_what_container_mode_refuses(cluster: Cluster) -> None:
    """As docs/lab.md says; there simulated nodes are all there is."""
    calls: dict[str, list[tuple[str, ...]]] = {
        "not supported in container mode": [
            ("reboot", "--wait=false"),
            ("upgrade", "--legacy", "--wait=false", "--image", "x"),
        ],
        'volume "STATE" is not located': [
            ("reset", "--wait=false", "--system-labels-to-wipe", "STATE"),
        ],
    }
    for said, refused in calls.items():
        for call in refused:
            answer = cluster.admin("worker_1", *call)
            assert answer.code != 0
            assert said in answer.output, answer.output
