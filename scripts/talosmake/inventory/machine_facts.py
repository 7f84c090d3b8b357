"""What the facts of an environment and its nodes say about virtual machines (files read: none)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from pathlib import Path
from urllib.parse import urlsplit

from talosmake.inventory import factory, schematic_rules
from talosmake.inventory.disks import disks
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.factory import Images
from talosmake.inventory.image_facts import Choice
from talosmake.inventory.machines import (
    Accelerator,
    Boot,
    Firmware,
    Image,
    ImageKind,
    Network,
    NetworkMode,
    Owner,
    Reservation,
    Storage,
    Subnet,
    Vm,
    Vms,
    stable_uuid,
)
from talosmake.inventory.model import Node

URI = "LIBVIRT_URI"
# Those that Talos's own ISO boots with and that matter without one (Talos docs: kernel reference),
# and the serial console, which goes into a log.
_KERNEL_ARGUMENTS = (
    "talos.platform={platform} console=tty0 console=ttyS0 init_on_alloc=1 slab_nomerge pti=on "
    "consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on selinux=1"
)
# What TALOS_KERNEL names for the kernel and the initramfs that the Image Factory makes.
_OF_FACTORY = "factory"


def derived_mac(environment: str, config_name: str) -> str:
    """The MAC address of a machine whose node.env gives none: always the same for the same names.

    It begins with the bytes of QEMU's own range, 52:54:00, which are locally administered.
    """
    tail = hashlib.sha256(f"{environment}/{config_name}".encode()).digest()[:3]
    return ":".join(["52:54:00", *(f"{byte:02x}" for byte in tail)])


def read(
    environment: str,
    cluster: str,
    endpoint: str,
    facts: Mapping[str, str],
    env_file: Path,
    nodes: Sequence[Node],
    chosen: Choice,
) -> Vms:
    """The virtual machines that the nodes of an environment are.

    :param cluster: its name.
    :param endpoint: the URL of the Kubernetes API; its address is one of the network's, too.
    :param facts: of the environment, with ``LIBVIRT_URI`` and the workflow's defaults.
    :param nodes: with facts of their own.
    :param chosen: the Image Factory's images that the environment's facts ask for.
    :raises InventoryError: for the first mistake, with the file it stands in.
    """
    read = Facts(facts, (env_file,))
    owner = Owner(environment, cluster)
    network = _network(read, owner, nodes, endpoint)
    return Vms(
        uri=read.text(URI),
        network=network,
        storage=_storage(read, environment),
        boot=_boot(read, chosen),
        machines=tuple(_vm(node, owner, read, chosen.images) for node in nodes),
        stop_timeout=read.whole("VM_STOP_TIMEOUT"),
    )


# --- the network ----------------------------------------------------------------------------------


def _network(facts: Facts, owner: Owner, nodes: Sequence[Node], endpoint: str) -> Network:
    name = f"talosmake-{owner.environment}"
    mode = NetworkMode(facts.text("NETWORK_MODE"))
    bridge = facts.text("NETWORK_BRIDGE")
    if (mode is NetworkMode.BRIDGE) != bool(bridge):
        raise facts.wrong(
            "NETWORK_BRIDGE",
            f"goes with NETWORK_MODE=bridge, and NETWORK_MODE is {mode}"
            if bridge
            else "is missing",
            "With NETWORK_MODE=bridge it names a bridge that the host has already, e.g. "
            "NETWORK_BRIDGE=br0.",
        )
    uuid = stable_uuid(owner.environment, "network")
    if bridge:
        return Network(name, uuid, owner, mode, bridge)
    subnet = _subnet(facts, owner, nodes)
    _check_endpoint(facts, subnet, endpoint)
    return Network(name, uuid, owner, mode, subnet=subnet)


def _subnet(facts: Facts, owner: Owner, nodes: Sequence[Node]) -> Subnet:
    network = _cidr(facts)
    gateway = _in_network(facts, "GATEWAY", facts.text("GATEWAY") or str(network[1]), network)
    domain = facts.text("NETWORK_DOMAIN") or f"{owner.cluster.lower()}.internal"
    scope = _dhcp_range(facts, network, gateway)
    reservations = [_reservation(node, facts, network, gateway, scope) for node in nodes]
    return Subnet(
        gateway=IPv4Interface(f"{gateway}/{network.prefixlen}"),
        domain=domain,
        dhcp_range=scope,
        reservations=tuple(sorted(reservations)),
    )


def _cidr(facts: Facts) -> IPv4Network:
    text = facts.text("NETWORK")
    try:
        network = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        network = None
    if network is None or not 8 <= network.prefixlen <= 29 or "/" not in text:
        raise facts.wrong(
            "NETWORK",
            "must be the IPv4 network of the virtual machines" if text else "is missing",
            "Write address and prefix length, from 8 to 29, e.g. NETWORK=10.0.1.0/24",
        )
    return network


def _in_network(facts: Facts, name: str, text: str, network: IPv4Network) -> IPv4Address:
    """An address of a machine in the network."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise facts.wrong(name, f"{text!r} is no IPv4 address") from None
    if address not in network or address in (network[0], network[-1]):
        raise facts.wrong(name, f"is no address of a machine in {network} (NETWORK in cluster.env)")
    return address


