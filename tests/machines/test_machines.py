"""Machines as code, with a real libvirtd, QEMU and guests that ask for their addresses."""

from __future__ import annotations

import time

import pytest

from talosmake.inventory.machine_facts import derived_mac
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


def ids(lab: Lab) -> dict[str, str]:
    """The number of each running guest: another one after each start."""
    rows = (line.split() for line in lab.libvirtd.virsh("list").splitlines())
    return {row[1]: row[0] for row in rows if row and row[1].startswith(f"{lab.name}-")}


def test_nodes_come_change_and_go(lab_up: Lab) -> None:
    lab, project = lab_up, lab_up.project
    before = ids(lab)
    env_file = f"patches/envs/{lab.name}/cluster.env"
    facts = project.read(env_file)
    project.write(env_file, facts.replace("VM_STOP_TIMEOUT=0", "VM_STOP_TIMEOUT=60"))

    # Another node: its reservation is added to the running network, the others run on.
    lab.node("worker_2", 22)
    assert project.ok("-n", "vms", *lab.config()).jobs == {f"make_vm:{lab.name}/worker_2"}
    run = project.ok("vms", *lab.config())
    assert f"update live: network {lab.network}" in run.output
    wait_for_address(lab, "worker_2", f"{lab.prefix}.22")
    assert before.items() <= ids(lab).items()

    # Another MAC address: reserved at once, the machine has it from its next start on.
    lab.node("worker_2", 22, "NODE_MAC=52:54:00:aa:00:99\n")
    run = project.ok("vms", *lab.config())
    assert "update at next start: domain" in run.output
    assert "runs with old settings" in project.ok("vms", *lab.config()).output
    assert "worker_2: shut down" in project.ok("vms_stop", *lab.config("node=worker_2")).output
    (lab.libvirtd.root / f"log/qemu/{lab.domain('worker_2')}-console.log").unlink()
    assert project.ok("vms", *lab.config()).jobs == {f"make_vm:{lab.name}/worker_2"}
    wait_for_address(lab, "worker_2", f"{lab.prefix}.22")
    assert lab.libvirtd.leases(lab.network)["52:54:00:aa:00:99"] == f"{lab.prefix}.22"
    assert before.items() <= ids(lab).items()

    # A node that leaves Git: named, and destroyed on request only.
    project.remove(f"patches/envs/{lab.name}/workers/worker_2")
    run = project.ok("vms", *lab.config())
    assert f"the node of the domain {lab.domain('worker_2')} is no longer in Git" in run.output
    assert lab.domain("worker_2") in ids(lab)
    project.ok("vms_destroy", *lab.config("confirm=worker_2", "disks=yes"))
    assert ids(lab) == before
    assert lab.domain("worker_2") not in lab.libvirtd.virsh("vol-list", lab.network)


def test_disks_are_kept(lab_up: Lab) -> None:
    lab, project = lab_up, lab_up.project
    domain, volume = lab.domain("worker_1"), f"{lab.domain('worker_1')}-system"
    disk = lab.libvirtd.root / f"lib/images/{lab.network}/{volume}"
    inode = disk.stat().st_ino

    # Memory and CPUs wait for the next start, a larger disk does not.
    lab.node("worker_1", 21, 'VM_MEMORY_MIB=144\nVM_CPUS=2\nVM_DISK_GIB=2\nVM_DISKS="1"\n')
    run = project.ok("vms", *lab.config())
    assert f"update live: volume {volume} (1 GiB -> 2 GiB)" in run.output
    assert "memory 128 MiB -> 144 MiB" in run.output
    assert "2147483648" in lab.libvirtd.virsh("domblkinfo", domain, "vda")
    project.ok("vms_stop", *lab.config("node=worker_1"))
    project.ok("vms", *lab.config())
    assert "147456 KiB" in lab.libvirtd.virsh("dominfo", domain)
    assert f"{domain}-data-1" in lab.libvirtd.virsh("domblklist", domain)
    assert disk.stat().st_ino == inode

    # Smaller disks, and fewer: only with consent, and not while the machine runs.
    lab.node("worker_1", 21, "VM_DISK_GIB=1\n")
    for wanted, config in (
        ("would shrink from 2 GiB to 1 GiB, which loses its data", lab.config()),
        ("but the machine runs", lab.config("confirm=worker_1")),
    ):
        assert wanted in project.fails("vms", *config)
    assert disk.stat().st_ino == inode
    project.ok("vms_stop", *lab.config("node=worker_1"))
    project.ok("vms", *lab.config("confirm=worker_1"))
    assert "1073741824" in lab.libvirtd.virsh("domblkinfo", domain, "vda")
    assert f"{domain}-data-1" not in lab.libvirtd.virsh("vol-list", lab.network)
    assert project.ok("vms", *lab.config()).jobs == set()


