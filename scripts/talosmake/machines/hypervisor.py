"""What is asked of a libvirt and the host behind it."""

from __future__ import annotations

import contextlib
import time
import uuid
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

from talosmake.base.errors import MachineError
from talosmake.base.wait import cancelled
from talosmake.inventory.machines import Domain, Vms
from talosmake.machines import libvirt_xml
from talosmake.machines.actual import Current
from talosmake.machines.handles import Handles
from talosmake.machines.networks import Networks
from talosmake.machines.pools import Pools
from talosmake.machines.reading import STATES, Reader

_PROBE_TIMEOUT = 20.0


class Hypervisor:
    """A libvirt and the host behind it: its machines, networks and pools.

    :param library: libvirt-python.
    """

    def __init__(self, uri: str, library: ModuleType, connection: Any) -> None:
        self.uri = uri
        self._handles = Handles(uri, library, connection)
        self.networks = Networks(self._handles)
        self.pools = Pools(self._handles)

    def current(self, vms: Vms, environment: str) -> Current:
        """What there is of an environment. It takes a few calls, and nothing is changed."""
        return Reader(self._handles).current(vms, environment)

    def state_of(self, domain: str) -> str:
        """A domain's state in virsh's words, or ``missing``."""
        with self._handles.doing(f"looking at the domain {domain}"):
            handle = self._handles.domain(domain)
            return STATES[handle.state()[0]] if handle else "missing"

    def define_domain(
        self, domain: Domain, pool_name: str, machine: str, *, autostart: bool
    ) -> None:
        """Define a domain, or redefine it: what runs changes at its next start."""
        with self._handles.doing(f"defining the domain {domain.name}"):
            pool = self._handles.connection.storagePoolLookupByName(pool_name)
            kind = ElementTree.fromstring(pool.XMLDesc(0)).get("type", "dir")  # noqa: S314
            xml = libvirt_xml.domain_xml(domain, kind, machine)
            flags = 0 if self._handles.is_test else self._handles.library.VIR_DOMAIN_DEFINE_VALIDATE
            handle = self._handles.connection.defineXMLFlags(xml, flags)
            handle.setAutostart(int(autostart))

    def set_autostart(self, name: str, autostart: bool) -> None:
        with self._handles.doing(f"setting autostart of the domain {name}"):
            self._handles.connection.lookupByName(name).setAutostart(int(autostart))

    def start_domain(self, name: str) -> None:
        with self._handles.doing(f"starting the domain {name}"):
            handle = self._handles.connection.lookupByName(name)
            if not handle.isActive():
                handle.create()

    def stop_domain(self, name: str, timeout: float) -> bool:
        """Shut a domain down; after the time-out (seconds) it is cut off.

        :returns: whether it shut down by itself.
        :raises MachineError: when the run is interrupted before; then it is not cut off.
        """
        with self._handles.doing(f"stopping the domain {name}"):
            handle = self._handles.domain(name)
            if handle is None or not handle.isActive():
                return True
            end = time.monotonic() + timeout
            with contextlib.suppress(self._handles.library.libvirtError):
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
        with contextlib.suppress(self._handles.library.libvirtError):
            handle.destroy()

    def remove_domain(self, name: str) -> None:
        """Cut a domain off and undefine it, with its firmware's variables and its TPM's state."""
        with self._handles.doing(f"removing the domain {name}"):
            handle = self._handles.domain(name)
            if handle is None:
                return
            if handle.isActive():
                self._cut_off(handle)
            lv = self._handles.library
            flags = lv.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | lv.VIR_DOMAIN_UNDEFINE_NVRAM
            flags |= lv.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            flags |= lv.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            if self._handles.is_test:
                flags = 0
            handle.undefineFlags(flags)

    def probe_kvm(self) -> None:
        """See whether KVM runs a guest; a device file and libvirt's word are no proof of it.

        A machine without anything to boot from starts its firmware, which resets it at once if it
        runs at all; the machine is then gone by itself.

        :raises MachineError: when it does not within 20 s.
        """
        name = f"talosmake-probe-{uuid.uuid4().hex[:8]}"
        with self._handles.doing("trying KVM"):
            handle = self._handles.connection.createXML(
                probe_xml(name, "kvm"), self._handles.library.VIR_DOMAIN_START_AUTODESTROY
            )
            try:
                end = time.monotonic() + _PROBE_TIMEOUT
                while time.monotonic() < end and not cancelled():
                    if self._handles.domain(name) is None:
                        return
                    time.sleep(0.1)
            finally:
                self._cut_off(handle)
        raise MachineError(
            f"the host of {self.uri} has KVM, but a machine that was tried with it did not run "
            f"within {_PROBE_TIMEOUT:.0f} s",
            hint="Nested virtualisation may be broken there. Fix it, or set VM_ACCELERATOR=tcg in "
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
