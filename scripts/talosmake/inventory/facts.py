"""Which facts may not be given in a file: the workflow's own, and those that belong elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talosmake.base.errors import InventoryError
from talosmake.inventory import known_facts
from talosmake.inventory.fact_values import place
from talosmake.patches import placeholders


def refuse_references(own: Mapping[str, str], others: Mapping[str, Any], path: Path) -> None:
    """Refuse values that name other facts: nothing in a value is replaced."""
    for name, value in own.items():
        if "$" in value or "{{" in value:
            known = known_facts.names() | own.keys() | others.keys()
            placeholders.check_value(name, value, place(name, path), known)


def refuse_built_in(facts: Mapping[str, str], path: Path) -> None:
    """Refuse facts that the workflow sets."""
    for name in known_facts.BUILT_IN:
        if name in facts:
            raise InventoryError(
                f"{place(name, path)}: {name} is set by the workflow and cannot be given",
                hint="It comes from NODE_ENDPOINT, else NODE_IP; remove the line."
                if name == "NODE_ENDPOINT_HOST"
                else "It comes from the directory's name; remove the line.",
            )


def refuse_node_only(facts: Mapping[str, str], path: Path) -> None:
    """Refuse facts for all nodes that are about one."""
    for name in facts:
        if name in known_facts.of_one_node():
            raise InventoryError(
                f"{place(name, path)}: {name} is about one node and cannot be given for all of "
                "them",
                hint="Write it into the node.env of the node that it is about, and not into "
                "cluster.env or config.yaml.",
            )


def refuse_environment_only(facts: Mapping[str, str], path: Path, what: str = "node") -> None:
    """Refuse facts for one node, or one role, that are about all."""
    for name in facts:
        if name in known_facts.of_an_environment():
            raise InventoryError(
                f"{place(name, path)}: {name} is about the whole environment and cannot be given "
                f"for one {what}",
                hint="Write it into the environment's cluster.env, for all nodes; or, if it is for "
                f"this {what}'s patches only, give it a name of your own, e.g. MY_{name}.",
            )
