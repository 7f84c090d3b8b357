"""Making virtual machines what Git says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from talosmake.base import marker
from talosmake.base.errors import MachineError
from talosmake.base.progress import say, warn
from talosmake.base.this_run import Noted
from talosmake.inventory.disks import system_volume
from talosmake.inventory.machines import GIB, Accelerator, Owner, Vm, Vms, placed
from talosmake.inventory.model import Environment, Node
from talosmake.machines import images
from talosmake.machines.changes import Action, Change, show
from talosmake.machines.libvirt_xml import MACHINE, console_log
from talosmake.machines.session import (
    Session,
    connection,
    lock,
    read,
    session_of,
    sessions,
    wanted_machines,
)

_ready: Noted[str] = Noted("an environment of which all was looked at before anything is made")


# --- what the jobs do ----------------------------------------------------------------------------


def make_network(environment: Environment, confirm: str, number: int) -> None:
    """Bring the network to what Git says.

    :param number: from :func:`talosmake.machines.session.network_revision`, for the marker.
    :raises MachineError: when anything that the machines need is missing; nothing is made then.
    """
    session = prepared_session(environment, confirm)
    done = _do(session, session.plan.network)
    _mark(environment.paths.network, "network", number, session, done)


def make_storage(environment: Environment, confirm: str, number: int) -> None:
    """Make the storage pool and copy the images to boot from into it."""
    session = prepared_session(environment, confirm)
    done = _do(session, session.plan.storage)
    _mark(environment.paths.storage, "storage", number, session, done)


def make_machine(environment: Environment, node: Node, confirm: str, number: int) -> None:
    """Bring a node's machine to what Git says, and start it."""
    session = prepared_session(environment, confirm)
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


def prepared_session(environment: Environment, confirm: str) -> Session:
    """The session, once all that could be wrong before anything is made has been looked at."""
    with lock():
        for image in wanted_machines(environment).boot.images:
            if image.is_url and not image.sha256:
                images.obtain(image, environment.env_file)
        session = session_of(environment, confirm)
        if environment.name not in _ready:
            session.check()
            session = _with_pool_started(session, confirm)
            uploads = {c.name for c in session.plan.changes if c.action is Action.UPLOAD_IMAGE}
            for image in session.vms.boot.images:
                if image.volume in uploads:
                    images.obtain(image, environment.env_file)
            _probe(session)
            _note_lost_etcd(session)
            _ready.add(environment.name)
        return session


def _with_pool_started(session: Session, confirm: str) -> Session:
    """The session; planned again if its pool was to be started, as what it holds was not
    known before.
    """
    starts = [change for change in session.plan.changes if change.action is Action.START_POOL]
    if not starts:
        return session
    _do(session, starts)
    environment = session.environment
    again = read(environment, confirm)
    sessions.put((environment.name, confirm), again)
    again.check()
    return again


def _probe(session: Session) -> None:
    starting = {c.name for c in session.plan.changes if c.action is Action.START_DOMAIN}
    if any(
        vm.accelerator is Accelerator.KVM and vm.domain in starting for vm in session.vms.machines
    ):
        session.libvirt.probe_kvm()


def _note_lost_etcd(session: Session) -> None:
    """Drop the marker of a bootstrapped cluster all of whose etcd is to be new."""
    environment = session.environment
    made = {
        change.name
        for change in session.plan.changes
        if change.action in (Action.CREATE_VOLUME, Action.REPLACE_VOLUME)
    }
    domains = (session.vms.machine(n.role, n.name).domain for n in environment.control_planes)
    marked = environment.paths.bootstrapped
    if marked.exists() and all(system_volume(domain) in made for domain in domains):
        marked.unlink()
        warn(
            f"{environment.name}: all control planes get new disks, so its etcd is no more\n"
            "  -> when this run is done, run the same command again: it bootstraps a new cluster"
        )


def _do(session: Session, changes: Iterable[Change]) -> list[str]:
    """Carry changes out; returns them in words."""
    done = []
    for change in changes:
        who = "/".join(part for part in (change.owner.environment, change.owner.node) if part)
        words = f"{change.effect}: {change.what} {change.name}"
        say(f"{who}: {words}" + (f" ({', '.join(change.details)})" if change.details else ""))
        _steps(session, change)[change.action]()
        done.append(words)
    return done


def _steps(session: Session, change: Change) -> dict[Action, Callable[[], None]]:
    """What each step calls."""
    libvirt, vms, name = session.libvirt, session.vms, change.name
    pool = vms.storage.pool

    def replace_network() -> None:
        libvirt.networks.remove(name)
        libvirt.networks.create(vms.network)

    def update_reservations() -> None:
        libvirt.networks.update_reservations(vms.network)

    def replace_volume() -> None:
        libvirt.pools.delete_volume(pool, name)
        create_volume()

    def create_volume() -> None:
        libvirt.pools.create_volume(pool, name, _capacity(vms, change))

    def grow_volume() -> None:
        libvirt.pools.grow_volume(pool, name, _capacity(vms, change), _vm(vms, change.owner).domain)

    def define_domain() -> None:
        vm = _vm(vms, change.owner)
        now = session.current.domains.get(name)
        domain = placed(vm, vms, session.pool.path)
        machine = now.machine if now else MACHINE
        libvirt.define_domain(domain, pool, machine, autostart=vm.autostart)

    return {
        Action.CREATE_NETWORK: lambda: libvirt.networks.create(vms.network),
        Action.START_NETWORK: lambda: libvirt.networks.start(name),
        Action.UPDATE_RESERVATIONS: update_reservations,
        Action.REPLACE_NETWORK: replace_network,
        Action.CREATE_POOL: lambda: libvirt.pools.create(vms.storage),
        Action.START_POOL: lambda: libvirt.pools.start(vms.storage),
        Action.UPLOAD_IMAGE: lambda: _upload(session, name),
        Action.CREATE_VOLUME: create_volume,
        Action.GROW_VOLUME: grow_volume,
        Action.REPLACE_VOLUME: replace_volume,
        Action.DELETE_VOLUME: lambda: libvirt.pools.delete_volume(pool, name),
        Action.DEFINE_DOMAIN: define_domain,
        Action.START_DOMAIN: lambda: libvirt.start_domain(name),
        Action.SET_AUTOSTART: lambda: libvirt.set_autostart(name, _vm(vms, change.owner).autostart),
    }


def _vm(vms: Vms, owner: Owner) -> Vm:
    return vms.machine(owner.role, owner.node)


def _capacity(vms: Vms, change: Change) -> int:
    """The wanted size of a volume, in bytes."""
    sizes = {disk.volume: disk.gib for disk in _vm(vms, change.owner).disks}
    return sizes[change.name] * GIB


def _upload(session: Session, volume: str) -> None:
    image = next(image for image in session.vms.boot.images if image.volume == volume)
    path, _ = images.obtain(image, session.environment.env_file)
    session.libvirt.pools.upload(session.vms.storage.pool, volume, path)


def _mark(
    path: Path, step: str, number: int, session: Session, done: list[str], **more: str
) -> None:
    marker.write(path, step=step, revision=number, uri=session.vms.uri, done=done, **more)


# --- the targets for people ----------------------------------------------------------------------


def show_plan(environment: Environment, confirm: str) -> None:
    """The target ``vms_plan``: print what would be done."""
    if is_bare_metal(environment):
        return
    print(show(session_of(environment, confirm).plan, environment.name))


def is_bare_metal(environment: Environment) -> bool:
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
