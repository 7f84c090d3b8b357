"""What a node has and does not act on before its next reboot: ``state/<node>.waits``.

What changes waits stands in :mod:`talosmake.rollout.in_force`. The file holds the names of settings
and no value, and the boot that they were sent in: once the node shows another one, they are in
force.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from talosmake.base import marker
from talosmake.inventory import named
from talosmake.inventory.model import Environment, Node
from talosmake.rollout import in_force
from talosmake.rollout.in_force import Until
from talosmake.talos.observe import documents, secure_api
from talosmake.talos.talosctl import CallError, Failure

NOT_IN_FORCE = "not in force until a reboot"
# The node says that it has not taken it.
_REFUSED = (Failure.NEEDS_REBOOT, Failure.REJECTED, Failure.NOT_AUTHORIZED)


@dataclass(frozen=True)
class Waits:
    """Settings that wait for a node's next reboot.

    :ivar settings: as messages name them, sorted.
    :ivar boot_id: of the boot that they were sent in; "" where it is not known.
    """

    settings: tuple[str, ...] = ()
    boot_id: str = ""

    def after(self, boot_id: str) -> Waits:
        """What waits still, in the boot that the node is in now; what is not known never differs.

        :param boot_id: that boot; "" where it is not known.
        """
        over = bool(self.boot_id and boot_id and self.boot_id != boot_id)
        return Waits() if over else self

    def joined(self, settings: Iterable[str], boot_id: str) -> Waits:
        """The same with settings that are sent now.

        :param boot_id: the boot that the node is in now; "" where it is not known.
        """
        before = self.after(boot_id)
        every = sorted({*before.settings, *settings})
        return Waits(tuple(every), boot_id or before.boot_id)

    def __str__(self) -> str:
        """``not in force until a reboot: cluster.etcd``; "" where nothing waits."""
        return f"{NOT_IN_FORCE}: {', '.join(self.settings)}" if self.settings else ""


def recorded(environment: Environment, node: Node) -> Waits:
    """What was recorded of a node; it may have rebooted since.

    :raises ConfigError: when the file is no marker.
    """
    said = marker.read(environment.paths.waits(node))
    settings = said.get("settings")
    names = settings if isinstance(settings, list) else []
    return Waits(tuple(map(str, names)), str(said.get("boot_id") or ""))


def still(environment: Environment, node: Node) -> Waits:
    """What waits on a node that runs: it is asked for its boot where something was recorded.

    :raises CallError: when it does not answer.
    """
    before = recorded(environment, node)
    if not before.settings:
        return before
    return before.after(secure_api(environment, node).boot_id())


def write(environment: Environment, node: Node, waits: Waits) -> None:
    """Record what waits, in place of what was recorded."""
    path = environment.paths.waits(node)
    if not waits.settings:
        path.unlink(missing_ok=True)
    elif waits != recorded(environment, node):
        marker.write(
            path, step="waits", node=node.name, settings=waits.settings, boot_id=waits.boot_id
        )


@contextlib.contextmanager
def sending(environment: Environment, node: Node, running: bytes, config: bytes) -> Iterator[None]:
    """Send a config without a reboot: what will wait is recorded before, as nobody may be told.

    What the node refuses is taken back.

    :param running: the config that it runs with.
    :param config: the one that is sent.
    """
    before = recorded(environment, node)
    write(environment, node, _joined(environment, node, before, running, config))
    try:
        yield
    except CallError as error:
        if error.failure in _REFUSED:
            write(environment, node, before)
        raise


def _joined(
    environment: Environment, node: Node, before: Waits, running: bytes, config: bytes
) -> Waits:
    # Most changes wait in no version, and cost no call.
    if not will_wait(running, config, "").settings:
        return before
    api = secure_api(environment, node)
    talos = api.version().partition(" ")[0]
    settings = will_wait(running, config, talos).settings
    if not settings:
        return before
    try:
        boot_id = api.boot_id()
    except CallError:
        boot_id = ""  # it waits for longer, then
    return before.joined(settings, boot_id)


def will_wait(running: bytes, config: bytes, talos: str) -> Waits:
    """What would wait if a node took a config without a reboot.

    :param running: the config that it runs with.
    :param talos: the version that it runs.
    """
    found = in_force.pending(documents(running), documents(config), talos)
    return Waits(tuple(_until_reboot(found)))


def _until_reboot(found: Sequence[in_force.Pending]) -> list[str]:
    return [one.label for one in found if one.until is Until.REBOOT]


def way_on(environment: Environment, node: Node) -> str:
    """The command that reboots a node; a lab's, which Talos does not reboot, all go off and on."""
    if environment.cluster.lab:
        commands = (f"snakemake {do} --config env={environment.name}" for do in ("lab_stop", "up"))
        return " && ".join(commands)
    name = named.short(node, environment.nodes)
    return f"snakemake reboot --config env={environment.name} node={name}"


def advice(environment: Environment) -> list[str]:
    """The nodes of which something was recorded, and how to go on, as lines; no node is asked."""
    found = [(node, recorded(environment, node)) for node in environment.nodes]
    lines = []
    for node, waits in found:
        if waits.settings:
            lines += [f"  {node.name}: {waits}", f"    -> {way_on(environment, node)}"]
    return lines
