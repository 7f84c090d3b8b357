"""Networks, pools, volumes and domains in libvirt's XML, and back (pure).

What is read is what we write and nothing else, so that what libvirt adds (addresses of devices,
versions of machine types, paths of firmware) counts as no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from talosmake.inventory.machines import (
    FILE_POOLS,
    Accelerator,
    Domain,
    DomainDisk,
    Firmware,
    Interface,
    Network,
    NetworkMode,
    Owner,
    Pool,
    Reservation,
    Storage,
    Subnet,
)

METADATA = "urn:talosmake:libvirt:1"
MACHINE = "q35"
_OWNER = f"{{{METADATA}}}owner"
_LEASE_MINUTES = "2"
_CONSOLE_LOGS = "/var/log/libvirt/qemu"
ElementTree.register_namespace("talosmake", METADATA)


def console_log(domain: str) -> str:
    """The file on the host that gets what a machine writes to its serial console."""
    return f"{_CONSOLE_LOGS}/{domain}-console.log"


# --- networks (libvirt docs: formatnetwork) ---------------------------------------------------


def network_xml(network: Network) -> str:
    """A network as libvirt defines it."""
    root = Element("network")
    SubElement(root, "name").text = network.name
    SubElement(root, "uuid").text = network.uuid
    _add_owner(root, network.owner)
    if network.mode is not NetworkMode.ISOLATED:
        SubElement(root, "forward", mode=str(network.mode))
    if network.bridge:
        SubElement(root, "bridge", name=network.bridge)
    if network.subnet:
        _add_subnet(root, network.subnet)
    return _text(root)


def _add_subnet(root: Element, subnet: Subnet) -> None:
    SubElement(root, "domain", name=subnet.domain, localOnly="yes")
    dns = SubElement(root, "dns")
    for reservation in subnet.reservations:
        dns.append(dns_host(reservation, subnet.domain))
    ip = SubElement(root, "ip", address=str(subnet.gateway.ip), netmask=str(subnet.gateway.netmask))
    dhcp = SubElement(ip, "dhcp")
    if subnet.dhcp_range:
        first, last = subnet.dhcp_range
        SubElement(dhcp, "range", start=str(first), end=str(last))
    for reservation in subnet.reservations:
        dhcp.append(dhcp_host(reservation))


def dhcp_host(reservation: Reservation) -> Element:
    """The element that binds an address to a MAC address.

    The lease is the shortest there is: until it ends, dnsmasq gives the address to no other MAC
    address, also when the machine that had it is gone and the reservation is another one's.
    """
    host = Element("host", mac=reservation.mac, name=reservation.hostname, ip=reservation.address)
    SubElement(host, "lease", expiry=_LEASE_MINUTES, unit="minutes")
    return host


def dns_host(reservation: Reservation, domain: str) -> Element:
    """The element that gives an address its names."""
    host = Element("host", ip=reservation.address)
    for name in (reservation.hostname, f"{reservation.hostname}.{domain}"):
        SubElement(host, "hostname").text = name
    return host


def read_network(xml: str) -> Network:
    """A network from libvirt's XML."""
    root = _parse(xml)
    forward = root.find("forward")
    mode = "isolated" if forward is None else forward.get("mode", "nat")
    known = mode in list(NetworkMode)
    return Network(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        # A mode that we never write cannot be ours.
        owner=_read_owner(root) if known else None,
        mode=NetworkMode(mode) if known else NetworkMode.NAT,
        bridge=_attribute(root, "bridge", "name") if mode == NetworkMode.BRIDGE else "",
        subnet=_read_subnet(root),
    )


def _read_subnet(root: Element) -> Subnet | None:
    ip = root.find("ip")
    if ip is None or ip.get("family") == "ipv6":
        return None
    mask = ip.get("netmask") or ip.get("prefix") or "32"
    scope = ip.find("dhcp/range")
    limits = None
    if scope is not None:
        limits = IPv4Address(scope.get("start", "")), IPv4Address(scope.get("end", ""))
    domain = _attribute(root, "domain", "name")
    named = {
        host.get("ip", ""): [name.text or "" for name in host.findall("hostname")]
        for host in root.findall("dns/host")
    }
    return Subnet(
        gateway=IPv4Interface(f"{ip.get('address')}/{mask}"),
        domain=domain,
        dhcp_range=limits,
        reservations=tuple(sorted(_reservations(ip, named, domain))),
    )


