"""What the virtual machines of an environment are, and the form in which libvirt keeps them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface
from pathlib import PurePosixPath

GIB = 1024**3
_NAMESPACE = uuid.UUID("7b1d2f5e-6f0c-5a53-9f0a-6d7b0a3d1c52")


def stable_uuid(environment: str, name: str) -> str:
    """The same UUID for the same environment and name, so that defining it again is no conflict."""
    return str(uuid.uuid5(_NAMESPACE, f"{environment}/{name}"))


class NetworkMode(StrEnum):
    """How guests reach the world: libvirt's forward mode (libvirt docs: formatnetwork)."""

    NAT = "nat"
    ROUTE = "route"
    ISOLATED = "isolated"
    BRIDGE = "bridge"


class Accelerator(StrEnum):
    """What runs a guest's instructions: the processor (KVM), or QEMU in software (TCG)."""

    KVM = "kvm"
    TCG = "tcg"

    @property
    def domain_type(self) -> str:
        """The type that libvirt gives such a domain."""
        return {Accelerator.KVM: "kvm", Accelerator.TCG: "qemu"}[self]

    @property
    def cpu_mode(self) -> str:
        """The CPU that shows the guest all that can be had."""
        return {Accelerator.KVM: "host-passthrough", Accelerator.TCG: "maximum"}[self]


class Firmware(StrEnum):
    """What a machine starts with."""

    EFI = "efi"
    BIOS = "bios"


@dataclass(frozen=True)
class Owner:
    """Whose a domain or a network is; written into its metadata, and asked before it is touched.

    :ivar role: of the node; "" for what belongs to the environment as a whole.
    :ivar node: its name; "" likewise.
    """

    environment: str
    cluster: str
    role: str = ""
    node: str = ""


@dataclass(frozen=True, order=True)
class Reservation:
    """The address and the name that DHCP and DNS give the machine with a MAC address."""

    address: str
    mac: str
    hostname: str


@dataclass(frozen=True)
class Subnet:
    """What libvirt's own DHCP and DNS serve; an existing bridge has none.

    :ivar gateway: the host's address in it, with the prefix length.
    :ivar dhcp_range: first and last address for machines that are not in Git.
    :ivar domain: the DNS domain of the nodes' names.
    :ivar reservations: in the order of their addresses as text.
    """

    gateway: IPv4Interface
    domain: str
    dhcp_range: tuple[IPv4Address, IPv4Address] | None = None
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True)
class Network:
    """A libvirt network.

    :ivar bridge: the existing bridge of the host that guests are plugged into; "" where libvirt
        makes one.
    """

    name: str
    uuid: str
    owner: Owner | None
    mode: NetworkMode
    bridge: str = ""
    subnet: Subnet | None = None


class ImageKind(StrEnum):
    """What part an image plays when a machine boots; also the ending of its volume's name."""

    ISO = "iso"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"


@dataclass(frozen=True)
class Image:
    """A file that machines boot from.

    :ivar source: a path, or an http(s) URL.
    :ivar sha256: its digest in hex; "" where Git gives none.
    """

    kind: ImageKind
    source: str
    sha256: str = ""

    @property
    def is_url(self) -> bool:
        return self.source.startswith(("https://", "http://"))

    @property
    def key(self) -> str:
        """The fact that gives its source."""
        return {
            ImageKind.ISO: "TALOS_IMAGE",
            ImageKind.KERNEL: "TALOS_KERNEL",
            ImageKind.INITRAMFS: "TALOS_INITRAMFS",
        }[self.kind]

    @property
    def volume(self) -> str:
        """Its name in a storage pool: the same content has the same name."""
        return f"talos-{self.sha256[:16]}.{self.kind}"


@dataclass(frozen=True)
class Boot:
    """What machines boot from until they are installed: an ISO, or a kernel and an initramfs.

    :ivar arguments: the kernel's command line; "" for an ISO, which has its own.
    """

    images: tuple[Image, ...]
    arguments: str = ""


@dataclass(frozen=True)
class Storage:
    """Where volumes are kept.

    :ivar path: the directory of a pool that we make; "" for one that exists already.
    """

    pool: str
    uuid: str = ""
    path: str = ""

    @property
    def is_own(self) -> bool:
        return bool(self.path)

    def is_meant(self, uuid: str) -> bool:
        """Whether a pool of this name is the one: the existing one, or with our UUID."""
        return not self.is_own or uuid == self.uuid


