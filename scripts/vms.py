"""Making virtual machines what Git says: reads libvirt once a run, plans, and does what is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from scripts import hypervisor, images, marker, protection
from scripts.errors import MachineError
from scripts.hypervisor import Hypervisor
from scripts.model import Environment, Node
from scripts.named import ambiguous
from scripts.progress import say, warn
from scripts.vm_model import GIB, Accelerator, Owner, Pool, Vm, Vms, complete_mark, placed
from scripts.vm_plan import (
    Change,
    Current,
    NetworkNow,
    Plan,
    Step,
    plan,
    show,
    system_volume,
    volumes_of,
)
from scripts.vm_xml import MACHINE, console_log

_AT_ONCE = 16
_lock = threading.RLock()


@dataclass(frozen=True)
class _Session:
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


_sessions: dict[tuple[str, str], _Session] = {}
_ready: set[str] = set()
_generations: dict[Path, int] = {}


@cache
def _connection(uri: str) -> Hypervisor:
    return hypervisor.connect(uri)


def connection(uri: str) -> Hypervisor:
    """The connection to a libvirt; one a process."""
    with _lock:
        return _connection(uri)


def _wanted(environment: Environment) -> Vms:
    if environment.vms is None:
        raise MachineError(
            f"{environment.name}: is bare metal: {environment.env_file} has no LIBVIRT_URI"
        )
    return environment.vms


def _session(environment: Environment, confirm: str = "") -> _Session:
    """What is wanted and what there is; libvirt is asked the first time."""
    with _lock:
        key = (environment.name, confirm)
        if key not in _sessions:
            _sessions[key] = _read(environment, confirm)
            _warn(_sessions[key])
        return _sessions[key]


def _read(environment: Environment, confirm: str) -> _Session:
    vms = _wanted(environment)
    boot = images.identified(vms.boot, environment.env_file)
    vms = replace(vms, boot=boot)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    decided = plan(vms, current, confirm, protected=bool(protection.of(environment)))
    return _Session(environment, vms, libvirt, current, decided)


def _warn(session: _Session) -> None:
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
    starting = {c.name for c in session.plan.changes if c.step is Step.START_DOMAIN}
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


def network_generation(environment: Environment, confirm: str) -> int:
    """Changes when the network is not as Git says; 0 when it was never made."""
    return _generation(environment, environment.paths.network, confirm, lambda p: p.network)


def storage_generation(environment: Environment, confirm: str) -> int:
    """Changes when the pool or an image in it is not as Git says; 0 when they were never made."""
    return _generation(environment, environment.paths.storage, confirm, lambda p: p.storage)


def generation(environment: Environment, node: Node, confirm: str) -> int:
    """Changes when a machine is not as Git says; 0 when it was never made."""
    vm = _wanted(environment).machine(node.role, node.name)
    return _generation(environment, environment.paths.vm(node), confirm, lambda p: p.machine(vm))


def _generation(
    environment: Environment, path: Path, confirm: str, due: Callable[[Plan], tuple[Change, ...]]
) -> int:
    """A number to be kept as a parameter of the job that writes a marker.

    The marker says which number it was made with. As long as libvirt shows what Git says, that
    number stays; if not, it is the next one, and Snakemake runs the job again. Where there is no
    marker the job runs anyway, and libvirt need not be asked.

    Snakemake asks again while it runs the job, when the marker is gone; the answer stays the same.
    """
    if path not in _generations:
        _generations[path] = _next_generation(environment, path, confirm, due)
    return _generations[path]


def _next_generation(
    environment: Environment, path: Path, confirm: str, due: Callable[[Plan], tuple[Change, ...]]
) -> int:
    if not path.exists():
        return 0
    session = _session(environment, confirm)
    session.check()
    said = marker.read(path).get("generation")
    before = said if isinstance(said, int) else 0
    return before + 1 if due(session.plan) else before


# --- what the jobs do ----------------------------------------------------------------------------


def make_network(environment: Environment, confirm: str, number: int) -> None:
    """Bring the network to what Git says.

    :param number: from :func:`network_generation`, for the marker.
    :raises MachineError: when anything that the machines need is missing; nothing is made then.
    """
    session = _prepared(environment, confirm)
    done = _do(session, session.plan.network)
    _mark(environment.paths.network, "network", number, session, done)


def make_storage(environment: Environment, confirm: str, number: int) -> None:
    """Make the storage pool and copy the images to boot from into it."""
    session = _prepared(environment, confirm)
    done = _do(session, session.plan.storage)
    _mark(environment.paths.storage, "storage", number, session, done)


def make_machine(environment: Environment, node: Node, confirm: str, number: int) -> None:
    """Bring a node's machine to what Git says, and start it."""
    session = _prepared(environment, confirm)
    vm = session.vms.machine(node.role, node.name)
    done = _do(session, session.plan.machine(vm))
    if not done:
        say(f"{environment.name}/{node.name}: the machine is as Git says")
    _mark(
        environment.paths.vm(node),
        "vm",
        number,
        session,
        done,
        domain=vm.domain,
        mac=vm.mac,
        address=node.address,
        console=console_log(vm.domain),
    )


