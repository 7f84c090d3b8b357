"""The disks of a virtual machine, and the names of their volumes."""

from __future__ import annotations

from collections.abc import Sequence

from talosmake.inventory.machines import Disk, Pool, Vm

# --- volumes' names -----------------------------------------------------------------------------

MOST_DISKS = 25


def system_volume(domain: str) -> str:
    """The name of a machine's system disk."""
    return f"{domain}-system"


def extra_volume(domain: str, number: int) -> str:
    """The name of a machine's extra disk; they count from 1."""
    return f"{domain}-data-{number}"


def disks(domain: str, system_gib: int, extra_gib: Sequence[int]) -> tuple[Disk, ...]:
    """A machine's disks, from their sizes in GiB."""
    extra = (
        Disk(extra_volume(domain, number), gib, f"data-{number}")
        for number, gib in enumerate(extra_gib, 1)
    )
    return (Disk(system_volume(domain), system_gib, "system"), *extra)


def volumes_of(vm: Vm, pool: Pool) -> list[str]:
    """All volumes of a machine that a pool has, with those that Git no longer wants."""
    made = {system_volume(vm.domain)}
    made |= {extra_volume(vm.domain, number) for number in range(1, MOST_DISKS)}
    return sorted(pool.volumes.keys() & made)