@dataclass(frozen=True)
class Disk:
    """A volume of a machine: the system disk is the first, and Talos sees it as /dev/vda.

    :ivar serial: by which Talos's disk selectors can tell it from others.
    """

    volume: str
    gib: int
    serial: str


@dataclass(frozen=True)
class Vm:
    """The virtual machine that a node is.

    :ivar domain: libvirt's name for it.
    """

    domain: str
    uuid: str
    owner: Owner
    mac: str
    cpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    accelerator: Accelerator
    firmware: Firmware
    secure_boot: bool
    tpm: bool
    autostart: bool


@dataclass(frozen=True)
class Vms:
    """All virtual machines of an environment, and what they share.

    :ivar uri: the libvirt that runs them, e.g. ``qemu:///system``.
    :ivar stop_timeout: how long a machine may take to shut down before it is cut off, in seconds.
    """

    uri: str
    network: Network
    storage: Storage
    boot: Boot
    machines: tuple[Vm, ...]
    stop_timeout: float

    def machine(self, role: str, node: str) -> Vm:
        """The machine of a node.

        :raises KeyError: when there is none.
        """
        for vm in self.machines:
            if (vm.owner.role, vm.owner.node) == (role, node):
                return vm
        raise KeyError(f"{role}-{node}")


@dataclass(frozen=True)
class Interface:
    """A network card of a domain."""

    mac: str
    network: str


@dataclass(frozen=True)
class DomainDisk:
    """A disk of a domain: the path of its volume on the host that runs it."""

    path: str
    serial: str = ""


@dataclass(frozen=True)
class Domain:
    """What we say of a machine in libvirt's domain XML; what libvirt adds is left out.

    :ivar cdrom, kernel, initramfs: paths on the host that runs it, or "".
    """

    name: str
    uuid: str
    owner: Owner | None
    cpus: int
    memory_mib: int
    accelerator: Accelerator
    firmware: Firmware
    secure_boot: bool
    tpm: bool
    interfaces: tuple[Interface, ...]
    disks: tuple[DomainDisk, ...]
    cdrom: str = ""
    kernel: str = ""
    initramfs: str = ""
    arguments: str = ""


@dataclass(frozen=True)
class Pool:
    """A storage pool as it is.

    :ivar kind: libvirt's pool type, e.g. ``dir`` or ``logical``.
    :ivar path: where its volumes are, on the host.
    :ivar available: bytes that are free.
    :ivar volumes: capacity of each volume in bytes, by name.
    """

    name: str
    uuid: str
    kind: str
    path: str
    active: bool
    available: int
    volumes: dict[str, int]

    @property
    def has_files(self) -> bool:
        """Whether volumes are files (which grow as they are filled) and not block devices."""
        return self.kind in FILE_POOLS


FILE_POOLS = ("dir", "fs", "netfs", "gluster", "vstorage")


def complete_mark(volume: str) -> str:
    """The name of the empty volume that says that an image volume was uploaded to its end."""
    return f"{volume}.complete"


def path_in(pool_path: str, volume: str) -> str:
    """The path of a volume in a pool's directory."""
    return str(PurePosixPath(pool_path) / volume)


def placed(vm: Vm, vms: Vms, pool_path: str) -> Domain:
    """The domain that a machine is, with its volumes in a pool's directory."""
    images = {image.kind: path_in(pool_path, image.volume) for image in vms.boot.images}
    return Domain(
        name=vm.domain,
        uuid=vm.uuid,
        owner=vm.owner,
        cpus=vm.cpus,
        memory_mib=vm.memory_mib,
        accelerator=vm.accelerator,
        firmware=vm.firmware,
        secure_boot=vm.secure_boot,
        tpm=vm.tpm,
        interfaces=(Interface(vm.mac, vms.network.name),),
        disks=tuple(DomainDisk(path_in(pool_path, d.volume), d.serial) for d in vm.disks),
        cdrom=images.get(ImageKind.ISO, ""),
        kernel=images.get(ImageKind.KERNEL, ""),
        initramfs=images.get(ImageKind.INITRAMFS, ""),
        arguments=vms.boot.arguments,
    )