def _reservations(ip: Element, named: dict[str, list[str]], domain: str) -> Iterator[Reservation]:
    """What DHCP and DNS say alike; where they differ, a name that nobody wants."""
    addresses = set()
    for host in ip.findall("dhcp/host"):
        address, name = host.get("ip", ""), host.get("name", "")
        addresses.add(address)
        agreed = named.get(address) == [name, f"{name}.{domain}"]
        yield Reservation(address, (host.get("mac") or "").lower(), name if agreed else "?")
    for address in named.keys() - addresses:
        yield Reservation(address, "", "?")


# --- pools and volumes (libvirt docs: formatstorage) ------------------------------------------


def pool_xml(storage: Storage) -> str:
    """A directory pool of our own."""
    root = Element("pool", type="dir")
    SubElement(root, "name").text = storage.pool
    SubElement(root, "uuid").text = storage.uuid
    target = SubElement(root, "target")
    SubElement(target, "path").text = storage.path
    return _text(root)


def read_pool(xml: str, *, active: bool, available: int, volumes: dict[str, int]) -> Pool:
    """A pool from libvirt's XML and what else was asked of it."""
    root = _parse(xml)
    return Pool(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        kind=root.get("type", ""),
        path=root.findtext("target/path", ""),
        active=active,
        available=available,
        volumes=volumes,
    )


def volume_xml(name: str, capacity: int, pool_kind: str, *, raw: bool = False) -> str:
    """A volume.

    :param capacity: in bytes.
    :param raw: its bytes are what the guest sees; else, in pools of files, a qcow2 that grows.
    """
    root = Element("volume")
    SubElement(root, "name").text = name
    SubElement(root, "capacity", unit="bytes").text = str(capacity)
    if pool_kind in FILE_POOLS:
        SubElement(root, "allocation", unit="bytes").text = "0"
        target = SubElement(root, "target")
        SubElement(target, "format", type="raw" if raw else "qcow2")
    return _text(root)


# --- domains (libvirt docs: formatdomain) -----------------------------------------------------


def domain_xml(domain: Domain, pool_kind: str, machine: str = MACHINE) -> str:
    """A domain as libvirt defines it.

    :param pool_kind: the type of the pool that its volumes are in.
    :param machine: the machine type; the one that an existing domain has keeps its hardware.
    """
    root = Element("domain", type=domain.accelerator.domain_type)
    SubElement(root, "name").text = domain.name
    SubElement(root, "uuid").text = domain.uuid
    _add_owner(root, domain.owner)
    SubElement(root, "memory", unit="MiB").text = str(domain.memory_mib)
    SubElement(root, "vcpu").text = str(domain.cpus)
    _add_os(root, domain, machine)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if domain.secure_boot:
        SubElement(features, "smm", state="on")
    SubElement(root, "cpu", mode=domain.accelerator.cpu_mode)
    SubElement(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "restart")):
        SubElement(root, f"on_{event}").text = action
    _add_devices(root, domain, pool_kind)
    return _text(root)


def _add_os(root: Element, domain: Domain, machine: str) -> None:
    os = SubElement(root, "os")
    SubElement(os, "type", arch="x86_64", machine=machine).text = "hvm"
    if domain.firmware is Firmware.EFI:
        os.set("firmware", "efi")
        firmware = SubElement(os, "firmware")
        # Said outright: left out, libvirt takes the build with Microsoft's keys. With secure boot
        # Talos enrolls its own keys, so none may be there.
        SubElement(firmware, "feature", enabled="no", name="enrolled-keys")
        enabled = "yes" if domain.secure_boot else "no"
        SubElement(firmware, "feature", enabled=enabled, name="secure-boot")
    for tag, value in (
        ("kernel", domain.kernel),
        ("initrd", domain.initramfs),
        ("cmdline", domain.arguments),
    ):
        if value:
            SubElement(os, tag).text = value


