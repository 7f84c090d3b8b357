"""What there is of an environment, read from libvirt; nothing is changed."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from talosmake.inventory.machines import Network, NetworkMode, Pool, Storage, Vms
from talosmake.machines import libvirt_xml
from talosmake.machines.actual import ActualDomain, ActualNetwork, Current
from talosmake.machines.handles import Handles

# libvirt's virDomainState, in virsh's words.
STATES = (
    "no state",
    "running",
    "blocked",
    "paused",
    "in shutdown",
    "shut off",
    "crashed",
    "suspended",
)


class Reader:
    """Reads what a libvirt has."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles

    def current(self, vms: Vms, environment: str) -> Current:
        """What there is of an environment. It takes a few calls, and nothing is changed."""
        with self._handles.doing("reading its state"):
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

    def _domains(
        self, vms: Vms, environment: str
    ) -> tuple[dict[str, ActualDomain], dict[str, str]]:
        names = {vm.domain for vm in vms.machines}
        uuids = {vm.uuid: vm.domain for vm in vms.machines}
        found: dict[str, ActualDomain] = {}
        others: dict[str, str] = {}
        for handle in self._handles.connection.listAllDomains():
            name, identifier = handle.name(), handle.UUIDString()
            if identifier in uuids and uuids[identifier] != name:
                others[identifier] = name
            if name in names or name.startswith(f"{environment}-"):
                now = self._handles.maybe(lambda h=handle: self._domain_now(h), 42)  # type: ignore[misc]
                found |= {name: now} if now else {}
        return found, others

    def _domain_now(self, handle: Any) -> ActualDomain:
        flag = self._handles.library.VIR_DOMAIN_XML_INACTIVE if handle.isPersistent() else 0
        xml = handle.XMLDesc(flag)
        live = libvirt_xml.read_domain(handle.XMLDesc(0)) if handle.isActive() else None
        return ActualDomain(
            domain=libvirt_xml.read_domain(xml),
            live=live,
            state=STATES[handle.state()[0]],
            autostart=bool(handle.autostart()) if handle.isPersistent() else False,
            machine=libvirt_xml.read_machine(xml),
        )

    def _network_now(self, wanted: Network) -> ActualNetwork | None:
        handle = self._handles.network(wanted.name)
        if handle is None:
            return None
        network = libvirt_xml.read_network(handle.XMLDesc(0))
        return ActualNetwork(network, bool(handle.isActive()), bool(handle.autostart()))

    def _pool_now(self, storage: Storage) -> Pool | None:
        handle = self._handles.pool(storage.pool)
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
        if self._handles.is_test:
            return True
        root = ElementTree.fromstring(self._handles.connection.getCapabilities())  # noqa: S314
        return any(
            domain.get("type") == "kvm"
            for arch in root.iterfind("guest/arch[@name='x86_64']")
            for domain in arch.iterfind("domain")
        )

    def _has_bridge(self, network: Network) -> bool | None:
        if network.mode is not NetworkMode.BRIDGE:
            return None
        try:
            xml = self._handles.connection.interfaceLookupByName(network.bridge).XMLDesc(0)
        except self._handles.library.libvirtError as error:
            missing = error.get_error_code() == self._handles.library.VIR_ERR_NO_INTERFACE
            return False if missing else None
        kind = ElementTree.fromstring(xml).get("type")  # noqa: S314
        return kind == "bridge"

    def _available_mib(self) -> int:
        if self._handles.is_test:
            return 2**40
        stats = self._handles.connection.getMemoryStats(
            self._handles.library.VIR_NODE_MEMORY_STATS_ALL_CELLS
        )
        return sum(int(stats.get(name, 0)) for name in ("free", "buffers", "cached")) // 1024