def _prepared(environment: Environment, confirm: str) -> _Session:
    """The session, once all that could be wrong before anything is made has been looked at."""
    with _lock:
        for image in _wanted(environment).boot.images:
            if image.is_url and not image.sha256:
                images.obtain(image, environment.env_file)
        session = _session(environment, confirm)
        if environment.name not in _ready:
            session.check()
            session = _with_pool_started(session, confirm)
            uploads = {c.name for c in session.plan.changes if c.step is Step.UPLOAD_IMAGE}
            for image in session.vms.boot.images:
                if image.volume in uploads:
                    images.obtain(image, environment.env_file)
            _probe(session)
            _note_lost_etcd(session)
            _ready.add(environment.name)
        return session


def _with_pool_started(session: _Session, confirm: str) -> _Session:
    """The session; read and planned anew if its pool was to be started, as what it holds was not
    known before.
    """
    starts = [change for change in session.plan.changes if change.step is Step.START_POOL]
    if not starts:
        return session
    _do(session, starts)
    environment = session.environment
    anew = _sessions[environment.name, confirm] = _read(environment, confirm)
    anew.check()
    return anew


def _probe(session: _Session) -> None:
    starting = {c.name for c in session.plan.changes if c.step is Step.START_DOMAIN}
    if any(
        vm.accelerator is Accelerator.KVM and vm.domain in starting for vm in session.vms.machines
    ):
        session.libvirt.probe_kvm()


def _note_lost_etcd(session: _Session) -> None:
    """Drop the marker of a bootstrapped cluster all of whose etcd is to be made anew."""
    environment = session.environment
    made = {
        change.name
        for change in session.plan.changes
        if change.step in (Step.CREATE_VOLUME, Step.REPLACE_VOLUME)
    }
    domains = (session.vms.machine(n.role, n.name).domain for n in environment.control_planes)
    marked = environment.paths.bootstrapped
    if marked.exists() and all(system_volume(domain) in made for domain in domains):
        marked.unlink()
        warn(
            f"{environment.name}: all control planes get new disks, so its etcd is no more\n"
            "  -> when this run is done, run the same command again: it bootstraps a new cluster"
        )


def _do(session: _Session, changes: Iterable[Change]) -> list[str]:
    """Carry changes out; returns them in words."""
    done = []
    for change in changes:
        who = "/".join(part for part in (change.owner.environment, change.owner.node) if part)
        said = f"{change.effect}: {change.what} {change.name}"
        say(f"{who}: {said}" + (f" ({', '.join(change.details)})" if change.details else ""))
        _steps(session, change)[change.step]()
        done.append(said)
    return done


