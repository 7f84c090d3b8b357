"""Everything real: from a MAC address in Git to a bootstrapped etcd on a virtual machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from talosmake.machines.lab import GUEST
from tests.machines.libvirtd import Libvirtd
from tests.project import BIN, CLUSTER_ENV, REPOSITORY, Project, Run

NETWORK = "10.77.250"
UP = ("-j4", "--config", "env=metal")
COMMON = f"""\
machine:
  install:
    disk: /dev/vda
  time:
    disabled: true
  registries:
    mirrors:
      registry.k8s.io: {{endpoints: ["http://{NETWORK}.1"], skipFallback: true}}
      ghcr.io: {{endpoints: ["http://{NETWORK}.1"], skipFallback: true}}
cluster:
  discovery:
    enabled: false
"""


def initramfs_with_image(path: Path) -> Path:
    """The lab's initramfs with its image behind it, for a machine that has one disk."""
    shutil.copy(GUEST / "initramfs", path)
    with path.open("ab") as whole:
        whole.write(b"\0" * (-path.stat().st_size % 4))
        done = subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"],
            input=b"image.squashfs\n",
            stdout=whole,
            cwd=GUEST,
            check=False,
        )
    assert done.returncode == 0
    return path


def inside(daemon: Libvirtd, *command: str | Path) -> list[str | Path]:
    return ["nsenter", "-t", str(daemon.init), "-n", *command]


@contextmanager
def registry(daemon: Libvirtd) -> Iterator[None]:
    """What nodes pull from, at the network's gateway."""
    module = (sys.executable, "-m", "tests.machines.registry")
    process = subprocess.Popen(
        inside(daemon, *module, f"{NETWORK}.1", GUEST / "images"),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'scripts'}"},
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_from_a_mac_in_git_to_bootstrapped(
    project: Project, daemon: Libvirtd, tmp_path: Path
) -> None:
    facts = f"""\
LIBVIRT_URI="{daemon.uri}"
NETWORK={NETWORK}.0/24
VM_ACCELERATOR=tcg
VM_FIRMWARE=bios
VM_CPUS=2
VM_MEMORY_MIB=1536
VM_DISK_GIB=1
TALOS_KERNEL={GUEST / "vmlinuz"}
TALOS_INITRAMFS={initramfs_with_image(tmp_path / "initramfs")}
TALOS_KERNEL_ARGS="console=ttyS0 quiet panic=1 mitigations=off"
NODE_TIMEOUT=900
ETCD_TIMEOUT=600
CALL_TIMEOUT=60
"""
    endpoint = CLUSTER_ENV.replace("10.9.0.10", f"{NETWORK}.11")
    project.environment("metal", facts, cluster_env=endpoint)
    project.write("patches/envs/metal/common.yaml", COMMON)
    mac = "52:54:00:0c:0f:fe"
    project.node("metal", "control_planes", "cp_1", f"{NETWORK}.11", f"NODE_MAC={mac}\n")
    project.ok("secrets", "--config", "env=metal")
    project.ok("vms", *UP)
    try:
        with registry(daemon):
            run = project.run(*inside(daemon, *project.command("up", *UP)), timeout=1200)
        console = daemon.console("metal-controlplane-cp_1")[-2000:]
        assert run.code == 0, f"{run.output}\n{console}"
        assert "metal/cp_1: applying in maintenance mode" in run.output
        assert daemon.leases("talosmake-metal")[mac] == f"{NETWORK}.11"
        assert members(project, daemon) == ["cp-1"]
    finally:
        daemon.virsh("destroy", "metal-controlplane-cp_1")


def members(project: Project, daemon: Libvirtd) -> list[str]:
    target = ("-n", f"{NETWORK}.11", "-e", f"{NETWORK}.11")
    config = ("--talosconfig", "rendered_configs/metal/talosconfig")
    run: Run = project.run(
        *inside(daemon, BIN / "talosctl", "etcd", "members", *config, *target), timeout=300
    )
    assert run.code == 0, run.output
    return [row.split()[2] for row in run.output.splitlines()[1:]]
