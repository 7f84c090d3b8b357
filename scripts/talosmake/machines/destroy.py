"""Stopping and destroying virtual machines."""

from __future__ import annotations

from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from talosmake.base.errors import MachineError
from talosmake.base.progress import say
from talosmake.inventory import protection
from talosmake.inventory.disks import volumes_of
from talosmake.inventory.machines import Owner, Pool, Vms, complete_mark
from talosmake.inventory.model import Environment
from talosmake.inventory.named import ambiguous
from talosmake.machines.actual import ActualNetwork, Current
from talosmake.machines.hypervisor import Hypervisor
from talosmake.machines.make import is_bare_metal
from talosmake.machines.session import AT_ONCE, connection, names_of, own, wanted_machines


def stop(environment: Environment, node: str | None) -> None:
    """The target ``vms_stop``: shut down all machines, or those of one node.

    :raises MachineError: when there is no such node.
    """
    if is_bare_metal(environment):
        return
    vms = wanted_machines(environment)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    chosen = own(environment, current)
    if node is not None:
        chosen = _of_node(chosen, node, f"node={node}")
        if not chosen:
            raise MachineError(
                f"{environment.name}: there is no machine of a node {node!r}",
                hint=f"There are: {_names(own(environment, current))}",
            )
    running = [name for name in chosen if current.domains[name].live]

    def stopped(name: str) -> str:
        by_itself = libvirt.stop_domain(name, vms.stop_timeout)
        return "shut down" if by_itself else f"cut off after {vms.stop_timeout:.0f} s"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, how in zip(running, pool.map(stopped, running), strict=True):
            say(f"{environment.name}: {name}: {how}")
    if not running:
        say(f"{environment.name}: no machine runs")


def _names(owners: dict[str, Owner]) -> str:
    return ", ".join(sorted({owner.node for owner in owners.values()})) or "none"


def _of_node(owners: Mapping[str, Owner], name: str, choice: str) -> dict[str, Owner]:
    """The domain of the node that a name means; none where no node has it.

    :param choice: what was given, for the error.
    :raises ConfigError: when more than one node, in Git or removed from it, has that name.
    """
    found = {domain: owner for domain, owner in owners.items() if name in names_of(owner)}
    if len(found) > 1:
        raise ambiguous(choice, _called(found))
    return found


def _called(owners: Mapping[str, Owner]) -> list[str]:
    return [names_of(owner)[1] for owner in owners.values()]


def destroy(environment: Environment, confirm: str, *, disks: bool) -> None:
    """The target ``vms_destroy``: remove the machines of an environment, or of one node.

    :param confirm: the environment's name, or a node's.
    :param disks: remove their disks, too.
    :raises MachineError: without ``confirm``, and for a protected environment.
    """
    if is_bare_metal(environment):
        return
    vms = wanted_machines(environment)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    owners = own(environment, current)
    whole = confirm == environment.name
    chosen = _of_node(owners, confirm, f"confirm={confirm}")
    if whole and chosen:
        # Left over from when a node could have the environment's name.
        raise ambiguous(f"confirm={confirm} (all of {confirm}, or a node)", _called(chosen))
    chosen = owners if whole else chosen
    _check_destroy(environment, confirm, owners, allowed=whole or bool(chosen))
    pool = _pool_with_disks(environment, libvirt, current) if disks else None
    for name in chosen:
        libvirt.remove_domain(name)
        say(
            f"{environment.name}: {name}: destroyed"
            + ("" if disks else f"; its disks stay in the storage pool {vms.storage.pool}")
        )
    foreign = current.domains.keys() - owners.keys()
    named = {vm.domain for vm in vms.machines} if whole else set()
    if pool:
        for name in sorted(named & foreign):
            say(f"{environment.name}: {name}: was not made for it; its disks are left alone")
        _delete_volumes(libvirt, vms, pool, (set(chosen) | named) - foreign)
    _forget(environment, set(chosen.values()), whole=whole, disks=disks)
    if not whole:
        libvirt.networks.update_reservations(vms.network)
    if whole:
        _remove_network(environment, libvirt, current.network)
        if pool and vms.storage.is_own:
            _remove_pool(environment, libvirt, pool, foreign)


