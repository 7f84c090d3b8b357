"""What is to be done so that machines are what Git says: decided from what is wanted and what is
there, before anything is touched (pure).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from talosmake.base.errors import MachineError
from talosmake.inventory.disks import MOST_DISKS, extra_volume
from talosmake.inventory.machines import (
    GIB,
    Accelerator,
    Network,
    NetworkMode,
    Owner,
    Pool,
    Reservation,
    Vm,
    Vms,
    complete_mark,
    placed,
)
from talosmake.machines.actual import ActualDomain, Current
from talosmake.machines.changes import Action, Change, Effect, Plan
from talosmake.machines.differences import domain_differences, gib, network_differences, size, yes

# What Talos and its first container images take of a new disk that grows as it is filled.
_FIRST_FILL = 2 * GIB


def plan(vms: Vms, current: Current, confirmed: str = "", *, protected: bool = False) -> Plan:
    """Decide what to do.

    Where a pool is to be started, that comes first, and nothing is said of what it holds: plan
    again when it runs.

    :param confirmed: the node whose disks may be replaced or removed.
    :param protected: no data may go, whoever confirms it.
    """
    planner = _Planner(vms, current, confirmed, protected)
    changes = [*planner.network(), *planner.storage()]
    for vm in vms.machines:
        changes += planner.machine(vm)
    planner.check_host(changes)
    changes.sort(key=lambda change: change.action is not Action.START_POOL)
    return Plan(
        tuple(changes), planner.waiting, tuple(leftovers(vms, current)), tuple(planner.refused)
    )


def leftovers(vms: Vms, current: Current) -> list[str]:
    """The domains of this environment whose nodes are no longer in Git."""
    wanted = {vm.owner for vm in vms.machines}
    own = (vms.network.owner or Owner("", "")).environment, _cluster(vms)
    return sorted(
        name
        for name, now in current.domains.items()
        if (owner := now.domain.owner)
        and (owner.environment, owner.cluster) == own
        and owner not in wanted
    )


def _cluster(vms: Vms) -> str:
    return vms.network.owner.cluster if vms.network.owner else ""


@dataclass
class _Planner:
    vms: Vms
    current: Current
    confirmed: str
    protected: bool
    refused: list[MachineError] = field(default_factory=list)
    waiting: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def refuse(self, message: str, hint: str) -> None:
        env = self.owner.environment
        named = message.startswith((f"{env}/", f"{env}:"))
        self.refused.append(MachineError(message if named else f"{env}: {message}", hint=hint))

    @property
    def owner(self) -> Owner:
        owner = self.vms.network.owner
        assert owner is not None  # noqa: S101 - what is wanted is ours
        return owner

    @property
    def pool(self) -> Pool:
        """The pool as it is, or as it will be made."""
        storage = self.vms.storage
        new = Pool(storage.pool, storage.uuid, "dir", storage.path, False, 2**60, {})
        return self.current.pool or new

    @property
    def unseen(self) -> bool:
        """Whether the pool must be started before anyone knows what is in it."""
        return self.current.pool is not None and not self.current.pool.active

    # --- the network

    def network(self) -> Iterator[Change]:
        wanted, now = self.vms.network, self.current.network
        if now is None:
            details = _network_details(wanted)
            yield Change(Effect.CREATE, Action.CREATE_NETWORK, wanted.name, self.owner, details)
            return
        if now.network.owner != wanted.owner or now.network.uuid != wanted.uuid:
            self.refuse(*_not_ours("network", wanted.name, self.owner))
            return
        differs = network_differences(now.network, wanted)
        if differs:
            yield from self._replaced_network(differs)
            return
        if not now.active or not now.autostart:
            yield Change(Effect.START, Action.START_NETWORK, wanted.name, self.owner)

    def _replaced_network(self, differs: list[str]) -> Iterator[Change]:
        name = self.vms.network.name
        running = sorted(n for n, domain in self.current.domains.items() if domain.live)
        if running:
            self.refuse(
                f"network {name}: cannot be changed under running machines "
                f"({', '.join(running)}): {'; '.join(differs)}",
                f"Stop them first:  snakemake vms_stop --config env={self.owner.environment}",
            )
            return
        yield Change(Effect.REPLACE, Action.REPLACE_NETWORK, name, self.owner, tuple(differs))

    # --- the pool, and the images in it

    def storage(self) -> Iterator[Change]:
        storage, now = self.vms.storage, self.current.pool
        if now is None:
            if not storage.is_own:
                self.refuse(
                    f"there is no storage pool {storage.pool!r} at {self.vms.uri}",
                    "STORAGE_POOL in cluster.env names an existing one (virsh pool-list --all); "
                    "without it, one is made.",
                )
                return
            yield Change(
                Effect.CREATE, Action.CREATE_POOL, storage.pool, self.owner, (storage.path,)
            )
        elif not storage.is_meant(now.uuid):
            self.refuse(*_not_ours("storage pool", storage.pool, self.owner))
            return
        elif storage.is_own and now.path != storage.path:
            self.refuse(
                f"storage pool {storage.pool}: is at {now.path}, but STORAGE_PATH says "
                f"{storage.path}; volumes are not moved",
                "Set STORAGE_PATH back, or move the pool by hand.",
            )
        elif not now.active:
            details = ("what it holds is planned when it runs",)
            yield Change(Effect.START, Action.START_POOL, storage.pool, self.owner, details)
        if not self.unseen:
            yield from self._images()

    def _images(self) -> Iterator[Change]:
        for image in self.vms.boot.images:
            volume, there = image.volume, self.pool.volumes
            if volume not in there or complete_mark(volume) not in there:
                source = (image.source,)
                yield Change(Effect.CREATE, Action.UPLOAD_IMAGE, volume, self.owner, source)

    # --- machines

    def machine(self, vm: Vm) -> Iterator[Change]:
        now = self.current.domains.get(vm.domain)
        other = self.current.others.get(vm.uuid)
        if other or (now and (now.domain.owner != vm.owner or now.domain.uuid != vm.uuid)):
            self.refuse(*_not_ours("domain", other or vm.domain, vm.owner))
            return
        wanted = placed(vm, self.vms, self.pool.path)
        yield from self._reservation(vm)
        if not self.unseen:
            yield from self._volumes(vm, now)
        if now is None:
            details = (*size(vm), f"MAC {vm.mac}")
            yield Change(Effect.CREATE, Action.DEFINE_DOMAIN, vm.domain, vm.owner, details)
            yield Change(Effect.START, Action.START_DOMAIN, vm.domain, vm.owner)
            return
        differs = tuple(domain_differences(now.domain, wanted))
        if differs:
            effect = Effect.UPDATE_AT_NEXT_START if now.live else Effect.UPDATE
            yield Change(effect, Action.DEFINE_DOMAIN, vm.domain, vm.owner, differs)
        elif now.autostart != vm.autostart:
            details = (f"autostart {yes(now.autostart)} -> {yes(vm.autostart)}",)
            yield Change(Effect.UPDATE_LIVE, Action.SET_AUTOSTART, vm.domain, vm.owner, details)
        if now.live is None:
            yield Change(Effect.START, Action.START_DOMAIN, vm.domain, vm.owner)
        elif pending := tuple(domain_differences(now.live, wanted)):
            self.waiting[vm.domain] = pending

    def _reservation(self, vm: Vm) -> Iterator[Change]:
        """A network that is there takes a machine's reservation while it runs."""
        wanted, now = self.vms.network.subnet, self.current.network
        if now is None or wanted is None or network_differences(now.network, self.vms.network):
            return
        mine = next(r for r in wanted.reservations if r.mac == vm.mac)
        there = now.network.subnet.reservations if now.network.subnet else ()
        if mine not in there:
            old = [r for r in there if r.address == mine.address or r.mac == mine.mac]
            details = (*(f"- {_reserved(r)}" for r in old), f"+ {_reserved(mine)}")
            name = self.vms.network.name
            yield Change(Effect.UPDATE_LIVE, Action.UPDATE_RESERVATIONS, name, vm.owner, details)

    def _volumes(self, vm: Vm, now: ActualDomain | None) -> Iterator[Change]:
        for disk in vm.disks:
            capacity, wanted = self.pool.volumes.get(disk.volume), disk.gib * GIB
            size = f"{disk.gib} GiB"
            if capacity is None:
                yield Change(Effect.CREATE, Action.CREATE_VOLUME, disk.volume, vm.owner, (size,))
            elif capacity < wanted:
                details = (f"{gib(capacity)} -> {size}",)
                effect = Effect.UPDATE_LIVE if now and now.live else Effect.UPDATE
                yield Change(effect, Action.GROW_VOLUME, disk.volume, vm.owner, details)
            elif capacity > wanted and not _same_extents(self.pool, capacity, wanted):
                what = f"disk {disk.volume} would shrink from {gib(capacity)} to {size}"
                if self._data_may_go(vm, now, what):
                    details = (f"{gib(capacity)} -> {size}, its data is lost",)
                    yield Change(
                        Effect.REPLACE, Action.REPLACE_VOLUME, disk.volume, vm.owner, details
                    )
        for volume in self._dropped(vm, now):
            if self._data_may_go(vm, now, f"disk {volume} is no longer in VM_DISKS"):
                details = ("its data is lost",)
                yield Change(Effect.DELETE, Action.DELETE_VOLUME, volume, vm.owner, details)

    def _dropped(self, vm: Vm, now: ActualDomain | None) -> list[str]:
        """Volumes that we made for a machine and that are no longer wanted.

        Looked for in the pool and not in the domain, so that an interrupted run loses none.
        """
        wanted = {disk.volume for disk in vm.disks}
        made = {extra_volume(vm.domain, number) for number in range(1, MOST_DISKS)}
        return sorted((self.pool.volumes.keys() & made) - wanted)

    def _data_may_go(self, vm: Vm, now: ActualDomain | None, what: str) -> bool:
        """Whether a disk of a machine may be thrown away; if not, refuse."""
        node, env = vm.owner.node, vm.owner.environment
        if self.protected:
            self.refuse(
                f"{env}/{node}: {what}, which loses its data, and {env} is protected",
                "Set its size back in Git; or change the line to PROTECTED=false in cluster.env "
                "and commit it first.",
            )
        elif self.confirmed != node:
            self.refuse(
                f"{env}/{node}: {what}, which loses its data",
                "Disks only grow. Set its size back in Git; or, if the data may go:\n"
                f"  snakemake vms_stop --config env={env} node={node}\n"
                f"  snakemake vms --config env={env} confirm={node}",
            )
        elif now and now.live:
            self.refuse(
                f"{env}/{node}: {what}, but the machine runs",
                f"Stop it first:  snakemake vms_stop --config env={env} node={node}",
            )
        else:
            return True
        return False

    # --- what the host must have

    def check_host(self, changes: Sequence[Change]) -> None:
        started = {c.name for c in changes if c.action is Action.START_DOMAIN}
        starting = [vm for vm in self.vms.machines if vm.domain in started]
        self._check_kvm(starting)
        self._check_memory(starting)
        self._check_bridge()
        self._check_space(changes)

    def _check_kvm(self, starting: Sequence[Vm]) -> None:
        wanting = [vm.owner.node for vm in starting if vm.accelerator is Accelerator.KVM]
        if wanting and not self.current.has_kvm:
            self.refuse(
                f"the host of {self.vms.uri} has no KVM, but {', '.join(wanting)} want it",
                "Switch on virtualisation in its firmware (or nested virtualisation where it is a "
                "VM itself) and load the module kvm_intel or kvm_amd; or set VM_ACCELERATOR=tcg "
                "in cluster.env, which is ten times slower.",
            )

    def _check_memory(self, starting: Sequence[Vm]) -> None:
        needed, there = sum(vm.memory_mib for vm in starting), self.current.available_mib
        if needed > there:
            names = ", ".join(vm.owner.node for vm in starting)
            self.refuse(
                f"the host of {self.vms.uri} has {there} MiB of memory left, and {names} "
                f"together want {needed} MiB",
                "Lower VM_MEMORY_MIB in cluster.env or node.env, or stop other machines.",
            )

    def _check_bridge(self) -> None:
        if self.current.has_bridge is False:
            self.refuse(
                f"the host of {self.vms.uri} has no bridge {self.vms.network.bridge!r}",
                "NETWORK_BRIDGE in cluster.env must name a bridge that is there (ip link show "
                "type bridge); docs/vms.md tells how to make one.",
            )

    def _check_space(self, changes: Sequence[Change]) -> None:
        made = {
            c.name for c in changes if c.action in (Action.CREATE_VOLUME, Action.REPLACE_VOLUME)
        }
        sizes = [d.gib * GIB for vm in self.vms.machines for d in vm.disks if d.volume in made]
        if self.pool.has_files:
            sizes = [min(size, _FIRST_FILL) for size in sizes]
        needed = sum(sizes)
        if needed > self.pool.available:
            self.refuse(
                f"storage pool {self.pool.name} is full: it has {gib(self.pool.available)} left, "
                f"and new disks need {gib(needed)}"
                + (" to begin with" if self.pool.has_files else ""),
                "Make room in it, or name another one: STORAGE_POOL or STORAGE_PATH in "
                "cluster.env.",
            )


def _same_extents(pool: Pool, capacity: int, wanted: int) -> bool:
    """Volume managers round up to whole extents."""
    return not pool.has_files and capacity - wanted < GIB


def _reserved(reservation: Reservation) -> str:
    return f"{reservation.mac} {reservation.address} {reservation.hostname}"


def _network_details(network: Network) -> tuple[str, ...]:
    if network.mode is NetworkMode.BRIDGE or network.subnet is None:
        return (f"on the bridge {network.bridge}",)
    count = len(network.subnet.reservations)
    return str(network.mode), str(network.subnet.gateway), f"{count} reservations"


def _not_ours(what: str, name: str, owner: Owner) -> tuple[str, str]:
    where = f"{owner.environment}/{owner.node}" if owner.node else owner.environment
    return (
        f"{where}: there is a {what} {name} that was not made for it (no metadata of "
        f"{owner.environment} and {owner.cluster} in it); it is not touched",
        "Rename or remove it by hand, or give the environment another name.",
    )
