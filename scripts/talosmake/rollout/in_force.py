"""What a node has been given and does not act on yet: until a reboot, or an upgrade (pure).

Up to Talos 1.13 a node itself says that it has to reboot for most of machine, and refuses such a
change or reboots; what else it takes at once (machined v1.13.8, v1alpha1_runtime.go:
CanApplyImmediate). From 1.14 on no apply reboots (machined v1.14.1, v1alpha1_server.go: AUTO is
NO_REBOOT, REBOOT is not implemented). In both, some of what counts as applied is read at the start
of a service, when a volume is opened, or when Talos writes itself to a disk (Talos docs, Edit
Machine Configuration: Changes which might need a reboot).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from talosmake.base.tools import numbers
from talosmake.base.yamls import lookup
from talosmake.patches import layout
from talosmake.patches.layout import Place

# Talos by the first two numbers of its version; none for every one.
Minor = tuple[int, ...]
# From this one on, nothing that is applied reboots a node.
NO_REBOOTS: Minor = (1, 14)


class Until(StrEnum):
    """What a node needs so that it acts on a change."""

    REBOOT = "a reboot"
    INSTALL = "an upgrade, which writes Talos to the disk again"


@dataclass(frozen=True)
class Pending:
    """A change that a node has, and does not act on.

    :ivar label: where it stands, as messages name it.
    :ivar until: what it waits for.
    """

    label: str
    until: Until


def _any(old: Any, new: Any) -> bool:
    return bool(old != new)


def _of_etcd(old: Any, new: Any) -> bool:
    """Its certificates are made again while it runs; the rest is read when it starts."""
    return _without(old, "ca") != _without(new, "ca")


def _without(value: Any, key: str) -> dict[str, Any]:
    return {name: item for name, item in (value or {}).items() if name != key}


def _of_modules(old: Any, new: Any) -> bool:
    """New ones are loaded; none is unloaded, and none gets other parameters while it is loaded."""
    before, after = _modules(old), _modules(new)
    return any(after.get(name) != parameters for name, parameters in before.items())


def _modules(value: Any) -> dict[str, Any]:
    """The parameters of kernel modules, by their names."""
    entries = value if isinstance(value, list) else [value]
    return {
        str(lookup(entry, "name")): lookup(entry, "parameters") or [] for entry in entries if entry
    }


def _of_volume(old: Any, new: Any) -> bool:
    """A volume that there was not is made as it is wanted."""
    return old is not None and lookup(old, "encryption") != lookup(new, "encryption")


def _of_registries(old: Any, new: Any) -> bool:
    return _logins(old) != _logins(new)


def _logins(value: Any) -> dict[str, Any]:
    entries = lookup(value, "config") or {}
    found = {name: lookup(entry, "auth") for name, entry in entries.items()}
    return {name: login for name, login in found.items() if login}


@dataclass(frozen=True)
class _Row:
    """A place in a machine config whose changes wait.

    :ivar first: the first Talos that takes such a change without a reboot.
    :ivar before: the first Talos that acts on it at once; none so far.
    :ivar waits: whether one value in place of another waits.
    """

    place: Place
    until: Until = Until.REBOOT
    first: Minor = ()
    before: Minor = ()
    waits: Callable[[Any, Any], bool] = _any

    def holds(self, talos: Minor) -> bool:
        """Whether it counts for a version; for one that nobody knows, each row does."""
        return not talos or (talos >= self.first and not (self.before and talos >= self.before))


_ROWS = (
    _Row(Place("", ("cluster", "etcd")), waits=_of_etcd),
    # Services that run keep the variables that they were started with. Up to 1.13 a change of
    # machine.env is refused without a reboot.
    _Row(layout.ENVIRONMENT_VARIABLES.places[0], first=NO_REBOOTS),
    _Row(layout.ENVIRONMENT_VARIABLES.places[1]),
    *(_Row(place, waits=_of_modules) for place in layout.KERNEL_MODULES.places),
    _Row(Place("", ("machine", "systemDiskEncryption")), first=NO_REBOOTS),
    *(_Row(Place(f"{kind}VolumeConfig"), waits=_of_volume) for kind in ("", "User", "Raw", "Swap")),
    _Row(Place("SecurityProfileConfig")),
    # containerd reads them when it starts; from 1.14 on Talos starts it again.
    _Row(Place("", ("machine", "registries")), before=NO_REBOOTS, waits=_of_registries),
    _Row(Place("RegistryAuthConfig"), before=NO_REBOOTS),
    *(_Row(place, until=Until.INSTALL) for place in layout.INSTALL.places),
)


def may_reboot(talos: str) -> bool:
    """Whether a node may reboot because a config is applied to it.

    :param talos: the version that it runs, e.g. ``v1.13.0``.
    """
    return numbers(talos)[:2] < NO_REBOOTS


def pending(before: Iterable[Any], after: Iterable[Any], talos: str = "") -> list[Pending]:
    """What of a change waits once it is applied without a reboot.

    :param before: the documents of the config that the node started with.
    :param after: those of the config that it has by now.
    :param talos: the version that it runs, e.g. ``v1.14.1``; "" for what waits in any.
    :returns: in the order of the table; none where all is in force.
    """
    old, new = _by_identity(before), _by_identity(after)
    running = numbers(talos)[:2]
    return [
        Pending(_label(row.place, name), row.until)
        for row in _ROWS
        if row.holds(running)
        for kind, name in dict.fromkeys((*old, *new))
        if kind == row.place.kind
        and row.waits(*(lookup(side.get((kind, name)), *row.place.keys) for side in (old, new)))
    ]


def _by_identity(documents: Iterable[Any]) -> Mapping[tuple[str, str], Any]:
    return {(layout.kind_of(one), str(lookup(one, "name") or "")): one for one in documents}


def _label(place: Place, name: str) -> str:
    kind = " ".join(part for part in (place.kind, name) if part)
    return Place(kind, place.keys).label
