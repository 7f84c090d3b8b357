"""Which machine has a node's config: ``state/<node>.machine``, so that none is ever forgotten."""

from __future__ import annotations

from talosmake.base import marker
from talosmake.inventory.model import Environment, Node
from talosmake.inventory.node_names import Name


def write(environment: Environment, node: Node, name: Name) -> None:
    """Record the machine that a node is, before it is sent a config.

    Whether the send arrives nobody knows before; a machine that has none is found to be in
    maintenance mode by its reset.

    :param name: what the config calls it.
    """
    marker.write(
        environment.paths.machine_of(node),
        step="sent",
        node=node.name,
        address=node.address,
        endpoint=node.endpoint,
        hostname=name.hostname,
        nodename=name.nodename,
        maintenance_address=node.maintenance_address,
        mac=node.mac if node.mac_check else "",
        uuid=node.uuid,
    )
