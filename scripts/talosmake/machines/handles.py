"""Libvirt's objects by their names, and its errors as ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

from talosmake.base.errors import MachineError

_T = TypeVar("_T")


class Handles:
    """The objects of one libvirt.

    :ivar library: libvirt-python.
    """

    def __init__(self, uri: str, library: ModuleType, connection: Any) -> None:
        self.uri = uri
        self.library = library
        self.connection = connection

    @contextlib.contextmanager
    def doing(self, what: str, hint: str = "") -> Iterator[None]:
        """Libvirt's errors as ours.

        :param hint: for errors that have none of their own.
        """
        try:
            yield
        except self.library.libvirtError as error:
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
            raise MachineError(f"{self.uri}: {what}: {text}", hint=hint) from None

    def maybe(self, look: Callable[[], _T], *missing: int) -> _T | None:
        """What a look-up finds, or None for one of libvirt's codes for "not there"."""
        try:
            return look()
        except self.library.libvirtError as error:
            if error.get_error_code() in missing:
                return None
            raise

    def network(self, name: str) -> Any:
        return self.maybe(
            lambda: self.connection.networkLookupByName(name), self.library.VIR_ERR_NO_NETWORK
        )

    def pool(self, name: str) -> Any:
        return self.maybe(
            lambda: self.connection.storagePoolLookupByName(name),
            self.library.VIR_ERR_NO_STORAGE_POOL,
        )

    def volume(self, pool: Any, name: str) -> Any:
        return self.maybe(
            lambda: pool.storageVolLookupByName(name), self.library.VIR_ERR_NO_STORAGE_VOL
        )

    def domain(self, name: str) -> Any:
        return self.maybe(
            lambda: self.connection.lookupByName(name), self.library.VIR_ERR_NO_DOMAIN
        )

    @property
    def is_test(self) -> bool:
        return str(self.connection.getType()) == "TEST"
