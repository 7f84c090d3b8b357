"""What takes longer with real Talos nodes: three control planes, and faults. ``make test-lab``."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from talosmake.machines import lab
from tests.lab import clusters
from tests.lab.clusters import ENV, PATIENCE, RUN, UP, Cluster
from tests.lab.test_lab import environment_and, run_until, running_config
from tests.project import Project

pytestmark = [
    pytest.mark.long,
    # A QEMU that a test starts itself outlives its Popen, as it outlives the workflow.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def fresh(project: Project, network: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A control plane and a worker that were never powered on."""
    monkeypatch.chdir(project.root)
    yield clusters.real(project, network)
    clusters.kill_machines(project)


def members(cluster: Cluster, node: str = "cp_1") -> set[str]:
    answer = cluster.admin(node, "etcd", "members")
    assert answer.code == 0, answer.output
    return {row.split()[2] for row in answer.output.splitlines()[1:]}


def patience(cluster: Cluster, instead: str) -> None:
    """Let the workflow wait for a shorter time."""
    path = f"patches/envs/{ENV}/cluster.env"
    text = cluster.project.read(path)
    assert PATIENCE in text
    cluster.project.write(path, text.replace(PATIENCE, f"GOAL=bootstrapped\n{instead}"))


def run_and(cluster: Cluster, seen: str, then: Callable[[], None]) -> str:
    """Start the workflow, do something once it shows a text; it must end with a clear error."""
    process = cluster.project.start(*UP)
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if seen in line:
            then()
            break
    try:
        shown += process.communicate(timeout=RUN)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert seen in shown
    assert process.returncode != 0
    assert "Traceback" not in shown
    return shown


def test_three_control_planes_form_one_etcd(fresh: Cluster) -> None:
    network = fresh.addresses["cp_1"][1].rpartition(".")[0]
    for number in (2, 3):
        address, endpoint = f"10.5.0.1{number}", f"{network}.1{number}"
        facts = f"NODE_ENDPOINT={endpoint}\nNODE_MAC=52:54:00:00:00:1{number}\n"
        fresh.project.node(ENV, "control_planes", f"cp_{number}", address, facts)
        fresh.addresses[f"cp_{number}"] = (address, endpoint)
    run = fresh.workflow()
    assert "lab: 3 control planes and 1 worker: 4 applied; bootstrapped" in run.output
    assert members(fresh, "cp_3") == {"cp-1", "cp-2", "cp-3"}
    assert "Nothing to be done" in fresh.workflow().output


def test_apply_sh_alone_brings_them_up(fresh: Cluster) -> None:
    fresh.workflow("validate")
    fresh.workflow(f".lab/{ENV}/ready")
    script = ("bash", f"rendered_configs/{ENV}/apply.sh", "--bootstrap")
    run = fresh.project.run(*script, timeout=RUN)
    assert run.code == 0, run.output
    assert members(fresh) == {"cp-1"}
    assert "unchanged: the node already runs this config" in fresh.workflow().output


def test_power_lost_while_it_is_bootstrapped(fresh: Cluster) -> None:
    environment, node = environment_and("cp_1")
    run_until(fresh, "lab: bootstrapping etcd on cp_1")
    lab.power_off(environment, node)
    fresh.workflow()
    assert members(fresh) == {"cp-1"}


def test_node_off_while_others_are_applied(fresh: Cluster) -> None:
    environment, node = environment_and("worker_1")
    patience(fresh, "NODE_TIMEOUT=240\nETCD_TIMEOUT=240\nCALL_TIMEOUT=60\n")
    shown = run_and(
        fresh, "lab/cp_1: applying in maintenance", lambda: lab.power_off(environment, node)
    )
    assert "lab/worker_1: timed out after 240 s" in shown
    fresh.workflow()
    assert running_config(fresh, "worker", "worker_1") == fresh.config("worker", "worker_1")


def test_clock_far_behind_is_named(fresh: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.workflow("apply")
    environment, node = environment_and("cp_1")
    lab.power_off(environment, node)
    as_it_is = lab.command
    monkeypatch.setattr(
        lab, "command", lambda *what: [*as_it_is(*what), "-rtc", "base=2020-01-01T00:00:00"]
    )
    lab.power_on(environment, node)
    patience(fresh, "NODE_TIMEOUT=120\nCALL_TIMEOUT=60\n")
    fresh.project.remove(f"rendered_configs/{ENV}/state/controlplane-cp_1.applied")
    error = fresh.project.fails("apply", *UP, timeout=RUN)
    assert "Compare the clocks of this machine and the node" in error


def test_full_disk_is_a_clear_error(fresh: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.workflow("validate")
    environment, node = environment_and("cp_1")
    monkeypatch.setattr(lab, "_DISK", 24 * 1024**2)
    lab.power_on(environment, node)
    patience(fresh, "NODE_TIMEOUT=600\nETCD_TIMEOUT=120\nCALL_TIMEOUT=60\n")
    error = fresh.project.fails(*UP, timeout=RUN)
    assert "lab/cp_1: timed out after 120 s waiting for 1 etcd members; last: its etcd is " in error
    assert "service etcd" in error
