"""The one module that calls libvirt."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from xml.etree import ElementTree

from talosmake.base.errors import MachineError
from talosmake.base.progress import say
from talosmake.base.wait import cancelled
from talosmake.inventory.machines import (
    Domain,
    Network,
    NetworkMode,
    Pool,
    Storage,
    Vms,
    complete_mark,
)
from talosmake.machines import libvirt_xml
from talosmake.machines.plan import Current, DomainNow, NetworkNow

_T = TypeVar("_T")
_PROBE_TIMEOUT = 20.0
_PIECE = 1024 * 1024
_SAY_EVERY = 5.0

# libvirt's virDomainState, in virsh's words.
_STATES = (
    "no state",
    "running",
    "blocked",
    "paused",
    "in shutdown",
    "shut off",
    "crashed",
    "suspended",
)


class Hypervisor:
    """A libvirt and the host behind it."""

    def __init__(self, uri: str, library: ModuleType, connection: Any) -> None:
        self.uri = uri
        self._libvirt = library
        self._connection = connection
        self._updating = threading.Lock()

    @contextlib.contextmanager
    def _told(self, doing: str, hint: str = "") -> Iterator[None]:
        """Libvirt's errors as ours.

        :param hint: for errors that have none of their own.
        """
        try:
            yield
        except self._libvirt.libvirtError as error:
            text = str(error)
            if "No space left" in text:
                hint = "Make room in the storage pool, or name another one (STORAGE_POOL)."
            elif "Cannot allocate memory" in text:
                hint = "Lower VM_MEMORY_MIB, or stop other machines on the host."
            elif "swtpm" in text or "TPM" in text:
                hint = "VM_TPM needs the packages swtpm and swtpm-tools on the host."
            elif "firmware" in text or "UEFI" in text:
                hint = "VM_FIRMWARE=efi needs the package ovmf on the host."
            elif "virtlogd" in text or "console log" in text:
                hint = "The service virtlogd must run on the host."
            raise MachineError(f"{self.uri}: {doing}: {text}", hint=hint) from None

    def _maybe(self, look: Callable[[], _T], *missing: int) -> _T | None:
        """What a look-up finds, or None for one of libvirt's codes for "not there"."""
        try:
            return look()
        except self._libvirt.libvirtError as error:
            if error.get_error_code() in missing:
                return None
            raise

    # --- reading

    def current(self, vms: Vms, environment: str) -> Current:
        """What there is of an environment. It takes a few calls, and nothing is changed."""
        with self._told("reading its state"):
            domains, others = self._domains(vms, environment)
            return Current(
                network=self._network_now(vms.network),
                pool=self._pool_now(vms.storage),
                domains=domains,
                others=others,
                has_kvm=self._has_kvm(),
                has_bridge=self._has_bridge(vms.network),
                available_mib=self._available_mib(),
            )

    def _domains(self, vms: Vms, environment: str) -> tuple[dict[str, DomainNow], dict[str, str]]:
        names = {vm.domain for vm in vms.machines}
        uuids = {vm.uuid: vm.domain for vm in vms.machines}
        found: dict[str, DomainNow] = {}
        others: dict[str, str] = {}
        for handle in self._connection.listAllDomains():
            name, identifier = handle.name(), handle.UUIDString()
            if identifier in uuids and uuids[identifier] != name:
                others[identifier] = name
            if name in names or name.startswith(f"{environment}-"):
                now = self._maybe(lambda h=handle: self._domain_now(h), 42)  # type: ignore[misc]
                found |= {name: now} if now else {}
        return found, others

    def _domain_now(self, handle: Any) -> DomainNow:
        flag = self._libvirt.VIR_DOMAIN_XML_INACTIVE if handle.isPersistent() else 0
        xml = handle.XMLDesc(flag)
        live = libvirt_xml.read_domain(handle.XMLDesc(0)) if handle.isActive() else None
        return DomainNow(
            domain=libvirt_xml.read_domain(xml),
            live=live,
            state=_STATES[handle.state()[0]],
            autostart=bool(handle.autostart()) if handle.isPersistent() else False,
            machine=libvirt_xml.read_machine(xml),
        )

    def _network_now(self, wanted: Network) -> NetworkNow | None:
        handle = self._network(wanted.name)
        if handle is None:
            return None
        network = libvirt_xml.read_network(handle.XMLDesc(0))
        return NetworkNow(network, bool(handle.isActive()), bool(handle.autostart()))

    def _network(self, name: str) -> Any:
        return self._maybe(
            lambda: self._connection.networkLookupByName(name), self._libvirt.VIR_ERR_NO_NETWORK
        )

    def _pool(self, name: str) -> Any:
        return self._maybe(
            lambda: self._connection.storagePoolLookupByName(name),
            self._libvirt.VIR_ERR_NO_STORAGE_POOL,
        )

    def _volume(self, pool: Any, name: str) -> Any:
        return self._maybe(
            lambda: pool.storageVolLookupByName(name), self._libvirt.VIR_ERR_NO_STORAGE_VOL
        )

    def _pool_now(self, storage: Storage) -> Pool | None:
        handle = self._pool(storage.pool)
        if handle is None:
            return None
        active = bool(handle.isActive())
        if active:
            handle.refresh(0)
        volumes = {v.name(): int(v.info()[1]) for v in handle.listAllVolumes()} if active else {}
        available = int(handle.info()[3]) if active else 2**60
        xml = handle.XMLDesc(0)
        return libvirt_xml.read_pool(xml, active=active, available=available, volumes=volumes)

    def _has_kvm(self) -> bool:
        if self._is_test:
            return True
        root = ElementTree.fromstring(self._connection.getCapabilities())  # noqa: S314
        return any(
            domain.get("type") == "kvm"
            for arch in root.iterfind("guest/arch[@name='x86_64']")
            for domain in arch.iterfind("domain")
        )

    def _has_bridge(self, network: Network) -> bool | None:
        if network.mode is not NetworkMode.BRIDGE:
            return None
        try:
            xml = self._connection.interfaceLookupByName(network.bridge).XMLDesc(0)
        except self._libvirt.libvirtError as error:
            missing = error.get_error_code() == self._libvirt.VIR_ERR_NO_INTERFACE
            return False if missing else None
        kind = ElementTree.fromstring(xml).get("type")  # noqa: S314
        return kind == "bridge"

    def _available_mib(self) -> int:
        if self._is_test:
            return 2**40
        stats = self._connection.getMemoryStats(self._libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return sum(int(stats.get(name, 0)) for name in ("free", "buffers", "cached")) // 1024

    @property
    def _is_test(self) -> bool:
        return str(self._connection.getType()) == "TEST"

    def state_of(self, domain: str) -> str:
        """A domain's state in virsh's words, or ``missing``."""
        with self._told(f"looking at the domain {domain}"):
            handle = self._domain(domain)
            return _STATES[handle.state()[0]] if handle else "missing"

    def _domain(self, name: str) -> Any:
        return self._maybe(
            lambda: self._connection.lookupByName(name), self._libvirt.VIR_ERR_NO_DOMAIN
        )

    # --- the network

    def create_network(self, network: Network) -> None:
        """Define a network, start it, and have it started with the host."""
        with self._told(f"making the network {network.name}"):
            handle = self._connection.networkDefineXML(libvirt_xml.network_xml(network))
            self._start_network(handle)

    def start_network(self, name: str) -> None:
        with self._told(f"starting the network {name}"):
            self._start_network(self._connection.networkLookupByName(name))

    def _start_network(self, handle: Any) -> None:
        handle.setAutostart(1)
        if not handle.isActive():
            handle.create()

    def remove_network(self, name: str) -> None:
        """Stop and undefine a network, if it is there."""
        with self._told(f"removing the network {name}"):
            handle = self._network(name)
            if handle is None:
                return
            if handle.isActive():
                handle.destroy()
            handle.undefine()

    def update_reservations(self, wanted: Network) -> None:
        """Bring the reservations and names of a network to what is wanted, while it runs.

        What goes is deleted before what comes is added, so that no address is there twice. One
        machine at a time: each brings all of them up to date.
        """
        with self._updating, self._told(f"changing reservations of the network {wanted.name}"):
            handle = self._network(wanted.name)
            if handle is None:
                return
            root = ElementTree.fromstring(handle.XMLDesc(0))  # noqa: S314
            subnet = wanted.subnet
            if subnet is None:
                return
            dhcp = [libvirt_xml.dhcp_host(reservation) for reservation in subnet.reservations]
            dns = [
                libvirt_xml.dns_host(reservation, subnet.domain)
                for reservation in subnet.reservations
            ]
            lv = self._libvirt
            for path, section, hosts in (
                ("ip/dhcp/host", lv.VIR_NETWORK_SECTION_IP_DHCP_HOST, dhcp),
                ("dns/host", lv.VIR_NETWORK_SECTION_DNS_HOST, dns),
            ):
                self._update_hosts(handle, section, list(root.iterfind(path)), hosts)

    def _update_hosts(
        self,
        handle: Any,
        section: int,
        now: list[ElementTree.Element],
        wanted: list[ElementTree.Element],
    ) -> None:
        lv = self._libvirt
        flags = lv.VIR_NETWORK_UPDATE_AFFECT_CONFIG
        flags |= lv.VIR_NETWORK_UPDATE_AFFECT_LIVE if handle.isActive() else 0
        old, new = ({_text(host): host for host in hosts} for hosts in (now, wanted))
        for text in old.keys() - new.keys():
            handle.update(lv.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, text, flags)
        for text in new.keys() - old.keys():
            handle.update(lv.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, text, flags)

    # --- pools and volumes

    def create_pool(self, storage: Storage) -> None:
        """Define a directory pool, make its directory, and start it, now and with the host."""
        with self._told(f"making the storage pool {storage.pool} at {storage.path}"):
            handle = self._connection.storagePoolDefineXML(libvirt_xml.pool_xml(storage))
            self._start_pool(handle, storage)

    def start_pool(self, storage: Storage) -> None:
        """Start a pool, now and with the host."""
        hint = "Is the file system mounted that it is in?"
        if storage.is_own:
            gone = f"virsh -c '{self.uri}' pool-undefine {storage.pool}"
            hint += f"\nIf its disks are gone for good, have it made anew:  {gone}"
        with self._told(f"starting the storage pool {storage.pool}", hint):
            self._start_pool(self._connection.storagePoolLookupByName(storage.pool), storage)

    def _start_pool(self, handle: Any, storage: Storage) -> None:
        if handle.isActive():
            return
        # One that ran has autostart: when its directory is gone (a file system that is not
        # mounted), an empty one in its place would look like lost disks.
        if storage.is_own and not handle.autostart():
            with contextlib.suppress(self._libvirt.libvirtError):
                handle.build(0)
        handle.create()
        with contextlib.suppress(self._libvirt.libvirtError):
            handle.setAutostart(1)

    def remove_pool(self, name: str) -> None:
        """Remove a pool of ours and its directory; libvirt leaves a directory that is not empty."""
        with self._told(f"removing the storage pool {name}"):
            handle = self._pool(name)
            if handle is None:
                return
            if handle.isActive():
                handle.destroy()
            with contextlib.suppress(self._libvirt.libvirtError):
                handle.delete(0)
            handle.undefine()

    def create_volume(self, pool_name: str, name: str, capacity: int) -> None:
        """Make a volume, unless it is there.

        :param capacity: in bytes.
        """
        with self._told(f"making the volume {name}"):
            pool = self._connection.storagePoolLookupByName(pool_name)
            self._create_volume(pool, name, capacity)

    def _create_volume(self, pool: Any, name: str, capacity: int, *, raw: bool = False) -> Any:
        kind = ElementTree.fromstring(pool.XMLDesc(0)).get("type", "dir")  # noqa: S314
        xml = libvirt_xml.volume_xml(name, capacity, kind, raw=raw)
        made = self._maybe(lambda: pool.createXML(xml, 0), self._libvirt.VIR_ERR_STORAGE_VOL_EXIST)
        return made or pool.storageVolLookupByName(name)

    def grow_volume(self, pool_name: str, name: str, capacity: int, domain: str) -> None:
        """Make a volume larger; a running domain sees it at once.

        :param capacity: in bytes.
        """
        with self._told(f"growing the volume {name}"):
            pool = self._connection.storagePoolLookupByName(pool_name)
            volume = pool.storageVolLookupByName(name)
            handle = self._domain(domain)
            if handle is not None and handle.isActive():
                flag = self._libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
                handle.blockResize(volume.path(), capacity, flag)
            else:
                volume.resize(capacity, 0)

    def delete_volume(self, pool_name: str, name: str) -> None:
        """Delete a volume, if it is there and no running domain uses it.

        :raises MachineError: when one does; libvirt itself would not mind.
        """
        with self._told(f"deleting the volume {name}"):
            pool = self._pool(pool_name)
            volume = self._volume(pool, name) if pool else None
            if volume is None:
                return
            path = volume.path()
            for handle in self._connection.listAllDomains():
                used = libvirt_xml.read_domain(handle.XMLDesc(0)).disks if handle.isActive() else ()
                if path in {disk.path for disk in used}:
                    raise MachineError(
                        f"the volume {name} is in use by the domain {handle.name()}",
                        hint="Stop the machine first: snakemake vms_stop",
                    )
            volume.delete(0)

    def upload(self, pool_name: str, name: str, source: Path) -> None:
        """Copy a file into a pool, also into one on another host.

        An empty volume beside it, made last, says that it is complete; a half-copied one is
        written over.
        """
        with self._told(f"copying {source} into the storage pool {pool_name}"):
            pool = self._connection.storagePoolLookupByName(pool_name)
            half = self._volume(pool, name)
            if half is not None:
                half.delete(0)
            size = source.stat().st_size
            volume = self._create_volume(pool, name, size, raw=True)
            self._send(volume, source, size)
            self._create_volume(pool, complete_mark(name), 1, raw=True)

    def _send(self, volume: Any, source: Path, size: int) -> None:
        stream = self._connection.newStream(0)
        volume.upload(stream, 0, size, 0)
        sent, said = 0, time.monotonic()
        with source.open("rb") as file:
            try:
                while piece := file.read(_PIECE):
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[stream.send(bytes(rest)) :]
                    sent += len(piece)
                    if cancelled():
                        raise MachineError(f"copying {source} was interrupted")
                    if time.monotonic() - said >= _SAY_EVERY:
                        said = time.monotonic()
                        say(f"{source.name}: {sent / size:.0%} copied to {self.uri}")
            except BaseException:
                with contextlib.suppress(self._libvirt.libvirtError):
                    stream.abort()
                raise
        stream.finish()

    # --- domains

    def define_domain(
        self, domain: Domain, pool_name: str, machine: str, *, autostart: bool
    ) -> None:
        """Define a domain, or redefine it: what runs changes at its next start."""
        with self._told(f"defining the domain {domain.name}"):
            pool = self._connection.storagePoolLookupByName(pool_name)
            kind = ElementTree.fromstring(pool.XMLDesc(0)).get("type", "dir")  # noqa: S314
            xml = libvirt_xml.domain_xml(domain, kind, machine)
            flags = 0 if self._is_test else self._libvirt.VIR_DOMAIN_DEFINE_VALIDATE
            handle = self._connection.defineXMLFlags(xml, flags)
            handle.setAutostart(int(autostart))

    def set_autostart(self, name: str, autostart: bool) -> None:
        with self._told(f"setting autostart of the domain {name}"):
            self._connection.lookupByName(name).setAutostart(int(autostart))

    def start_domain(self, name: str) -> None:
        with self._told(f"starting the domain {name}"):
            handle = self._connection.lookupByName(name)
            if not handle.isActive():
                handle.create()

    def stop_domain(self, name: str, timeout: float) -> bool:
        """Shut a domain down; after the time-out (seconds) it is cut off.

        :returns: whether it shut down by itself.
        :raises MachineError: when the run is interrupted before; then it is not cut off.
        """
        with self._told(f"stopping the domain {name}"):
            handle = self._domain(name)
            if handle is None or not handle.isActive():
                return True
            end = time.monotonic() + timeout
            with contextlib.suppress(self._libvirt.libvirtError):
                if timeout:
                    handle.shutdown()
            while handle.isActive():
                if cancelled():
                    raise MachineError(
                        f"interrupted: the domain {name} is still shutting down; it is not cut off",
                        hint="The same command goes on.",
                    )
                if time.monotonic() >= end:
                    self._cut_off(handle)
                    return False
                time.sleep(0.2)
            return True

    def _cut_off(self, handle: Any) -> None:
        with contextlib.suppress(self._libvirt.libvirtError):
            handle.destroy()

    def remove_domain(self, name: str) -> None:
        """Cut a domain off and undefine it, with its firmware's variables and its TPM's state."""
        with self._told(f"removing the domain {name}"):
            handle = self._domain(name)
            if handle is None:
                return
            if handle.isActive():
                self._cut_off(handle)
            lv = self._libvirt
            flags = lv.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | lv.VIR_DOMAIN_UNDEFINE_NVRAM
            flags |= lv.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            flags |= lv.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            if self._is_test:
                flags = 0
            handle.undefineFlags(flags)

    # --- the host

    def probe_kvm(self) -> None:
        """See whether KVM runs a guest; a device file and libvirt's word are no proof of it.

        A machine without anything to boot from starts its firmware, which resets it at once if it
        runs at all; the machine is then gone by itself.

        :raises MachineError: when it does not within 20 s.
        """
        name = f"talosmake-probe-{uuid.uuid4().hex[:8]}"
        with self._told("trying KVM"):
            handle = self._connection.createXML(
                probe_xml(name, "kvm"), self._libvirt.VIR_DOMAIN_START_AUTODESTROY
            )
            try:
                end = time.monotonic() + _PROBE_TIMEOUT
                while time.monotonic() < end and not cancelled():
                    if self._domain(name) is None:
                        return
                    time.sleep(0.1)
            finally:
                self._cut_off(handle)
        raise MachineError(
            f"the host of {self.uri} has KVM, but a machine that was tried with it did not run "
            f"within {_PROBE_TIMEOUT:.0f} s",
            hint="Nested virtualisation may be broken there. Mend it, or set VM_ACCELERATOR=tcg in "
            "cluster.env, which is ten times slower.",
        )


def probe_xml(name: str, domain_type: str) -> str:
    """A machine that has nothing to boot from, and that ends when its firmware resets it."""
    return (
        f"<domain type='{domain_type}'><name>{name}</name><memory unit='MiB'>64</memory>"
        "<os><type arch='x86_64'>hvm</type><bios rebootTimeout='0'/></os>"
        "<on_reboot>destroy</on_reboot>"
        "<devices><video><model type='none'/></video>"
        "<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
    )


def _text(element: ElementTree.Element) -> str:
    """An element in one form, for comparing and for libvirt."""
    plain = ElementTree.fromstring(ElementTree.tostring(element))  # noqa: S314
    for part in plain.iter():
        part.text, part.tail = (part.text or "").strip(), None
    return ElementTree.canonicalize(ElementTree.tostring(plain, encoding="unicode"))