def _steps(session: _Session, change: Change) -> dict[Step, Callable[[], None]]:
    """What each step calls."""
    libvirt, vms, name = session.libvirt, session.vms, change.name
    pool = vms.storage.pool

    def replace_network() -> None:
        libvirt.remove_network(name)
        libvirt.create_network(vms.network)

    def update_reservations() -> None:
        libvirt.update_reservations(vms.network)

    def replace_volume() -> None:
        libvirt.delete_volume(pool, name)
        create_volume()

    def create_volume() -> None:
        libvirt.create_volume(pool, name, _capacity(vms, change))

    def grow_volume() -> None:
        libvirt.grow_volume(pool, name, _capacity(vms, change), _vm(vms, change.owner).domain)

    def define_domain() -> None:
        vm = _vm(vms, change.owner)
        now = session.current.domains.get(name)
        domain = placed(vm, vms, session.pool.path)
        machine = now.machine if now else MACHINE
        libvirt.define_domain(domain, pool, machine, autostart=vm.autostart)

    return {
        Step.CREATE_NETWORK: lambda: libvirt.create_network(vms.network),
        Step.START_NETWORK: lambda: libvirt.start_network(name),
        Step.UPDATE_RESERVATIONS: update_reservations,
        Step.REPLACE_NETWORK: replace_network,
        Step.CREATE_POOL: lambda: libvirt.create_pool(vms.storage),
        Step.START_POOL: lambda: libvirt.start_pool(vms.storage),
        Step.UPLOAD_IMAGE: lambda: _upload(session, name),
        Step.CREATE_VOLUME: create_volume,
        Step.GROW_VOLUME: grow_volume,
        Step.REPLACE_VOLUME: replace_volume,
        Step.DELETE_VOLUME: lambda: libvirt.delete_volume(pool, name),
        Step.DEFINE_DOMAIN: define_domain,
        Step.START_DOMAIN: lambda: libvirt.start_domain(name),
        Step.SET_AUTOSTART: lambda: libvirt.set_autostart(name, _vm(vms, change.owner).autostart),
    }


def _vm(vms: Vms, owner: Owner) -> Vm:
    return vms.machine(owner.role, owner.node)


def _capacity(vms: Vms, change: Change) -> int:
    """The wanted size of a volume, in bytes."""
    sizes = {disk.volume: disk.gib for disk in _vm(vms, change.owner).disks}
    return sizes[change.name] * GIB


def _upload(session: _Session, volume: str) -> None:
    image = next(image for image in session.vms.boot.images if image.volume == volume)
    path, _ = images.obtain(image, session.environment.env_file)
    session.libvirt.upload(session.vms.storage.pool, volume, path)


def _mark(
    path: Path, step: str, number: int, session: _Session, done: list[str], **said: str
) -> None:
    marker.write(path, step=step, generation=number, uri=session.vms.uri, done=done, **said)


# --- the targets for people ----------------------------------------------------------------------


def show_plan(environment: Environment, confirm: str) -> None:
    """The target ``vms_plan``: print what would be done."""
    if _is_bare_metal(environment):
        return
    print(show(_session(environment, confirm).plan, environment.name))


def _is_bare_metal(environment: Environment) -> bool:
    """Whether an environment has no virtual machines; then that is said."""
    if environment.vms is None:
        say(f"{environment.name}: bare metal (no LIBVIRT_URI in {environment.env_file})")
    return environment.vms is None


def states(environment: Environment) -> dict[str, str]:
    """The state of each node's machine by its config name, in virsh's words; "-" on bare metal."""
    if environment.vms is None:
        return {node.config_name: "-" for node in environment.nodes}
    vms = environment.vms
    try:
        libvirt = connection(vms.uri)
        return {
            node.config_name: libvirt.state_of(vms.machine(node.role, node.name).domain)
            for node in environment.nodes
        }
    except MachineError as error:
        told = f"not asked ({error.message.splitlines()[0]})"
        return {node.config_name: told for node in environment.nodes}


def stop(environment: Environment, node: str | None) -> None:
    """The target ``vms_stop``: shut down all machines, or those of one node.

    :raises MachineError: when there is no such node.
    """
    if _is_bare_metal(environment):
        return
    vms = _wanted(environment)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    chosen = _own(environment, current)
    if node is not None:
        chosen = _of_node(chosen, node, f"node={node}")
        if not chosen:
            raise MachineError(
                f"{environment.name}: there is no machine of a node {node!r}",
                hint=f"There are: {_names(_own(environment, current))}",
            )
    running = [name for name in chosen if current.domains[name].live]

    def stopped(name: str) -> str:
        by_itself = libvirt.stop_domain(name, vms.stop_timeout)
        return "shut down" if by_itself else f"cut off after {vms.stop_timeout:.0f} s"

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, how in zip(running, pool.map(stopped, running), strict=True):
            say(f"{environment.name}: {name}: {how}")
    if not running:
        say(f"{environment.name}: no machine runs")


def _own(environment: Environment, current: Current) -> dict[str, Owner]:
    """The domains of an environment, with those whose nodes are no longer in Git."""
    return {
        name: now.domain.owner
        for name, now in sorted(current.domains.items())
        if now.domain.owner
        and now.domain.owner.environment == environment.name
        and now.domain.owner.cluster == environment.cluster.name
    }


