"""Resetting nodes, with the real talosctl and simulated nodes."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.project import Project

UP = ("-j4", "--config", "env=lab")
RESET = ("reset", "--config", "env=lab")


def _log(lab: Project, method: str) -> list[str]:
    return [line for line in lab.read(".simulator/lab/log").splitlines() if method in line]


def _members(lab: Project, address: str) -> set[str]:
    run = lab.talosctl("lab", address, "etcd", "members")
    assert run.code == 0, run.output
    return {row.split()[2] for row in run.output.splitlines()[1:]}


def _in_maintenance(lab: Project, address: str) -> bool:
    return lab.talosctl("lab", address, "get", "links", "--insecure").code == 0


def _marker(lab: Project, name: str) -> bool:
    return (lab.root / f"rendered_configs/lab/state/{name}").exists()


@pytest.fixture
def up(running: Project) -> Project:
    return running


def test_worker_is_reset_on_request_and_brought_back(up: Project, network: str) -> None:
    told = up.ok(*RESET, "node=worker_1").output
    assert "Nothing was done" in told
    assert f"worker_1 ({network}.21): running: would be drained and reset" in told
    assert "snakemake reset --config env=lab node=worker_1 confirm=worker_1" in told
    assert not _log(up, "Reset")

    shown = up.ok(*RESET, "node=worker_1", "confirm=worker_1").output
    assert "lab/worker_1: is in maintenance mode; it is brought back by" in shown
    assert _in_maintenance(up, f"{network}.21")
    assert not _marker(up, "worker-worker_1.applied")
    assert [f"{network}.21" in line for line in _log(up, "Reset")] == [True]

    again = up.ok(*RESET, "node=worker_1", "confirm=worker_1").output
    assert "lab/worker_1: is in maintenance mode" in again
    assert len(_log(up, "Reset")) == 1

    assert up.ok(*UP).jobs == {"apply_worker:lab/worker_1"}
    assert up.ok(*UP).jobs == set()


def test_control_plane_leaves_etcd_as_long_as_there_is_a_quorum(up: Project, network: str) -> None:
    told = up.ok(*RESET, "node=cp_1").output
    assert (
        "etcd has 3 voting members, 3 of them healthy. Without cp-1 it has 2, of which 2 must be "
        "healthy; 2 would be: not one more may fail"
    ) in told

    up.ok(*RESET, "node=cp_1", "confirm=cp_1")
    assert _members(up, f"{network}.12") == {"cp-2", "cp-3"}
    assert _marker(up, "bootstrapped")

    # One of the two left fails: now none can be let go.
    faults = f'{{"{network}.13": [{{"fault": "refuse"}}]}}'
    up.write(".simulator/lab/faults.json", faults)
    error = up.fails(*RESET, "node=cp_2", "confirm=cp_2")
    assert "lab/cp_2: not reset, because etcd would lose its quorum: etcd has 2 voting" in error
    assert "1 of them healthy (cp-3: " in error
    assert "to let one go, 2 of 2 must be healthy" in error
    assert "confirm=lab" in error
    assert not [line for line in _log(up, "Reset") if f"{network}.12" in line]
    up.remove(".simulator/lab/faults.json")

    up.ok(*UP)
    assert _members(up, f"{network}.13") == {"cp-1", "cp-2", "cp-3"}
    assert len(_log(up, "Bootstrap")) == 1


def test_only_the_right_node_is_reset(metal: Project, network: str) -> None:
    """Not one with another MAC or role, nor one of another cluster."""
    metal.ok("up", "-j4", "--config", "env=metal")
    reset = ("reset", "--config", "env=metal")
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", "NODE_MAC=52:54:00:00:00:99\n")
    error = metal.fails(*reset, "confirm=metal")
    assert "NODE_MAC is 52:54:00:00:00:99, the machine has 52:54:00:00:00:11" in error
    metal.node("metal", "control_planes", "cp_1", f"{network}.98")
    metal.node("metal", "workers", "worker_1", f"{network}.11")
    error = metal.fails(*reset, "node=worker_1", "confirm=worker_1")
    assert "another machine.type: it has controlplane, the config says worker" in error
    for path in ("secrets", "rendered_configs"):
        metal.remove(path)
    metal.ok("secrets", "--config", "env=metal")
    error = metal.fails(*reset, "node=worker_1", "confirm=worker_1")
    assert "belongs to another cluster" in error
    assert "/Reset " not in metal.read("fleet/log")


def test_removed_node_is_reset_as_its_marker_says(up: Project, network: str) -> None:
    up.remove("patches/envs/lab/control_planes/cp_3")
    named = up.ok("validate", *UP).output
    command = "snakemake reset --config env=lab node=cp_3 confirm=cp_3"
    assert f"the machine of cp_3 still has its config; reset it first:  {command}" in named
    shown = up.ok(*command.split()[1:]).output
    assert "kubectl --kubeconfig rendered_configs/lab/kubeconfig delete node cp-3" in shown
    assert _members(up, f"{network}.11") == {"cp-1", "cp-2"}
    assert _in_maintenance(up, f"{network}.13")
    assert "reset it first" not in up.ok("prune", "--config", "env=lab").output
    assert "no longer in Git" not in up.ok("validate", *UP).output


def test_removed_node_is_known_also_when_its_last_apply_failed(up: Project, network: str) -> None:
    """Its marker went with that; the machine still has the cluster's secrets."""
    reject = {f"{network}.21": [{"fault": "reject"}]}
    up.write(".simulator/lab/faults.tmp", json.dumps(reject)).rename(
        up.root / ".simulator/lab/faults.json"
    )
    up.patch("lab", "workers", "worker_1", "machine: {sysctls: {vm.swappiness: '7'}}\n")
    assert up.snakemake(*UP).code == 1
    assert not _marker(up, "worker-worker_1.applied")
    (up.root / ".simulator/lab/faults.json").unlink()
    up.remove("patches/envs/lab/workers/worker_1")
    assert "snakemake reset --config env=lab node=worker_1 confirm=worker_1" in up.ok(*UP).output
    up.ok(*RESET, "node=worker_1", "confirm=worker_1")
    assert _in_maintenance(up, f"{network}.21")
    assert not _marker(up, "worker-worker_1.machine")


