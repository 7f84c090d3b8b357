"""What is done to virtual machines, with libvirt's own test driver: domains, pools and volumes are
there, but no guest and no file.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from talosmake.base import marker, this_run
from talosmake.base.errors import ConfigError, MachineError
from talosmake.inventory import environments
from talosmake.inventory.machines import complete_mark
from talosmake.inventory.model import Environment
from talosmake.machines import destroy, hypervisor, session
from talosmake.machines import make as machines_make
from talosmake.machines.hypervisor import Hypervisor
from talosmake.machines.pools import Pools
from tests.project import Project

CP_1, WORKER_1 = "dev-controlplane-cp_1", "dev-worker-worker_1"
POOL = "talosmake-dev"


class Host:
    """A libvirt with the machines of dev, as a person with virsh sees it."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
        other = "<network><name>other</name><ip address='10.1.1.1'/></network>"
        self.uri = f"test://{project.write('host.xml', f'<node>{other}</node>')}"
        self.libvirt: Any = libvirt.open(self.uri)
        self.project = project
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(Pools, "upload", _upload)
        # Connections to it see the same only as long as they are the same.
        for module in (session, destroy):
            monkeypatch.setattr(
                module, "connection", lambda _: Hypervisor(self.uri, libvirt, self.libvirt)
            )
        project.write("talos.iso", "iso")

    def environment(self, facts: str = "") -> Environment:
        """dev as it is in Git at the beginning of a new run."""
        this_run.begin()
        machines = f"LIBVIRT_URI={self.uri}\nNETWORK=10.9.0.0/24\nTALOS_IMAGE=talos.iso\n"
        tiny = "VM_ACCELERATOR=tcg\nVM_FIRMWARE=bios\n"
        self.project.environment("dev", machines + tiny + facts)
        return environments.load("dev")

    def made(self, facts: str = "") -> Environment:
        """The same when its machines were made and its cluster was bootstrapped."""
        environment = self.environment(facts)
        make(environment)
        marker.write(environment.paths.bootstrapped, step="bootstrap")
        return self.environment(facts)

    def pool(self, name: str = POOL) -> Any:
        return self.libvirt.storagePoolLookupByName(name)

    def domains(self) -> set[str]:
        return {domain.name() for domain in self.libvirt.listAllDomains()} - {"test"}

    def volumes(self, name: str = POOL) -> set[str]:
        return {volume.name() for volume in self.pool(name).listAllVolumes()}

    def shared_pool(self) -> None:
        target = "<target><path>/shared</path></target>"
        xml = f"<pool type='dir'><name>shared</name>{target}</pool>"
        self.libvirt.storagePoolDefineXML(xml).create()

    def volume(self, pool: str, domain: str) -> str:
        """Make the system disk of a domain; returns its name."""
        name = f"{domain}-system"
        xml = f"<volume><name>{name}</name><capacity>1</capacity></volume>"
        self.pool(pool).createXML(xml)
        return name

    def foreign_domain(self, name: str) -> None:
        machine = "<memory>65536</memory><os><type>hvm</type></os>"
        self.libvirt.defineXML(f"<domain type='test'><name>{name}</name>{machine}</domain>")


def _upload(self: Pools, pool: str, name: str, _source: Path) -> None:
    for volume in (name, complete_mark(name)):
        self.create_volume(pool, volume, 1)


def make(environment: Environment) -> None:
    machines_make.make_network(environment, "", 0)
    machines_make.make_storage(environment, "", 0)
    for node in environment.nodes:
        machines_make.make_machine(environment, node, "", 0)


@pytest.fixture
def host(small: Project, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(small, monkeypatch)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "snakemake.logging")
    return caplog


# --- a pool that is not started -----------------------------------------------------------------


