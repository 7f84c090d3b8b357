"""A libvirtd for the session, and a project whose nodes are its guests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.machines import guest, libvirtd
from tests.machines.libvirtd import Libvirtd
from tests.project import CLUSTER_ENV, Project

_networks = count(1)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Libvirtd]:
    missing = libvirtd.missing_packages()
    missing += [] if guest.kernel_directory() else ["linux-image-cloud-amd64 (set-up unpacks it)"]
    why = f"missing: {' '.join(missing)}; 'make test' installs them" if missing else ""
    why = why or ("" if libvirtd.is_root() else "namespaces with mounts in them need root")
    if why:
        # Where all that is needed is to be there, a skipped test would only look like a passed one.
        if os.environ.get("TALOSMAKE_TEST_VMS") == "required":
            pytest.fail(f"tests with libvirt cannot run: {why}")
        pytest.skip(f"tests with libvirt: {why}")
    with libvirtd.running() as started:
        yield started


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    kernel = guest.kernel_directory()
    assert kernel
    return guest.build(kernel, tmp_path_factory.mktemp("guest"))


@dataclass(frozen=True)
class Lab:
    """A project with one environment of real (if tiny) virtual machines."""

    project: Project
    libvirtd: Libvirtd
    name: str
    prefix: str

    @property
    def network(self) -> str:
        return f"talosmake-{self.name}"

    def config(self, *more: str) -> list[str]:
        return ["--config", f"env={self.name}", *more]

    def node(self, name: str, last: int, facts: str = "") -> None:
        role = "control_planes" if name.startswith("cp") else "workers"
        self.project.node(self.name, role, name, f"{self.prefix}.{last}", facts)

    def domain(self, node: str) -> str:
        role = "controlplane" if node.startswith("cp") else "worker"
        return f"{self.name}-{role}-{node}"


@pytest.fixture
def vm_lab(project: Project, daemon: Libvirtd, images: tuple[Path, Path]) -> Iterator[Lab]:
    """A control plane, cp_1, and a worker, worker_1."""
    number = next(_networks)
    name, prefix = f"lab{number}", f"10.77.{number}"
    kernel, initramfs = images
    facts = f"""\
LIBVIRT_URI="{daemon.uri}"
NETWORK={prefix}.0/24
VM_ACCELERATOR=tcg
VM_FIRMWARE=bios
VM_CPUS=1
VM_MEMORY_MIB=128
VM_DISK_GIB=1
VM_STOP_TIMEOUT=0
TALOS_KERNEL={kernel}
TALOS_INITRAMFS={initramfs}
TALOS_KERNEL_ARGS="console=ttyS0 quiet"
"""
    cluster_env = CLUSTER_ENV.replace("10.9.0.10", f"{prefix}.10")
    project.environment(name, facts, cluster_env=cluster_env)
    lab = Lab(project, daemon, name, prefix)
    lab.node("cp_1", 11)
    lab.node("worker_1", 21, "NODE_MAC=52:54:00:AA:00:21\n")
    yield lab
    for domain in daemon.virsh("list", "--name").split():
        daemon.virsh("destroy", domain)


@pytest.fixture
def lab_up(vm_lab: Lab) -> Lab:
    """The same, made."""
    vm_lab.project.ok("vms", *vm_lab.config())
    return vm_lab