def _dhcp_range(
    facts: Facts, network: IPv4Network, gateway: IPv4Address
) -> tuple[IPv4Address, IPv4Address] | None:
    text = facts.text("NETWORK_DHCP_RANGE")
    if not text:
        return None
    first, dash, last = (part.strip() for part in text.partition("-"))
    if not dash:
        raise facts.wrong(
            "NETWORK_DHCP_RANGE",
            "must be two addresses with - between them",
            "e.g. NETWORK_DHCP_RANGE=10.0.1.100-10.0.1.199; left out, only machines in Git get an "
            "address.",
        )
    limits = [_in_network(facts, "NETWORK_DHCP_RANGE", part, network) for part in (first, last)]
    if limits[0] > limits[1]:
        raise facts.wrong("NETWORK_DHCP_RANGE", "ends before it begins")
    if limits[0] <= gateway <= limits[1]:
        raise facts.wrong("NETWORK_DHCP_RANGE", f"the gateway {gateway} is in it")
    return limits[0], limits[1]


def _reservation(
    node: Node,
    facts: Facts,
    network: IPv4Network,
    gateway: IPv4Address,
    scope: tuple[IPv4Address, IPv4Address] | None,
) -> Reservation:
    where = Facts({"NODE_IP": node.address}, (node.env_file,))
    address = _in_network(where, "NODE_IP", node.address, network)
    if address == gateway:
        raise where.wrong("NODE_IP", f"is the gateway (GATEWAY in {facts.files[-1]})")
    if scope and scope[0] <= address <= scope[1]:
        raise where.wrong(
            "NODE_IP",
            f"is in the DHCP range (NETWORK_DHCP_RANGE in {facts.files[-1]}), "
            "so another machine may have it",
            "Take an address outside the range, or make the range smaller.",
        )
    # Without its domain, as the network has one of its own, and dnsmasq refuses any other.
    return Reservation(node.address, node.mac, node.short_hostname)


def _check_endpoint(facts: Facts, subnet: Subnet, endpoint: str) -> None:
    try:
        address = IPv4Address(urlsplit(endpoint).hostname or "")
    except AddressValueError:
        return
    scope = subnet.dhcp_range
    if scope and scope[0] <= address <= scope[1]:
        raise facts.wrong(
            "NETWORK_DHCP_RANGE", f"the address of CLUSTER_ENDPOINT, {address}, is in it"
        )


# --- storage and images ---------------------------------------------------------------------------


def _storage(facts: Facts, environment: str) -> Storage:
    pool, path = facts.text("STORAGE_POOL"), facts.text("STORAGE_PATH")
    if pool and path:
        raise facts.wrong(
            "STORAGE_PATH",
            f"goes with a pool of our own, and STORAGE_POOL names {pool!r}",
            "Keep one of the two: STORAGE_POOL for a pool that is there, STORAGE_PATH for the "
            "directory of a new one.",
        )
    if pool:
        return Storage(pool)
    name = f"talosmake-{environment}"
    path = path or f"/var/lib/libvirt/images/{name}"
    return Storage(name, stable_uuid(environment, "pool"), path.rstrip("/") or "/")


