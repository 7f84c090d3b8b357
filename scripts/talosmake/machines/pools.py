"""Making and removing storage pools and volumes, and copying files into them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from talosmake.base.errors import MachineError
from talosmake.base.progress import say
from talosmake.base.wait import cancelled
from talosmake.inventory.machines import Storage, complete_mark
from talosmake.machines import libvirt_xml
from talosmake.machines.handles import Handles

_PIECE = 1024 * 1024
_SAY_EVERY = 5.0


class Pools:
    """The storage pools of one libvirt, with their volumes."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles

    def create(self, storage: Storage) -> None:
        """Define a directory pool, make its directory, and start it, now and with the host."""
        with self._handles.doing(f"making the storage pool {storage.pool} at {storage.path}"):
            handle = self._handles.connection.storagePoolDefineXML(libvirt_xml.pool_xml(storage))
            self._start(handle, storage)

    def start(self, storage: Storage) -> None:
        """Start a pool, now and with the host."""
        hint = "Is the file system mounted that it is in?"
        if storage.is_own:
            gone = f"virsh -c '{self._handles.uri}' pool-undefine {storage.pool}"
            hint += f"\nIf its disks are gone for good, have it made again:  {gone}"
        with self._handles.doing(f"starting the storage pool {storage.pool}", hint):
            self._start(self._handles.connection.storagePoolLookupByName(storage.pool), storage)

    def _start(self, handle: Any, storage: Storage) -> None:
        if handle.isActive():
            return
        # One that ran has autostart: when its directory is gone (a file system that is not
        # mounted), an empty one in its place would look like lost disks.
        if storage.is_own and not handle.autostart():
            with contextlib.suppress(self._handles.library.libvirtError):
                handle.build(0)
        handle.create()
        with contextlib.suppress(self._handles.library.libvirtError):
            handle.setAutostart(1)

    def remove(self, name: str) -> None:
        """Remove a pool of ours and its directory; libvirt leaves a directory that is not empty."""
        with self._handles.doing(f"removing the storage pool {name}"):
            handle = self._handles.pool(name)
            if handle is None:
                return
            if handle.isActive():
                handle.destroy()
            with contextlib.suppress(self._handles.library.libvirtError):
                handle.delete(0)
            handle.undefine()

    def create_volume(self, pool_name: str, name: str, capacity: int) -> None:
        """Make a volume, unless it is there.

        :param capacity: in bytes.
        """
        with self._handles.doing(f"making the volume {name}"):
            pool = self._handles.connection.storagePoolLookupByName(pool_name)
            self._create_volume(pool, name, capacity)

    def _create_volume(self, pool: Any, name: str, capacity: int, *, raw: bool = False) -> Any:
        kind = ElementTree.fromstring(pool.XMLDesc(0)).get("type", "dir")  # noqa: S314
        xml = libvirt_xml.volume_xml(name, capacity, kind, raw=raw)
        made = self._handles.maybe(
            lambda: pool.createXML(xml, 0), self._handles.library.VIR_ERR_STORAGE_VOL_EXIST
        )
        return made or pool.storageVolLookupByName(name)

    def grow_volume(self, pool_name: str, name: str, capacity: int, domain: str) -> None:
        """Make a volume larger; a running domain sees it at once.

        :param capacity: in bytes.
        """
        with self._handles.doing(f"growing the volume {name}"):
            pool = self._handles.connection.storagePoolLookupByName(pool_name)
            volume = pool.storageVolLookupByName(name)
            handle = self._handles.domain(domain)
            if handle is not None and handle.isActive():
                flag = self._handles.library.VIR_DOMAIN_BLOCK_RESIZE_BYTES
                handle.blockResize(volume.path(), capacity, flag)
            else:
                volume.resize(capacity, 0)

    def delete_volume(self, pool_name: str, name: str) -> None:
        """Delete a volume, if it is there and no running domain uses it.

        :raises MachineError: when one does; libvirt itself would not mind.
        """
        with self._handles.doing(f"deleting the volume {name}"):
            pool = self._handles.pool(pool_name)
            volume = self._handles.volume(pool, name) if pool else None
            if volume is None:
                return
            path = volume.path()
            for handle in self._handles.connection.listAllDomains():
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
        with self._handles.doing(f"copying {source} into the storage pool {pool_name}"):
            pool = self._handles.connection.storagePoolLookupByName(pool_name)
            half = self._handles.volume(pool, name)
            if half is not None:
                half.delete(0)
            size = source.stat().st_size
            volume = self._create_volume(pool, name, size, raw=True)
            self._send(volume, source, size)
            self._create_volume(pool, complete_mark(name), 1, raw=True)

    def _send(self, volume: Any, source: Path, size: int) -> None:
        stream = self._handles.connection.newStream(0)
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
                        say(f"{source.name}: {sent / size:.0%} copied to {self._handles.uri}")
            except BaseException:
                with contextlib.suppress(self._handles.library.libvirtError):
                    stream.abort()
                raise
        stream.finish()