def _check_destroy(
    environment: Environment, confirm: str, owners: dict[str, Owner], *, allowed: bool
) -> None:
    name = environment.name
    said = protection.of(environment)
    if said:
        raise MachineError(
            f"{name}: is protected ({said}); nothing is destroyed",
            hint="Remove that line first, and commit it, if its machines are really to go.",
        )
    if not allowed:
        given = (
            f"confirm={confirm}: no node of {name} has such a machine"
            if confirm
            else (f"vms_destroy would destroy the machines of: {_names(owners)}")
        )
        raise MachineError(
            f"{name}: {given}",
            hint=f"All of them:  snakemake vms_destroy --config env={name} confirm={name}\n"
            f"One:  snakemake vms_destroy --config env={name} confirm=NODE  "
            f"(there are: {_names(owners)})\n"
            "Their disks stay unless disks=yes is said, too.",
        )


def _pool_with_disks(
    environment: Environment, libvirt: Hypervisor, current: Current
) -> Pool | None:
    """The pool that disks are to be deleted from, started so that one sees them."""
    vms, pool = wanted_machines(environment), current.pool
    if pool is None or not vms.storage.is_meant(pool.uuid):
        return None
    if not pool.active:
        libvirt.pools.start(vms.storage)
        say(f"{environment.name}: storage pool {pool.name}: started")
        pool = libvirt.current(vms, environment.name).pool
    return pool


def _disks(vms: Vms, pool: Pool, domains: Set[str]) -> list[str]:
    """The volumes of domains, also of such that are no longer there."""
    machines = (replace(vms.machines[0], domain=domain) for domain in sorted(domains))
    return [volume for machine in machines for volume in volumes_of(machine, pool)]


def _delete_volumes(libvirt: Hypervisor, vms: Vms, pool: Pool, domains: set[str]) -> None:
    for volume in _disks(vms, pool, domains):
        libvirt.pools.delete_volume(pool.name, volume)
        say(f"{vms.machines[0].owner.environment}: {volume}: deleted")


def _forget(environment: Environment, owners: set[Owner], *, whole: bool, disks: bool) -> None:
    """Drop the markers of what is gone."""
    paths = environment.paths
    gone = {(owner.role, owner.node) for owner in owners}
    nodes = [n for n in environment.nodes if whole or (str(n.role), n.name) in gone]
    for node in nodes:
        paths.vm(node).unlink(missing_ok=True)
        if disks:
            paths.applied(node).unlink(missing_ok=True)
            paths.machine_of(node).unlink(missing_ok=True)
            paths.waits(node).unlink(missing_ok=True)
            paths.reboot(node).unlink(missing_ok=True)
    if disks and not any(paths.applied(node).exists() for node in environment.control_planes):
        paths.bootstrapped.unlink(missing_ok=True)
        paths.kubeconfig.unlink(missing_ok=True)


def _remove_network(
    environment: Environment, libvirt: Hypervisor, network: ActualNetwork | None
) -> None:
    """Remove the network when it is ours."""
    wanted = wanted_machines(environment).network
    if network and network.network.owner == wanted.owner:
        libvirt.networks.remove(wanted.name)
        say(f"{environment.name}: network {wanted.name}: removed")
    environment.paths.network.unlink(missing_ok=True)


def _remove_pool(
    environment: Environment, libvirt: Hypervisor, pool: Pool, foreign: Set[str]
) -> None:
    """Remove our pool and the images in it, unless domains that are not ours have disks there."""
    said = f"{environment.name}: storage pool {pool.name}"
    if kept := _disks(wanted_machines(environment), pool, foreign):
        say(f"{said}: kept, as it has {', '.join(kept)}")
        return
    for volume in filter(_is_image, pool.volumes):
        libvirt.pools.delete_volume(pool.name, volume)
    libvirt.pools.remove(pool.name)
    say(f"{said}: removed")
    environment.paths.storage.unlink(missing_ok=True)


def _is_image(volume: str) -> bool:
    return volume.startswith("talos-") and volume.removesuffix(complete_mark("")).endswith(
        (".iso", ".kernel", ".initramfs")
    )