def _boot(facts: Facts, chosen: Choice) -> Boot:
    images = chosen.images
    kernel, initramfs = facts.text("TALOS_KERNEL"), facts.text("TALOS_INITRAMFS")
    if kernel == _OF_FACTORY and not initramfs:
        initramfs = _OF_FACTORY
    if bool(kernel) != bool(initramfs):
        missing = "TALOS_INITRAMFS" if kernel else "TALOS_KERNEL"
        raise facts.wrong(missing, "is missing", "Kernel and initramfs go together.")
    if kernel and facts.text("TALOS_IMAGE"):
        raise facts.wrong("TALOS_IMAGE", "does not go with TALOS_KERNEL", "Keep one of the two.")
    if kernel:
        _check_kernel(facts, images)
        usual = _KERNEL_ARGUMENTS.format(platform=images.platform)
        if kernel == _OF_FACTORY:
            usual = schematic_rules.command_line(usual, chosen.kernel_arguments)
        both = (
            _image(facts, ImageKind.KERNEL, kernel, images),
            _image(facts, ImageKind.INITRAMFS, initramfs, images),
        )
        return Boot(both, facts.text("TALOS_KERNEL_ARGS") or usual)
    if facts.text("TALOS_KERNEL_ARGS"):
        raise facts.wrong(
            "TALOS_KERNEL_ARGS",
            "goes with TALOS_KERNEL; an ISO brings its own",
            "Put them into a schematic (TALOS_SCHEMATIC: customization.extraKernelArgs).",
        )
    source = facts.text("TALOS_IMAGE")
    if not source and not images.iso:
        raise facts.wrong(
            "TALOS_PLATFORM",
            "the Image Factory makes no ISO for it, and virtual machines start from one",
            "Write TALOS_KERNEL=factory, or name an image yourself: TALOS_IMAGE.",
        )
    return Boot((_image(facts, ImageKind.ISO, source or _OF_FACTORY, images),))


def _check_kernel(facts: Facts, images: Images) -> None:
    """A kernel that is not in a signed image cannot be booted with secure boot."""
    if images.secure_boot and facts.text("TALOS_KERNEL") == _OF_FACTORY:
        raise facts.wrong(
            "TALOS_KERNEL",
            "the kernel that the Image Factory serves by itself is not signed, and "
            "TALOS_SECURE_BOOT is true",
            "Remove the line: machines then start from the ISO, which is signed.",
        )


def _image(facts: Facts, kind: ImageKind, source: str, images: Images) -> Image:
    if source == _OF_FACTORY:
        source = {
            ImageKind.ISO: images.iso,
            ImageKind.KERNEL: images.kernel,
            ImageKind.INITRAMFS: images.initramfs,
        }[kind]
    image = Image(kind, source)
    return replace(image, sha256=facts.text(f"{image.key}_SHA256"))


# --- machines -------------------------------------------------------------------------------------


def _vm(node: Node, environment: Owner, cluster: Facts, images: Images) -> Vm:
    facts = Facts(node.facts, node.env_files or (node.env_file, *cluster.files))
    _check_images(facts, node, images)
    domain = f"{environment.environment}-{node.config_name}"
    firmware = Firmware(facts.text("VM_FIRMWARE"))
    secure_boot = cluster.yes("TALOS_SECURE_BOOT")
    if secure_boot and firmware is Firmware.BIOS:
        raise facts.wrong(
            "VM_FIRMWARE",
            f"there is no secure boot (TALOS_SECURE_BOOT in {cluster.files[-1]}) with BIOS",
        )
    return Vm(
        domain=domain,
        uuid=stable_uuid(environment.environment, node.config_name),
        owner=Owner(environment.environment, environment.cluster, str(node.role), node.name),
        mac=node.mac,
        cpus=facts.whole("VM_CPUS"),
        memory_mib=facts.whole("VM_MEMORY_MIB"),
        disks=disks(domain, facts.whole("VM_DISK_GIB"), facts.whole_numbers("VM_DISKS")),
        accelerator=Accelerator(facts.text("VM_ACCELERATOR")),
        firmware=firmware,
        secure_boot=secure_boot,
        tpm=facts.yes("VM_TPM"),
        autostart=facts.yes("VM_AUTOSTART"),
    )


def _check_images(facts: Facts, node: Node, images: Images) -> None:
    """All machines start from the environment's image, and are of the host's architecture.

    A node's own schematic counts all the same: for the installer.
    """
    own = node.chosen.images if node.chosen else images
    for name, its, theirs in (
        ("TALOS_PLATFORM", own.platform, images.platform),
        ("TALOS_ARCH", own.arch, images.arch),
        ("TALOS_SECURE_BOOT", own.secure_boot, images.secure_boot),
    ):
        if its != theirs:
            raise facts.wrong(
                name,
                "is about all virtual machines of an environment, which start from one image",
                f"Write it into {facts.files[-1]}, or give these nodes an environment without "
                f"{URI}.",
            )
    if own.arch != factory.AMD64:
        raise facts.wrong(
            "TALOS_ARCH",
            "virtual machines are made for amd64 only",
            f"Remove {URI}, and make the machines in another way.",
        )
