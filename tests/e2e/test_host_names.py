"""Who a node is: by what it gets, also where patches give other names than directories have."""

from __future__ import annotations

import json

import pytest

from tests.project import Project

UP = ("-j4", "--config", "env=lab")
RESET = ("reset", "--config", "env=lab")


def _hostname(name: str) -> str:
    return f"apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: {name}\nauto: off\n"


def _sent(lab: Project) -> int:
    """How often any node was sent a config."""
    log = lab.root / ".simulator/lab/log"
    return log.read_text().count("ApplyConfiguration") if log.exists() else 0


def _dead(lab: Project, address: str) -> None:
    faults = lab.write(".simulator/lab/faults.tmp", json.dumps({address: [{"fault": "refuse"}]}))
    faults.rename(lab.root / ".simulator/lab/faults.json")


@pytest.fixture
def counted_from_zero(lab: Project) -> Project:
    """A cluster whose control planes cp_1, cp_2, cp_3 are called cp-0, cp-1.lan and CP-2."""
    facts = lab.read("patches/envs/lab/cluster.env").replace("ETCD_TIMEOUT=30", "ETCD_TIMEOUT=3")
    lab.remove("patches/envs/lab/workers")
    for node, name in (("cp_1", "cp-0"), ("cp_2", "cp-1.lan"), ("cp_3", "CP-2")):
        lab.patch("lab", "control_planes", node, _hostname(name), "name.yaml")
    lab.ok(*UP)
    lab.write("patches/envs/lab/cluster.env", facts)
    return lab


def test_dead_member_is_seen_whatever_its_name(counted_from_zero: Project, network: str) -> None:
    lab = counted_from_zero
    before = lab.read(".simulator/lab/log").count("goes down")
    _dead(lab, f"{network}.13")
    refused = f"CP-2: {network}.13:50000: connection refused"

    reboot = "machine: {env: {A_NAME: one}}\n"
    for node in ("cp_1", "cp_2"):
        lab.patch("lab", "control_planes", node, reboot)
        marker = f"rendered_configs/lab/state/controlplane-{node}.applied"
        error = lab.fails(marker, *UP)
        assert "all other etcd members to be healthy; last: " + refused in error
        error = lab.fails(*RESET, f"node={node}", f"confirm={node}")
        assert f"etcd has 3 voting members, 2 of them healthy ({refused})" in error
    assert lab.read(".simulator/lab/log").count("goes down") == before
    assert "/Reset" not in lab.read(".simulator/lab/log")

    # Gone for good, and only wiped: the right member leaves.
    (lab.root / ".simulator/lab/faults.json").unlink()
    wiped = lab.talosctl("lab", f"{network}.13", "reset", "--graceful=false", "--reboot")
    assert wiped.code == 0, wiped.output
    shown = lab.ok(*RESET, "node=cp_3", "confirm=cp_3").output
    assert "lab/cp_3: was wiped without leaving etcd; removed from it" in shown
    members = lab.talosctl("lab", f"{network}.11", "etcd", "members").output
    assert [name in members for name in ("cp-0", "cp-1", "CP-2")] == [True, True, False]


def test_name_to_delete_is_the_one_that_it_has(counted_from_zero: Project) -> None:
    lab = counted_from_zero
    lab.remove("patches/envs/lab/control_planes/cp_2")
    shown = lab.ok(*RESET, "node=cp_2", "confirm=cp_2").output
    assert "kubectl --kubeconfig rendered_configs/lab/kubeconfig delete node cp-1\n" in shown


@pytest.mark.parametrize("role", ["control_planes", "workers"])
def test_one_name_for_two_nodes_is_refused_before_anything_is_sent(lab: Project, role: str) -> None:
    if role == "control_planes":
        path = lab.write("patches/envs/lab/control_planes/common.yaml", _hostname("same"))
        both = "cp_1, cp_2 and cp_3"
    else:
        lab.patch("lab", "workers", "worker_2", _hostname("cp-1.lan"), "name.yaml")
        path = lab.root / "patches/envs/lab/workers/worker_2/name.yaml"
        both = "cp_1 and worker_2"
    error = lab.fails("validate", *UP)
    assert f"Error: lab: {both} have the same host name by their machine configs" in error
    assert f"set in {path.relative_to(lab.root)}" in error
    for target in ("up", "apply", "lint", "rendered_configs/lab/state/controlplane-cp_1.applied"):
        assert "have the same host name" in lab.fails(target, *UP, "strict=false")
    assert _sent(lab) == 0

    # The remedy that is named.
    path.write_text(_hostname("${NODE_HOSTNAME}"))
    lab.ok("up", *UP)