def test_the_plan_starts_a_pool_first_and_misses_no_disk(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = host.made()
    host.pool().destroy()
    machines_make.show_plan(environment, "")
    assert capsys.readouterr().out == (
        "dev: what 'snakemake vms' would do:\n"
        f"  start: pool {POOL} (what it holds is planned when it runs)\n"
    )
    assert not host.pool().isActive()


@pytest.mark.parametrize("facts", ["", "STORAGE_POOL=shared\n"], ids=["own", "existing"])
def test_a_cluster_outlives_a_pool_that_was_not_started(
    host: Host, said: pytest.LogCaptureFixture, facts: str
) -> None:
    host.shared_pool()
    pool = "shared" if facts else POOL
    environment = host.made(facts)
    before = host.volumes(pool)
    host.pool(pool).destroy()
    said.clear()
    make(environment)
    assert host.pool(pool).isActive()
    assert f"start: pool {pool}" in said.text
    assert "create: volume" not in said.text
    assert "its etcd is no more" not in said.text
    assert environment.paths.bootstrapped.exists()
    assert host.volumes(pool) == before


def test_disks_that_are_gone_are_seen_when_the_pool_runs(
    host: Host, said: pytest.LogCaptureFixture
) -> None:
    environment = host.made()
    for domain in (CP_1, WORKER_1):
        host.libvirt.lookupByName(domain).destroy()
        host.pool().storageVolLookupByName(f"{domain}-system").delete()
    host.pool().destroy()
    make(environment)
    assert {f"{CP_1}-system", f"{WORKER_1}-system"} <= host.volumes()
    assert "its etcd is no more" in said.text
    assert not environment.paths.bootstrapped.exists()


def test_what_must_not_be_done_is_refused_when_the_pool_runs(host: Host) -> None:
    host.made("VM_DISK_GIB=30\n")
    host.pool().destroy()
    environment = host.environment("VM_DISK_GIB=20\n")
    with pytest.raises(MachineError, match="would shrink from 30 GiB to 20 GiB"):
        machines_make.make_storage(environment, "", 0)
    assert environment.paths.bootstrapped.exists()


def test_disks_in_a_pool_that_was_not_started_are_destroyed_on_request(host: Host) -> None:
    host.shared_pool()
    environment = host.made("STORAGE_POOL=shared\n")
    host.pool("shared").destroy()
    destroy.destroy(environment, "dev", disks=True)
    assert not {f"{CP_1}-system", f"{WORKER_1}-system"} & host.volumes("shared")


# --- what is not ours ---------------------------------------------------------------------------


def test_disks_of_a_domain_that_is_not_ours_are_left_alone(
    host: Host, said: pytest.LogCaptureFixture
) -> None:
    host.shared_pool()
    host.foreign_domain(CP_1)
    theirs, orphan = host.volume("shared", CP_1), host.volume("shared", WORKER_1)
    destroy.destroy(host.environment("STORAGE_POOL=shared\n"), "dev", disks=True)
    assert host.volumes("shared") == {theirs}
    assert f"dev: {CP_1}: was not made for it; its disks are left alone" in said.text
    assert f"{orphan}: deleted" in said.text


def test_our_pool_stays_while_it_has_disks_that_are_not_ours(
    host: Host, said: pytest.LogCaptureFixture
) -> None:
    environment = host.made()
    host.foreign_domain("dev-theirs")
    theirs = host.volume(POOL, "dev-theirs")
    destroy.destroy(environment, "dev", disks=True)
    assert {name for name in host.volumes() if name.startswith("dev-")} == {theirs}
    assert f"storage pool {POOL}: kept, as it has {theirs}" in said.text


def test_a_pool_of_our_pools_name_that_is_not_ours_is_left_alone(host: Host) -> None:
    target = "<target><path>/theirs</path></target>"
    xml = f"<pool type='dir'><name>{POOL}</name>{target}</pool>"
    host.libvirt.storagePoolDefineXML(xml).create()
    theirs = host.volume(POOL, CP_1)
    destroy.destroy(host.environment(), "dev", disks=True)
    assert host.volumes() == {theirs}


# --- stopping -----------------------------------------------------------------------------------


def test_ctrl_c_cuts_no_machine_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = host.made()
    # Guests that take their time.
    monkeypatch.setattr(type(host.libvirt.lookupByName(CP_1)), "shutdown", lambda _: 0)
    monkeypatch.setattr(hypervisor, "cancelled", lambda: True)
    with pytest.raises(MachineError) as error:
        destroy.stop(environment, None)
    assert str(error.value) == (
        f"interrupted: the domain {CP_1} is still shutting down; it is not cut off\n"
        "  -> The same command goes on."
    )
    assert host.libvirt.lookupByName(CP_1).isActive()
    assert host.libvirt.lookupByName(WORKER_1).isActive()


def test_a_machine_that_does_not_shut_down_in_time_is_cut_off(
    host: Host, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    environment = host.made("VM_STOP_TIMEOUT=1\n")
    monkeypatch.setattr(type(host.libvirt.lookupByName(CP_1)), "shutdown", lambda _: 0)
    destroy.stop(environment, "cp_1")
    assert f"{CP_1}: cut off after 1 s" in said.text
    assert not host.libvirt.lookupByName(CP_1).isActive()


# --- names that could mean more than one ----------------------------------------------------------


def test_a_machine_left_over_from_another_role_is_named_with_its_role(
    host: Host, said: pytest.LogCaptureFixture
) -> None:
    host.project.node("dev", "workers", "box", "10.9.0.31")
    host.made()
    host.project.remove("patches/envs/dev/workers/box")
    host.project.node("dev", "control_planes", "box", "10.9.0.32")
    environment = host.environment()
    make(environment)
    assert "vms_destroy --config env=dev confirm=worker-box" in said.text
    ambiguous = "may mean more than one: controlplane-box, worker-box"
    with pytest.raises(ConfigError, match=f"confirm=box {ambiguous}"):
        destroy.destroy(environment, "box", disks=True)
    with pytest.raises(ConfigError, match=f"node=box {ambiguous}"):
        destroy.stop(environment, "box")
    destroy.destroy(environment, "worker-box", disks=False)
    assert {"dev-controlplane-box"} == host.domains() - {CP_1, WORKER_1}


def test_a_leftover_with_the_environment_s_name_is_not_taken_for_all(host: Host) -> None:
    host.project.node("dev", "workers", "box", "10.9.0.31")
    environment = host.made()
    host.project.remove("patches/envs/dev/workers/box")
    old = host.libvirt.lookupByName("dev-worker-box")
    xml = re.sub(r"(?<=worker-)box|(?<=node=.)box", "dev", old.XMLDesc(0))
    old.destroy()
    old.undefine()
    host.libvirt.defineXML(xml)
    environment = host.environment()
    with pytest.raises(ConfigError, match=r"confirm=dev \(all of dev, or a node\) may mean more"):
        destroy.destroy(environment, "dev", disks=True)
    assert {CP_1, WORKER_1, "dev-worker-dev"} == host.domains()
    destroy.destroy(environment, "worker-dev", disks=False)
    destroy.destroy(environment, "dev", disks=True)
    assert host.domains() == set()