def test_disks_outlive_a_pool_that_is_not_started(lab_up: Lab) -> None:
    lab, project = lab_up, lab_up.project
    bootstrapped = project.write(f"rendered_configs/{lab.name}/state/bootstrapped", "{}")
    directory = lab.libvirtd.root / f"lib/images/{lab.network}"
    disks = {path: path.stat().st_ino for path in directory.glob("*-system")}
    everything = ids(lab).keys()
    # As after a start of the host.
    for domain in everything:
        lab.libvirtd.virsh("destroy", domain)
    lab.libvirtd.virsh("pool-destroy", lab.network)
    run = project.ok("vms", *lab.config())
    assert f"start: pool {lab.network}" in run.output
    assert "create: volume" not in run.output
    assert ids(lab).keys() == everything
    assert project.ok("vms", *lab.config()).jobs == set()

    # Its file system is not mounted: no empty directory takes its place.
    lab.libvirtd.virsh("pool-destroy", lab.network)
    elsewhere = directory.rename(directory.with_name("elsewhere"))
    said = project.fails("vms", *lab.config())
    assert f"starting the storage pool {lab.network}: cannot open directory" in said
    assert "Is the file system mounted that it is in?" in said
    assert not directory.exists()
    elsewhere.rename(directory)
    project.ok("vms", *lab.config())
    assert {path: path.stat().st_ino for path in directory.glob("*-system")} == disks
    assert bootstrapped.exists()


def test_destroying_needs_consent_and_keeps_disks(lab_up: Lab) -> None:
    lab, project = lab_up, lab_up.project
    everything = ids(lab)
    assert "vms_destroy would destroy the machines of: cp_1, worker_1" in project.fails(
        "vms_destroy", *lab.config()
    )
    env_file = f"patches/envs/{lab.name}/cluster.env"
    facts = project.read(env_file)
    project.write(env_file, f"{facts}PROTECTED=true\n")
    said = project.fails("vms_destroy", *lab.config(f"confirm={lab.name}", "disks=yes"))
    assert "is protected" in said
    assert ids(lab) == everything

    project.write(env_file, facts)
    project.ok("vms_destroy", *lab.config(f"confirm={lab.name}"))
    assert ids(lab) == {}
    assert lab.network not in lab.libvirtd.virsh("net-list", "--all")
    assert f"{lab.domain('cp_1')}-system" in lab.libvirtd.virsh("vol-list", lab.network)
    project.ok("vms", *lab.config())
    assert ids(lab).keys() == everything.keys()
    project.ok("vms_destroy", *lab.config(f"confirm={lab.name}", "disks=yes"))
    assert lab.network not in lab.libvirtd.virsh("pool-list", "--all")
    assert not (lab.libvirtd.root / f"lib/images/{lab.network}").exists()


def test_what_is_not_ours_is_not_touched(vm_lab: Lab) -> None:
    lab, project = vm_lab, vm_lab.project
    domain = lab.domain("worker_1")
    foreign = project.write(
        "foreign.xml",
        f"<domain type='qemu'><name>{domain}</name><memory unit='MiB'>64</memory>"
        "<os><type>hvm</type></os></domain>",
    )
    lab.libvirtd.virsh("define", str(foreign))
    before = lab.libvirtd.virsh("dumpxml", domain)
    assert f"there is a domain {domain} that was not made for it" in project.fails(
        "vms", *lab.config()
    )
    project.fails("vms_destroy", *lab.config("confirm=worker_1"))
    assert lab.libvirtd.virsh("dumpxml", domain) == before
    # Nothing else was made either.
    assert lab.network not in lab.libvirtd.virsh("net-list", "--all")
    assert lab.network not in lab.libvirtd.virsh("pool-list", "--all")


