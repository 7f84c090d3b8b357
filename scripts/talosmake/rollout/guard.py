"""Only the right machine: what is compared before a config is sent or a node is reset.

Two checks. The cluster check (certificate authority, cluster ID, role) cannot be switched off. The
machine check (MAC address, UUID) follows the node's node.env.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from talosmake.base.errors import NodeError
from talosmake.base.progress import say, warn
from talosmake.base.this_run import Noted
from talosmake.checks import lint
from talosmake.inventory.model import Environment, Node
from talosmake.patches import layout
from talosmake.talos.api import MaintenanceApi
from talosmake.talos.api import NodeApi as SecureNode
from talosmake.talos.observe import documents

_warned: Noted[str] = Noted("an environment whose unknown machines were told")


def check_machine(
    environment: Environment,
    node: Node,
    api: SecureNode | MaintenanceApi,
    macs: Sequence[str] | None = None,
) -> None:
    """Refuse a machine that does not have the node's ``NODE_MAC`` and ``NODE_UUID``.

    :param macs: the hardware addresses of its links, where they were asked for already.
    :raises NodeError: with what was expected and what was found.
    :raises CallError: when the machine does not answer.
    """
    _tell_what_is_not_checked(environment, node)
    if node.mac and node.mac_check:
        _check_mac(environment, node, api.macs() if macs is None else macs)
    if node.uuid:
        _check_uuid(environment, node, api.uuid())


def _check_mac(environment: Environment, node: Node, found: Sequence[str]) -> None:
    """Refuse a machine none of whose links has the node's ``NODE_MAC``.

    :raises NodeError: with what was expected and what was found.
    """
    if node.mac not in found:
        raise _another_machine(
            environment, node, f"NODE_MAC is {node.mac}, the machine has {', '.join(found)}"
        )


def _check_uuid(environment: Environment, node: Node, found: str) -> None:
    if found != node.uuid:
        raise _another_machine(
            environment, node, f"NODE_UUID is {node.uuid}, the machine has {found or 'none'}"
        )


def _another_machine(environment: Environment, node: Node, difference: str) -> NodeError:
    return NodeError(
        f"{environment.name}/{node.name}: the machine at {node.address} is not the one in "
        f"{node.env_file}: {difference}; nothing was sent",
        hint="Fix node.env, or find out who has this address. MAC_CHECK=off in node.env switches "
        "the comparison of MAC addresses off, for this node alone.",
    )


def _tell_what_is_not_checked(environment: Environment, node: Node) -> None:
    """Say once a run which nodes of an environment nothing tells apart from another machine."""
    if node.mac and not node.mac_check:
        say(f"{environment.name}/{node.name}: MAC_CHECK=off: its MAC address is not compared")
    unknown = [n.name for n in environment.nodes if not (n.mac or n.uuid)]
    if node.name not in unknown or not _warned.add(environment.name):
        return
    warn(
        f"{environment.name}: without NODE_MAC, so any machine in maintenance mode at their "
        f"address gets their config: {', '.join(unknown)}\n"
        "  -> write NODE_MAC into their node.env; 'snakemake nodes' and "
        "'talosctl get links --insecure' show it"
    )


@dataclass(frozen=True)
class ClusterIdentity:
    """What tells a cluster from others, by a machine config or a bundle.

    :ivar identifier: the cluster's ID, which the bundle gives.
    :ivar name: the cluster's name.
    """

    identifier: str
    name: str


def check_cluster(
    environment: Environment, node: Node, running: bytes, wanted: ClusterIdentity
) -> None:
    """Refuse a running node that is another cluster's, or has another role than in Git.

    That its certificate is by this cluster's CA is known before: else nothing could be asked.
    Clusters with the same bundle have one CA and one ID, so that their names are compared, too.
    What is not known is never the same.

    :param running: the config it runs with.
    :raises NodeError: with what was expected and what was found.
    """
    has = cluster_of(running)
    if not has.identifier or has.identifier != wanted.identifier:
        raise _another_node(
            environment,
            node,
            f"cluster.id: it has {_short(has.identifier)}, this cluster's is "
            f"{_short(wanted.identifier)}",
        )
    if lint.shares_bundle(environment) and (not has.name or has.name != wanted.name):
        raise _another_node(
            environment,
            node,
            f"cluster.clusterName: it has {has.name or 'none'}, this cluster's is "
            f"{wanted.name or 'not known'}, and the bundle is not this cluster's alone",
        )
    role = _value(running, layout.MACHINE_TYPE)
    if role != node.role:
        raise _another_node(
            environment, node, f"machine.type: it has {role or 'none'}, the config says {node.role}"
        )


def _another_node(environment: Environment, node: Node, difference: str) -> NodeError:
    return NodeError(
        f"{environment.name}/{node.name}: the node at {node.address} runs with another "
        f"{difference}; nothing was sent",
        hint=f"Is NODE_IP in {node.env_file} right? To give a machine another role or cluster, "
        "reset it first, as the node that it is: snakemake reset, see docs/day-2.md",
    )


def cluster_of(config: bytes) -> ClusterIdentity:
    """The cluster that a machine config is for."""
    return ClusterIdentity(_value(config, layout.CLUSTER_ID), _value(config, layout.CLUSTER_NAME))


def _short(identifier: str) -> str:
    return f"{identifier[:8]}…" if identifier else "none"


def _value(config: bytes, setting: layout.Setting) -> str:
    """A setting of a machine config, wherever it stands; "" where it is not, or says two things."""
    said = {str(value) for value in layout.values(documents(config), setting) if value}
    return said.pop() if len(said) == 1 else ""
