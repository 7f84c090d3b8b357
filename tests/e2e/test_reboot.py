"""What a node has and acts on after a reboot only, and rebooting it: simulated nodes."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable

import pytest

from tests.project import Project

UP = ("-j4", "--config", "env=lab")
DIFF = ("diff", "-q", "all", "--config", "env=lab")
REBOOT = ("reboot", "--config", "env=lab", "node=cp_1")
_ETCD = "cluster:\n  etcd:\n    extraArgs:\n      quota-backend-bytes: '{}'\n"
WAITS = "rendered_configs/lab/state/controlplane-cp_1.waits"
MARKED = "rendered_configs/lab/state/controlplane-cp_1.reboot"
WAY_ON = "snakemake reboot --config env=lab node=cp_1"
NOT_IN_FORCE = "has what is in Git, not in force until a reboot: cluster.etcd\n"


@pytest.fixture
def up(running: Project) -> Project:
    return running


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def _sent(lab: Project, address: str) -> int:
    log = lab.read(".simulator/lab/log").splitlines()
    return sum("MachineService/Reboot " in line and address in line for line in log)


def _fault(lab: Project, address: str, fault: dict[str, object] | None) -> None:
    faults = {address: [fault]} if fault else {}
    lab.write(".simulator/lab/faults.tmp", json.dumps(faults)).rename(
        lab.root / ".simulator/lab/faults.json"
    )


def test_what_waits_for_a_reboot_is_told_until_it_came(up: Project, network: str) -> None:
    up.patch("lab", "control_planes", "cp_1", _ETCD.format(4294967296))
    applied = up.ok(*UP).output
    told = f"has it, not in force until a reboot: cluster.etcd\n  -> {WAY_ON}"
    assert told in applied
    assert f"cp_1: not in force until a reboot: cluster.etcd\n    -> {WAY_ON}" in applied
    assert stat.S_IMODE((up.root / WAITS).stat().st_mode) == 0o600
    assert "4294967296" not in up.read(WAITS)

    shown = up.snakemake(*DIFF)
    assert shown.code == 2, shown.output
    assert NOT_IN_FORCE in shown.output
    assert f"  -> {WAY_ON}\n" in shown.output
    assert "lab: 0 of 5 nodes differ from Git, 1 has to be rebooted" in shown.output
    assert WAY_ON in up.ok("nodes", "--config", "env=lab").output

    # Other members of etcd are not healthy: nothing is sent.
    up.write(
        "patches/envs/lab/cluster.env",
        up.read("patches/envs/lab/cluster.env").replace("ETCD_TIMEOUT=30", "ETCD_TIMEOUT=1"),
    )
    _fault(up, f"{network}.13", {"fault": "refuse"})
    error = up.fails(*REBOOT)
    assert "lab/cp_1: timed out after 1 s waiting for all other etcd members to be healthy" in error
    assert "Nothing was sent to it: a reboot now could cost etcd its quorum" in error
    assert not _sent(up, f"{network}.11")
    assert not (up.root / MARKED).exists()
    _fault(up, f"{network}.13", None)
    up.write(
        "patches/envs/lab/cluster.env",
        up.read("patches/envs/lab/cluster.env").replace("ETCD_TIMEOUT=1\n", "ETCD_TIMEOUT=30\n"),
    )

    assert "lab/cp_1: has rebooted" in up.ok(*REBOOT).output
    assert _sent(up, f"{network}.11") == 1
    assert not (up.root / WAITS).exists()
    assert not (up.root / MARKED).exists()


def test_reboot_that_was_killed_is_finished_and_not_sent_again(up: Project, network: str) -> None:
    process = up.start(*REBOOT)
    _until(lambda: _sent(up, f"{network}.11") == 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "boot_id" in up.read(MARKED)
    _until(lambda: up.talosctl("lab", f"{network}.11", "version").code == 0)
    again = up.ok(*REBOOT).output
    assert "has rebooted since an earlier run was to reboot it" in again
    assert _sent(up, f"{network}.11") == 1
    assert not (up.root / MARKED).exists()


def test_machine_that_rebooted_otherwise_is_in_force(up: Project, network: str) -> None:
    up.patch("lab", "control_planes", "cp_1", _ETCD.format(4294967296))
    foreseen = "applying it needs no reboot, but it is not in force until a reboot: cluster.etcd\n"
    assert foreseen in up.snakemake(*DIFF, "node=cp_1").output
    up.ok(*UP)
    address = f"{network}.11"
    before = up.talosctl("lab", address, "read", "/proc/sys/kernel/random/boot_id").output
    assert up.talosctl("lab", address, "reboot", "--wait=false").code == 0

    def has_rebooted() -> bool:
        run = up.talosctl("lab", address, "read", "/proc/sys/kernel/random/boot_id")
        return run.code == 0 and run.output != before

    _until(has_rebooted)
    shown = up.snakemake(*DIFF, "node=cp_1")
    assert shown.code == 0, shown.output
    assert (up.root / WAITS).exists()
    assert f"has rebooted; {WAITS} dropped" in up.ok("refresh", "--config", "env=lab").output
    assert not (up.root / WAITS).exists()


def test_what_is_refused(metal: Project, network: str) -> None:
    reboot = ("reboot", "--config", "env=metal")
    error = metal.fails(*reboot)
    assert "reboot: name the node; nodes are rebooted one at a time" in error
    assert "  snakemake reboot --config env=metal node=cp_1\n" in error
    assert "Nodes that wait for a reboot, as far as is recorded: none" in error
    error = metal.fails(*reboot, "node=cp_1")
    assert "metal/cp_1: is in maintenance mode, and has nothing that a reboot would put in" in error
    assert "It gets its config by:  snakemake up --config env=metal" in error
    metal.node("metal", "control_planes", "cp_1", f"{network}.11", "NODE_MAC=52:54:00:00:00:99\n")
    error = metal.fails(*reboot, "node=cp_1")
    assert "NODE_MAC is 52:54:00:00:00:99, the machine has 52:54:00:00:00:11" in error
