"""An environment's virtual machines, read and planned once a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from talosmake.base import marker
from talosmake.base.errors import MachineError
from talosmake.base.progress import warn
from talosmake.base.this_run import Memo
from talosmake.inventory import protection
from talosmake.inventory.machines import Accelerator, Owner, Pool, Vms
from talosmake.inventory.model import Environment, Node
from talosmake.machines import connect, images
from talosmake.machines.actual import Current
from talosmake.machines.changes import Action, Change, Plan
from talosmake.machines.hypervisor import Hypervisor
from talosmake.machines.plan import plan

AT_ONCE = 16


@dataclass(frozen=True)
class Session:
    """An environment's machines, wanted and there, and what is due; read once a run."""

    environment: Environment
    vms: Vms
    libvirt: Hypervisor
    current: Current
    plan: Plan

    @property
    def pool(self) -> Pool:
        storage = self.vms.storage
        new = Pool(storage.pool, storage.uuid, "dir", storage.path, True, 2**60, {})
        return self.current.pool or new

    def check(self) -> None:
        """Stop at the first thing that cannot or must not be done."""
        for error in self.plan.refused:
            raise error


sessions: Memo[tuple[str, str], Session] = Memo("what is wanted and what there is")
_revisions: Memo[Path, int] = Memo("the number of a job, by its marker")
_connections: Memo[str, Hypervisor] = Memo("the connection to a libvirt")
_locks: Memo[str, threading.RLock] = Memo("the lock of all that asks libvirt")


def lock() -> threading.RLock:
    """To be held by the one thread that reads or prepares machines."""
    return _locks.of("", threading.RLock)


def connection(uri: str) -> Hypervisor:
    """The connection to a libvirt; one a process."""
    return _connections.of(uri, lambda: connect.connect(uri))


def wanted_machines(environment: Environment) -> Vms:
    """The virtual machines that Git wants.

    :raises MachineError: for bare metal.
    """
    if environment.vms is None:
        raise MachineError(
            f"{environment.name}: is bare metal: {environment.env_file} has no LIBVIRT_URI"
        )
    return environment.vms


def session_of(environment: Environment, confirm: str = "") -> Session:
    """What is wanted and what there is; libvirt is asked the first time."""

    def first() -> Session:
        session = read(environment, confirm)
        _warn(session)
        return session

    with lock():
        return sessions.of((environment.name, confirm), first)


def read(environment: Environment, confirm: str) -> Session:
    """What is wanted and what there is, read from libvirt again."""
    vms = wanted_machines(environment)
    boot = images.identified(vms.boot, environment.env_file)
    vms = replace(vms, boot=boot)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    decided = plan(vms, current, confirm, protected=bool(protection.of(environment)))
    return Session(environment, vms, libvirt, current, decided)


def _warn(session: Session) -> None:
    """Say what is as it should not stay."""
    name = session.environment.name
    for domain, details in session.plan.waiting.items():
        node = session.current.domains[domain].domain.owner
        warn(
            f"{name}: {domain} runs with old settings until its next start: {'; '.join(details)}\n"
            f"  -> snakemake vms_stop --config env={name} node={node.node if node else domain}, "
            "then snakemake vms"
        )
    for domain in session.plan.leftovers:
        owner = session.current.domains[domain].domain.owner
        warn(
            f"{name}: the node of the domain {domain} is no longer in Git; it is not touched\n"
            f"  -> snakemake vms_destroy --config env={name} confirm={_short(owner, session)}"
        )
    starting = {c.name for c in session.plan.changes if c.action is Action.START_DOMAIN}
    slow = [
        vm.owner.node
        for vm in session.vms.machines
        if vm.accelerator is Accelerator.TCG and vm.domain in starting
    ]
    if slow:
        warn(
            f"{name}: {', '.join(slow)}: without KVM, in software (VM_ACCELERATOR=tcg); expect "
            "minutes instead of seconds"
        )


# --- what the rules ask while the DAG is built --------------------------------------------------


def network_revision(environment: Environment, confirm: str) -> int:
    """Changes when the network is not as Git says; 0 when it was never made."""
    return _revision(environment, environment.paths.network, confirm, lambda p: p.network)


def storage_revision(environment: Environment, confirm: str) -> int:
    """Changes when the pool or an image in it is not as Git says; 0 when they were never made."""
    return _revision(environment, environment.paths.storage, confirm, lambda p: p.storage)


def machine_revision(environment: Environment, node: Node, confirm: str) -> int:
    """Changes when a machine is not as Git says; 0 when it was never made."""
    vm = wanted_machines(environment).machine(node.role, node.name)
    return _revision(environment, environment.paths.vm(node), confirm, lambda p: p.machine(vm))


def _revision(
    environment: Environment, path: Path, confirm: str, due: Callable[[Plan], tuple[Change, ...]]
) -> int:
    """A number to be kept as a parameter of the job that writes a marker.

    The marker says which number it was made with. As long as libvirt shows what Git says, that
    number stays; if not, it is the next one, and Snakemake runs the job again. Where there is no
    marker the job runs anyway, and libvirt need not be asked.

    Snakemake asks again while it runs the job, when the marker is gone; the answer stays the same.
    """
    return _revisions.of(path, lambda: _next_revision(environment, path, confirm, due))


def _next_revision(
    environment: Environment, path: Path, confirm: str, due: Callable[[Plan], tuple[Change, ...]]
) -> int:
    if not path.exists():
        return 0
    session = session_of(environment, confirm)
    session.check()
    before = marker.revision(path)
    return before + 1 if due(session.plan) else before


def own(environment: Environment, current: Current) -> dict[str, Owner]:
    """The domains of an environment, with those whose nodes are no longer in Git."""
    return {
        name: now.domain.owner
        for name, now in sorted(current.domains.items())
        if now.domain.owner
        and now.domain.owner.environment == environment.name
        and now.domain.owner.cluster == environment.cluster.name
    }


def names_of(owner: Owner) -> tuple[str, str]:
    """The name of a node, and the one with its role."""
    return owner.node, f"{owner.role}-{owner.node}"


def _short(owner: Owner | None, session: Session) -> str:
    """The shortest name that means a node's machine, among those in Git and those that are left."""
    if owner is None:
        return ""
    others = [*own(session.environment, session.current).values()]
    others += [vm.owner for vm in session.vms.machines]
    same = {names_of(other) for other in others if other.node == owner.node}
    return names_of(owner)[len(same) > 1 or owner.node == owner.environment]