@pytest.mark.parametrize("answers", [True, False])
def test_machine_that_took_its_config_and_never_came_back_is_known(
    lab: Project, network: str, answers: bool
) -> None:
    """Whether it says that it took it or not; it has the cluster's secrets then."""
    facts = lab.read("patches/envs/lab/cluster.env").replace("NODE_TIMEOUT=30", "NODE_TIMEOUT=3")
    lab.write("patches/envs/lab/cluster.env", facts + "APPLY_RETRIES=0\n")
    faults: list[dict[str, object]] = [{"fault": "slow-reboot", "seconds": 20}]
    if not answers:
        faults.append({"fault": "drop", "method": "ApplyConfiguration", "when": "after"})
    lab.write(".simulator/lab/faults.json", json.dumps({f"{network}.21": faults}))
    error = lab.fails(*UP)
    assert "lab/worker_1" in error
    assert not _marker(lab, "worker-worker_1.applied")

    lab.write("patches/envs/lab/cluster.env", facts.replace("NODE_TIMEOUT=3", "NODE_TIMEOUT=30"))
    lab.remove("patches/envs/lab/workers/worker_1")
    command = "snakemake reset --config env=lab node=worker_1 confirm=worker_1"
    named = lab.ok("validate", *UP).output
    assert f"the machine of worker_1 still has its config; reset it first:  {command}" in named
    assert "snakemake prune" not in named
    assert command in lab.fails("prune", "--config", "env=lab")
    (lab.root / ".simulator/lab/faults.json").unlink()
    lab.ok(*command.split()[1:])
    assert _in_maintenance(lab, f"{network}.21")
    lab.ok("prune", "--config", "env=lab")
    assert "no longer in Git" not in lab.ok("validate", *UP).output


def test_member_that_was_wiped_without_leaving_is_removed(up: Project, network: str) -> None:
    wiped = up.talosctl("lab", f"{network}.12", "reset", "--graceful=false", "--reboot")
    assert wiped.code == 0, wiped.output
    assert _members(up, f"{network}.11") == {"cp-1", "cp-2", "cp-3"}
    shown = up.ok(*RESET, "node=cp_2", "confirm=cp_2").output
    assert "lab/cp_2: was wiped without leaving etcd; removed from it" in shown
    assert _members(up, f"{network}.11") == {"cp-1", "cp-3"}


