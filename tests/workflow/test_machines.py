"""Virtual machines in the DAG, where there is no libvirt to ask."""

from __future__ import annotations

import shutil

import pytest

from talosmake.inventory.machine_facts import derived_mac
from tests.project import REPOSITORY, Project


@pytest.fixture
def virtual(dev: Project) -> Project:
    """dev as virtual machines of a libvirt that is not there."""
    facts = f'LIBVIRT_URI="qemu+unix:///system?socket={dev.root}/none"\nNETWORK=10.9.0.0/24\n'
    dev.environment("dev", facts)
    return dev


def test_the_way_from_vm_to_bootstrapped_is_shown(project: Project) -> None:
    project.remove("patches")
    for part in ("patches", "config"):
        shutil.copytree(REPOSITORY / part, project.root / part)
    project.ok("secrets", "--config", "env=dev")
    run = project.ok("-n", "--config", "env=dev", "goal=bootstrapped")
    rules = {job.partition(":")[0] for job in run.jobs}
    assert {
        "make_network",
        "make_storage",
        "make_vm",
        "render_config",
        "validate_config",
        "apply_controlplane",
        "apply_worker",
        "bootstrap_cluster",
    } <= rules
    assert {"make_vm:dev/cp_1", "make_vm:dev/worker_1", "make_vm:dev/worker_2"} <= run.jobs


def test_up_to_validated_libvirt_is_not_needed(virtual: Project) -> None:
    run = virtual.ok("-j4", "--config", "env=dev")
    assert not [job for job in run.jobs if job.startswith("make_")]
    table = virtual.ok("nodes", "--config", "env=dev").output
    assert "not asked (" in table
    assert derived_mac("dev", "controlplane-cp_1") in table
    assert virtual.ok("-j4", "--config", "env=dev").jobs == set()


def test_a_derived_mac_is_a_fact_for_patches(virtual: Project) -> None:
    patch = "machine:\n  nodeLabels:\n    mac: m-${NODE_MAC}\n"
    virtual.patch("dev", "workers", "worker_1", patch)
    virtual.ok("-j4", "render", "--config", "env=dev")
    mac = derived_mac("dev", "worker-worker_1")
    assert f"m-{mac}" in virtual.read("rendered_configs/dev/worker-worker_1.yaml")


def test_a_schematic_gives_the_installer_and_its_change_reaches_the_nodes(dev: Project) -> None:
    dev.environment("dev", "TALOS_SCHEMATIC=schematic.yaml\n")
    dev.write("patches/envs/dev/schematic.yaml", "customization: {}\n")
    dev.ok("-j4", "render", "--config", "env=dev")
    config = dev.read("rendered_configs/dev/worker-worker_1.yaml")
    assert "image: factory.talos.dev/metal-installer/376567988ad370138ad8b26982" in config
    extension = "customization: {systemExtensions: {officialExtensions: [siderolabs/gvisor]}}\n"
    dev.write("patches/envs/dev/schematic.yaml", extension)
    run = dev.ok("-j4", "render", "--config", "env=dev")
    assert len([job for job in run.jobs if job.startswith("render_config")]) == 4
    assert "376567988ad370138ad8b26982" not in dev.read("rendered_configs/dev/worker-worker_1.yaml")


def test_without_libvirt_nothing_is_made(virtual: Project) -> None:
    virtual.write("talos.iso", "iso")
    env_file = "patches/envs/dev/cluster.env"
    virtual.write(env_file, virtual.read(env_file) + "TALOS_IMAGE=talos.iso\n")
    for target in ("vms", "vms_plan", "vms_stop", "vms_destroy"):
        said = virtual.fails(target, "--config", "env=dev", "confirm=dev")
        assert "cannot be used: Failed to connect socket" in said
        assert "systemctl enable --now libvirtd" in said
    assert not list((virtual.root / "rendered_configs/dev").glob("state/*.vm"))


def test_bare_metal_has_no_machines(dev: Project) -> None:
    assert "bare metal" in dev.ok("vms_plan", "--config", "env=dev").output
    assert dev.ok("vms", "--config", "env=dev").jobs == set()
