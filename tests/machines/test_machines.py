"""Machines as code, with a real libvirtd, QEMU and guests that ask for their addresses."""

from __future__ import annotations

import time

from scripts.vm_facts import derived_mac
from tests.machines.conftest import Lab

_GUEST_TIMEOUT = 90.0


def wait_for_address(lab: Lab, node: str, address: str) -> None:
    """Wait until a guest says on its console that it got just this address."""
    end = time.monotonic() + _GUEST_TIMEOUT
    while f"guest: address {address} " not in lab.libvirtd.console(lab.domain(node)):
        console = lab.libvirtd.console(lab.domain(node))
        assert time.monotonic() < end, f"{node}: no {address} within time:\n{console[-2000:]}"
        time.sleep(0.2)


def test_machines_from_nothing_and_kept_as_git_says(lab_up: Lab) -> None:
    lab = lab_up
    # The guest with the MAC address in Git has exactly the address in Git.
    wait_for_address(lab, "cp_1", f"{lab.prefix}.11")
    wait_for_address(lab, "worker_1", f"{lab.prefix}.21")
    leases = lab.libvirtd.leases(lab.network)
    assert leases["52:54:00:aa:00:21"] == f"{lab.prefix}.21"
    assert leases[derived_mac(lab.name, "controlplane-cp_1")] == f"{lab.prefix}.11"
    said = lab.libvirtd.console(lab.domain("worker_1"))
    assert f"name worker-1 domain talos-test.internal router {lab.prefix}.1" in said

    # The second run changes nothing.
    before = lab.libvirtd.virsh("dumpxml", lab.domain("cp_1"))
    again = lab.project.ok("vms", *lab.config())
    assert again.jobs == set()
    assert "Nothing to be done" in again.output
    assert lab.libvirtd.virsh("dumpxml", lab.domain("cp_1")) == before
    planned = lab.project.ok("vms_plan", *lab.config())
    assert f"{lab.name}: the virtual machines are as Git says" in planned.output

    # The table knows them.
    table = lab.project.ok("nodes", *lab.config()).output
    assert derived_mac(lab.name, "controlplane-cp_1") in table
    assert table.count("running") == 2

    # A machine that was destroyed behind our back is made again, with its old disk.
    domain = lab.domain("worker_1")
    volume = f"{domain}-system"
    disk = lab.libvirtd.root / f"lib/images/{lab.network}/{volume}"
    inode = disk.stat().st_ino
    lab.libvirtd.virsh("destroy", domain)
    lab.libvirtd.virsh("undefine", domain)
    (lab.libvirtd.root / f"log/qemu/{domain}-console.log").unlink()
    run = lab.project.ok("vms", *lab.config())
    assert run.jobs == {f"make_vm:{lab.name}/worker_1"}
    wait_for_address(lab, "worker_1", f"{lab.prefix}.21")
    assert disk.stat().st_ino == inode
    assert lab.project.ok("vms", *lab.config()).jobs == set()