def _names(owners: dict[str, Owner]) -> str:
    return ", ".join(sorted({owner.node for owner in owners.values()})) or "none"


def _of_node(owners: Mapping[str, Owner], name: str, given: str) -> dict[str, Owner]:
    """The domain of the node that a name means; none where no node has it.

    :param given: what was given, for the error.
    :raises ConfigError: when more than one node, in Git or removed from it, has that name.
    """
    found = {domain: owner for domain, owner in owners.items() if name in _names_of(owner)}
    if len(found) > 1:
        raise ambiguous(given, _called(found))
    return found


def _names_of(owner: Owner) -> tuple[str, str]:
    """The name of a node, and the one with its role."""
    return owner.node, f"{owner.role}-{owner.node}"


def _called(owners: Mapping[str, Owner]) -> list[str]:
    return [_names_of(owner)[1] for owner in owners.values()]


def _short(owner: Owner | None, session: _Session) -> str:
    """The shortest name that means a node's machine, among those in Git and those that are left."""
    if owner is None:
        return ""
    others = [*_own(session.environment, session.current).values()]
    others += [vm.owner for vm in session.vms.machines]
    same = {_names_of(other) for other in others if other.node == owner.node}
    return _names_of(owner)[len(same) > 1 or owner.node == owner.environment]


def destroy(environment: Environment, confirm: str, *, disks: bool) -> None:
    """The target ``vms_destroy``: remove the machines of an environment, or of one node.

    :param confirm: the environment's name, or a node's.
    :param disks: remove their disks, too.
    :raises MachineError: without ``confirm``, and for a protected environment.
    """
    if _is_bare_metal(environment):
        return
    vms = _wanted(environment)
    libvirt = connection(vms.uri)
    current = libvirt.current(vms, environment.name)
    owners = _own(environment, current)
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
        libvirt.update_reservations(vms.network)
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
    vms, pool = _wanted(environment), current.pool
    if pool is None or not vms.storage.is_meant(pool.uuid):
        return None
    if not pool.active:
        libvirt.start_pool(vms.storage)
        say(f"{environment.name}: storage pool {pool.name}: started")
        pool = libvirt.current(vms, environment.name).pool
    return pool


def _disks(vms: Vms, pool: Pool, domains: Set[str]) -> list[str]:
    """The volumes of domains, also of such that are no longer there."""
    machines = (replace(vms.machines[0], domain=domain) for domain in sorted(domains))
    return [volume for machine in machines for volume in volumes_of(machine, pool)]


def _delete_volumes(libvirt: Hypervisor, vms: Vms, pool: Pool, domains: set[str]) -> None:
    for volume in _disks(vms, pool, domains):
        libvirt.delete_volume(pool.name, volume)
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
    if disks and not any(paths.applied(node).exists() for node in environment.control_planes):
        paths.bootstrapped.unlink(missing_ok=True)
        paths.kubeconfig.unlink(missing_ok=True)


def _remove_network(
    environment: Environment, libvirt: Hypervisor, network: NetworkNow | None
) -> None:
    """Remove the network when it is ours."""
    wanted = _wanted(environment).network
    if network and network.network.owner == wanted.owner:
        libvirt.remove_network(wanted.name)
        say(f"{environment.name}: network {wanted.name}: removed")
    environment.paths.network.unlink(missing_ok=True)


def _remove_pool(
    environment: Environment, libvirt: Hypervisor, pool: Pool, foreign: Set[str]
) -> None:
    """Remove our pool and the images in it, unless domains that are not ours have disks there."""
    said = f"{environment.name}: storage pool {pool.name}"
    if kept := _disks(_wanted(environment), pool, foreign):
        say(f"{said}: kept, as it has {', '.join(kept)}")
        return
    for volume in filter(_is_image, pool.volumes):
        libvirt.delete_volume(pool.name, volume)
    libvirt.remove_pool(pool.name)
    say(f"{said}: removed")
    environment.paths.storage.unlink(missing_ok=True)


def _is_image(volume: str) -> bool:
    return volume.startswith("talos-") and volume.removesuffix(complete_mark("")).endswith(
        (".iso", ".kernel", ".initramfs")
    )