def test_reset_ends_only_once_etcd_was_asked(up: Project, network: str) -> None:
    """Else a member that is gone would stay for ever: the marker is all that tells of the node."""
    facts = up.read("patches/envs/lab/cluster.env")
    up.write("patches/envs/lab/cluster.env", facts.replace("ETCD_TIMEOUT=30", "ETCD_TIMEOUT=1"))
    wiped = up.talosctl("lab", f"{network}.12", "reset", "--graceful=false", "--reboot")
    assert wiped.code == 0, wiped.output
    silent = {f"{network}.1{n}": [{"fault": "hang", "method": "EtcdMemberList"}] for n in (1, 3)}
    faults = up.write(".simulator/lab/faults.tmp", json.dumps(silent))
    faults.rename(up.root / ".simulator/lab/faults.json")
    error = up.fails(*RESET, "node=cp_2", "confirm=cp_2")
    assert "a control plane to say whether etcd still lists it as a member" in error
    assert _marker(up, "controlplane-cp_2.applied")
    (up.root / ".simulator/lab/faults.json").unlink()
    shown = up.ok(*RESET, "node=cp_2", "confirm=cp_2").output
    assert "lab/cp_2: was wiped without leaving etcd; removed from it" in shown
    assert not _marker(up, "controlplane-cp_2.applied")


def test_whole_environment(up: Project, network: str) -> None:
    assert "confirm=lab" in up.ok(*RESET).output
    assert "it must be confirm=lab" in up.fails(*RESET, "confirm=worker_1")
    assert not _log(up, "Reset")
    up.ok(*RESET, "confirm=lab")
    order = [line.split()[1] for line in _log(up, "/Reset ")]
    workers, control_planes = set(order[:2]), order[2:]
    assert workers == {f"{network}.21", f"{network}.22"}
    assert control_planes == [f"{network}.13", f"{network}.12", f"{network}.11"]
    assert not _marker(up, "bootstrapped")
    assert "5 applied; bootstrapped" in up.ok(*UP).output
    assert len(_log(up, "Bootstrap")) == 2
    assert _members(up, f"{network}.11") == {"cp-1", "cp-2", "cp-3"}


def test_protected_environment_is_not_reset(up: Project) -> None:
    env_file = "patches/envs/lab/cluster.env"
    open_to_all = up.read(env_file)
    up.write(env_file, open_to_all + "PROTECTED=true\n")
    assert "refused as long as" in up.ok(*RESET, "node=worker_1").output
    for arguments in (("node=worker_1", "confirm=worker_1"), ("confirm=lab",)):
        error = up.fails(*RESET, *arguments)
        assert f"{env_file} says PROTECTED=true: no node of lab is reset" in error
    # Taken out, but not in Git yet.
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (("init", "-q"), ("add", env_file), ("commit", "-qm", "x")):
        done = up.run(*git, *command)
        assert done.code == 0, done.output
    up.write(env_file, open_to_all)
    error = up.fails(*RESET, "node=worker_1", "confirm=worker_1")
    assert f"in the last commit {env_file} says PROTECTED=true" in error
    assert not _log(up, "Reset")
    up.run(*git, "commit", "-qam", "x")
    up.ok(*RESET, "node=worker_1", "confirm=worker_1")


def test_killed_reset_is_finished_by_the_same_command(up: Project, network: str) -> None:
    command = (*RESET, "node=cp_3", "confirm=cp_3")
    process = up.start(*command)
    end = time.monotonic() + 60
    while not _log(up, "Reset") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert _log(up, "Reset")
    assert not _marker(up, "controlplane-cp_3.applied")
    up.ok(*command)
    assert _in_maintenance(up, f"{network}.13")
    assert _members(up, f"{network}.11") == {"cp-1", "cp-2"}


def test_last_member_stays(lab: Project, network: str) -> None:
    for name in ("control_planes/cp_2", "control_planes/cp_3", "workers"):
        lab.remove(f"patches/envs/lab/{name}")
    lab.ok(*UP)
    error = lab.fails(*RESET, "node=cp_1", "confirm=cp_1")
    assert "cp-1 is etcd's only member: without it nothing is left" in error
    assert "there are: cp_1" in lab.fails(*RESET, "node=worker_1").lower()
    lab.ok(*RESET, "confirm=lab")
    assert _in_maintenance(lab, f"{network}.11")