def _add_devices(root: Element, domain: Domain, pool_kind: str) -> None:
    devices = SubElement(root, "devices")
    for index, disk in enumerate(domain.disks):
        element = _disk(devices, disk.path, "disk", pool_kind)
        SubElement(element, "target", dev=f"vd{chr(ord('a') + index)}", bus="virtio")
        if disk.serial:
            SubElement(element, "serial").text = disk.serial
        if index == 0:
            SubElement(element, "boot", order="1")
    if domain.cdrom:
        element = _disk(devices, domain.cdrom, "cdrom", pool_kind)
        SubElement(element, "target", dev="sda", bus="sata")
        SubElement(element, "readonly")
        SubElement(element, "boot", order="2")
    for interface in domain.interfaces:
        element = SubElement(devices, "interface", type="network")
        SubElement(element, "mac", address=interface.mac)
        SubElement(element, "source", network=interface.network)
        SubElement(element, "model", type="virtio")
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=console_log(domain.name), append="on")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = SubElement(devices, "rng", model="virtio")
    SubElement(rng, "backend", model="random").text = "/dev/urandom"
    if domain.tpm:
        tpm = SubElement(devices, "tpm", model="tpm-crb")
        SubElement(tpm, "backend", type="emulator", version="2.0")
    video = SubElement(devices, "video")
    SubElement(video, "model", type="none")


def _disk(devices: Element, path: str, device: str, pool_kind: str) -> Element:
    files = pool_kind in FILE_POOLS
    element = SubElement(devices, "disk", type="file" if files else "block", device=device)
    kind = "qcow2" if files and device == "disk" else "raw"
    SubElement(element, "driver", name="qemu", type=kind)
    SubElement(element, "source", {"file" if files else "dev": path})
    return element


def read_domain(xml: str) -> Domain:
    """A domain from libvirt's XML."""
    root = _parse(xml)
    is_kvm = root.get("type") == Accelerator.KVM.domain_type
    os = root.find("os")
    efi = os is not None and (os.get("firmware") == "efi" or os.find("loader") is not None)
    return Domain(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        owner=_read_owner(root),
        cpus=int(root.findtext("vcpu", "0")),
        memory_mib=_mebibytes(root.find("memory")),
        accelerator=Accelerator.KVM if is_kvm else Accelerator.TCG,
        firmware=Firmware.EFI if efi else Firmware.BIOS,
        secure_boot=_attribute(root, "features/smm", "state") == "on",
        tpm=root.find("devices/tpm") is not None,
        interfaces=tuple(
            Interface(_attribute(found, "mac", "address"), _attribute(found, "source", "network"))
            for found in root.findall("devices/interface")
        ),
        disks=tuple(
            DomainDisk(_source(found), found.findtext("serial", ""))
            for found in root.findall("devices/disk")
            if found.get("device", "disk") == "disk"
        ),
        cdrom=next(
            (
                _source(found)
                for found in root.findall("devices/disk")
                if found.get("device") == "cdrom"
            ),
            "",
        ),
        kernel=root.findtext("os/kernel", ""),
        initramfs=root.findtext("os/initrd", ""),
        arguments=root.findtext("os/cmdline", ""),
    )


def read_machine(xml: str) -> str:
    """The machine type of a domain."""
    return _attribute(_parse(xml), "os/type", "machine") or MACHINE


def _source(disk: Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("file") or source.get("dev") or ""


# Bytes in each unit that libvirt writes (libvirt docs: formatdomain, memory).
_UNITS = {"b": 1, "bytes": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def _mebibytes(element: Element | None) -> int:
    if element is None:
        return 0
    return int(element.text or "0") * _UNITS[element.get("unit", "KiB")] // 1024**2


# --- both ---------------------------------------------------------------------------------------


def _add_owner(root: Element, owner: Owner | None) -> None:
    if owner is None:
        return
    said = {
        "environment": owner.environment,
        "cluster": owner.cluster,
        "role": owner.role,
        "node": owner.node,
    }
    metadata = SubElement(root, "metadata")
    SubElement(metadata, _OWNER, {name: value for name, value in said.items() if value})


def _read_owner(root: Element) -> Owner | None:
    found = root.find(f"metadata/{_OWNER}")
    if found is None:
        return None
    return Owner(
        found.get("environment", ""),
        found.get("cluster", ""),
        found.get("role", ""),
        found.get("node", ""),
    )


def _attribute(root: Element, path: str, name: str) -> str:
    found = root.find(path)
    return "" if found is None else found.get(name, "")


def _parse(xml: str) -> Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - from libvirt, which we trust with machines


def _text(root: Element) -> str:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
