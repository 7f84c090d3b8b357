"""Making, changing and removing virtual networks."""

from __future__ import annotations

import threading
from typing import Any
from xml.etree import ElementTree

from talosmake.inventory.machines import Network
from talosmake.machines import libvirt_xml
from talosmake.machines.handles import Handles


class Networks:
    """The virtual networks of one libvirt."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._updating = threading.Lock()

    def create(self, network: Network) -> None:
        """Define a network, start it, and have it started with the host."""
        with self._handles.doing(f"making the network {network.name}"):
            handle = self._handles.connection.networkDefineXML(libvirt_xml.network_xml(network))
            self._start(handle)

    def start(self, name: str) -> None:
        with self._handles.doing(f"starting the network {name}"):
            self._start(self._handles.connection.networkLookupByName(name))

    def _start(self, handle: Any) -> None:
        handle.setAutostart(1)
        if not handle.isActive():
            handle.create()

    def remove(self, name: str) -> None:
        """Stop and undefine a network, if it is there."""
        with self._handles.doing(f"removing the network {name}"):
            handle = self._handles.network(name)
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
        with (
            self._updating,
            self._handles.doing(f"changing reservations of the network {wanted.name}"),
        ):
            handle = self._handles.network(wanted.name)
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
            lv = self._handles.library
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
        lv = self._handles.library
        flags = lv.VIR_NETWORK_UPDATE_AFFECT_CONFIG
        flags |= lv.VIR_NETWORK_UPDATE_AFFECT_LIVE if handle.isActive() else 0
        old, new = ({_text(host): host for host in hosts} for hosts in (now, wanted))
        for text in old.keys() - new.keys():
            handle.update(lv.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, text, flags)
        for text in new.keys() - old.keys():
            handle.update(lv.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, text, flags)


def _text(element: ElementTree.Element) -> str:
    """An element in one form, for comparing and for libvirt."""
    plain = ElementTree.fromstring(ElementTree.tostring(element))  # noqa: S314
    for part in plain.iter():
        part.text, part.tail = (part.text or "").strip(), None
    return ElementTree.canonicalize(ElementTree.tostring(plain, encoding="unicode"))
