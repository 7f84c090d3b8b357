"""Which machine a name on the command line means: ``node=``, ``confirm=``, a file's (pure).

In Git each name is one node's. Nodes that were removed from Git may have the name of one that is
there; then role and name tell them apart, as in their files: ``worker-cp_1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from talosmake.base.errors import ConfigError
from talosmake.inventory.model import Environment, Node


def one(environment: Environment, nodes: Sequence[Node], name: str) -> Node:
    """The one node that a name means.

    :param nodes: those to choose from.
    :param name: a node's, or its role and name, e.g. ``worker-cp_1``.
    :raises ConfigError: when there is none, or more than one.
    """
    found = [node for node in nodes if name in (node.name, node.config_name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ambiguous(f"node={name}", (node.config_name for node in found))
    raise _missing(environment, [short(node, nodes) for node in nodes], name)


def of_role(environment: Environment, role: str, name: str) -> Node:
    """The node of a role and a name, as names of files have them.

    :raises ConfigError: when there is none: somebody asked for the file of such a node.
    """
    try:
        return environment.node(role, name)
    except KeyError:
        names = [node.config_name for node in environment.nodes]
        raise _missing(environment, names, f"{role}-{name}") from None


def _missing(environment: Environment, names: Sequence[str], name: str) -> ConfigError:
    near = get_close_matches(name, names, n=1)
    return ConfigError(
        f"{environment.name} has no node {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
        hint=f"There are: {', '.join(names)}",
    )


def ambiguous(choice: str, names: Iterable[str]) -> ConfigError:
    """The error for a name that more than one machine has.

    :param choice: what was given, e.g. ``node=cp_1``.
    :param names: that tell the machines apart.
    """
    return ConfigError(
        f"{choice} may mean more than one: {', '.join(names)}; nothing was done",
        hint="Give one of these names instead.",
    )


def short(node: Node, nodes: Iterable[Node]) -> str:
    """The shortest name that means this node among others."""
    same = [other for other in nodes if other.name == node.name]
    return node.name if len(same) <= 1 else node.config_name
