"""libvirt's XML: what is written is read back as it was, also by way of libvirt itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.inventory.machines import (
    Accelerator,
    Domain,
    DomainDisk,
    Firmware,
    Interface,
    Network,
    NetworkMode,
    Owner,
    Reservation,
    Storage,
    Subnet,
    stable_uuid,
)
from talosmake.machines import libvirt_xml

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
MACS = st.integers(0, 2**24 - 1).map(
    lambda n: ":".join(["52:54:00", *(f"{b:02x}" for b in n.to_bytes(3, "big"))])
)
PATHS = st.text("/abc .&<>'\"é", min_size=1, max_size=20).map(lambda text: f"/{text}x")
OWNERS = st.builds(Owner, NAMES, NAMES, st.sampled_from(["controlplane", "worker"]), NAMES)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    name = draw(NAMES)
    efi = draw(st.booleans())
    return Domain(
        name=name,
        uuid=stable_uuid("dev", name),
        owner=draw(OWNERS),
        cpus=draw(st.integers(1, 64)),
        memory_mib=draw(st.integers(64, 2**20)),
        accelerator=draw(st.sampled_from(Accelerator)),
        firmware=Firmware.EFI if efi else Firmware.BIOS,
        secure_boot=efi and draw(st.booleans()),
        tpm=draw(st.booleans()),
        interfaces=(Interface(draw(MACS), draw(NAMES)),),
        disks=tuple(DomainDisk(path, "s") for path in draw(st.lists(PATHS, max_size=4))),
        cdrom=draw(st.just("") | PATHS),
        kernel=draw(st.just("") | PATHS),
        initramfs=draw(st.just("") | PATHS),
        arguments=draw(st.just("") | st.text("ab= &<", min_size=1).map(lambda t: f"x{t}x")),
    )


def network(mode: NetworkMode = NetworkMode.NAT, last: int = 11) -> Network:
    bridged = mode is NetworkMode.BRIDGE
    subnet = Subnet(
        gateway=IPv4Interface("10.0.1.1/24"),
        domain="dev.internal",
        dhcp_range=(IPv4Address("10.0.1.100"), IPv4Address("10.0.1.199")),
        reservations=(
            Reservation(f"10.0.1.{last}", "52:54:00:00:00:01", "cp-1"),
            Reservation("10.0.1.22", "52:54:00:00:00:02", "worker-1"),
        ),
    )
    return Network(
        name="talosmake-dev",
        uuid=stable_uuid("dev", "network"),
        owner=Owner("dev", "talos-dev"),
        mode=mode,
        bridge="br0" if bridged else "",
        subnet=None if bridged else subnet,
    )


@given(domains(), st.sampled_from(["dir", "logical"]))
def test_a_domain_is_read_as_it_was_written(domain: Domain, pool: str) -> None:
    assert libvirt_xml.read_domain(libvirt_xml.domain_xml(domain, pool)) == domain


@pytest.mark.parametrize("mode", NetworkMode)
def test_a_network_is_read_as_it_was_written(mode: NetworkMode) -> None:
    assert libvirt_xml.read_network(libvirt_xml.network_xml(network(mode))) == network(mode)


def test_networks_without_a_range_and_with_names_that_disagree() -> None:
    wanted = network()
    assert wanted.subnet
    wanted = replace(wanted, subnet=replace(wanted.subnet, dhcp_range=None))
    xml = libvirt_xml.network_xml(wanted)
    assert libvirt_xml.read_network(xml) == wanted
    assert libvirt_xml.read_network(xml.replace("cp-1.dev", "cp-9.dev")) != wanted


def test_what_others_wrote_is_nobodys() -> None:
    domain = libvirt_xml.read_domain(
        "<domain type='kvm'><name>x</name><memory unit='GiB'>2</memory><vcpu>2</vcpu>"
        "<devices><interface type='bridge'><mac address='52:54:00:00:00:01'/>"
        "<source bridge='br0'/></interface></devices></domain>"
    )
    assert domain.owner is None
    assert domain.memory_mib == 2048
    assert domain.interfaces == (Interface("52:54:00:00:00:01", ""),)
    assert (
        libvirt_xml.read_network("<network><name>x</name><forward mode='vepa'/></network>").owner
        is None
    )


def test_units_as_libvirt_writes_them() -> None:
    for text, expected in (
        ("<memory unit='KiB'>2097152</memory>", 2048),
        ("<memory>2097152</memory>", 2048),
        ("<memory unit='b'>1073741824</memory>", 1024),
    ):
        xml = f"<domain type='qemu'><name>x</name>{text}<vcpu>1</vcpu></domain>"
        assert libvirt_xml.read_domain(xml).memory_mib == expected


def test_libvirt_keeps_what_we_say() -> None:
    """By way of libvirt's own parser and formatter, in its test driver."""
    libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
    connection = libvirt.open("test:///default")
    try:
        made = connection.networkDefineXML(libvirt_xml.network_xml(network()))
        assert libvirt_xml.read_network(made.XMLDesc(0)) == network()
        storage = Storage("pool", stable_uuid("dev", "pool"), "/tmp/pool")
        pool = connection.storagePoolDefineXML(libvirt_xml.pool_xml(storage))
        read = libvirt_xml.read_pool(pool.XMLDesc(0), active=False, available=0, volumes={})
        assert (read.uuid, read.kind, read.path) == (storage.uuid, "dir", storage.path)
    finally:
        connection.close()
