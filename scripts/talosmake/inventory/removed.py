"""Nodes that were removed from Git while their machines still stand."""

from __future__ import annotations

from talosmake.base import marker
from talosmake.inventory.model import Environment, Node, Role


def removed_nodes(environment: Environment) -> list[Node]:
    """Nodes that have a config by this workflow and are no longer in Git.

    A machine that a node in Git has now is no removed node: it was renamed, or its address is
    another machine's now, and a reset would wipe a node that is in use.
    """
    known = {node.config_name for node in environment.nodes}
    nodes = []
    for role in Role:
        for path in sorted(environment.paths.state.glob(f"{role}-*.machine")):
            if path.stem in known:
                continue
            said = {key: str(value) for key, value in marker.read(path).items()}
            if not said.get("address"):
                continue
            name = path.stem.removeprefix(f"{role}-")
            facts = {
                "NODE_MAC": said.get("mac", ""),
                "NODE_UUID": said.get("uuid", ""),
                "NODE_MAINTENANCE_IP": said.get("maintenance_address", ""),
                "NODE_ENDPOINT": said.get("endpoint", ""),
            }
            hostname = said.get("hostname") or name.replace("_", "-")
            directory = environment.directory / role.directory / name
            node = Node(name, role, hostname, said["address"], directory, (), facts)
            if not any(_may_be_one(node, other) for other in environment.nodes):
                nodes.append(node)
    return nodes


def _may_be_one(node: Node, other: Node) -> bool:
    """Whether two nodes may be the same machine."""
    return (
        node.address == other.address
        or (node.mac != "" and node.mac == other.mac)
        or (node.uuid != "" and node.uuid == other.uuid)
    )