def test_ten_guests_in_parallel(vm_lab: Lab) -> None:
    lab = vm_lab
    numbers = range(31, 39)
    for number in numbers:
        lab.node(f"worker_{number}", number)
    run = lab.project.ok("vms", "-j10", *lab.config())
    assert len([job for job in run.jobs if job.startswith("make_vm")]) == 10
    for number in numbers:
        wait_for_address(lab, f"worker_{number}", f"{lab.prefix}.{number}")
    for node, number in (("cp_1", 11), ("worker_1", 21)):
        wait_for_address(lab, node, f"{lab.prefix}.{number}")
    assert len(set(lab.libvirtd.leases(lab.network).values())) == 10


@pytest.mark.parametrize("moment", ["copying", "defining", "starting"])
def test_a_killed_run_is_finished_by_the_next(vm_lab: Lab, moment: str) -> None:
    lab, project = vm_lab, vm_lab.project
    awaited = {
        "copying": "create: volume talos-",
        "defining": "create: domain",
        "starting": "start: domain",
    }
    process = project.start("vms", *lab.config())
    assert process.stdout
    for line in process.stdout:
        if awaited[moment] in line:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    project.ok("vms", *lab.config())
    assert len(ids(lab)) == 2
    assert project.ok("vms", *lab.config()).jobs == set()


def test_efi_firmware_without_and_with_secure_boot(vm_lab: Lab) -> None:
    lab, project = vm_lab, vm_lab.project
    env_file = f"patches/envs/{lab.name}/cluster.env"
    efi = project.read(env_file).replace("VM_FIRMWARE=bios", "VM_FIRMWARE=efi")
    project.write(env_file, efi)
    project.ok("vms", *lab.config())
    xml = lab.libvirtd.virsh("dumpxml", lab.domain("cp_1"))
    assert "OVMF_CODE" in xml
    assert "OVMF_CODE_4M.ms" not in xml
    assert project.ok("vms", *lab.config()).jobs == set()
    project.write(env_file, efi + "TALOS_SECURE_BOOT=true\n")
    run = project.ok("vms", *lab.config())
    assert "secure boot no -> yes" in run.output
    project.ok("vms_stop", *lab.config())
    project.ok("vms", *lab.config())
    assert "secboot" in lab.libvirtd.virsh("dumpxml", lab.domain("cp_1"))
    assert project.ok("vms", *lab.config()).jobs == set()


HUGE = "VM_MEMORY_MIB=16000000\n"


@pytest.mark.parametrize(
    ("facts", "old", "new", "message"),
    [
        (HUGE, "", "", "cp_1, worker_1 together want 16000128 MiB"),
        ("", "", "STORAGE_POOL=none\n", "there is no storage pool 'none'"),
        (
            "",
            "",
            "NETWORK_MODE=bridge\nNETWORK_BRIDGE=br9\n",
            "has no bridge 'br9'",
        ),
        ("", "TALOS_KERNEL=", "TALOS_KERNEL=/nowhere", "there is no such file"),
        ("", "", f"TALOS_KERNEL_SHA256={'0' * 64}\n", "its SHA-256 is"),
    ],
    ids=["memory", "pool", "bridge", "image", "digest"],
)
def test_what_is_missing_is_said_before_anything_is_made(
    vm_lab: Lab, facts: str, old: str, new: str, message: str
) -> None:
    lab, project = vm_lab, vm_lab.project
    env_file = f"patches/envs/{lab.name}/cluster.env"
    text = project.read(env_file)
    project.write(env_file, text.replace(old, new) if old else text + new)
    if facts:
        lab.node("worker_1", 21, facts)
    assert message in project.fails("vms", *lab.config())
    assert lab.network not in lab.libvirtd.virsh("net-list", "--all")
    assert lab.network not in lab.libvirtd.virsh("pool-list", "--all")
    assert ids(lab) == {}


def test_existing_bridge(vm_lab: Lab) -> None:
    lab, project = vm_lab, vm_lab.project
    lab.libvirtd.inside("ip", "link", "add", "brtest", "type", "bridge")
    env_file = f"patches/envs/{lab.name}/cluster.env"
    bridged = "NETWORK_MODE=bridge\nNETWORK_BRIDGE=brtest\n"
    project.write(env_file, project.read(env_file) + bridged)
    project.ok("vms", *lab.config())
    ports = lab.libvirtd.inside("ip", "link", "show", "master", "brtest")
    assert ports.count("vnet") == 2
    assert project.ok("vms", *lab.config()).jobs == set()
