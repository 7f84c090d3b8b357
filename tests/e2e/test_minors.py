"""Nodes of another minor version of Talos than the default one, by the talosctl of that one."""

from __future__ import annotations

import json

import pytest

from talosmake.base import talosctls
from tests.project import Project


@pytest.mark.parametrize(("talos", "kubernetes"), [("v1.12.6", "1.35.0"), ("v1.14.1", "1.36.0")])
def test_from_git_to_bootstrapped(lab: Project, network: str, talos: str, kubernetes: str) -> None:
    path = "patches/envs/lab/cluster.env"
    text = lab.read(path).replace("v1.13.0", talos).replace("1.36.0", kubernetes)
    lab.write(path, text.replace("TALOS_CONTRACT=v1.13", "TALOS_CONTRACT=v1.12"))
    lab.ok("up", "-j4", "--config", "env=lab")
    version = talosctls.version_for(talos)
    for marker in ("controlplane-cp_1.applied", "worker-worker_1.validated", "bootstrapped"):
        said = json.loads(lab.read(f"rendered_configs/lab/state/{marker}"))
        assert said["talosctl"] == version
    assert lab.ok("nodes", "--config", "env=lab").output.count(f"{talos}  running") == 5
    assert "Nothing to be done" in lab.ok("up", "-j4", "--config", "env=lab").output
    _applied_with_reboot(lab, f"{network}.21", by_itself=talos < "v1.14")
    # As a person runs it: with the programs of this Python environment on PATH.
    script = lab.run("bash", "rendered_configs/lab/apply.sh")
    assert script.code == 0, script.output


def _applied_with_reboot(lab: Project, address: str, *, by_itself: bool) -> None:
    """APPLY_MODE=reboot reboots in every version, once; from 1.14 on an apply does not."""
    path = "patches/envs/lab/cluster.env"
    text = lab.read(path)
    lab.write(path, text + "APPLY_MODE=reboot\n")
    lab.patch("lab", "workers", "worker_1", "machine: {sysctls: {vm.swappiness: '7'}}\n")
    read = ("read", "/proc/sys/kernel/random/boot_id")
    before = lab.talosctl("lab", address, *read).output
    shown = lab.ok("up", "-j4", "--config", "env=lab").output
    assert ("; then rebooted" in shown) is not by_itself
    assert lab.talosctl("lab", address, *read).output != before
    log = lab.read(".simulator/lab/log")
    assert log.count("MachineService/Reboot ") == (not by_itself)
    shown = lab.ok("diff", "-q", "all", "--config", "env=lab").output
    assert "lab/worker_1: runs what is in Git\n" in shown
    lab.write(path, text)
