"""What differs between the machines and networks in Git and in libvirt (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from talosmake.inventory.machines import GIB, Domain, Network, Vm

# --- what differs, in words ---------------------------------------------------------------------


def network_differences(now: Network, wanted: Network) -> list[str]:
    """What makes two networks differ that cannot be changed while it runs."""
    pairs: dict[str, tuple[object, object]] = {
        "mode": (now.mode, wanted.mode),
        "bridge": (now.bridge or "-", wanted.bridge or "-"),
    }
    for name in ("gateway", "domain", "dhcp_range"):
        pairs[name.replace("_", " ")] = (_part(now, name), _part(wanted, name))
    return [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]


def _part(network: Network, name: str) -> str:
    value = getattr(network.subnet, name, None)
    if isinstance(value, tuple):
        return "-".join(str(part) for part in value)
    return str(value) if value else "-"


_UNITS = {"memory_mib": ("memory", " MiB"), "cpus": ("CPUs", "")}


def domain_differences(now: Domain, wanted: Domain) -> Iterator[str]:
    """What makes two domains differ."""
    for item in fields(Domain):
        old, new = getattr(now, item.name), getattr(wanted, item.name)
        if old != new:
            name, unit = _UNITS.get(item.name, (item.name.replace("_", " "), ""))
            yield f"{name} {_shown(old)}{unit} -> {_shown(new)}{unit}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return yes(value)
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value) or "-"
    return str(getattr(value, "mac", None) or getattr(value, "path", None) or value) or "-"


def yes(value: bool) -> str:
    """As a person reads it."""
    return "yes" if value else "no"


def size(vm: Vm) -> tuple[str, ...]:
    """What a machine has, as a person reads it."""
    cpus = f"{vm.cpus} CPU{'s' * (vm.cpus != 1)}"
    return cpus, f"{vm.memory_mib} MiB", str(vm.accelerator), str(vm.firmware)


def gib(size: int) -> str:
    """Bytes as GiB."""
    return f"{size / GIB:.4g} GiB"
